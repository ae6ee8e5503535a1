//! The ledger: one row per call id ever seen, where it stands and why.

use super::layout::{self, LEDGER, Layout, Part};
use super::lookup;
use super::merge::Input;
use super::parquet::PartWriter;
use super::stage::Stage;
use super::tables::Tables;
use crate::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, Int64Builder, ListBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use crate::arrow::datatypes::{DataType, FieldRef, Int64Type, SchemaRef, TimestampMicrosecondType};
use crate::error::{Error, Result};
use crate::files::PRIVATE;
use chrono::{DateTime, NaiveDate, Utc};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Where a call id stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked for again by a later run.
    Pending,
    /// In the tables.
    Exported,
    /// Given up: Graph does not keep it any more.
    Expired,
    /// Refused, with its reason.
    Quarantined,
    /// Taken out by hand.
    Purged,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Exported => "exported",
            Self::Expired => "expired",
            Self::Quarantined => "quarantined",
            Self::Purged => "purged",
        }
    }
}

/// What was fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The clock of the run that fetched it, in microseconds since 1970.
    pub at: i64,
    /// Its version.
    pub version: i64,
    /// Call start in microseconds since 1970.
    pub start: i64,
    /// Call end in microseconds since 1970.
    pub end: Option<i64>,
    /// `lastModifiedDateTime` in microseconds since 1970.
    pub last_modified: Option<i64>,
}

/// What a commit knows of one id.
#[derive(Clone, Debug)]
pub struct Touch {
    /// Where it stands now.
    pub state: State,
    /// Why.
    pub reason: Option<String>,
    /// Where it came from.
    pub sources: BTreeSet<String>,
    /// Its tenant.
    pub tenant_id: Option<String>,
    /// When a run first saw it.
    pub first_seen: DateTime<Utc>,
    /// First notification.
    pub first_notified_at: Option<DateTime<Utc>>,
    /// Last notification.
    pub last_notified_at: Option<DateTime<Utc>>,
    /// When Graph forgets it.
    pub expires_at: Option<DateTime<Utc>>,
    /// What was fetched and stored.
    pub fetched: Option<Fetched>,
    /// When Graph served the stored version or an older one, in microseconds since 1970.
    pub asked_at: Option<i64>,
}

/// One row. Instants are in microseconds since 1970; the columns say what they mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The call.
    pub call_id: String,
    tenant_id: Option<String>,
    /// Where it stands.
    pub state: String,
    /// Why.
    pub reason: Option<String>,
    /// Where the id came from.
    pub sources: BTreeSet<String>,
    /// First notification.
    pub first_notified_at: Option<i64>,
    /// Last notification.
    pub last_notified_at: Option<i64>,
    /// When the stored version was fetched.
    pub fetched_at: Option<i64>,
    asked_at: Option<i64>,
    /// When Graph forgets it.
    pub expires_at: Option<i64>,
    /// The stored version.
    pub version: Option<i64>,
    /// All that were fetched and stored.
    pub versions: BTreeSet<i64>,
    call_start_date_time: Option<i64>,
    call_end_date_time: Option<i64>,
    last_modified_date_time: Option<i64>,
}

impl Row {
    fn touched(mut self, touch: &Touch) -> Self {
        let micros = |at: &DateTime<Utc>| at.timestamp_micros();
        self.tenant_id = touch.tenant_id.clone().or(self.tenant_id);
        let given_up = touch.state == State::Expired;
        // A later version that never came does not take a stored call away.
        let stored = self.version.is_some() && self.state != "purged";
        let state = if given_up && stored { State::Exported } else { touch.state };
        self.state = state.name().to_owned();
        self.reason = if state == State::Exported { None } else { touch.reason.clone() };
        self.sources.extend(touch.sources.iter().cloned());
        self.first_notified_at = self.first_notified_at.or(touch.first_notified_at.as_ref().map(micros));
        self.last_notified_at = self.last_notified_at.max(touch.last_notified_at.as_ref().map(micros));
        self.asked_at = self.asked_at.max(touch.asked_at);
        if let Some(fetched) = &touch.fetched {
            self.fetched_at = Some(fetched.at);
            self.version = Some(fetched.version);
            self.versions.insert(fetched.version);
            self.call_start_date_time = Some(fetched.start);
            self.call_end_date_time = fetched.end;
            self.last_modified_date_time = fetched.last_modified;
        }
        if touch.fetched.is_some() || self.version.is_none() {
            self.expires_at = touch.expires_at.as_ref().map(micros).or(self.expires_at);
        }
        self
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.state == other.state
            && self.reason == other.reason
            && self.sources == other.sources
            && self.version == other.version
            && self.versions == other.versions
            && self.last_notified_at == other.last_notified_at
            && self.asked_at == other.asked_at
    }
}

/// Stages the rows that `touches` change.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn stage(stage: &mut Stage<'_>, layout: &Layout, tables: &Tables, touches: &BTreeMap<String, Touch>) -> Result<()> {
    let ids: HashSet<&str> = touches.keys().map(String::as_str).collect();
    let mut present = find(layout, &ids)?;
    let mut added: BTreeMap<NaiveDate, Vec<Row>> = BTreeMap::new();
    let mut changed: BTreeMap<Part, Vec<Row>> = BTreeMap::new();
    for (call_id, touch) in touches {
        match present.remove(call_id) {
            None => {
                let row = Row { call_id: call_id.clone(), ..Row::default() };
                added.entry(touch.first_seen.date_naive()).or_default().push(row.touched(touch));
            }
            Some((part, row)) => {
                let touched = row.clone().touched(touch);
                if !touched.says_the_same(&row) {
                    changed.entry(part).or_default().push(touched);
                }
            }
        }
    }
    for (date, rows) in added {
        let relative = layout::relative(LEDGER, date, &layout::part_name(stage.number()));
        let path = stage.path(&relative)?;
        let mut writer = PartWriter::create(&path, &tables.ledger, layout.modes)?;
        writer.write(batch(&rows, &tables.ledger.schema)?)?;
        let written = writer.finish()?;
        stage.put(LEDGER, &relative, written.rows)?;
    }
    for (part, rows) in changed {
        let path = stage.path(&format!("delta/{LEDGER}/{}/{}", part.date, part.name))?;
        let mut writer = PartWriter::create(&path, &tables.ledger, PRIVATE)?;
        writer.write(batch(&rows, &tables.ledger.schema)?)?;
        writer.finish()?;
        let replaced: HashSet<String> = rows.into_iter().map(|row| row.call_id).collect();
        let inputs = [Input { path: part.path.clone(), without: Some(&replaced) }, Input { path, without: None }];
        stage.merge(LEDGER, &tables.ledger, part.date, &part.name, &inputs)?;
    }
    Ok(())
}

/// The rows of those of `ids` that the ledger has, each with the part that holds it.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn find(layout: &Layout, ids: &HashSet<&str>) -> Result<HashMap<String, (Part, Row)>> {
    let mut found = HashMap::new();
    lookup::search(layout, LEDGER, ids, None, |part, batch| {
        for row in read_rows(batch, ids) {
            found.insert(row.call_id.clone(), (part.clone(), row));
        }
        Ok(())
    })?;
    Ok(found)
}

fn read_rows(batch: &RecordBatch, ids: &HashSet<&str>) -> Vec<Row> {
    let text = |name: &str, row: usize| {
        let column = batch.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let instant = |name: &str, row: usize| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    let list = |name: &str, row: usize| {
        let column = batch.column_by_name(name)?.as_list_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    (0..batch.num_rows())
        .filter_map(|row| {
            let call_id = text("call_id", row).filter(|id| ids.contains(id.as_str()))?;
            let sources = list("sources", row)
                .and_then(|list| Some(list.as_string_opt::<i32>()?.iter().flatten().map(str::to_owned).collect()))
                .unwrap_or_default();
            let version = batch
                .column_by_name("version")
                .and_then(|column| column.as_primitive_opt::<Int64Type>())
                .filter(|column| column.is_valid(row))
                .map(|column| column.value(row));
            // A row of an earlier program says only which one is stored.
            let versions = list("versions", row)
                .and_then(|list| Some(list.as_primitive_opt::<Int64Type>()?.iter().flatten().collect()))
                .unwrap_or_else(|| version.into_iter().collect());
            Some(Row {
                call_id,
                tenant_id: text("tenant_id", row),
                state: text("state", row).unwrap_or_default(),
                reason: text("reason", row),
                sources,
                first_notified_at: instant("first_notified_at", row),
                last_notified_at: instant("last_notified_at", row),
                fetched_at: instant("fetched_at", row),
                asked_at: instant("asked_at", row),
                expires_at: instant("expires_at", row),
                version,
                versions,
                call_start_date_time: instant("call_start_date_time", row),
                call_end_date_time: instant("call_end_date_time", row),
                last_modified_date_time: instant("last_modified_date_time", row),
            })
        })
        .collect()
}

/// The rows, which are in the order of ids, as a batch of the ledger's schema.
fn batch(rows: &[Row], schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> Result<ArrayRef> {
            let text =
                |of: fn(&Row) -> Option<&str>| Arc::new(rows.iter().map(of).collect::<StringArray>()) as ArrayRef;
            let instant = |of: fn(&Row) -> Option<i64>| {
                Arc::new(rows.iter().map(of).collect::<TimestampMicrosecondArray>().with_timezone("UTC")) as ArrayRef
            };
            Ok(match field.name().as_str() {
                "call_id" => text(|r| Some(&r.call_id)),
                "tenant_id" => text(|r| r.tenant_id.as_deref()),
                "state" => text(|r| Some(&r.state)),
                "reason" => text(|r| r.reason.as_deref()),
                "first_notified_at" => instant(|r| r.first_notified_at),
                "last_notified_at" => instant(|r| r.last_notified_at),
                "fetched_at" => instant(|r| r.fetched_at),
                "asked_at" => instant(|r| r.asked_at),
                "expires_at" => instant(|r| r.expires_at),
                "call_start_date_time" => instant(|r| r.call_start_date_time),
                "call_end_date_time" => instant(|r| r.call_end_date_time),
                "last_modified_date_time" => instant(|r| r.last_modified_date_time),
                "version" => Arc::new(rows.iter().map(|r| r.version).collect::<Int64Array>()),
                "sources" => {
                    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(element(field)?);
                    for row in rows {
                        lists.append_value(row.sources.iter().map(Some));
                    }
                    Arc::new(lists.finish())
                }
                "versions" => {
                    let mut lists = ListBuilder::new(Int64Builder::new()).with_field(element(field)?);
                    for row in rows {
                        lists.append_value(row.versions.iter().copied().map(Some));
                    }
                    Arc::new(lists.finish())
                }
                other => return Err(Error::config(format!("The ledger has no value for the column {other}"))),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(schema.clone(), columns)
        .map_err(|e| Error::config("The ledger's rows do not fit its schema").because(e))
}

fn element(field: &FieldRef) -> Result<FieldRef> {
    match field.data_type() {
        DataType::List(element) => Ok(element.clone()),
        _ => Err(Error::config(format!("The ledger's {} are no list in the catalogue", field.name()))),
    }
}
