//! The telephony logs of Graph as tables: every row once, in its latest form.
#![cfg(feature = "failpoints")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests fail by panics and look at files as they like"
)]

#[path = "support/python.rs"]
mod python;
mod support;
#[path = "support/tree.rs"]
mod tree;

use callrec::call_logs::Emergency;
use callrec::clock::Clock;
use callrec::dataset::call_logs::{self, Collected};
use callrec::dataset::layout::Layout;
use callrec::dataset::{Dataset, commit, rebuild};
use callrec::files::Modes;
use callrec::schema::Catalogue;
use callrec::simulator::Settings;
use chrono::{NaiveDate, TimeDelta};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use support::{Graph, How, Place};

const PSTN: &str = "getPstnCalls";
const DIRECT: &str = "getDirectRoutingCalls";
const FAST: &str = "requests_per_minute = 100000\n";

fn settings() -> Settings {
    Settings { throttle: false, ..Settings::default() }
}

fn place(graph: &Graph, tables: &str, more: &str) -> Place {
    Place::new(&graph.endpoint(), &format!("\n[logs]\ntables = [{tables}]\n{FAST}{more}"))
}

fn today() -> NaiveDate {
    Clock::system().today()
}

fn days_before(days: i64) -> String {
    (today() - TimeDelta::days(days)).to_string()
}

/// A number in plain digits as millionths.
fn millionths(text: &str) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<6}").parse().unwrap()
}

fn sums(rows: impl Iterator<Item = (String, String)>) -> BTreeMap<String, i128> {
    let mut sums = BTreeMap::new();
    for (currency, charge) in rows {
        *sums.entry(currency).or_default() += millionths(&charge);
    }
    sums
}

/// SHA-256 of the files of the tables of logs, whatever their names.
fn log_tables(root: &Path) -> BTreeMap<String, String> {
    let mut tables = BTreeMap::new();
    for table in ["pstn_calls", "direct_routing_calls", "sms_log", "dialout_report"] {
        support::visit(&root.join(table), &mut |path| {
            let date = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
            let one = tables.insert(format!("{table}/{date}"), support::sha256(&std::fs::read(path).unwrap()));
            assert!(one.is_none(), "{table} {date} has two files");
        });
    }
    tables
}

#[test]
fn a_hundred_thousand_rows_of_400_days_are_there_once_and_add_up_to_the_cent() {
    let graph = Graph::start(Settings { pstn_calls: 100_000, log_days: 400, ..settings() });
    let place = place(&graph, "\"pstn_calls\"", "");
    let (from, to) = (days_before(400), days_before(0));
    let summary = place.callrec(&["logs", "--from", &from, "--to", &to]).expect(0).summary();
    let counts = &summary["logs"]["pstn_calls"];
    assert_eq!(counts["new"], 100_000, "{summary}");
    assert!(counts["served"].as_u64().unwrap() > 100_000, "rows at the edges come twice: {summary}");
    let served = graph.simulator.log_rows(PSTN);
    let expected: BTreeSet<String> = served.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    let ids = place.column("pstn_calls", "id");
    assert_eq!(ids.len(), 100_000);
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), expected);
    let by_table = support::rows(&place.root(), "pstn_calls", &["currency", "charge"]);
    let by_graph = served.iter().map(|row| (row["currency"].as_str().unwrap().to_owned(), row["charge"].to_string()));
    assert_eq!(sums(by_table.into_iter().map(|mut row| (row.remove(0), row.remove(0)))), sums(by_graph));
    assert_eq!(graph.simulator.counts().foreign, 0);
    place.callrec(&["verify"]).expect(0);
    read_by_others(&place, &served);
    // Asked again, nothing changes.
    let before = place.all_files();
    let summary = place.callrec(&["logs", "--from", &from, "--to", &to]).expect(0).summary();
    assert_eq!(summary["logs"]["pstn_calls"]["unchanged"], 100_000, "{summary}");
    assert_eq!(place.all_files(), before);
}

/// pyarrow and DuckDB add the charges up as decimals.
fn read_by_others(place: &Place, served: &[Value]) {
    let total: i128 = served.iter().map(|row| millionths(&row["charge"].to_string())).sum();
    let script = "import sys, duckdb, pyarrow.dataset as ds, pyarrow.compute as pc\n\
        d = ds.dataset(sys.argv[1], partitioning='hive').to_table(columns=['charge', 'call_date'])\n\
        print(str(d.schema.field('charge').type), d.num_rows, int(pc.sum(d['charge']).as_py() * 10**6))\n\
        q = \"select count(*), sum(charge), count(distinct id) from read_parquet('\" + sys.argv[1] + \"/call_date=*/*.parquet', hive_partitioning=true)\"\n\
        n, s, i = duckdb.connect().execute(q).fetchall()[0]\n\
        print(n, i, int(s * 10**6))\n";
    let mut command = python::python();
    command.args(["-c", script]).arg(place.root().join("pstn_calls"));
    let read = support::ended(command).expect(0).stdout;
    assert_eq!(read, format!("decimal128(18, 6) 100000 {total}\n100000 100000 {total}\n"));
}

#[test]
fn all_four_logs_come_with_a_run_and_late_and_changed_rows_with_the_next() {
    let graph = Graph::start(Settings {
        pstn_calls: 3_000,
        direct_routing_calls: 2_500,
        sms: 700,
        dialout_calls: 900,
        log_days: 10,
        ..settings()
    });
    let more = "days = 20\nemergency_numbers = [\"112\"]\n";
    let place = place(&graph, "\"pstn_calls\", \"direct_routing_calls\", \"sms_log\", \"dialout_report\"", more);
    let summary = place.callrec(&["run"]).expect(0).summary();
    let new = |table: &str| summary["logs"][table]["new"].as_u64().unwrap();
    assert_eq!((new("pstn_calls"), new("direct_routing_calls"), new("sms_log")), (3_000, 2_500, 700), "{summary}");
    let calls: i64 = place.column("dialout_report", "total_calls").iter().map(|n| n.parse::<i64>().unwrap()).sum();
    assert_eq!(calls, 900);
    let is = |row: &Value| row["callType"].as_str().unwrap().contains("Emergency") || row["calleeNumber"] == "112";
    for (table, function) in [("pstn_calls", PSTN), ("direct_routing_calls", DIRECT)] {
        let emergencies = place.column(table, "is_emergency").iter().filter(|is| *is == "true").count();
        assert_eq!(emergencies, graph.simulator.log_rows(function).iter().filter(|row| is(row)).count(), "{table}");
        assert!(emergencies > 0);
    }
    assert!(place.column("direct_routing_calls", "failure_date_time").iter().all(|at| at == "null"));
    let before = place.all_files();
    place.callrec(&["run"]).expect(0);
    assert_eq!(place.all_files(), before, "nothing is new");

    let yesterday = format!("{}T11:00:00Z", days_before(1));
    let mut row = graph.simulator.log_rows(PSTN).last().unwrap().clone();
    row["charge"] = json!(0.0000001);
    row["connectionCharge"] = json!(77.125);
    row["later"] = json!({"x": 1});
    assert!(graph.simulator.put_log_row(PSTN, row.clone()));
    assert!(graph.simulator.put_log_row(PSTN, json!({"id": "late", "startDateTime": yesterday})));
    assert!(
        graph
            .simulator
            .put_log_row(PSTN, json!({"id": "old", "startDateTime": format!("{}T11:00:00Z", days_before(6))}))
    );
    let summary = place.callrec(&["run"]).expect(0).summary();
    let counts = &summary["logs"]["pstn_calls"];
    assert_eq!((&counts["new"], &counts["changed"]), (&json!(1), &json!(1)), "an overlap of 4 days: {summary}");
    assert_eq!(summary["schema_drift"]["pstn_calls.charge"], 1, "{summary}");
    let rows = support::rows(&place.root(), "pstn_calls", &["id", "charge", "connection_charge", "extra_json"]);
    let id = row["id"].as_str().unwrap();
    let changed: Vec<_> = rows.iter().filter(|row| row[0] == id).collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0][1..3], ["null", "77.125000"]);
    assert_eq!(serde_json::from_str::<Value>(&changed[0][3]).unwrap(), json!({"charge": 0.0000001, "later": {"x": 1}}));
    place.callrec(&["verify"]).expect(0);

    let tables = log_tables(&place.root());
    place.callrec(&["rebuild"]).expect(0);
    assert_eq!(log_tables(&place.root()), tables, "rebuild gives the same bytes");
    for name in ["pstn_calls", "sms_log"] {
        std::fs::remove_dir_all(place.root().join(name)).unwrap();
    }
    place.callrec(&["verify"]).expect(3);
    place.callrec(&["rebuild"]).expect(0);
    assert_eq!(log_tables(&place.root()), tables, "tables that were lost come back");
    place.callrec(&["compact"]).expect(0);
    assert_eq!(log_tables(&place.root()), tables);
    place.callrec(&["verify"]).expect(0);

    // Other emergency numbers: the tables are made again by the next run.
    place.configure(&graph.endpoint(), &format!("\n[logs]\ntables = [\"pstn_calls\"]\n{FAST}"));
    place.callrec(&["run"]).expect(0);
    assert!(place.column("pstn_calls", "is_emergency").iter().all(|is| is != "true"));
    place.callrec(&["verify"]).expect(0);

    place.callrec(&["purge", "--before", &days_before(3)]).expect(0);
    let dates: Vec<String> = log_tables(&place.root()).into_keys().collect();
    let first = format!("call_date={}", days_before(3));
    assert!(dates.iter().all(|date| date.split_once('/').unwrap().1 >= first.as_str()), "{dates:?}");
    assert!(!dates.is_empty());
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn faults_of_links_and_answers_lose_nothing() {
    for (fault, times) in [
        ("429-fraction", Some(1)),
        ("503", Some(2)),
        ("reset", Some(1)),
        ("cut", Some(1)),
        ("link-host", None),
        ("loop", None),
        ("broken-link", None),
    ] {
        let graph = Graph::start(Settings { direct_routing_calls: 4_200, log_days: 10, ..settings() });
        assert!(graph.simulator.strike_log(DIRECT, fault, times));
        let place = place(&graph, "\"direct_routing_calls\"", "");
        let summary = place.callrec(&["run"]).expect(0).summary();
        assert_eq!(summary["logs"]["direct_routing_calls"]["new"], 4_200, "{fault}: {summary}");
        assert_eq!(graph.simulator.counts().foreign, 0, "{fault}");
        place.callrec(&["verify"]).expect(0);
    }
}

#[test]
fn a_log_that_is_refused_does_not_keep_the_others() {
    let graph = Graph::start(Settings { pstn_calls: 20, direct_routing_calls: 20, log_days: 3, ..settings() });
    assert!(graph.simulator.strike_log(PSTN, "403", None));
    let place = place(&graph, "\"pstn_calls\", \"direct_routing_calls\"", "");
    let ended = place.callrec(&["run"]).expect(77);
    assert!(ended.stderr.contains("CallRecord-PstnCalls.Read.All"), "{}", ended.stderr);
    assert_eq!(place.column("direct_routing_calls", "id").len(), 20);
    assert!(graph.simulator.strike_log(PSTN, "503", Some(0)));
    place.callrec(&["run"]).expect(0);
    assert_eq!(place.column("pstn_calls", "id").len(), 20);
}

#[test]
fn rows_without_a_start_go_to_quarantine_once() {
    let graph = Graph::start(Settings { pstn_calls: 20, log_days: 3, ..settings() });
    let place = place(&graph, "\"pstn_calls\"", "days = 5\n");
    place.callrec(&["run"]).expect(0);
    let mut row = graph.simulator.log_rows(PSTN).last().unwrap().clone();
    // The simulator sorts by the instant, which flatten does not take.
    row["startDateTime"] = json!(format!("{}T10:00:00.1234567891Z", days_before(0)));
    assert!(graph.simulator.put_log_row(PSTN, row));
    place.callrec(&["run"]).expect(3);
    place.callrec(&["run"]).expect(0);
    let quarantine = place.callrec(&["quarantine", "list", "--format", "json"]).expect(0).stdout;
    assert_eq!(quarantine.matches("log-row-no-start").count(), 1, "{quarantine}");
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn windows_that_graph_calls_too_long_are_halved() {
    let graph = Graph::start(Settings { direct_routing_calls: 500, log_days: 80, log_window_days: 12, ..settings() });
    let place = place(&graph, "\"direct_routing_calls\"", "");
    let summary = place.callrec(&["run"]).expect(0).summary();
    assert_eq!(summary["logs"]["direct_routing_calls"]["new"], 500, "{summary}");
    place.callrec(&["verify"]).expect(0);
}

#[test]
fn the_limit_of_a_log_is_kept_and_what_is_out_of_time_is_left_to_a_later_run() {
    let graph = Graph::start(Settings { pstn_calls: 400, log_days: 400, throttle: true, ..settings() });
    let place = Place::new(&graph.endpoint(), "\n[logs]\ntables = [\"pstn_calls\"]\nrequests_per_minute = 3\n");
    let (from, to) = (days_before(400), days_before(0));
    let arguments = ["logs", "--from", &from, "--to", &to];
    let limited = [&arguments[..], &["--max-runtime", "20s"]].concat();
    let summary = place.callrec(&limited).expect(75).summary();
    assert_eq!(summary["requests"], 3, "{summary}");
    let rows = place.column("pstn_calls", "id").len();
    assert!((200..400).contains(&rows), "three windows of five are committed: {rows}");
    place.callrec(&["verify"]).expect(0);
    place.configure(&graph.endpoint(), "\n[logs]\ntables = [\"pstn_calls\"]\n");
    place.callrec(&arguments).expect(0);
    assert_eq!(place.column("pstn_calls", "id").len(), 400);
    assert_eq!(graph.simulator.counts().throttled, 0);
}

#[test]
fn a_day_of_the_dial_out_report_is_replaced_whole() {
    let report = "getPstnOnlineMeetingDialoutReport";
    let graph = Graph::start(Settings { dialout_calls: 60, log_days: 3, ..settings() });
    // Nothing is read from a notification log: there is none.
    let place = place(&graph, "\"dialout_report\"", "days = 5\n");
    let config = std::fs::read_to_string(place.config()).unwrap();
    std::fs::write(place.config(), config.replace("notifications = [\"events.jsonl*\"]\n", "")).unwrap();
    place.callrec(&["run"]).expect(0);
    let sum = |column: &str| -> i64 {
        place.column("dialout_report", column).iter().map(|n| n.parse::<i64>().unwrap()).sum()
    };
    assert_eq!(sum("total_calls"), 60);
    // A call is booked on somebody else: his row appears, and the other may vanish.
    let mut rows = graph.simulator.log_rows(report);
    for row in rows.iter_mut().take(20) {
        row["userId"] = json!("somebody else");
        row["userPrincipalName"] = json!(null);
        assert!(graph.simulator.put_log_row(report, row.clone()));
    }
    let summary = place.callrec(&["run"]).expect(0).summary();
    assert!(summary["logs"]["dialout_report"]["new"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!(sum("total_calls"), 60);
    let seconds: i64 = rows.iter().map(|row| row["seconds"].as_i64().unwrap()).sum();
    assert_eq!(sum("total_call_seconds"), seconds);
    place.callrec(&["verify"]).expect(0);
    let tables = log_tables(&place.root());
    place.callrec(&["rebuild"]).expect(0);
    assert_eq!(log_tables(&place.root()), tables);
}

#[test]
fn another_schema_of_logs_upgrades_their_tables_and_leaves_the_records_as_they_are() {
    let graph = Graph::start(Settings { pstn_calls: 50, log_days: 3, ..settings() });
    graph.put(&support::record(&support::call_id(1), 1, support::days_ago(1), 2));
    let place = place(&graph, "\"pstn_calls\"", "");
    place.notify([support::call_id(1).as_str()]);
    place.callrec(&["run"]).expect(0);
    let (records, logs) = (place.record_tables(), log_tables(&place.root()));
    let newest = place.newest_commit();
    let path = place.root().join(format!("_callrec/commits/{:06}.json", newest["number"].as_u64().unwrap()));
    let mut older = newest.clone();
    older["logs"]["schema"] = json!(support::OLDER_SCHEMA);
    std::fs::write(&path, older.to_string()).unwrap();
    std::fs::remove_file(
        std::fs::read_dir(place.root().join(format!("pstn_calls/call_date={}", days_before(1))))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path(),
    )
    .unwrap();
    place.callrec(&["run"]).expect(0);
    assert_eq!(place.newest_commit()["kind"], "upgrade");
    assert_eq!(place.newest_commit()["logs"]["schema"], newest["logs"]["schema"]);
    assert_eq!((place.record_tables(), log_tables(&place.root())), (records, logs));
    place.callrec(&["verify"]).expect(0);
}

/// The view of docs/reading.md, in DuckDB.
#[test]
fn the_view_of_matches_joins_by_id_and_by_number_and_time() {
    let text = include_str!("../docs/reading.md");
    let view = &text[text.find("CREATE OR REPLACE VIEW telephony_matches").unwrap()..];
    let view = &view[..view.find("```").unwrap()];
    let graph = Graph::start(settings());
    let start = support::days_ago(1);
    let mut call = support::record(&support::call_id(1), 1, start, 2);
    call["participants_v2"][1] =
        json!({"id": "+49301234567", "identity": {"phone": {"id": "+49301234567", "displayName": "+49301234567"}}});
    graph.put(&call);
    graph.put(&support::record(&support::call_id(2), 1, start, 1));
    let at = start.to_rfc3339();
    let user = call["participants_v2"][0]["id"].clone();
    for row in [
        json!({"id": "by id", "callId": support::call_id(2).to_uppercase(), "callType": "oc_user_out", "startDateTime": at}),
        json!({"id": "by number", "callId": "x", "callType": "user_in", "userId": user, "callerNumber": "+4930123****", "startDateTime": at}),
        json!({"id": "other number", "callId": "x", "callType": "user_in", "userId": user, "callerNumber": "+4930124****", "startDateTime": at}),
    ] {
        assert!(graph.simulator.put_log_row(PSTN, row));
    }
    let direct = json!({"id": "direct", "correlationId": support::call_id(1), "startDateTime": at});
    assert!(graph.simulator.put_log_row(DIRECT, direct));
    let place = place(&graph, "\"pstn_calls\", \"direct_routing_calls\"", "");
    place.notify([1, 2].map(support::call_id).iter().map(String::as_str));
    place.callrec(&["run"]).expect(0);
    let script = "import sys, duckdb\nc = duckdb.connect()\nc.execute(sys.argv[1])\n\
        print(*c.execute('from telephony_matches order by id').fetchall(), sep='\\n')\n";
    let mut command = python::python();
    command.args(["-c", script, &view.replace("<root>", place.root().to_str().unwrap())]);
    let (one, two) = (support::call_id(1), support::call_id(2));
    assert_eq!(
        support::ended(command).expect(0).stdout,
        format!(
            "('pstn_calls', 'by id', '{two}', 'high')\n('pstn_calls', 'by number', '{one}', 'low')\n\
             ('direct_routing_calls', 'direct', '{one}', 'high')\n"
        )
    );
}

/// Every step of the commit of a collection, with how often it is passed before.
const STEPS: [(&str, usize); 18] = [
    ("logs::window", 1),
    ("logs::looked_up", 1),
    ("logs::archived", 1),
    ("logs::part", 1),
    ("logs::part", 2),
    ("logs::staged", 1),
    ("commit::before", 1),
    ("commit::renaming", 1),
    ("commit::written", 1),
    ("publish::raw", 1),
    ("publish::child", 1),
    ("publish::child", 2),
    ("publish::removed", 1),
    ("publish::synced", 1),
    ("publish::marking", 1),
    ("publish::marked", 1),
    ("clean::staging", 2),
    ("clean::done", 2),
];

#[test]
fn a_collection_that_is_disturbed_at_any_step_is_made_good_by_the_next() {
    let graph = Graph::start(Settings { pstn_calls: 300, direct_routing_calls: 100, log_days: 8, ..settings() });
    // Alone under its date, which it will leave.
    let moving =
        |day: i64| json!({"id": "moving", "startDateTime": format!("{}T10:00:00Z", days_before(day)), "charge": day});
    assert!(graph.simulator.put_log_row(PSTN, moving(12)));
    let place = place(&graph, "\"pstn_calls\", \"direct_routing_calls\"", "days = 20\n");
    place.callrec(&["run"]).expect(0);
    let before = tree::read(&place.root());
    let mut row = graph.simulator.log_rows(PSTN).last().unwrap().clone();
    row["charge"] = json!(5);
    assert!(graph.simulator.put_log_row(PSTN, row));
    assert!(graph.simulator.put_log_row(PSTN, moving(1)));
    assert!(
        graph
            .simulator
            .put_log_row(DIRECT, json!({"id": "late", "startDateTime": format!("{}T10:00:00Z", days_before(2))}))
    );
    let summary = place.callrec(&["run"]).expect(0).summary();
    assert_eq!(summary["logs"]["pstn_calls"]["changed"], 2, "{summary}");
    let after = log_tables(&place.root());
    place.callrec(&["verify"]).expect(0);
    let old = format!("pstn_calls/call_date={}", days_before(12));
    assert!(!after.contains_key(&old));
    for how in How::ALL {
        for (point, count) in STEPS {
            let what = format!("{point} {count}, {how:?}");
            tree::restore(&place.root(), &before);
            place.disturb(&["run"], point, count, how);
            place.callrec(&["run"]).expect(0);
            assert_eq!(log_tables(&place.root()), after, "{what}");
            place.callrec(&["verify"]).expect(0);
            let settled = place.all_files();
            place.callrec(&["run"]).expect(0);
            assert_eq!(place.all_files(), settled, "{what}");
        }
    }
    place.callrec(&["rebuild"]).expect(0);
    assert_eq!(log_tables(&place.root()), after);
}

type Served = Vec<(u8, u8, u8)>;

/// The second implementation: the last form of each id counts.
fn model(collections: &[Served]) -> BTreeMap<String, (u8, u8)> {
    let mut rows = BTreeMap::new();
    for &(id, day, charge) in collections.iter().flatten() {
        rows.insert(id.to_string(), (day, charge));
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn rows_are_told_apart_as_by_a_simple_map(
        collections in prop::collection::vec(prop::collection::vec((0_u8..8, 1_u8..5, 0_u8..3), 0..12), 1..6)
    ) {
        let home = tempfile::tempdir().unwrap();
        let layout = Layout::new(home.path().join("out"), Modes::shared(0o640));
        let mut dataset = Dataset::open(layout, Catalogue::embedded()).unwrap();
        let now = Clock::system().now();
        for served in &collections {
            let line = |(id, day, charge): &(u8, u8, u8)| {
                json!({"id": id.to_string(), "startDateTime": format!("2026-11-0{day}T00:00:00Z"), "charge": charge})
                    .to_string().into_bytes()
            };
            let rows = BTreeMap::from([("pstn_calls".to_owned(), served.iter().map(line).collect())]);
            let collected = Collected { rows, ..Collected::default() };
            call_logs::commit(&mut dataset, &collected, &Emergency::default(), "test", now, None, false).unwrap();
            let verified = call_logs::verify(&dataset).unwrap();
            prop_assert!(verified.faults.is_empty(), "{:?}", verified.faults);
        }
        let read = || -> Vec<(String, String, String)> {
            let mut rows: Vec<_> = support::rows(&home.path().join("out"), "pstn_calls", &["id", "start_date_time", "charge"])
                .into_iter()
                .map(|mut row| (row.remove(0), row.remove(0), row.remove(0)))
                .collect();
            rows.sort();
            rows
        };
        let first = NaiveDate::from_ymd_opt(2026, 11, 1).unwrap().and_time(chrono::NaiveTime::MIN).and_utc();
        let expected: Vec<_> = model(&collections)
            .into_iter()
            .map(|(id, (day, charge))| {
                let start = first + TimeDelta::days(i64::from(day) - 1);
                (id, start.timestamp_micros().to_string(), format!("{charge}.000000"))
            })
            .collect();
        prop_assert_eq!(read(), expected.clone());
        let tables = log_tables(&home.path().join("out"));
        rebuild::rebuild(&mut dataset, commit::Kind::Rebuild, "test", now, 1).unwrap();
        prop_assert_eq!(log_tables(&home.path().join("out")), tables);
        prop_assert_eq!(read(), expected);
    }
}
