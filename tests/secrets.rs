//! Secrets and personal data stay where they belong, whatever is asked of the
//! program and whatever goes wrong.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, reason = "tests fail by panics")]

#[path = "support/canaries.rs"]
mod canaries;
#[path = "support/odd.rs"]
mod odd;
mod support;

use canaries::{NAME, PERSONAL, SECRET, SECRETS, STATE, TOKEN, WRONG_STATE, everything, leaks, personal_record};
use odd::{Odd, bytes, grant, json as answer, whole};
use serde_json::json;
use std::fs;
use std::process::Command;
use support::{Ended, Place, call_id, days_ago, notification, record};

/// A Graph that answers each call in another bad way, with all canaries in it.
fn graph() -> Odd {
    let endpoint = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let own = endpoint.clone();
    let odd = Odd::with_tokens(move |path, _| respond(path, own.get().map_or("", String::as_str)), |_| grant(TOKEN));
    endpoint.set(odd.endpoint.clone()).unwrap();
    odd
}

fn respond(path: &str, endpoint: &str) -> Vec<u8> {
    let number: u32 = path.split("callRecords/").nth(1).and_then(|id| id[..8].parse().ok()).unwrap_or(0);
    let id = call_id(number);
    let error = json!({"error": {"code": everything(), "message": everything(), "innerError": {"token": TOKEN}}});
    let headers =
        format!("request-id: {TOKEN}\r\nx-ms-ags-diagnostic: {SECRET}\r\nWWW-Authenticate: Bearer {TOKEN}\r\n");
    let failed = |status| answer(status, &error.to_string(), &headers);
    match number {
        1 => whole(path, &personal_record(&id)),
        2 => {
            let mut refused = personal_record(&id);
            refused["startDateTime"] = json!(NAME);
            whole(path, &refused)
        }
        3 => failed(400),
        4 => answer(302, &error.to_string(), &format!("Location: {endpoint}/{TOKEN}?{}\r\n{headers}", "cnry-user-id")),
        5 | 6 => {
            let mut first = personal_record(&id);
            let list = if path.contains("participants_v2") { "sessions" } else { "participants_v2" };
            first.as_object_mut().unwrap().remove(list);
            if path.contains("expand=sessions") && !path.contains("skiptoken") {
                let host = if number == 5 { "https://elsewhere.example" } else { endpoint };
                let query = format!("$skiptoken=cnry-user-id&t={TOKEN}&u=cnry.upn@contoso.example");
                first["sessions@odata.nextLink"] =
                    json!(format!("{host}/v1.0/communications/callRecords/{id}/sessions?{query}"));
            }
            if path.contains("/sessions") {
                answer(200, &json!({"value": [], "x": NAME}).to_string(), "")
            } else {
                answer(200, &first.to_string(), "")
            }
        }
        7 => failed(500),
        8 => whole(path, &personal_record(&call_id(99))),
        9 => failed(403),
        10 => failed(404),
        11 => bytes(200, format!("<html>{}</html>", everything()).as_bytes(), "Content-Type: text/html\r\n"),
        12 => format!("HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n{{\"id\":\"{}", everything()).into_bytes(),
        13 => answer(200, &error.to_string(), &headers),
        14 => answer(200, &format!("{{\"{NAME}\":{}{}}}", "[".repeat(90), "]".repeat(90)), &headers),
        15 => format!("HTTP/1.1 200 {}\r\nX: \u{1}{TOKEN}\r\n\r\n", NAME).into_bytes(),
        _ => whole(path, &record(&id, 1, days_ago(2), 1)),
    }
}

/// A place with canaries for secrets, whose log names all calls and holds what
/// is refused.
fn place(endpoint: &str) -> Place {
    let place = Place::new(endpoint, "");
    let config = fs::read_to_string(place.config()).unwrap();
    let config = config
        .replace(support::STATE, STATE)
        .replace("sample-secret-not-real", SECRET)
        .replace("backoff_seconds = 0.005", "tries = 2\nbackoff_seconds = 0.005");
    fs::write(place.config(), config).unwrap();
    let items: Vec<_> = (1..=20).map(|n| notification(&call_id(n), STATE)).collect();
    place.append(&format!("{}\n", json!({"value": items})));
    let mut wrong = notification(&call_id(21), WRONG_STATE);
    wrong["resourceData"]["displayName"] = json!(PERSONAL.join(" "));
    place.append(&format!("{wrong}\n{}\n", json!({"value": {"deep": [wrong]}})));
    place.append(&format!("{{\"value\":[{{\"clientState\":\"{STATE}\",\"name\":\"{NAME}\",}}]}}\n"));
    place.append(&format!("{}\n", json!({"body": format!("{{\"clientState\":\"{WRONG_STATE}\"}} {STATE} {NAME}")})));
    place.append(&format!("not JSON {STATE} clientState=\"{WRONG_STATE}\" {NAME}\n"));
    let mut other = notification(&call_id(22), STATE);
    other["resourceData"]["id"] = json!(call_id(23));
    other["resource"] = json!(format!("communications/callRecords/{}", call_id(24)));
    other["tenantId"] = json!(NAME);
    place.append(&format!("{other}\n"));
    place
}

const LOUD: [&[&str]; 3] = [&["--log-level", "trace"], &["--log-format", "json", "--log-level", "trace"], &["-v"]];

/// Runs a command as loud as it can be and looks at every byte that it prints.
fn quietly(place: &Place, arguments: &[&str], loud: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut command: Command = place.command(&[arguments, loud].concat());
    command.env("RUST_BACKTRACE", "1").env("RUST_LOG", "trace").envs(environment.iter().copied());
    let ended = support::ended(command);
    canaries::assert_silent(&format!("callrec {arguments:?} {loud:?}"), ended.stdout.as_bytes());
    canaries::assert_silent(&format!("stderr of callrec {arguments:?} {loud:?}"), ended.stderr.as_bytes());
    ended
}

fn assert_clean(place: &Place, after: &str) {
    let leaks = leaks(place);
    assert!(leaks.is_empty(), "after {after}:\n{}", leaks.join("\n"));
}

#[test]
fn no_verb_shows_or_keeps_what_it_must_not() {
    let odd = graph();
    std::thread::scope(|scope| {
        for loud in LOUD {
            let odd = &odd;
            scope.spawn(move || every_verb(odd, loud));
        }
    });
}

fn every_verb(odd: &Odd, loud: &[&str]) {
    let place = place(&odd.endpoint);
    let summary = place.path("summary.json");
    let summary = summary.to_str().unwrap();
    let run = ["run", "--summary-file", summary];
    quietly(&place, &["run", "--dry-run"], loud, &[]).expect(0);
    let ended = quietly(&place, &run, loud, &[]).expect(75);
    assert_eq!(ended.summary()["exported_new"], 8, "{}\n{}", ended.stdout, ended.stderr);
    canaries::assert_silent("the summary file", &fs::read(summary).unwrap());
    assert_clean(&place, "run");
    let file = place.path("bad.ndjson");
    fs::write(&file, format!("{}\n{NAME} is no JSON\n", personal_record(&call_id(1)))).unwrap();
    let (file, tables) = (file.to_str().unwrap(), place.path("tables"));
    let flatten = ["flatten", file, "--output", tables.to_str().unwrap()];
    let records = place.path("records.ndjson");
    let others: [(&[&str], i32); 20] = [
        (&["status"], 0),
        (&["status", "--format", "json"], 0),
        (&["quarantine", "list"], 0),
        (&["quarantine", "list", "--format", "json"], 0),
        (&["verify"], 0),
        (&["verify", "--format", "json"], 0),
        (&["compact"], 0),
        (&["rebuild"], 0),
        (&["run"], 75),
        (&["quarantine", "retry"], 75),
        (&["run", "--id", "00000017-0000-4000-8000-000000000000"], 75),
        (&["purge", "--call", "00000017-0000-4000-8000-000000000000"], 0),
        (&["check"], 0),
        (&["schema"], 0),
        (&["schema", "--format", "json"], 0),
        (&["schema", "--format", "sql"], 0),
        (&["init", "new.toml"], 0),
        (&flatten, 3),
        (&["simulate", "--generate", "1", "--write", records.to_str().unwrap()], 0),
        (&["purge", "--before", "2020-01-01"], 0),
    ];
    for (arguments, code) in others {
        quietly(&place, arguments, loud, &[]).expect(code);
        if ["run", "compact", "rebuild", "quarantine", "purge"].contains(&arguments[0]) {
            assert_clean(&place, &arguments.join(" "));
        }
    }
    let personal = support::rows(&place.root(), "calls", &["organizer_display_name"]);
    assert!(personal.contains(&vec![NAME.to_owned()]), "the canaries are in the tables: {personal:?}");
}

#[test]
fn a_token_service_that_repeats_secrets_is_not_repeated() {
    let echo =
        json!({"error": "invalid_client", "error_description": everything(), "error_codes": [7000215], "x": SECRET});
    let answers = [
        (answer(401, &echo.to_string(), ""), 77),
        (answer(400, &json!({"error": format!("{SECRET} {NAME}")}).to_string(), ""), 77),
        (answer(500, &echo.to_string(), &format!("x-ms-request-id: {TOKEN}\r\n")), 75),
        (answer(302, &echo.to_string(), &format!("Location: http://127.0.0.1:9/{SECRET}\r\n")), 75),
        (bytes(200, everything().as_bytes(), ""), 75),
        (grant(&format!("{TOKEN}\\u0007")), 77),
    ];
    for (token, code) in answers {
        let odd = Odd::with_tokens(|path, _| respond(path, ""), move |_| token.clone());
        for loud in LOUD {
            let place = place(&odd.endpoint);
            quietly(&place, &["run"], loud, &[]).expect(code);
            quietly(&place, &["check"], loud, &[]).expect(code);
            assert_clean(&place, "run");
        }
    }
}

#[test]
fn damaged_state_and_wrong_configs_are_named_and_not_quoted() {
    let odd = graph();
    let place = place(&odd.endpoint);
    place.callrec(&["run"]).expect(75);
    let good = fs::read_to_string(place.config()).unwrap();
    for (from, to) in [
        ("client_secret = \"", "client_secret = "),
        ("client_secret = \"", "client_secrets = \""),
        ("tries = 2", "tries = \"cnry-client-secret~8Q$x\""),
        ("client_state = \"cnry-client-state-4711\"", "client_state = [\"cnry-client-state-4711\"]"),
        ("[output]", "[output"),
    ] {
        fs::write(place.config(), good.replace(from, to)).unwrap();
        quietly(&place, &["run"], LOUD[0], &[]).expect(78);
    }
    fs::write(place.config(), good).unwrap();
    let mut quarantine = Vec::new();
    support::visit(&place.root().join("_callrec/quarantine"), &mut |path| quarantine.push(path.to_owned()));
    let items = fs::read_to_string(&quarantine[0]).unwrap();
    for damaged in [
        items.replace("\"kind\":\"", "\"kind\":\"Cnry Müller-Lüdenscheidt"),
        items.replacen("\"offset\":", "\"offset\":\"cnry-user-id\",\"x\":", 1),
    ] {
        fs::write(&quarantine[0], damaged).unwrap();
        for verb in [&["quarantine", "list"][..], &["status"]] {
            quietly(&place, verb, LOUD[0], &[]).expect(78);
        }
    }
}

#[test]
#[cfg(all(unix, feature = "failpoints"))]
fn a_panic_and_a_kill_show_nothing() {
    let odd = graph();
    for point in ["spool::frame", "prepare::staged", "commit::written", "publish::calls"] {
        let place = place(&odd.endpoint);
        let ended = quietly(&place, &["run"], LOUD[0], &[("FAILPOINTS", &format!("{point}=panic"))]);
        assert_eq!(ended.code, 101, "{point}: {}", ended.stderr);
        assert!(ended.stderr.contains("panicked") && ended.stderr.contains("this is a defect"), "{}", ended.stderr);
        assert!(ended.stderr.contains("::publish") || ended.stderr.lines().count() > 30, "a trace: {}", ended.stderr);
        assert_clean(&place, point);
        quietly(&place, &["run"], LOUD[1], &[]).expect(75);
        assert_clean(&place, "the run after a panic");
    }
}

#[test]
#[cfg(all(target_os = "linux", feature = "failpoints"))]
fn the_command_line_of_a_run_shows_nothing() {
    use std::io::{BufRead, BufReader};
    let odd = graph();
    let place = place(&odd.endpoint);
    let mut child = place
        .command(&["run"])
        .env("FAILPOINTS", "commit::before=return(wait)")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let reached = lines.map_while(Result::ok).any(|line| line == "crash point commit::before");
    let files = ["cmdline", "comm", "environ"].map(|name| fs::read(format!("/proc/{}/{name}", child.id())).unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(reached);
    for file in files {
        canaries::assert_silent("/proc", &file);
    }
    assert_clean(&place, "a kill before the commit");
}

#[test]
fn the_search_finds_what_is_planted() {
    use std::io::Write;
    let odd = graph();
    let place = place(&odd.endpoint);
    place.callrec(&["run"]).expect(75);
    assert_clean(&place, "run");
    let append = |name: &str, bytes: &[u8]| {
        let path = place.root().join(name);
        fs::OpenOptions::new().create(true).append(true).open(&path).unwrap().write_all(bytes).unwrap();
        let found = leaks(&place);
        fs::remove_file(path).unwrap();
        found
    };
    assert_eq!(append("_callrec/commits/x.json", NAME.as_bytes()).len(), 1);
    assert_eq!(append("_callrec/commits/cnry-user-id", b"").len(), 1);
    assert_eq!(append("_callrec/spool/x", NAME.as_bytes()).len(), 0, "records are kept there");
    assert_eq!(append("_callrec/spool/x", SECRET.as_bytes()).len(), 1);
    assert_eq!(append("raw/x.zst", &zstd::encode_all(TOKEN.repeat(99).as_bytes(), 1).unwrap()).len(), 2);
    assert!(append("ledger/x", &serde_json::to_vec(NAME).unwrap()).len() == 1);
    let escaped = PERSONAL[4].replace('.', "%2E");
    assert_eq!(canaries::found(escaped.as_bytes(), &PERSONAL), [PERSONAL[4]]);
    assert_eq!(canaries::found(everything().as_bytes(), &SECRETS), SECRETS[..3]);
}
