//! A notification log that matches the records, in the forms that logs have.

use super::settings::Settings;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Appends notifications of `ids` to the log at `path`: collections with one or
/// several items, both spellings of the type, some of them twice.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn write_notification_log<'a>(
    settings: &Settings,
    ids: impl IntoIterator<Item = &'a str>,
    path: &Path,
) -> Result<u64> {
    let fail = |e| Error::io("write", path, e);
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(fail)?;
    let (mut items, mut written, mut text) = (Vec::new(), 0, String::new());
    for (number, id) in ids.into_iter().enumerate() {
        items.push(notification(settings, id, number));
        if number % 10 == 3 {
            // Delivered twice.
            items.push(notification(settings, id, number + 1));
        }
        if items.len() > number % 4 {
            written += items.len() as u64;
            text.push_str(&json!({"value": std::mem::take(&mut items)}).to_string());
            text.push('\n');
        }
    }
    if !items.is_empty() {
        written += items.len() as u64;
        text.push_str(&json!({"value": items}).to_string());
        text.push('\n');
    }
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
    Ok(written)
}

fn notification(settings: &Settings, id: &str, number: usize) -> Value {
    let kind = if number.is_multiple_of(2) { "#Microsoft.Graph.callRecord" } else { "#Microsoft.Graph.callrecord" };
    let resource = format!("communications/callRecords/{id}");
    json!({
        "subscriptionId": "33333333-3333-4333-8333-333333333333",
        "clientState": settings.client_state,
        "changeType": if number.is_multiple_of(3) { "created" } else { "updated" },
        "resource": resource,
        "subscriptionExpirationDateTime": "2099-01-01T00:00:00.000+00:00",
        "resourceData": {"@odata.type": kind, "@odata.id": resource, "id": id},
        "tenantId": settings.tenant_id,
    })
}
