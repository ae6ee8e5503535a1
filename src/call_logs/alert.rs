//! What a receiver of alerts is told of emergency calls.

use super::emergency::Emergency;
use super::table::batch;
use crate::arrow::array::{Array, AsArray, RecordBatch};
use crate::arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use crate::error::{Class, Error, Result};
use crate::flatten::Drift;
use crate::schema::Table;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// An emergency call: columns of its table, and of these no name and no telephone
/// number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EmergencyCall {
    /// When it began.
    pub start_date_time: DateTime<Utc>,
    /// The table that has its row.
    pub table: String,
    /// The id of the row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The id of the call, of rows of `pstn_calls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The id of the call, of rows of `direct_routing_calls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The user who called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The kind of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_type: Option<String>,
    /// Whether it succeeded, of rows of `direct_routing_calls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successful_call: Option<bool>,
    /// The country of the user, of rows of `pstn_calls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_country_code: Option<String>,
}

impl EmergencyCall {
    /// The emergency calls among `lines`, which are rows of `table`, each with the
    /// place of its line.
    ///
    /// # Errors
    /// As [`batch`].
    pub fn among(
        lines: &[&[u8]],
        table: &Table,
        schema: &SchemaRef,
        emergency: &Emergency,
    ) -> Result<Vec<(usize, Self)>> {
        // What does not fit is counted where the table is made.
        let rows = batch(lines.iter().copied(), table, schema, emergency, &mut Drift::default())?;
        let is = |place: &usize| boolean(&rows, "is_emergency", *place) == Some(true);
        Ok((0..rows.num_rows()).filter(is).map(|place| (place, Self::of(&rows, table, place))).collect())
    }

    fn of(rows: &RecordBatch, table: &Table, place: usize) -> Self {
        let text = |column| text(rows, column, place);
        let start =
            rows.column_by_name("start_date_time").and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        let start = start.filter(|column| column.is_valid(place)).map(|column| column.value(place));
        Self {
            start_date_time: start.and_then(DateTime::from_timestamp_micros).unwrap_or_default(),
            table: table.name.clone(),
            id: text("id"),
            call_id: text("call_id"),
            correlation_id: text("correlation_id"),
            user_id: text("user_id"),
            call_type: text("call_type"),
            successful_call: boolean(rows, "successful_call", place),
            usage_country_code: text("usage_country_code"),
        }
    }
}

fn text(rows: &RecordBatch, column: &str, place: usize) -> Option<String> {
    let column = rows.column_by_name(column)?.as_string_opt::<i32>()?;
    column.is_valid(place).then(|| column.value(place).to_owned())
}

fn boolean(rows: &RecordBatch, column: &str, place: usize) -> Option<bool> {
    let column = rows.column_by_name(column)?.as_boolean_opt()?;
    column.is_valid(place).then(|| column.value(place))
}

/// What is posted at once: the emergency calls of one commit, or a part of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What it tells of.
    pub event: String,
    /// Tells it apart from all others of its dataset; the same if it is posted again.
    pub id: String,
    /// The tenant of the dataset, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant_id: Option<String>,
    /// The run that found the calls.
    pub run_id: String,
    /// The calls, by their start.
    pub calls: Vec<EmergencyCall>,
}

impl Alert {
    /// The only event.
    pub const EVENT: &'static str = "emergency_calls";

    /// As JSON.
    ///
    /// # Errors
    /// By class I/O; not to be expected.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::new(Class::Io, "An alert has no JSON").because(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Catalogue;

    #[test]
    fn an_alert_names_ids_and_the_kind_but_neither_names_nor_numbers() {
        let table = Catalogue::embedded().log("direct_routing_calls").unwrap();
        let lines = [
            r#"{"id":"a","callType":"ByotIn","startDateTime":"2026-11-01T10:00:00Z"}"#,
            r#"{"id":"b","correlationId":"c","userId":"u","userPrincipalName":"p@contoso.example","userDisplayName":"P","startDateTime":"2026-11-01T10:00:00.5Z","callType":"dr_emergency_out","successfulCall":false,"callerNumber":"+491","calleeNumber":"112","later":"x"}"#,
        ];
        let lines = lines.map(str::as_bytes);
        let calls = EmergencyCall::among(&lines, table, &table.arrow_schema(), &Emergency::default()).unwrap();
        let [(1, call)] = calls.as_slice() else { panic!("{calls:?}") };
        assert_eq!(
            serde_json::to_string(call).unwrap(),
            r#"{"start_date_time":"2026-11-01T10:00:00.500Z","table":"direct_routing_calls","id":"b","correlation_id":"c","user_id":"u","call_type":"dr_emergency_out","successful_call":false}"#
        );
        assert_eq!(&serde_json::from_str::<EmergencyCall>(&serde_json::to_string(call).unwrap()).unwrap(), call);
    }
}
