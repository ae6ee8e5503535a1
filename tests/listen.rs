//! The receiver of notifications: what it takes, what it refuses, and that what it
//! has answered with 202 is in the log.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests fail by panics and read files as they like")]

#[path = "support/certificate.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared with other tests")]
mod certificate;
#[path = "support/listening.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with benches")]
mod listening;
mod support;

use certificate::Certificate;
use listening::{
    Answered, Listening, Reader, STATE, answer, ask, command, configure, files, lines, load, notification,
};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use support::{Graph, Place, call_id, days_ago, ended, record};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_callrec");

fn listening(more: &str) -> (TempDir, Listening) {
    let directory = tempfile::tempdir().unwrap();
    let config = configure(directory.path(), more);
    (directory, Listening::start(command(BINARY, &config)))
}

#[test]
fn the_handshake_gives_the_decoded_token_as_text_and_nothing_else() {
    let (directory, listening) = listening("");
    for (path, encoded, token) in [
        (
            "/notifications",
            "Validation%3a+Testing+client+application%20reachability",
            "Validation: Testing client application reachability",
        ),
        ("/lifecycle", "%3Cscript%3Ealert(1)%3C%2Fscript%3E", "<script>alert(1)</script>"),
        ("/notifications", "%253Cb%3E", "%3Cb>"),
    ] {
        let answer = listening.ask("POST", &format!("{path}?validationToken={encoded}"), b"");
        assert_eq!((answer.status, answer.body.as_str()), (200, token));
        assert!(answer.head.contains("content-type: text/plain; charset=utf-8"), "{}", answer.head);
        assert!(answer.head.contains("x-content-type-options: nosniff"), "{}", answer.head);
    }
    for token in [String::new(), "a".repeat(1025), "a%0d%0aSet-Cookie:b".to_owned(), "%ff".to_owned()] {
        let answer = listening.ask("POST", &format!("/notifications?validationToken={token}"), b"");
        assert_eq!((answer.status, answer.body.as_str()), (400, ""));
    }
    assert_eq!(listening.metric("callrec_listen_validations_total"), 3.0);
    assert_eq!(listening.metric("callrec_listen_refused_total{reason=\"token\"}"), 4.0);
    assert_eq!(listening.stop().0, Some(143));
    assert_eq!(files(directory.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn paths_methods_and_bodies_that_are_none_are_refused() {
    let (directory, listening) = listening("max_body_bytes = 2000\n");
    for (method, target, status) in [
        ("POST", "/", 404),
        ("POST", "/notifications/", 404),
        ("GET", "/x?validationToken=a", 404),
        ("GET", "/notifications?validationToken=a", 405),
        ("PUT", "/lifecycle", 405),
        ("POST", "/metrics", 405),
        ("GET", "/healthz", 200),
    ] {
        assert_eq!(listening.ask(method, target, b"").status, status, "{method} {target}");
    }
    let deep = "[".repeat(200);
    for body in ["", "{", "[]", "{}", "{\"value\":7}", "{\"value\":[]} x", &deep] {
        assert_eq!(listening.post(body), 400, "{body}");
    }
    let long = format!("{{\"value\":[\"{}\"]}}", "x".repeat(2000));
    assert_eq!(listening.post(&long), 413);
    // The same without a length beforehand.
    let mut stream = TcpStream::connect(listening.address).unwrap();
    write!(
        stream,
        "POST /notifications HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .unwrap();
    let _ = write!(stream, "{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    assert_eq!(answer(&mut stream).status, 413);
    assert_eq!(listening.post("{\"value\":[]}"), 202);
    assert_eq!(listening.stop().0, Some(143));
    assert!(lines(directory.path()).is_empty());
}

#[test]
fn what_does_not_carry_the_state_costs_no_request_and_tells_its_sender_nothing() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    graph.put(&record(&call_id(1), 1, days_ago(1), 1));
    listen_beside(&place, "");
    let listening = Listening::start(command(BINARY, &place.config()));
    for state in ["forged", "", "a state of the tests, long and random "] {
        let answer = listening.ask("POST", "/notifications", notification(&call_id(1), state).as_bytes());
        assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    }
    assert_eq!(listening.metric("callrec_listen_refused_total{reason=\"client-state\"}"), 3.0);
    let (code, logged) = listening.stop();
    assert_eq!(code, Some(143));
    for secret in [STATE, "forged", &call_id(1)] {
        assert!(!logged.contains(secret), "{logged}");
    }
    assert!(files(place.directory.path()).is_empty());
    let summary = place.callrec(&["run"]).expect(0).summary();
    assert_eq!((&summary["notifications_read"], &summary["requests"]), (&0.into(), &0.into()), "{summary}");
    assert_eq!(graph.simulator.counts().requests, 0);
}

/// A config whose log is the listener's.
fn listen_beside(place: &Place, more: &str) {
    let text = std::fs::read_to_string(place.config()).unwrap();
    let text = text
        .replace("events.jsonl*", "notifications/*.jsonl*")
        .replace(&format!("\"{}\"", support::STATE), &format!("\"{STATE}\""));
    std::fs::write(place.config(), format!("{text}\n[listen]\naddress = \"127.0.0.1:0\"\n{more}")).unwrap();
}

#[test]
fn what_is_posted_is_exported_while_the_listener_goes_on() {
    let graph = Graph::empty();
    let place = Place::new(&graph.endpoint(), "");
    listen_beside(&place, "rotate_bytes = 2000\n");
    let listening = Listening::start(command(BINARY, &place.config()));
    for n in 0..12 {
        graph.put(&record(&call_id(n), 1, days_ago(1), 1));
        assert_eq!(listening.post(&notification(&call_id(n), STATE)), 202);
        if n % 4 == 3 {
            place.callrec(&["run"]).expect(0);
            assert_eq!(place.column("calls", "call_id").len(), n as usize + 1);
        }
    }
    let lifecycle = format!(
        "{{\"value\": [{{\"lifecycleEvent\": \"reauthorizationRequired\", \"clientState\": \"{STATE}\", \
         \"subscriptionId\": \"33333333-3333-4333-8333-333333333333\"}}]}}"
    );
    assert_eq!(listening.ask("POST", "/lifecycle", lifecycle.as_bytes()).status, 202);
    assert_eq!(listening.metric("callrec_listen_lifecycle_total{event=\"reauthorizationRequired\"}"), 1.0);
    assert_eq!(listening.metric("callrec_listen_notifications_total"), 12.0);
    assert!(listening.metric("callrec_listen_last_notification_timestamp_seconds") > 1.7e9);
    let last = lines(place.directory.path()).pop().unwrap();
    assert!(last.starts_with("{\"value\":[{\"lifecycleEvent\":\"reauthorizationRequired\",\"clientState\""), "{last}");
    let (code, logged) = listening.stop();
    assert_eq!(code, Some(143));
    assert!(logged.contains("reauthorizationRequired"), "{logged}");
    let summary = place.callrec(&["run"]).expect(0).summary();
    assert_eq!(summary["notifications_skipped"]["lifecycle"], 1, "{summary}");
    assert!(files(place.directory.path()).len() > 2);
}

#[test]
fn configs_that_would_be_open_to_others_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (more, named) in [
        ("address = \"0.0.0.0:0\"\n", "address"),
        ("address = \"[::]:0\"\n", "address"),
        ("address = \"somewhere:1\"\n", "listen.address"),
        ("metrics_address = \"0.0.0.0:0\"\n", "metrics_address"),
        ("tls_key = \"server.key\"\n", "tls_certificate"),
        ("tls_key = \"missing.key\"\ntls_certificate = \"missing.pem\"\n", "missing.pem"),
        ("answer_seconds = 3.0\n", "answer_seconds"),
        ("max_body_bytes = 9000000\n", "max_body_bytes"),
        ("no_such_key = 1\n", "no_such_key"),
    ] {
        let text = format!("[source]\nclient_state = \"{STATE}\"\n[listen]\n{more}");
        expect_config_error(directory.path(), &text, named);
    }
    expect_config_error(directory.path(), "[listen]\naddress = \"127.0.0.1:0\"\n", "client_state");
    expect_config_error(directory.path(), "[source]\nclient_state = \"\"\n", "client_state");
}

fn expect_config_error(directory: &Path, text: &str, named: &str) {
    let config = directory.join("callrec.toml");
    std::fs::write(&config, text).unwrap();
    let mut command = command(BINARY, &config);
    command.stderr(std::process::Stdio::piped());
    let ended = ended(command).expect(78);
    assert!(ended.stderr.contains(named), "{named}: {}", ended.stderr);
    assert!(!ended.stderr.contains(STATE));
}

#[test]
fn slow_clients_are_closed_and_never_hold_the_others_up() {
    let (_directory, listening) = listening("max_connections = 4\nheader_seconds = 600\nbody_seconds = 600\n");
    // More of them than there are places: some send nothing, some a beginning.
    let mut slow = Vec::new();
    for n in 0..12 {
        let mut stream = TcpStream::connect(listening.address).unwrap();
        match n % 3 {
            0 => {}
            1 => write!(stream, "POST /notif").unwrap(),
            _ => {
                write!(stream, "POST /notifications HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{{\"val").unwrap()
            }
        }
        slow.push(stream);
        assert_eq!(listening.post(&notification(&call_id(n), STATE)), 202);
    }
    // The first has given way.
    assert_eq!(slow[0].read(&mut [0; 1]).unwrap_or(0), 0);
    assert!(listening.metric("callrec_listen_evicted_total") >= 8.0);
    // What is no request yet is not waited for longer than it takes to let go.
    listening.signal(15);
    slow.clear();
    assert_eq!(listening.ended().0, Some(143));
}

#[test]
fn times_for_head_and_body_are_kept() {
    let (_directory, listening) = listening("header_seconds = 0.2\nbody_seconds = 0.2\n");
    for beginning in ["", "POST /notif"] {
        let mut stream = TcpStream::connect(listening.address).unwrap();
        write!(stream, "{beginning}").unwrap();
        let answer = answer(&mut stream);
        assert!(matches!(answer.status, 0 | 408), "{answer:?}");
    }
    let mut stream = TcpStream::connect(listening.address).unwrap();
    write!(stream, "POST /notifications HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{{\"val").unwrap();
    assert_eq!(answer(&mut stream).status, 408);
    let mut stream = TcpStream::connect(listening.address).unwrap();
    write!(stream, "POST /notifications HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(100_000)).ok();
    assert!(matches!(answer(&mut stream).status, 0 | 431));
    assert_eq!(listening.post(&notification(&call_id(1), STATE)), 202);
    listening.stop();
}

#[test]
fn metrics_stand_on_their_own_address_where_one_is_given() {
    let (_directory, listening) = listening("metrics_address = \"127.0.0.1:0\"\n");
    for target in ["/healthz", "/metrics"] {
        assert_eq!(listening.ask("GET", target, b"").status, 404);
        assert_eq!(ask(listening.metrics.unwrap(), "GET", target, b"").status, 200);
    }
    assert_eq!(ask(listening.metrics.unwrap(), "POST", "/notifications", b"").status, 404);
    listening.stop();
}

#[test]
fn one_listener_at_a_time_writes_to_a_directory() {
    let (directory, first) = listening("");
    let mut second = command(BINARY, &directory.path().join("callrec.toml"));
    second.stderr(std::process::Stdio::piped());
    let refused = ended(second).expect(75);
    assert!(refused.stderr.contains("Another listener"), "{}", refused.stderr);
    first.kill();
    let third = Listening::start(command(BINARY, &directory.path().join("callrec.toml")));
    third.signal(2);
    assert_eq!(third.ended().0, Some(130));
}

#[test]
fn https_is_spoken_and_nothing_older_than_tls_1_2() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(directory.path());
    let config = configure(directory.path(), "tls_certificate = \"server.pem\"\ntls_key = \"server.key\"\n");
    let listening = Listening::start(command(BINARY, &config));
    let root = reqwest::Certificate::from_pem(&std::fs::read(&certificate.root).unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for version in [reqwest::tls::Version::TLS_1_2, reqwest::tls::Version::TLS_1_3] {
        let client = reqwest::Client::builder()
            .tls_built_in_root_certs(false)
            .add_root_certificate(root.clone())
            .min_tls_version(version)
            .max_tls_version(version)
            .no_proxy()
            .build()
            .unwrap();
        let post = client.post(format!("https://{}/notifications", listening.address));
        let status = runtime.block_on(post.body(notification(&call_id(1), STATE)).send()).unwrap().status();
        assert_eq!(status.as_u16(), 202);
    }
    // The same greeting in TLS 1.2 is answered with a greeting, and in 1.1 with a
    // fatal alert: protocol version.
    let replies = [[3, 3], [3, 2]].map(|version| {
        let mut stream = TcpStream::connect(listening.address).unwrap();
        stream.write_all(&greeting(version)).unwrap();
        let mut reply = [0; 7];
        stream.read_exact(&mut reply).unwrap();
        reply
    });
    assert_eq!(replies[0][0], 22, "{replies:?}");
    assert_eq!((replies[1][0], &replies[1][5..]), (21, &[2, 70][..]), "{replies:?}");
    listening.stop();
    assert_eq!(lines(directory.path()).len(), 2);
}

/// Whether a connection that trusts only the root of `certificate` is served.
fn is_served(listening: &Listening, root: &[u8]) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = reqwest::Client::builder()
        .tls_built_in_root_certs(false)
        .add_root_certificate(reqwest::Certificate::from_pem(root).unwrap())
        .no_proxy()
        .build()
        .unwrap();
    let post = client.post(format!("https://{}/notifications", listening.address)).body("{\"value\":[]}");
    runtime.block_on(post.send()).is_ok_and(|answer| answer.status().as_u16() == 202)
}

#[test]
fn another_certificate_is_taken_at_sighup_and_one_that_does_not_fit_is_not() {
    let [directory, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (one, other) = (Certificate::write(directory.path()), Certificate::write(other.path()));
    let [old_root, new_root] = [&one, &other].map(|certificate| std::fs::read(&certificate.root).unwrap());
    let more = "tls_certificate = \"server.pem\"\ntls_key = \"server.key\"\nmetrics_address = \"127.0.0.1:0\"\n";
    let listening = Listening::start(command(BINARY, &configure(directory.path(), more)));
    assert!(is_served(&listening, &old_root) && !is_served(&listening, &new_root));
    // A certificate whose key is not there yet.
    std::fs::copy(&other.certificate, &one.certificate).unwrap();
    listening.signal(1);
    while listening.metric("callrec_listen_certificate_failures_total") < 1.0 {}
    assert!(is_served(&listening, &old_root) && !is_served(&listening, &new_root));
    std::fs::copy(&other.key, &one.key).unwrap();
    listening.signal(1);
    while !is_served(&listening, &new_root) {}
    assert!(!is_served(&listening, &old_root));
    let (code, logged) = listening.stop();
    assert_eq!(code, Some(143));
    assert!(logged.contains("the certificate that was there before") && logged.contains("server.pem"), "{logged}");
}

/// A client's greeting in a version of TLS before 1.3.
fn greeting(version: [u8; 2]) -> Vec<u8> {
    let mut hello = version.to_vec();
    hello.extend_from_slice(&[7; 32]);
    // No session; ECDHE-ECDSA with AES-128-GCM or -CBC; no compression.
    hello.extend_from_slice(&[0, 0, 4, 0xc0, 0x2b, 0xc0, 0x09, 1, 0]);
    // P-256, points as they are, ECDSA with SHA-256.
    hello.extend_from_slice(&[0, 22, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 4, 0, 2, 4, 3]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.append(&mut hello);
    record
}

#[test]
fn what_was_answered_with_202_is_in_the_log_after_kills_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let config = configure(directory.path(), "rotate_bytes = 20000\n");
    let next = Arc::new(AtomicU32::new(0));
    let answered = Answered::default();
    let mut reader = Reader::new(directory.path());
    let mut read = BTreeSet::new();
    for round in 1..=5 {
        let listening = Listening::start(command(BINARY, &config));
        let clients = load(listening.address, 4, &next, &answered);
        // Killed in the midst of it; what a run sees meanwhile is whole.
        while answered.lock().unwrap().len() < round * 60 {
            read.extend(reader.ids());
        }
        listening.kill();
        clients.into_iter().for_each(|client| client.join().unwrap());
        read.extend(reader.ids());
    }
    Listening::start(command(BINARY, &config)).stop();
    read.extend(reader.ids());
    let answered = answered.lock().unwrap();
    let lost: Vec<_> = answered.difference(&read).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(answered.len() >= 300);
}

#[test]
#[cfg(feature = "failpoints")]
fn what_cannot_be_written_is_answered_with_503_until_it_can() {
    for (point, whole) in
        [("listen::writing", 0), ("listen::short", 0), ("listen::syncing", 10), ("listen::beginning", 0)]
    {
        let directory = tempfile::tempdir().unwrap();
        let config = configure(directory.path(), "");
        let mut command = command(BINARY, &config);
        // The first is the trial at the start, where the point is on its way.
        let before = usize::from(matches!(point, "listen::writing" | "listen::short"));
        command.env("FAILPOINTS", format!("{point}={before}*off->10*return(error)->off"));
        let listening = Listening::start(command);
        let mut reader = Reader::new(directory.path());
        assert_eq!(listening.post(&notification(&call_id(0), STATE)), 503, "{point}");
        assert_eq!(listening.ask("GET", "/healthz", b"").status, 503, "{point}");
        reader.ids();
        let mut refused = 1;
        while listening.post(&notification(&call_id(1), STATE)) != 202 {
            refused += 1;
            reader.ids();
        }
        assert!(refused <= 10, "{point}: {refused}");
        assert_eq!(listening.ask("GET", "/healthz", b"").status, 200, "{point}");
        assert!(listening.metric("callrec_listen_write_failures_total") >= 1.0);
        reader.ids();
        let lines = lines(directory.path());
        assert_eq!(lines.last().unwrap(), &notification(&call_id(1), STATE), "{point}");
        // What was refused may be there, but whole.
        assert!(lines.len() <= 1 + whole, "{point}: {lines:?}");
        assert_eq!(listening.stop().0, Some(143));
    }
}

#[test]
#[cfg(feature = "failpoints")]
fn a_short_write_leaves_no_torn_line() {
    let directory = tempfile::tempdir().unwrap();
    let config = configure(directory.path(), "");
    let mut command = command(BINARY, &config);
    command.env("FAILPOINTS", "listen::short=2*off->1*return(error)->off");
    let listening = Listening::start(command);
    let mut reader = Reader::new(directory.path());
    let statuses = [0, 1, 2].map(|n| listening.post(&notification(&call_id(n), STATE)));
    assert_eq!(statuses, [202, 503, 202]);
    assert_eq!(reader.ids(), [call_id(0), call_id(2)]);
    assert_eq!(files(directory.path()).len(), 2, "the torn file is not written to again");
    listening.stop();
}

#[test]
#[cfg(feature = "failpoints")]
fn a_post_is_answered_only_when_its_line_is_synced() {
    for point in ["listen::syncing", "listen::answering"] {
        let directory = tempfile::tempdir().unwrap();
        let config = configure(directory.path(), "");
        let mut command = command(BINARY, &config);
        command.env("FAILPOINTS", format!("{point}=return(abort)"));
        let listening = Listening::start(command);
        let answer = listening.ask("POST", "/notifications", notification(&call_id(0), STATE).as_bytes());
        assert_eq!(answer.status, 0, "{point}");
        assert_eq!(listening.ended().0, None);
        assert_eq!(Reader::new(directory.path()).ids(), [call_id(0)]);
    }
}

#[test]
fn a_post_under_way_is_finished_before_the_end() {
    let (directory, listening) = listening("");
    let mut stream = TcpStream::connect(listening.address).unwrap();
    let body = notification(&call_id(0), STATE);
    let (first, rest) = body.split_at(20);
    write!(
        stream,
        "POST /notifications HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    // The body is awaited: the request is under way.
    let mut got = [0; 25];
    stream.read_exact(&mut got).unwrap();
    assert!(got.starts_with(b"HTTP/1.1 100"));
    write!(stream, "{first}").unwrap();
    listening.signal(15);
    // Nothing new is taken from the moment on at which this fails.
    while TcpStream::connect(listening.address).is_ok() {}
    write!(stream, "{rest}").unwrap();
    assert_eq!(answer(&mut stream).status, 202);
    assert_eq!(listening.ended().0, Some(143));
    assert_eq!(lines(directory.path()), [body]);
}
