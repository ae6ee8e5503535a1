//! Which tenants of the config a verb works on, and how: side by side where they
//! are waited for, one after the other elsewhere. What ends one leaves the others.

use super::{Global, print};
use crate::cli::Format;
use crate::config::{self, Place};
use crate::error::{Error, Result};
use crate::shutdown::{self, Shutdown};
use crate::summary;
use serde::Serialize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

impl Global {
    /// The configs of the tenants that the command line chooses; one without a
    /// tenant if the config has none.
    pub(super) fn places(&self) -> Result<Vec<Place>> {
        let mut places = config::places(self.config.as_deref())?;
        let has_none = places.iter().any(|place| place.tenant.is_none());
        if has_none && (!self.tenants.is_empty() || self.shard.is_some()) {
            return Err(Error::usage("The config has no tenants").hint("drop --tenant and --shard, or add [[tenant]]"));
        }
        let is = |place: &Place, name: &String| place.tenant.as_ref() == Some(name);
        if let Some(unknown) = self.tenants.iter().find(|name| !places.iter().any(|place| is(place, name))) {
            return Err(Error::usage(format!("The config has no tenant {unknown}"))
                .hint("give the name of a [[tenant]] as it is written there"));
        }
        if let Some(shard) = self.shard {
            let mut number = 0;
            places.retain(|_| {
                number += 1;
                number % shard.of == shard.index % shard.of
            });
        }
        if !self.tenants.is_empty() {
            places.retain(|place| self.tenants.iter().any(|name| is(place, name)));
        }
        if places.is_empty() {
            tracing::warn!("the command line chooses no tenant of the config");
        }
        Ok(places)
    }

    /// The one config for `what` concerns a single dataset.
    pub(super) fn one(&self, what: &str) -> Result<Place> {
        let mut places = self.places()?;
        match (places.pop(), places.len()) {
            (Some(place), 0) => Ok(place),
            _ => Err(Error::usage(format!("{what} is for one tenant, and the config has several"))
                .hint("choose it with --tenant NAME")),
        }
    }

    /// What this process may ask in 20 seconds of the limit of the app.
    pub(super) fn app_requests_per_20s(&self, places: &[Place]) -> u32 {
        let all = places.first().map_or(u32::MAX, Place::app_requests_per_20s);
        (all / self.shard.map_or(1, |shard| shard.of)).max(1)
    }
}

/// Does `work` for each tenant, one after the other, each under its name; the exit
/// code of all.
///
/// # Errors
/// What ended the only one, or kept all from beginning.
pub(super) fn each(global: &Global, format: Format, work: impl Fn(&Place) -> Result<u8>) -> Result<u8> {
    let places = global.places()?;
    if let [place] = places.as_slice()
        && place.tenant.is_none()
    {
        return work(place);
    }
    let mut codes = Vec::with_capacity(places.len());
    for place in &places {
        let name = place.tenant.as_deref().unwrap_or_default();
        if format == Format::Text {
            print(&format!("tenant {name}"))?;
        }
        let _span = span(place).entered();
        codes.push(work(place).unwrap_or_else(|error| {
            tracing::error!("{error}");
            error.class().exit_code()
        }));
    }
    Ok(summary::exit_code(codes))
}

/// Prints an answer as JSON: of several tenants one a line, with its name.
pub(super) fn print_json(place: &Place, answer: &impl Serialize) -> Result<u8> {
    #[derive(Serialize)]
    struct Named<'a, T> {
        tenant: &'a str,
        answer: &'a T,
    }
    let text = match place.tenant.as_deref() {
        None => serde_json::to_string(answer),
        Some(tenant) => serde_json::to_string(&Named { tenant, answer }),
    };
    print(&text.unwrap_or_default())
}

/// Does `work` for all, so many at a time, and gives what comes of each to `ended`
/// as it ends; `None` is a defect. After a signal none is begun.
///
/// # Errors
/// What `ended` says, or a runtime that does not start. All that were begun end.
pub(super) fn side_by_side<T: Send>(
    places: &[Place],
    at_once: usize,
    work: impl Fn(&Place) -> T + Sync,
    mut ended: impl FnMut(usize, Option<T>) -> Result<()>,
) -> Result<Option<u8>> {
    let (_signals, shutdown) = Shutdown::beside(shutdown::COMMITS)?;
    let (next, (sender, results)) = (AtomicUsize::new(0), mpsc::channel());
    let failed = std::thread::scope(|scope| {
        for _ in 0..at_once.clamp(1, places.len().max(1)) {
            let (sender, shutdown, next, work) = (sender.clone(), shutdown.clone(), &next, &work);
            scope.spawn(move || {
                while !shutdown.is_requested() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(place) = places.get(index) else { break };
                    let _span = span(place).entered();
                    // What a tenant has in memory ends with it.
                    let result = catch_unwind(AssertUnwindSafe(|| work(place))).ok();
                    if sender.send((index, result)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut failed = None;
        for (index, result) in results {
            if let Err(error) = ended(index, result) {
                failed.get_or_insert(error);
            }
        }
        failed
    });
    failed.map_or_else(|| Ok(shutdown.exit_code()), Err)
}

fn span(place: &Place) -> tracing::Span {
    tracing::error_span!("run", tenant = place.tenant.as_deref().unwrap_or_default())
}
