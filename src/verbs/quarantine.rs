//! `quarantine list` and `quarantine retry`.

use super::tenants::{each, print_json};
use super::{Global, print, run_id, runs};
use crate::call_id::CallId;
use crate::cli::{self, Format};
use crate::config::{Config, Place, Storage};
use crate::dataset::layout::Layout;
use crate::dataset::{Dataset, release};
use crate::error::{Error, Result};
use crate::notifications;
use crate::printable;
use crate::quarantine::{self, Item, Kind};
use crate::run::{self, Options};
use crate::schema::Catalogue;
use crate::worklist::Origin;
use serde::Serialize;
use std::fmt::Write;

pub(super) fn execute(global: &Global, what: cli::Quarantine) -> Result<u8> {
    match what {
        cli::Quarantine::List(answer) => each(global, answer.format, |place| list(place, answer.format)),
        cli::Quarantine::Retry { items } => {
            if !items.is_empty() {
                global.one("An item that is named")?;
            }
            each(global, Format::Json, |place| retry(global, place, &items))
        }
    }
}

/// An item without its bytes, which may hold personal data.
#[derive(Serialize)]
struct Listed {
    item: String,
    kind: Kind,
    call_id: Option<String>,
    file: Option<String>,
    offset: Option<u64>,
    reason: String,
    at: chrono::DateTime<chrono::Utc>,
    bytes: usize,
}

fn items(layout: &Layout) -> Result<Vec<Item>> {
    Ok(quarantine::read(&layout.quarantine())?.into_iter().flat_map(|(_, items)| items).collect())
}

fn list(place: &Place, format: Format) -> Result<u8> {
    let storage = Storage::load(place)?;
    let layout = Layout::new(&storage.root, storage.modes);
    let listed: Vec<Listed> = items(&layout)?
        .into_iter()
        .map(|item| Listed {
            bytes: item.content.bytes().len(),
            item: item.item,
            kind: item.kind,
            call_id: item.call_id,
            file: item.file,
            offset: item.offset,
            reason: item.reason,
            at: item.at,
        })
        .collect();
    if format == Format::Json {
        return print_json(place, &listed);
    }
    let mut text = String::new();
    for item in &listed {
        let place = match (&item.call_id, &item.file, item.offset) {
            (Some(id), ..) => format!("call {id}"),
            (None, Some(file), Some(offset)) => format!("{} at {offset}", printable::field(file)),
            _ => String::new(),
        };
        let _ =
            writeln!(text, "{:<12} {}  {:<20} {place}", item.item, item.at.format("%Y-%m-%d %H:%M:%SZ"), item.reason);
    }
    let _ = writeln!(text, "{} items in {}", listed.len(), printable::field(&layout.quarantine().to_string_lossy()));
    print(&text)
}

/// Tries items again: notifications are read again by the present config,
/// refused records are flattened again, other ids are asked for again. What is
/// settled then leaves the quarantine.
fn retry(global: &Global, place: &Place, wanted: &[String]) -> Result<u8> {
    let config = Config::load(place)?;
    let layout = Layout::new(&config.root, config.modes);
    let chosen: Vec<Item> =
        items(&layout)?.into_iter().filter(|item| wanted.is_empty() || wanted.contains(&item.item)).collect();
    if let Some(unknown) = wanted.iter().find(|name| chosen.iter().all(|item| item.item != **name)) {
        return Err(
            Error::usage(format!("The quarantine has no item {unknown}")).hint("`callrec quarantine list` names them")
        );
    }
    if chosen.is_empty() {
        return print("the quarantine is empty");
    }
    let mut options = Options { run_id: run_id(None), progress: global.progress, ..Options::default() };
    let mut of_item: Vec<(String, Vec<CallId>)> = Vec::new();
    for item in &chosen {
        let bytes = item.content.bytes();
        let mut ids = Vec::new();
        match item.kind {
            Kind::Notification => ids.extend(notifications::read_again(&config.source, &bytes)),
            Kind::Record | Kind::Answer => ids.extend(item.call_id.as_deref().and_then(|id| id.parse::<CallId>().ok())),
        }
        let whole = item.kind == Kind::Record && crate::flatten::head(&bytes).is_ok();
        for id in &ids {
            match whole {
                true => options.given.push((*id, bytes.clone())),
                false => options.named.push((*id, Origin::Quarantine)),
            }
        }
        of_item.push((item.item.clone(), ids));
    }
    if options.given.is_empty() && options.named.is_empty() {
        print("no item can be read yet")?;
        return Ok(3);
    }
    let run_id = options.run_id.clone();
    let ended = run::run(&config, &options);
    if ended.error.is_none() {
        // What was refused again stands in the quarantine under a new name.
        let settled = of_item
            .into_iter()
            .filter(|(_, ids)| !ids.is_empty() && ids.iter().all(|id| !ended.unsettled.contains(id)))
            .map(|(item, _)| item)
            .collect();
        let mut dataset = Dataset::open_existing(layout, Catalogue::embedded())?;
        release::release(&mut dataset, &settled, &run_id, config.clock().now())?;
    }
    runs::tell(&ended)
}
