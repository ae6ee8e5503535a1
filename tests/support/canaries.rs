//! Values that must not turn up where they do not belong, and the search for them.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_types,
    reason = "shared by test binaries that use parts of it"
)]

use crate::support::{self, Place, days_ago, record};
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::path::Path;

/// Must be nowhere below the root, in no output and in no command line.
pub const SECRET: &str = "cnry-client-secret~8Q$x";
pub const TOKEN: &str = "cnry-bearer-token.eyJ0";
pub const STATE: &str = "cnry-client-state-4711";
pub const WRONG_STATE: &str = "cnry-state-of-another-subscription";
pub const SECRETS: [&str; 4] = [SECRET, TOKEN, STATE, WRONG_STATE];

/// Personal data: may be in the data of tables, archive, spool and quarantine.
pub const PERSONAL: [&str; 11] = [
    NAME,
    "cnry.upn@contoso.example",
    "cnry.mail@contoso.example",
    "+4930901820cnry",
    "203.0.113.77",
    "2001:db8:c9::77",
    "198.51.100.64",
    "02-C9-77-AA-BB-CC",
    "Headset of Cnry Lovelace",
    "cnry free text of a customer",
    "cnry-user-id",
];
pub const NAME: &str = "Cnry Müller-Lüdenscheidt";

/// What Graph or the token service may repeat: all personal data, and the
/// secrets that they were told.
pub fn everything() -> String {
    format!("{} {SECRET} {TOKEN} {STATE}", PERSONAL.join(" "))
}

/// A record that holds all personal canaries: in columns, in members that no
/// column knows, in an enum and in a cell that does not fit.
pub fn personal_record(id: &str) -> Value {
    let mut record = record(id, 1, days_ago(1), 2);
    let user = json!({"id": PERSONAL[10], "displayName": NAME, "tenantId": support::TENANT,
        "userPrincipalName": PERSONAL[1], "email": PERSONAL[2]});
    record["organizer_v2"]["identity"] = json!({"user": user});
    record["participants_v2"][0]["identity"] = json!({"phone": {"id": PERSONAL[3], "displayName": NAME}});
    record["joinWebUrl"] = json!(format!("https://teams.example/l/{}", PERSONAL[10]));
    record["sessions"][0]["caller"]["associatedIdentity"] = user;
    record["sessions"][0]["caller"]["feedback"] = json!({"text": PERSONAL[9], "rating": PERSONAL[9]});
    let media = &mut record["sessions"][0]["segments"][0]["media"][0];
    media["callerNetwork"] = json!({"ipAddress": PERSONAL[4], "reflexiveIPAddress": PERSONAL[5], "subnet": PERSONAL[6],
        "macAddress": PERSONAL[7], "connectionType": PERSONAL[9], "linkSpeed": PERSONAL[9]});
    media["callerDevice"] = json!({"captureDeviceName": PERSONAL[8], "renderDeviceName": PERSONAL[8]});
    media["unknownMember"] = json!({"of": PERSONAL.join(" ")});
    record
}

/// The canaries of `wanted` that are in `bytes`, as they are or as JSON and URLs
/// would write them.
pub fn found<'a>(bytes: &[u8], wanted: &[&'a str]) -> Vec<&'a str> {
    // What is no UTF-8 breaks no canary: text is searched much faster than bytes.
    let text = String::from_utf8_lossy(bytes);
    let holds = |form: Vec<u8>| text.contains(std::str::from_utf8(&form).unwrap());
    wanted.iter().copied().filter(|canary| callrec::redact::forms(canary).into_iter().any(holds)).collect()
}

/// Fails with the place if a canary is in what a command printed.
pub fn assert_silent(what: &str, output: &[u8]) {
    let leaks = [found(output, &SECRETS), found(output, &PERSONAL)].concat();
    assert!(leaks.is_empty(), "{what} shows {leaks:?}:\n{}", String::from_utf8_lossy(output));
}

/// Every canary that is where it must not be below the root, with the place.
///
/// Secrets are searched for in every byte: names, raw bytes, decompressed
/// segments, all values of all Parquet files, hex of the quarantine. Personal
/// data is allowed where records are kept: in the data of the record tables,
/// `raw`, spool, staging and quarantine. The statistics of the footers (least
/// and greatest value of a column, of the file and of its pages) are copies of
/// that data and not searched for it; keys and values of the footers are.
pub fn leaks(place: &Place) -> Vec<String> {
    let mut leaks = Vec::new();
    let root = place.root();
    support::visit(&root, &mut |path| {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        let mut note = |what: &str, found: Vec<&str>| {
            leaks.extend(found.into_iter().map(|canary| format!("{name}: {canary} in the {what}")));
        };
        note("name", [found(name.as_bytes(), &SECRETS), found(name.as_bytes(), &PERSONAL)].concat());
        let keeps_records = ["raw/", "_callrec/spool/", "_callrec/staging/", "_callrec/quarantine/"];
        let of_record_table = support::TABLES.iter().any(|table| name.starts_with(&format!("{table}/")));
        let personal_allowed = of_record_table || keeps_records.iter().any(|place| name.starts_with(place));
        let bytes = fs::read(path).unwrap();
        let mut forms = vec![bytes.clone()];
        if name.ends_with(".zst") {
            let mut whole = Vec::new();
            zstd::Decoder::new(&bytes[..]).unwrap().read_to_end(&mut whole).unwrap();
            forms.push(whole);
        }
        if name.contains("quarantine") && name.ends_with(".jsonl") {
            let items = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
            forms.extend(
                items.map(|line| serde_json::from_slice::<callrec::quarantine::Item>(line).unwrap().content.bytes()),
            );
        }
        if name.ends_with(".parquet") {
            note(
                "footer",
                [found(&keys_and_values(path), &SECRETS), found(&keys_and_values(path), &PERSONAL)].concat(),
            );
            forms.push(values(path));
        }
        for form in forms {
            note("bytes", found(&form, &SECRETS));
            if !personal_allowed {
                note("bytes", found(&form, &PERSONAL));
            }
        }
    });
    leaks
}

/// The key-value metadata of a file and of its fields.
fn keys_and_values(path: &Path) -> Vec<u8> {
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let file = reader.metadata().file_metadata();
    format!("{:?} {:?} {:?}", file.key_value_metadata(), reader.schema(), file.created_by()).into_bytes()
}

/// All values of a file as text, a line each.
fn values(path: &Path) -> Vec<u8> {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let mut text = String::new();
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        for field in batch.schema().fields() {
            let column = support::without_zone(&batch, field.name());
            let formatter = ArrayFormatter::try_new(&column, &FormatOptions::new()).unwrap();
            for row in 0..batch.num_rows() {
                text.push_str(&formatter.value(row).to_string());
                text.push('\n');
            }
        }
    }
    text.into_bytes()
}
