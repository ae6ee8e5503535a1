//! The table of runs on the real binary: which runs have a row, what is in it, and
//! what becomes of it when runs are killed or the file is damaged.
#![cfg(feature = "failpoints")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests fail by panics and damage files as they like"
)]

#[path = "support/narrow.rs"]
mod narrow;
mod support;

use callrec::dataset::Dataset;
use callrec::dataset::layout::Layout;
use callrec::dataset::runs_table::RunsTable;
use callrec::files::{Modes, PRIVATE};
use callrec::schema::{Catalogue, Type};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use support::{Ended, Graph, How, Place, call_id, days_ago, record, refused};

/// All rows in the order of their ends, by column.
fn runs(place: &Place) -> Vec<BTreeMap<&'static str, String>> {
    let columns: Vec<&str> = Catalogue::embedded().runs.columns.iter().map(|column| column.name.as_str()).collect();
    let rows = support::rows(&place.root(), "runs", &columns);
    rows.into_iter().map(|row| columns.iter().copied().zip(row).collect()).collect()
}

fn column(place: &Place, name: &str) -> Vec<String> {
    runs(place).iter().map(|row| row[name].clone()).collect()
}

fn file(place: &Place) -> PathBuf {
    let mut found = Vec::new();
    support::visit(&place.root().join("runs"), &mut |path| found.push(path.to_owned()));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// A place and a Graph with so many calls, which are notified.
fn notified(graph: &Graph, calls: std::ops::RangeInclusive<u32>) -> Place {
    let place = Place::new(&graph.endpoint(), "");
    notify(graph, &place, calls);
    place
}

fn notify(graph: &Graph, place: &Place, calls: std::ops::RangeInclusive<u32>) {
    // So young that their date is not sealed yet.
    calls.clone().for_each(|n| graph.put(&record(&call_id(n), 1, days_ago(1), 1)));
    place.notify(calls.map(call_id).collect::<Vec<_>>().iter().map(String::as_str));
}

/// Whether each column of the row that the summary has too says the same; which ones
/// the summary does not have.
fn compare(row: &BTreeMap<&'static str, String>, summary: &Value) -> Vec<&'static str> {
    let mut others = Vec::new();
    for (&name, value) in row {
        match summary.get(name).or_else(|| summary["reconciled"].get(name)) {
            Some(Value::Number(number)) => assert_eq!(value.parse::<f64>().ok(), number.as_f64(), "{name}"),
            Some(Value::String(text)) => assert_eq!(value, text, "{name}"),
            Some(other) => panic!("{name}: {other}"),
            None => others.push(name),
        }
    }
    others
}

#[test]
fn a_run_with_new_calls_has_a_row_and_one_that_found_nothing_new_changes_no_byte() {
    let graph = Graph::empty();
    let place = notified(&graph, 1..=2);
    let summary = place.callrec(&["run", "--run-id", "first"]).expect(0).summary();
    let [row] = &runs(&place)[..] else { panic!("one row") };
    let others = compare(row, &summary);
    let [told, of_reconcile] = [
        ["command", "ended_at", "first_commit", "last_commit", "program", "started_at"].as_slice(),
        &["listed", "missed", "missed_updates"],
    ];
    assert!(others.iter().all(|name| told.contains(name) || of_reconcile.contains(name)), "{others:?}");
    assert_eq!(
        (row["run_id"].as_str(), row["command"].as_str(), row["program"].as_str()),
        ("first", "run", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!((row["first_commit"].as_str(), row["last_commit"].as_str()), ("1", "1"));
    assert!(row["started_at"].parse::<i64>().unwrap() < row["ended_at"].parse().unwrap(), "{row:?}");
    assert!(of_reconcile.iter().all(|name| row[name] == "null"), "{row:?}");

    let settled = place.all_files();
    place.callrec(&["run"]).expect(0);
    place.callrec(&["run", "--dry-run"]).expect(0);
    place.callrec(&["reconcile", "--settle", "0s"]).expect(0);
    assert_eq!(place.all_files(), settled);

    // Verbs that are no runs leave it alone.
    let bytes = fs::read(file(&place)).unwrap();
    for verb in [&["verify"][..], &["compact"], &["rebuild"], &["purge", "--call", &call_id(1)], &["verify"]] {
        place.callrec(verb).expect(0);
    }
    assert_eq!(fs::read(file(&place)).unwrap(), bytes);
    notify(&graph, &place, 3..=3);
    place.callrec(&["run", "--run-id", "second"]).expect(0);
    let rows = runs(&place);
    assert_eq!(column(&place, "run_id"), ["first", "second"]);
    assert!(rows[1]["first_commit"] > rows[0]["last_commit"] && rows[1]["exported_new"] == "1", "{rows:?}");
}

#[test]
fn the_columns_and_modes_are_those_of_a_table() {
    let graph = Graph::empty();
    let place = notified(&graph, 1..=1);
    place.callrec(&["run"]).expect(0);
    let path = file(&place);
    let name = path.strip_prefix(place.root()).unwrap().display().to_string();
    assert!(name.starts_with("runs/run_month=2") && name.ends_with("/runs.parquet") && name.len() == 35, "{name}");
    let batches = narrow::batches(&path);
    let table = &Catalogue::embedded().runs;
    assert_eq!(batches[0].schema().fields(), table.arrow_schema().fields());
    assert!(table.columns.iter().all(|column| column.data_type != Type::StringList && column.pii.is_none()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }
}

#[test]
fn what_ended_otherwise_than_well_has_a_row_also_if_it_did_nothing() {
    let graph = Graph::empty();
    let place = notified(&graph, 1..=1);
    let wrong_secret = || {
        let mut command = place.command(&["run"]);
        command.env("CALLREC_GRAPH__AUTH__CLIENT_SECRET", "canary-of-a-secret");
        support::ended(command).expect(77)
    };
    wrong_secret();
    wrong_secret();
    place.callrec(&["run", "--max-runtime", "1ns"]).expect(75);
    graph.put(&refused(&call_id(2), days_ago(1)));
    place.notify([call_id(2).as_str()]);
    place.callrec(&["run"]).expect(3);
    assert_eq!(column(&place, "status"), ["failed", "failed", "temporary", "attention"]);
    assert_eq!(column(&place, "exit_code"), ["77", "77", "75", "3"]);
    assert_eq!(column(&place, "quarantined"), ["0", "0", "0", "1"]);
    let bytes = fs::read(file(&place)).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"canary"));

    // Nothing of a run that could not open the dataset, or whose it is not.
    let config = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), config.replace(support::TENANT, "99999999-9999-4999-8999-999999999999")).unwrap();
    place.callrec(&["run"]).expect(78);
    assert_eq!(fs::read(file(&place)).unwrap(), bytes);
}

#[test]
fn each_command_has_its_name_and_reconcile_its_figures() {
    let graph = Graph::empty();
    let place = notified(&graph, 1..=3);
    place.callrec(&["run"]).expect(0);
    graph.put(&record(&call_id(1), 2, days_ago(1), 1));
    graph.put(&record(&call_id(4), 1, days_ago(1), 1));
    graph.put(&record(&call_id(5), 1, days_ago(1), 1));
    let summary = place.callrec(&["reconcile", "--settle", "0s"]).expect(0).summary();
    let row = &runs(&place)[1];
    compare(row, &summary);
    assert_eq!((row["listed"].as_str(), row["missed"].as_str(), row["missed_updates"].as_str()), ("5", "2", "1"));
    graph.put(&record(&call_id(6), 1, days_ago(1), 1));
    let from = days_ago(9).date_naive().to_string();
    place.callrec(&["backfill", "--from", &from]).expect(0);
    place.append(&format!("{}\n", support::notification(&call_id(7), "another state")));
    place.callrec(&["run"]).expect(3);
    graph.put(&record(&call_id(7), 1, days_ago(1), 1));
    place.callrec(&["quarantine", "retry"]).expect(0);
    place.callrec(&["run"]).expect(0);
    assert_eq!(column(&place, "command"), ["run", "reconcile", "backfill", "run", "quarantine"]);
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn the_next_run_tells_of_runs_that_were_killed() {
    let graph = Graph::empty();
    // The first of all, with several commits, and a next one that finds nothing new.
    let place = notified(&graph, 1..=3);
    place.configure(&graph.endpoint(), "batch_records = 1\n");
    place.disturb(&["run", "--run-id", "dead"], "clean::done", 3, How::Abort);
    assert!(!place.root().join("runs").exists());
    place.callrec(&["run"]).expect(0);
    let [row] = &runs(&place)[..] else { panic!("one row") };
    assert_eq!((row["run_id"].as_str(), row["status"].as_str(), row["exported_new"].as_str()), ("dead", "killed", "3"));
    assert_eq!((row["first_commit"].as_str(), row["last_commit"].as_str()), ("1", "3"));
    let committed = place.newest_commit()["committed_at"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>();
    assert_eq!(row["ended_at"], committed.unwrap().timestamp_micros().to_string());
    for untold in ["command", "started_at", "exit_code", "requests", "duration_seconds", "listed"] {
        assert_eq!(row[untold], "null", "{untold}");
    }
    let settled = place.all_files();
    place.callrec(&["run"]).expect(0);
    assert_eq!(place.all_files(), settled);

    // After others, and with commits of other verbs between.
    notify(&graph, &place, 4..=4);
    place.callrec(&["run", "--run-id", "alive"]).expect(0);
    notify(&graph, &place, 5..=5);
    place.disturb(&["run", "--run-id", "dead again"], "publish::marked", 1, How::Abort);
    place.callrec(&["compact"]).expect(0);
    place.callrec(&["purge", "--call", &call_id(1)]).expect(0);
    notify(&graph, &place, 6..=6);
    place.disturb(&["run", "--run-id", "dead too"], "commit::written", 1, How::Abort);
    notify(&graph, &place, 7..=7);
    // An id that was used before hides nothing.
    place.callrec(&["run", "--run-id", "dead again"]).expect(0);
    assert_eq!(column(&place, "run_id"), ["dead", "alive", "dead again", "dead too", "dead again"]);
    assert_eq!(column(&place, "status"), ["killed", "done", "killed", "killed", "done"]);
    assert_eq!(column(&place, "exported_new"), ["3", "1", "1", "1", "1"]);
    let settled = place.all_files();
    place.callrec(&["run"]).expect(0);
    assert_eq!(place.all_files(), settled);
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn a_table_that_cannot_be_written_never_loses_the_run() {
    let graph = Graph::empty();
    let place = notified(&graph, 1..=1);
    let with = |fault: &str| -> Ended {
        let mut command = place.command(&["run"]);
        command.env("FAILPOINTS", fault);
        support::ended(command)
    };
    let ended = with("runs::staged=return(error)").expect(3);
    let summary = ended.summary();
    assert_eq!((&summary["status"], &summary["exit_code"]), (&json!("attention"), &json!(3)));
    assert_eq!(summary["exported_new"], 1);
    assert!(ended.stderr.contains("the table of runs lacks this run"), "{}", ended.stderr);
    place.callrec(&["run"]).expect(0);
    assert_eq!(column(&place, "exported_new"), ["1"]);
    for (n, point) in [(2, "runs::staged"), (3, "runs::written")] {
        notify(&graph, &place, n..=n);
        place.disturb(&["run"], point, 1, How::Abort);
        place.callrec(&["run"]).expect(0);
        assert_eq!(column(&place, "exported_new").len(), usize::try_from(n).unwrap(), "{point}");
    }
    let staged = fs::read_dir(place.root().join("_callrec/staging")).unwrap().count();
    assert_eq!(staged, 0);
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn a_damaged_file_is_set_aside_and_begun_anew() {
    let graph = Graph::empty();
    let place = notified(&graph, 1..=1);
    place.callrec(&["run", "--run-id", "before"]).expect(0);
    let path = file(&place);
    let whole = fs::read(&path).unwrap();
    let month = path.parent().unwrap().file_name().unwrap().to_str().unwrap().replace("run_month=", "");
    let aside = place.root().join(format!("_callrec/runs-{month}.parquet.damaged"));
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    notify(&graph, &place, 2..=2);
    let ended = place.callrec(&["run", "--run-id", "after"]).expect(0);
    assert!(ended.stderr.contains("damaged and set aside"), "{}", ended.stderr);
    assert_eq!(fs::read(&aside).unwrap(), whole[..whole.len() / 2]);
    // Whether the first had a row, nobody knows any more.
    assert_eq!(column(&place, "run_id"), ["before", "after"]);
    assert_eq!(column(&place, "status"), ["unknown", "done"]);
    place.callrec(&["verify"]).expect(0);
    let settled = place.all_files();
    place.callrec(&["run"]).expect(0);
    assert_eq!(place.all_files(), settled);

    // Whatever byte is wrong: it is read, or set aside.
    let layout = Layout::new(place.root(), Modes { ..PRIVATE });
    let dataset = Dataset::open(layout, Catalogue::embedded()).unwrap();
    let whole = fs::read(&path).unwrap();
    let mut damaged = 0;
    for at in (0..whole.len()).step_by(11).chain(whole.len() - 40..whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(&path, &bytes).unwrap();
        damaged += usize::from(RunsTable::read(&dataset).unwrap().was_damaged());
    }
    assert!(damaged > 20, "{damaged}");
}

#[test]
fn a_month_that_an_earlier_program_wrote_gets_the_columns_of_this_one() {
    let graph = Graph::empty();
    let place = notified(&graph, 1..=1);
    place.callrec(&["run", "--run-id", "long ago"]).expect(0);
    let path = file(&place);
    let earlier = place.root().join("runs/run_month=2020-01");
    fs::create_dir(&earlier).unwrap();
    fs::rename(&path, earlier.join("runs.parquet")).unwrap();
    narrow::without(&earlier.join("runs.parquet"), "missed_updates");
    place.callrec(&["run"]).expect(0);
    assert!(!path.exists(), "nothing new, nothing written");
    notify(&graph, &place, 2..=2);
    place.callrec(&["run", "--run-id", "now"]).expect(0);
    assert_eq!(column(&place, "run_id"), ["long ago", "now"]);
    assert_eq!(column(&place, "missed_updates"), ["null", "null"]);
    let fields = |path: &PathBuf| narrow::batches(path)[0].schema().fields().clone();
    assert_eq!(fields(&earlier.join("runs.parquet")), fields(&path));
}
