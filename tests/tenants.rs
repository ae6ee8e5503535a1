//! Many tenants in one config, on the real binary: what ends one leaves the
//! others, the limits hold for all together, and nothing of one gets to another.
#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "tests fail by panics")]

mod support;

use callrec::simulator::{self, Settings, Trouble};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use support::{Ended, Graph, Place, STATE, overwrite, rows};

fn id_of(tenant: u32) -> uuid::Uuid {
    Settings::default().id_of_tenant(tenant)
}

/// A simulator with so many tenants of three calls each.
fn graph(tenants: u32, troubles: &[(u32, Trouble)]) -> Graph {
    let troubles = troubles.iter().copied().collect();
    Graph::start(Settings { tenants, troubles, generate: Some(3), max_sessions: 2, ..Settings::default() })
}

/// A config with what all tenants share, and the tenants.
fn place(graph: &Graph, shared: &str, tenants: &str) -> Place {
    let place = Place::new(&graph.endpoint(), "");
    let endpoint = graph.endpoint();
    overwrite(
        &place.config(),
        &format!(
            "[source]\nnotifications = [\"{{tenant}}.jsonl\"]\nclient_state = \"{STATE}\"\n\n\
             [graph]\nendpoint = \"{endpoint}\"\nbackoff_seconds = 0.005\n{shared}\n\
             [graph.auth]\nauthority = \"{endpoint}\"\nclient_id = \"22222222-2222-4222-8222-222222222222\"\n\
             client_secret = \"sample-secret-not-real\"\n\n[output]\nroot = \"out\"\n{tenants}"
        ),
    );
    place
}

fn entry(tenant: u32) -> String {
    format!("\n[[tenant]]\nname = \"{}\"\ngraph.auth.tenant_id = \"{}\"\n", name(tenant), id_of(tenant))
}

fn name(tenant: u32) -> String {
    format!("t{:03}", tenant + 1)
}

/// Announces all calls of each tenant, each to its own log or all to one.
fn announce(place: &Place, graph: &Graph, tenants: u32, log: Option<&str>) {
    for tenant in 0..tenants {
        let settings = Settings { tenant_id: id_of(tenant), ..Settings::default() };
        let ids = graph.simulator.ids_of(tenant as usize);
        let path = log.map_or_else(|| place.path(&format!("{}.jsonl", name(tenant))), |log| place.path(log));
        simulator::write_notification_log(&settings, ids.iter().map(String::as_str), &path).unwrap();
    }
}

/// The lines of stdout: those of the tenants by name, and the sum.
fn summaries(ended: &Ended) -> (BTreeMap<String, Value>, Value) {
    let mut lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let total = lines.pop().unwrap();
    assert_eq!(total.get("tenant"), None, "{total}");
    let of = lines.into_iter().map(|line| (line["tenant"].as_str().unwrap().to_owned(), line)).collect();
    (of, total)
}

fn calls(place: &Place, tenant: u32) -> BTreeSet<String> {
    let stored = rows(&place.root().join(name(tenant)), "calls", &["call_id"]);
    let ids: BTreeSet<String> = stored.iter().map(|row| row[0].clone()).collect();
    assert_eq!(ids.len(), stored.len(), "{tenant}: each call once");
    ids
}

#[test]
fn of_two_hundred_tenants_three_in_trouble_leave_197_done() {
    let troubles = [(17, Trouble::Throttled), (101, Trouble::Forbidden), (180, Trouble::Down)];
    let graph = graph(200, &troubles);
    let place = place(&graph, "", &(0..200).map(entry).collect::<String>());
    announce(&place, &graph, 200, None);
    let files = ["--summary-file", "summary.ndjson", "--metrics-file", "metrics.prom"];
    let ended = place.callrec(&[&["run"], &files[..]].concat()).expect(77);
    let (of, total) = summaries(&ended);
    assert_eq!(of.len(), 200);
    let codes = json!({"t017": 75, "t101": 77, "t180": 75});
    assert_eq!(
        total["tenants"],
        json!({"total": 200, "not_done": codes, "by_status": {"done": 197, "failed": 1, "temporary": 2}})
    );
    assert_eq!((&total["exported_new"], &total["exit_code"]), (&json!(3 * 197), &json!(77)));
    for tenant in 0..200 {
        let summary = &of[&name(tenant)];
        if codes.get(name(tenant)).is_some() {
            assert_eq!((&summary["exit_code"], &summary["exported_new"]), (&codes[name(tenant)], &json!(0)));
            continue;
        }
        assert_eq!((&summary["status"], &summary["exported_new"]), (&json!("done"), &json!(3)), "{summary}");
        assert_eq!(calls(&place, tenant), graph.simulator.ids_of(tenant as usize).into_iter().collect());
        assert_eq!(graph.simulator.counts_of(tenant as usize).throttled, 0, "{}", name(tenant));
    }
    assert!(graph.simulator.counts_of(16).throttled > 0);
    assert!(ended.stderr.contains("CallRecords.Read.All"), "{}", ended.stderr);
    let kept = std::fs::read_to_string(place.path("summary.ndjson")).unwrap();
    let kept: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((kept.len(), &kept[0], &kept[200]), (201, &of["t001"], &total));
    let metrics = std::fs::read_to_string(place.path("metrics.prom")).unwrap();
    assert!(metrics.contains("callrec_run_exit_code{tenant=\"t101\"} 77\n"), "{metrics}");
    assert!(metrics.contains("callrec_run_tenants{status=\"done\"} 197\n"), "{metrics}");

    // Again: nothing is new, and those in trouble still are.
    let (_, total) = summaries(&place.callrec(&["run"]).expect(77));
    assert_eq!((&total["tenants"]["not_done"], &total["fetched"]), (&codes, &json!(0)));
    place.callrec(&["verify", "--tenant", "t001", "--tenant", "t200"]).expect(0);
}

#[test]
fn a_log_of_all_tenants_gives_each_its_own() {
    let graph = graph(3, &[]);
    let log = "source.notifications = [\"all.jsonl\"]\n";
    // The second has a client state of its own, the third a directory of its own.
    let tenants: Vec<String> = (0..3).map(|tenant| format!("{}{log}", entry(tenant))).collect();
    let own = format!("{}source.client_state = \"another\"\n{}output.root = \"elsewhere\"\n", tenants[1], tenants[2]);
    let place = place(&graph, "", &format!("{}{own}", tenants[0]));
    for tenant in 0..3 {
        let client_state = if tenant == 1 { "another" } else { STATE }.to_owned();
        let settings = Settings { tenant_id: id_of(tenant), client_state, ..Settings::default() };
        let ids = graph.simulator.ids_of(tenant as usize);
        let ids = ids.iter().map(String::as_str);
        simulator::write_notification_log(&settings, ids, &place.path("all.jsonl")).unwrap();
    }
    let (of, total) = summaries(&place.callrec(&["run"]).expect(0));
    assert_eq!((&total["exported_new"], &total["quarantined"]), (&json!(9), &json!(0)), "{total}");
    let skipped = |summary: &Value| summary["notifications_skipped"]["other-tenant"].as_u64().unwrap();
    assert!(of.values().all(|summary| skipped(summary) >= 6), "{of:?}");
    assert_eq!(calls(&place, 0), graph.simulator.ids_of(0).into_iter().collect());
    assert_eq!(calls(&place, 1), graph.simulator.ids_of(1).into_iter().collect());
    assert_eq!(rows(&place.path("elsewhere"), "calls", &["call_id"]).len(), 3);

    // A tenant that is named by its domain cannot be told from the others.
    let text = std::fs::read_to_string(place.config()).unwrap();
    overwrite(&place.config(), &text.replace(&id_of(0).to_string(), "contoso.example").replace("\"out\"", "\"new\""));
    let ended = place.callrec(&["run", "--tenant", "t001"]).expect(78);
    assert!(ended.stderr.contains("as the GUID"), "{}", ended.stderr);
    overwrite(&place.config(), &text);

    // Verbs on datasets go through the tenants one after the other.
    let status = place.callrec(&["status"]).expect(0).stdout;
    assert_eq!(status.lines().filter(|line| line.starts_with("tenant t00")).count(), 3, "{status}");
    let status = place.callrec(&["status", "--format", "json", "--tenant", "t002"]).expect(0).stdout;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["tenant"], &status["answer"]["newest_commit"]), (&json!("t002"), &json!(1)));
    // One of the tenants has the call.
    let id = graph.simulator.ids_of(1)[0].clone();
    let standing = place.callrec(&["status", "--id", &id]).expect(0).stdout;
    assert_eq!(standing.matches("unknown").count(), 2, "{standing}");
    let ended = place.callrec(&["status", "--format", "json", "--id", &id, "--id", &support::call_id(1)]).expect(3);
    let states =
        ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["answer"][0]["state"].clone());
    assert_eq!(states.collect::<Vec<_>>(), [json!("unknown"), json!("exported"), json!("unknown")]);
    place.callrec(&["verify"]).expect(0);
    let (of, _) = (place.callrec(&["compact"]).expect(0), ());
    assert_eq!(of.stdout.lines().count(), 3);
}

#[test]
fn tenants_are_chosen_by_name_and_by_shard() {
    let graph = graph(5, &[]);
    let place = place(&graph, "", &(0..5).map(entry).collect::<String>());
    announce(&place, &graph, 5, None);
    let chosen = |arguments: &[&str]| {
        let ended = place.callrec(&[&["run", "--dry-run"], arguments].concat()).expect(0);
        let (of, total) = summaries(&ended);
        assert_eq!(total["tenants"], json!(of.len()));
        of.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(chosen(&["--tenant", "t004", "--tenant", "t002"]), ["t002", "t004"]);
    assert_eq!(chosen(&["--shard", "1/2"]), ["t001", "t003", "t005"]);
    assert_eq!(chosen(&["--shard", "2/2"]), ["t002", "t004"]);
    assert_eq!(chosen(&["--shard", "7/7"]), Vec::<String>::new());
    assert_eq!(chosen(&["--shard", "2/2", "--tenant", "t002"]), ["t002"]);
    assert_eq!(chosen(&["--shard", "1/2", "--tenant", "t002"]), Vec::<String>::new());
    for (arguments, told) in [
        (&["run", "--tenant", "t009"][..], "no tenant t009"),
        (&["run", "--shard", "0/2"], "from 1 on"),
        (&["run", "--shard", "3/2"], "from 1 on"),
        (&["run", "--id", &support::call_id(1)], "--tenant NAME"),
        (&["purge", "--call", &support::call_id(1)], "--tenant NAME"),
        (&["reconcile", "--missed-file", "missed"], "put {tenant} into its name"),
    ] {
        let ended = place.callrec(arguments).expect(2);
        assert!(ended.stderr.contains(told), "{arguments:?}: {}", ended.stderr);
    }
    let id = graph.simulator.ids_of(3)[0].clone();
    let (of, total) = summaries(&place.callrec(&["run", "--tenant", "t004", "--id", &id]).expect(0));
    assert_eq!((of.len(), &total["exported_new"]), (1, &json!(1)));
    let missed = ["reconcile", "--settle", "0s", "--missed-file", "missed-{tenant}", "--tenant", "t005"];
    place.callrec(&missed).expect_not(2);
    assert!(place.path("missed-t005").exists() && !place.path("missed-{tenant}").exists());
    let alone = Place::new(&graph.endpoint(), "");
    let ended = alone.callrec(&["run", "--tenant", "t001"]).expect(2);
    assert!(ended.stderr.contains("has no tenants"), "{}", ended.stderr);
}

#[test]
fn a_tenant_with_a_credential_of_its_own_takes_none_of_the_others() {
    let graph = graph(3, &[]);
    let mut tenants = String::new();
    for (tenant, own) in
        [(0, "client_secret_file = \"secret-{tenant}\""), (1, "client_secret_file = \"right\""), (2, "")]
    {
        let _ = write!(
            tenants,
            "\n[[tenant]]\nname = \"{}\"\n[tenant.graph.auth]\ntenant_id = \"{}\"\n{own}\n",
            name(tenant),
            id_of(tenant)
        );
    }
    let place = place(&graph, "", &tenants);
    announce(&place, &graph, 3, None);
    overwrite(&place.path("right"), "sample-secret-not-real\n");
    // The first has no file: {tenant} stands for nothing in what is its own.
    let mut command = place.command(&["run"]);
    // What all share is wrong, and is not tried where there is something else.
    command.env("CALLREC_GRAPH__AUTH__CLIENT_SECRET", "canary-of-a-secret");
    let ended = support::ended(command).expect(78);
    let (of, _) = summaries(&ended);
    let codes: Vec<&Value> = of.values().map(|summary| &summary["exit_code"]).collect();
    assert_eq!(codes, [&json!(78), &json!(0), &json!(77)]);
    assert!(ended.stderr.contains("secret-{tenant}") && !ended.stderr.contains("canary"), "{}", ended.stderr);
}

#[test]
fn a_config_whose_tenants_cannot_be_told_apart_is_refused() {
    let graph = graph(1, &[]);
    let place = place(&graph, "", "");
    let shared = std::fs::read_to_string(place.config()).unwrap();
    std::fs::create_dir_all(place.path("old/_callrec/commits")).unwrap();
    std::fs::create_dir(place.path("x")).unwrap();
    std::os::unix::fs::symlink(place.path("x"), place.path("linked")).unwrap();
    let two = |a: &str, b: &str| format!("[[tenant]]\nname = \"a\"\n{a}\n[[tenant]]\nname = \"b\"\n{b}\n");
    let root = |path: &str| format!("output.root = \"{path}\"");
    for (tenants, told) in [
        (two(&root("x"), &root("y/../x/z")), "are not apart"),
        (two(&root("linked/z"), &root("x")), "are not apart"),
        (two(&root("old/a"), ""), "would lie in the dataset"),
        (two("graph.auth.tenant_id = \"c\"", "graph.auth.tenant_id = \"C\""), "a and b are one tenant"),
    ] {
        overwrite(&place.config(), &format!("{shared}\n{tenants}"));
        let ended = place.callrec(&["run"]).expect(78);
        assert!(ended.stderr.contains(told), "{tenants}: {}", ended.stderr);
    }
    for (tenants, told) in [
        ("[[tenant]]\nname = \"a\"\n[[tenant]]\nname = \"A\"\n", "two tenants with one name"),
        ("[[tenant]]\n", "number 1 has no name"),
        ("[[tenant]]\nname = \"../a\"\n", "names no directory"),
        ("[[tenant]]\nname = \"\"\n", "names no directory"),
        ("[[tenant]]\nname = \"a\"\nlisten.address = \"127.0.0.1:1\"\n", "unknown key listen"),
        ("[[tenant]]\nname = \"a\"\ngraph.app_requests_per_20s = 7\n", "limit of the app"),
        ("[tenant]\nname = \"a\"\n", "list of tables"),
        ("[[tenant]]\nname = \"a\"\n[[tenant]]\nname = \"b\"\noutput.root = \"out/a/b\"\n", "are not apart"),
        (
            "[[tenant]]\nname = \"a\"\noutput.root = \"x\"\n[[tenant]]\nname = \"b\"\noutput.root = \"./x\"\n",
            "are not apart",
        ),
    ] {
        overwrite(&place.config(), &format!("{shared}\n{tenants}"));
        let ended = place.callrec(&["run"]).expect(78);
        assert!(ended.stderr.contains(told), "{tenants}: {}", ended.stderr);
    }
    overwrite(&place.config(), &format!("{shared}\n[[tenant]]\nname = \"a\"\ngraph.tires = 7\n"));
    let ended = place.callrec(&["run"]).expect(78);
    assert!(ended.stderr.contains("tenant a has the unknown key tires in [graph]"), "{}", ended.stderr);
}

#[test]
fn a_receiver_takes_the_states_of_all_tenants() {
    let graph = graph(1, &[]);
    let tenants = "[[tenant]]\nname = \"a\"\n[[tenant]]\nname = \"b\"\nsource.client_state = \"another\"\n";
    let place = place(&graph, "", tenants);
    let whole = callrec::config::whole(Some(&place.config())).unwrap();
    let places = callrec::config::places(Some(&place.config())).unwrap();
    let (_, source) = callrec::config::listen(&whole, &places).unwrap();
    let item = |state: &str| {
        let item = json!({"clientState": state, "resource": "communications/callRecords/x"}).to_string();
        callrec::notifications::admit(&serde_json::value::RawValue::from_string(item).unwrap(), &source)
    };
    use callrec::notifications::Admission;
    assert_eq!(item(STATE), Admission::Notification);
    assert_eq!(item("another"), Admission::Notification);
    assert!(matches!(item("a third"), Admission::Refused(_)));
    assert!(matches!(item(""), Admission::Refused(_)));
}

#[test]
fn logs_pass_over_tenants_that_have_none() {
    let graph = Graph::start(Settings { tenants: 2, pstn_calls: 5, log_days: 5, ..Settings::default() });
    let place = place(&graph, "", &format!("{}{}logs.tables = [\"pstn_calls\"]\n", entry(0), entry(1)));
    let days = ["logs", "--from", "2026-01-01", "--to", "2099-12-31"];
    let (of, total) = summaries(&place.callrec(&days).expect(0));
    assert_eq!((&of["t001"]["requests"], &of["t001"]["status"]), (&json!(0), &json!("done")));
    assert_eq!(total["logs"]["pstn_calls"]["new"], 5);
    place.callrec(&[&days[..], &["--tenant", "t001"]].concat()).expect(78);
}
