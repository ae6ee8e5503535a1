//! The verbs beside `run`, and the configuration.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests fail by panics and damage files as they like"
)]

mod support;

use chrono::TimeDelta;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Graph, Place, call_id, days_ago, record};

/// Two calls on each of two dates, exported.
fn exported() -> (Graph, Place) {
    let graph = Graph::empty();
    for n in 1..=4 {
        graph.put(&record(&call_id(n), 1, days_ago(i64::from(n % 2) + 1) + TimeDelta::minutes(i64::from(n)), 2));
    }
    let place = Place::new(&graph.endpoint(), "");
    place.notify([1, 2, 3, 4].map(call_id).iter().map(String::as_str));
    place.callrec(&["run"]).expect(0);
    (graph, place)
}

#[test]
fn purged_dates_are_gone_for_good_and_a_later_notification_brings_a_call_back() {
    let (_graph, place) = exported();
    let date = days_ago(1).date_naive().to_string();
    let summary = place.callrec(&["purge", "--before", &date]).expect(0).summary();
    assert_eq!(summary["status"], "done");
    let mut calls = place.column("calls", "call_id");
    calls.sort();
    assert_eq!(calls, [call_id(2), call_id(4)]);
    place.callrec(&["rebuild"]).expect(0);
    place.callrec(&["verify"]).expect(0);
    assert_eq!(place.column("streams", "call_id").len(), 4);
    let states = support::rows(&place.root(), "ledger", &["call_id", "state"]);
    assert_eq!(states.iter().filter(|row| row[1] == "purged").count(), 2, "{states:?}");
    place.callrec(&["run"]).expect(0);
    assert_eq!(place.column("calls", "call_id").len(), 2, "nothing comes back by itself");
    place.notify([call_id(1).as_str()]);
    assert_eq!(place.callrec(&["run"]).expect(0).summary()["exported_new"], 1);
    place.callrec(&["verify"]).expect(0);
    place.callrec(&["purge"]).expect(2);
}

#[test]
fn verify_finds_a_changed_byte_a_missing_file_and_rows_without_a_call() {
    let (_graph, place) = exported();
    let part = |table: &str| {
        let mut found = Vec::new();
        support::visit(&place.root().join(table), &mut |path| found.push(path.to_owned()));
        found.remove(0)
    };
    let verify = || {
        let ended = place.callrec(&["verify", "--format", "json"]);
        (ended.code, serde_json::from_str::<Value>(ended.stdout.trim()).unwrap())
    };
    assert_eq!(verify().0, 0);
    let streams = part("streams");
    let whole = fs::read(&streams).unwrap();
    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(&streams, &changed).unwrap();
    let (code, found) = verify();
    assert_eq!(code, 3);
    assert!(found["faults"].to_string().contains("is not what its commit wrote"), "{found}");
    fs::remove_file(&streams).unwrap();
    let (code, found) = verify();
    assert_eq!(code, 3);
    assert!(found["faults"].to_string().contains("is missing"), "{found}");
    fs::write(&streams, &whole).unwrap();
    assert_eq!(verify().0, 0);
    fs::remove_file(part("calls")).unwrap();
    let (code, found) = verify();
    assert_eq!(code, 3);
    assert!(found["faults"].to_string().contains("which calls does not have"), "{found}");
    // What the archive has is made again.
    place.callrec(&["rebuild"]).expect(0);
    assert_eq!(place.column("calls", "call_id").len(), 4);
    assert_eq!(verify().0, 0);
}

#[test]
fn files_that_no_commit_names_are_checked_against_the_archive() {
    let (_graph, place) = exported();
    let commits = place.root().join("_callrec/commits");
    // As after a thousand commits: the record that names the files is gone.
    place.callrec(&["purge", "--call", &call_id(99)]).expect(0);
    place.notify([call_id(98).as_str()]);
    place.callrec(&["run"]).expect(0);
    fs::remove_file(commits.join("000001.json")).unwrap();
    let ended = place.callrec(&["verify", "--format", "json"]).expect(0);
    let found: Value = serde_json::from_str(ended.stdout.trim()).unwrap();
    assert!(found["files_by_archive"].as_u64().unwrap() >= 10, "{found}");
    assert_eq!(found["fault_count"], 0);
}

#[test]
fn the_configuration_says_what_is_wrong_with_which_key() {
    let place = Place::new("http://127.0.0.1:9", "");
    let good = fs::read_to_string(place.config()).unwrap();
    let with = |from: &str, to: &str| {
        fs::write(place.config(), good.replace(from, to)).unwrap();
        place.callrec(&["run"]).expect(78).stderr
    };
    let unknown = with("[output]", "[output]\nfolder = \"x\"");
    assert!(unknown.contains("unknown key folder") && unknown.contains("root"), "{unknown}");
    let typed = with("backoff_seconds = 0.005", "tries = \"canary\"");
    assert!(typed.contains("graph.tries") && !typed.contains("canary"), "{typed}");
    let plain = with("http://127.0.0.1:9\"\nback", "http://graph.contoso.example\"\nback");
    assert!(plain.contains("https"), "{plain}");
    let lacking = with("client_secret = \"sample-secret-not-real\"\n", "");
    assert!(lacking.contains("client_secret") && lacking.contains("AZURE_CLIENT_SECRET"), "{lacking}");
    let rootless = with("root = \"out\"", "");
    assert!(rootless.contains("[output] root"), "{rootless}");
    let moded = with("root = \"out\"", "root = \"out\"\nmode = \"abc\"");
    assert!(moded.contains("[output] mode"), "{moded}");
    let broken = with("[output]", "[output");
    assert!(broken.contains("callrec.toml"), "{broken}");
    fs::remove_file(place.config()).unwrap();
    assert!(place.callrec(&["run"]).expect(78).stderr.contains("callrec init"));
    place.callrec(&["run", "--id", "no-guid"]).expect(2);
    place.callrec(&["frobnicate"]).expect(2);
}

#[test]
fn a_state_of_another_tenant_or_a_later_program_is_refused() {
    let (_graph, place) = exported();
    let config = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), config.replace(support::TENANT, "99999999-9999-4999-8999-999999999999")).unwrap();
    assert!(place.callrec(&["run"]).expect(78).stderr.contains("another tenant"));
    fs::write(place.config(), config).unwrap();
    let path = place.root().join("_callrec/commits/000001.json");
    let mut commit: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    commit["format"] = json!(999);
    fs::write(&path, commit.to_string()).unwrap();
    assert!(place.callrec(&["run"]).expect(78).stderr.contains("later version"));
    fs::write(&path, "{").unwrap();
    assert!(place.callrec(&["run"]).expect(78).stderr.contains("cannot be read"));
}

#[test]
fn ids_by_hand_read_no_log_and_a_dry_run_asks_nothing() {
    let graph = Graph::empty();
    for n in 1..=4 {
        graph.put(&record(&call_id(n), 1, days_ago(1), 1));
    }
    let place = Place::new(&graph.endpoint(), "");
    place.notify([call_id(4).as_str()]);
    let plan: Value = serde_json::from_str(place.callrec(&["run", "--dry-run"]).expect(0).stdout.trim()).unwrap();
    assert_eq!((&plan["ids_due"], &plan["requests_at_least"]), (&json!(1), &json!(2)));
    assert_eq!(graph.simulator.counts().requests, 0);
    let summary = place.callrec(&["run", "--id", &call_id(1).to_uppercase()]).expect(0).summary();
    assert_eq!((&summary["exported_new"], &summary["notifications_read"]), (&json!(1), &json!(0)));
    fs::write(place.path("ids.txt"), format!("# by hand\n{}\n\n", call_id(2))).unwrap();
    place.callrec(&["run", "--ids-file", "ids.txt"]).expect(0);
    fs::write(place.path("ids.csv"), format!("when,call_id\n\"a, b\",{}\n", call_id(3))).unwrap();
    let file = place.path("summary.json");
    let ended = place.callrec(&["run", "--ids-file", "ids.csv", "--summary-file", file.to_str().unwrap()]).expect(0);
    assert_eq!(fs::read_to_string(file).unwrap(), ended.stdout);
    assert_eq!(place.column("calls", "call_id").len(), 3);
    assert_eq!(place.callrec(&["run"]).expect(0).summary()["exported_new"], 1);
    let sources = support::rows(&place.root(), "ledger", &["call_id", "sources", "first_notified_at"]);
    assert!(sources.contains(&vec![call_id(1), "[named]".into(), "null".into()]), "{sources:?}");
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn the_ledger_has_all_versions_that_were_stored() {
    let (graph, place) = exported();
    for version in [2, 5] {
        graph.put(&record(&call_id(1), version, days_ago(1), 2));
        place.notify([1, 2].map(call_id).iter().map(String::as_str));
        place.callrec(&["run"]).expect(0);
    }
    // One that is asked for before it is there.
    place.notify([call_id(9).as_str()]);
    place.callrec(&["run"]).expect(0);
    let expected = ["[1, 2, 5]", "[1]", "[1]", "[1]", "[]"];
    for verb in ["verify", "rebuild", "compact", "verify"] {
        let mut rows = support::rows(&place.root(), "ledger", &["call_id", "versions"]);
        rows.sort();
        assert_eq!(rows.iter().map(|row| row[1].as_str()).collect::<Vec<_>>(), expected, "before {verb}");
        place.callrec(&[verb]).expect(0);
    }
    // What is purged and comes back in an older version was stored in all of them.
    place.callrec(&["purge", "--call", &call_id(1)]).expect(0);
    let another = Graph::empty();
    another.put(&record(&call_id(1), 3, days_ago(1), 2));
    place.configure(&another.endpoint(), "");
    place.notify([call_id(1).as_str()]);
    place.callrec(&["run"]).expect(0);
    let rows = support::rows(&place.root(), "ledger", &["call_id", "version", "versions"]);
    assert!(rows.contains(&vec![call_id(1), "3".into(), "[1, 2, 3, 5]".into()]), "{rows:?}");
}

#[test]
fn status_says_where_a_call_stands() {
    let (graph, place) = exported();
    graph.put(&record(&call_id(1), 2, days_ago(1), 2));
    graph.put(&support::refused(&call_id(5), days_ago(1)));
    place.notify([1, 5, 6].map(call_id).iter().map(String::as_str));
    place.callrec(&["run"]).expect(3);
    let status = |numbers: &[u32], format: &str, code: i32| {
        let ids: Vec<String> = numbers.iter().map(|n| call_id(*n)).collect();
        let mut arguments = vec!["status", "--format", format];
        ids.iter().for_each(|id| arguments.extend(["--id", id]));
        place.callrec(&arguments).expect(code).stdout
    };
    let told: Value = serde_json::from_str(status(&[1, 5, 6, 7], "json", 3).trim()).unwrap();
    let [stored, refused, pending, unknown] = [0, 1, 2, 3].map(|at| &told[at]);
    assert_eq!((&stored["call_id"], &stored["state"]), (&json!(call_id(1)), &json!("exported")));
    assert_eq!((&stored["version"], &stored["versions"]), (&json!(2), &json!([1, 2])));
    assert_eq!(stored["sources"], json!(["notifications"]));
    assert!(stored["first_notified_at"].as_str() < stored["last_notified_at"].as_str(), "{stored}");
    let days = stored["expires_in_days"].as_f64().unwrap();
    assert!((28.0..=29.6).contains(&days), "{stored}");
    assert_eq!((&refused["state"], &refused["reason"]), (&json!("quarantined"), &json!("no-start")));
    assert_eq!((&pending["state"], &pending["reason"]), (&json!("pending"), &json!("not-found")), "{pending}");
    assert_eq!((&pending["pending"]["why"], &pending["pending"]["attempts"]), (&json!("not_found"), &json!(1)));
    assert_eq!(
        (&unknown["state"], &unknown["pending"], &unknown["versions"]),
        (&json!("unknown"), &Value::Null, &json!([]))
    );
    let text = status(&[1, 6], "text", 0);
    assert!(text.contains("versions       1, 2\n") && text.contains("days from now"), "{text}");
    assert!(text.contains("pending        not_found (not-found), asked 1 times"), "{text}");
    assert!(status(&[7], "text", 3).contains("unknown"));

    // What no ledger has yet stands in the newest commit.
    let alone = Place::new(&graph.endpoint(), "");
    alone.notify([call_id(1).as_str()]);
    alone.callrec(&["run", "--max-runtime", "1ns"]).expect(75);
    support::visit(&alone.root().join("ledger"), &mut |path| fs::remove_file(path).unwrap());
    let text = alone.callrec(&["status", "--id", &call_id(1)]).expect(0).stdout;
    assert!(text.contains("state          pending\n") && text.contains("pending        due, asked 0 times"), "{text}");
    place.callrec(&["status", "--id", "no-guid"]).expect(2);
    place.callrec(&["status", "--id", &call_id(1), "--expiring", "1h"]).expect(2);
}

#[test]
fn a_run_without_time_leaves_its_ids_for_the_next_one() {
    let graph = Graph::empty();
    graph.put(&record(&call_id(1), 1, days_ago(1), 1));
    let place = Place::new(&graph.endpoint(), "");
    place.notify([call_id(1).as_str()]);
    let summary = place.callrec(&["run", "--max-runtime", "1ns"]).expect(75).summary();
    assert_eq!((&summary["exported_new"], &summary["pending"]), (&json!(0), &json!(1)), "{summary}");
    assert_eq!(place.callrec(&["run"]).expect(0).summary()["exported_new"], 1);
}

#[test]
fn init_check_status_and_completions_do_what_they_say() {
    let (_graph, place) = exported();
    let path = place.path("new.toml");
    let path = path.to_str().unwrap();
    place.callrec(&["init", path]).expect(0);
    assert!(place.callrec(&["init", path]).expect(2).stderr.contains("there already"));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_callrec"));
    command.args(["--config", path, "status"]).env("CALLREC_OUTPUT__ROOT", place.root());
    assert!(support::ended(command).expect(0).stdout.contains("newest commit  1"));
    let checked = place.callrec(&["check"]).expect(0).stdout;
    assert!(
        checked.contains("token       granted") && checked.contains("permission  call records can be read"),
        "{checked}"
    );
    let status: Value =
        serde_json::from_str(place.callrec(&["status", "--format", "json"]).expect(0).stdout.trim()).unwrap();
    assert_eq!((&status["published"], &status["last_commits"][0]["exported_new"]), (&json!(true), &json!(4)));
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(place.callrec(&["completions", shell]).expect(0).stdout.contains("quarantine"));
    }
    for (format, part) in [
        ("text", "average_jitter_ms"),
        ("md", "## streams"),
        ("json", "\"table\": \"streams\""),
        ("sql", "CREATE OR REPLACE VIEW stream_facts"),
    ] {
        assert!(place.callrec(&["schema", "--format", format]).expect(0).stdout.contains(part), "{format}");
    }
}

fn flatten(input: &Path, output: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callrec"));
    command.arg("flatten").arg(input).arg("--output").arg(output).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Begins to flatten so many records and sends the signal; None if all was done before it came.
fn stopped(records: u32, signal: &str) -> Option<std::process::Output> {
    let inputs = tempfile::tempdir().unwrap();
    let input = inputs.path().join("in.ndjson");
    let line = record(&call_id(1), 1, days_ago(1), 50).to_string();
    let lines: Vec<String> = (1..=records).map(|n| line.replacen(&call_id(1), &call_id(n), 1)).collect();
    fs::write(&input, lines.join("\n")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let child = flatten(&input, &home.path().join("out")).spawn().unwrap();
    while fs::read_dir(home.path()).unwrap().next().is_none() {
        std::thread::yield_now();
    }
    assert!(Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        assert!(home.path().join("out/calls").is_dir());
        return None;
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    Some(output)
}

#[test]
fn flatten_that_is_stopped_leaves_nothing() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let output = (8..14).find_map(|power| stopped(1 << power, signal)).expect("a signal that is heard");
        assert_eq!(output.status.code(), Some(code));
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&summary["status"], &summary["exit_code"]), (&"interrupted".into(), &code.into()));
        assert!(String::from_utf8_lossy(&output.stderr).contains("Stopped by a signal"));
    }
}

#[test]
fn flatten_takes_an_empty_directory_behind_a_link_and_says_what_it_cannot_take() {
    let home = tempfile::tempdir().unwrap();
    let input = home.path().join("in.json");
    fs::write(&input, record(&call_id(1), 1, days_ago(1), 2).to_string()).unwrap();
    fs::create_dir(home.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", home.path().join("link")).unwrap();
    support::ended(flatten(&input, &home.path().join("link"))).expect(0);
    assert!(home.path().join("link").is_symlink() && home.path().join("real/calls").is_dir());

    let proc = support::ended(flatten(&input, Path::new("/proc"))).expect(2);
    assert!(proc.stderr.contains("not empty"), "{}", proc.stderr);
    let folder = support::ended(flatten(home.path(), &home.path().join("out"))).expect(2);
    assert!(folder.stderr.contains("is no regular file"), "{}", folder.stderr);
    let none = support::ended(flatten(&home.path().join("x.json"), &home.path().join("out"))).expect(2);
    assert!(none.stderr.contains("does not exist"), "{}", none.stderr);
    let mut many = flatten(&input, &home.path().join("out"));
    many.args(["--threads", "0"]);
    assert!(support::ended(many).expect(2).stderr.contains("1..=256"));
}

#[test]
fn however_the_config_is_named_a_second_run_reads_no_notification() {
    let (_graph, place) = exported();
    let parent = place.directory.path().parent().unwrap();
    let below = place.config().strip_prefix(parent).unwrap().to_owned();
    for (config, directory) in [
        (Path::new("callrec.toml"), place.directory.path()),
        (Path::new("./callrec.toml"), place.directory.path()),
        (&below, parent),
        (&place.config(), parent),
    ] {
        let run = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_callrec"));
            command.arg("--config").arg(config).arg("run");
            support::ended_in(command, directory).expect(0)
        };
        run();
        let second = run();
        assert_eq!(second.summary()["notifications_read"], 0, "{}: {}", config.display(), second.stderr);
    }
}

#[cfg(all(unix, feature = "jemalloc"))]
#[test]
fn the_allocator_has_the_settings_of_the_repository() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callrec"));
    let output = command.arg("--version").env("MALLOC_CONF", "stats_print:true").output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    for setting in ["opt.narenas: 2\n", "opt.dirty_decay_ms: 3000 "] {
        assert!(
            printed.contains(setting),
            "{setting}: cargo reads .cargo/config.toml only in the repository\n{printed}"
        );
    }
}
