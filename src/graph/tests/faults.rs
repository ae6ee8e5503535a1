//! Throttling, broken answers, limits.

use super::*;
use crate::json::MAX_DEPTH;
use std::io::Write as _;
use tokio::time::Instant;

#[tokio::test]
async fn what_passes_is_tried_again() {
    let whole = || sessions(1, "1", None);
    let html = Answer::new(200, &[("Content-Type", "text/html")], "<html>sign in</html>");
    let not_utf8 = Answer::ok(b"{\"id\":\"\xff\"}");
    let wrong_encoding = Answer::new(200, &[("Content-Encoding", "gzip")], "{}");
    for (fault, reason) in [
        (Answer::status(500), "http-500"),
        (Answer::status(502), "http-502"),
        (Answer::status(503), "http-503"),
        (Answer::status(504), "http-504"),
        (Answer::status(509), "http-509"),
        (Answer::status(408), "http-408"),
        (Answer::status(423), "http-423"),
        (Answer::status(429), "http-429"),
        (Answer::new(206, &[], "{}"), "http-206"),
        (Answer::new(429, &[("Retry-After", "soon")], ""), "http-429"),
        (Answer::new(429, &[("Retry-After", "-5")], ""), "http-429"),
        (Answer::new(429, &[("Retry-After", "1000000000")], ""), "http-429"),
        (Answer::new(503, &[("Retry-After", "0")], ""), "http-503"),
        (html, "not-json"),
        (not_utf8, "not-json"),
        (Answer::ok(""), "not-json"),
        (Answer::ok("[]"), "not-json"),
        (Answer::ok(r#"{"error":{"code":"x","message":"m"}}"#), "error-in-200"),
        (wrong_encoding, "truncated"),
        (whole().cut(5), "truncated"),
        (Answer::ok("").cut(30), "reset"),
    ] {
        let server = Server::start();
        server.on(at(PARTICIPANTS), [participants(1), participants(1)]);
        server.on(at(SESSIONS), [fault.clone(), fault.clone(), whole()]);
        let (text, _) = fetched(&client(&server)).await;
        assert!(text.contains(r#""sessions":[1]"#), "{reason}: {text}");
        server.on(at(SESSIONS), [fault.clone(), fault.clone(), fault, whole()]);
        assert_eq!(fetch(&client(&server)).await, unavailable(reason));
        assert_eq!(server.unused(), 1, "{reason}: three tries");
    }
}

#[tokio::test]
async fn a_slow_body_ends_with_the_time_limit() {
    let server = Server::start();
    let (body, head) = (|| sessions(1, "1", None).stuck(3), || Answer::ok("").stuck(40));
    server.on(at(SESSIONS), [body(), head(), body()]).on(at(PARTICIPANTS), [head(), body(), head()]);
    let settings = Settings { request_timeout: Duration::from_millis(10), ..settings(&server) };
    let client = Client::new(settings, Clock::system()).expect("settings are valid");
    assert_eq!(fetch(&client).await, unavailable("timeout"));
    assert_eq!(client.counts().requests, 6);
}

#[tokio::test]
async fn the_deadline_ends_a_request_under_way() {
    let server = Server::start();
    server.on(at(SESSIONS), [sessions(1, "1", None).stuck(3)]).on(at(PARTICIPANTS), [participants(1)]);
    let client = client(&server).with_deadline(Some(Instant::now() + Duration::from_millis(25)));
    assert_eq!(fetch(&client).await, unavailable("deadline"));
}

#[tokio::test]
async fn a_wait_is_kept_whatever_status_asks_for_it() {
    for (status, throttled) in [(429, 1), (503, 1), (502, 0)] {
        let server = Server::start();
        server
            .on(at(SESSIONS), [Answer::new(status, &[("Retry-After", "0.03")], ""), sessions(1, "1", None)])
            .on(at(PARTICIPANTS), [participants(1)]);
        let client = client(&server);
        fetched(&client).await;
        assert_eq!((client.counts().requests, client.counts().throttled), (3, throttled));
        let seen = server.seen();
        let asked: Vec<_> = seen.iter().filter(|r| r.target == at(SESSIONS)).collect();
        assert!(asked[1].at - asked[0].at >= Duration::from_millis(30), "{status}");
        assert_eq!(client.concurrency(), 4);
    }
}

#[tokio::test]
async fn a_window_holds_for_every_task() {
    let server = Server::start();
    server.on(at(SESSIONS), [Answer::new(503, &[("Retry-After", "0.05")], "")]);
    for _ in 0..4 {
        server.on(at(SESSIONS), [sessions(1, "1", None)]).on(at(PARTICIPANTS), [participants(1)]);
    }
    let client = client(&server);
    let first = tokio::spawn({
        let client = client.clone();
        async move { fetch(&client).await }
    });
    while client.counts().throttled == 0 {
        tokio::task::yield_now().await;
    }
    let in_window = server.seen().len();
    let others: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { fetch(&client).await })
        })
        .collect();
    for task in others.into_iter().chain([first]) {
        assert!(matches!(task.await.expect("no panic"), Outcome::Record { .. }));
    }
    let seen = server.seen();
    let refused_at = seen.iter().find(|r| r.target == at(SESSIONS)).expect("it was asked").at;
    for request in &seen[in_window.max(2)..] {
        assert!(request.at - refused_at >= Duration::from_millis(50), "{}", request.target);
    }
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_leaves_the_record_at_once() {
    let server = Server::start();
    let throttled = || Answer::new(429, &[("Retry-After", "3600")], "");
    server.on(at(SESSIONS), [throttled()]).on(at(PARTICIPANTS), [throttled()]);
    let client = client(&server);
    let limited = client.with_deadline(Some(Instant::now() + Duration::from_secs(600)));
    assert_eq!(fetch(&limited).await, unavailable("deadline"));
    let sent = client.counts().requests;
    assert_eq!(fetch(&limited).await, unavailable("deadline"));
    assert_eq!(fetch(&client).await, unavailable("throttled"));
    assert_eq!(client.counts().requests, sent);
}

#[tokio::test]
async fn after_503_a_new_connection_is_opened() {
    for (status, reused) in [(502, true), (503, false)] {
        let server = Server::start();
        // The wait lets the connections become idle, so that they could be used again.
        let failure = Answer::new(status, &[("Retry-After", "0.02")], "");
        server.on(at(SESSIONS), [failure, sessions(1, "1", None)]).on(at(PARTICIPANTS), [participants(1)]);
        fetched(&client(&server)).await;
        let connections: Vec<_> = server.seen().iter().map(|request| request.connection).collect();
        assert_eq!(connections[..2].contains(&connections[2]), reused, "{status}: {connections:?}");
    }
}

#[tokio::test]
async fn redirects_are_never_followed() {
    let (server, foreign) = (Server::start(), Server::start());
    for status in [301, 302, 303, 307, 308] {
        let redirect = Answer::new(status, &[("Location", foreign.url.as_str())], "");
        server.on(at(SESSIONS), [redirect]).on(at(PARTICIPANTS), [participants(1)]);
        assert_eq!(fetch(&client(&server)).await, unavailable("redirect"));
    }
    assert_eq!((foreign.connections(), server.unused()), (0, 0));
    assert_eq!(server.seen().len(), 10);
}

#[tokio::test]
async fn what_does_not_pass_is_told_apart() {
    for (status, outcome) in [(403, Outcome::Forbidden), (404, Outcome::NotFound), (410, Outcome::NotFound)] {
        let server = Server::start();
        server.on(at(SESSIONS), [Answer::status(status)]).on(at(PARTICIPANTS), [Answer::status(status)]);
        assert_eq!(fetch(&client(&server)).await, outcome);
    }
    let server = Server::start();
    server.on(at(SESSIONS), [Answer::status(400)]).on(at(PARTICIPANTS), [participants(1)]);
    let bytes = br#"{"error":{"code":"x"}}"#.to_vec();
    assert_eq!(fetch(&client(&server)).await, Outcome::Unusable { reason: "http-400".to_owned(), bytes });
    // An answer that may be a fault of the moment outweighs one that settles the record.
    let failing = Answer::status(500);
    server.on(at(SESSIONS), [Answer::status(404)]).on(at(PARTICIPANTS), [failing.clone(), failing.clone(), failing]);
    assert_eq!(fetch(&client(&server)).await, unavailable("http-500"));
}

#[tokio::test]
async fn what_cannot_be_taken_is_kept_for_quarantine() {
    let deep = format!(r#"{{"id":"{ID}","version":1,"x":{}{}}}"#, "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    let other_id = r#"{"id": "00000000-0000-0000-0000-000000000000", "version": 1}"#;
    for (served, reason, kept) in [
        (deep.clone(), "too-deep", deep),
        (other_id.to_owned(), "wrong-id", other_id.replace(' ', "")),
        (r#"{"id":7,"version":1}"#.to_owned(), "wrong-id", r#"{"id":7,"version":1}"#.to_owned()),
        (format!(r#"{{"id":"{ID}"}}"#), "no-version", format!(r#"{{"id":"{ID}"}}"#)),
        (format!(r#"{{"id":"{ID}","version":"new"}}"#), "no-version", format!(r#"{{"id":"{ID}","version":"new"}}"#)),
    ] {
        let server = Server::start();
        server.on(at(SESSIONS), [Answer::ok(served)]).on(at(PARTICIPANTS), [participants(1)]);
        let expected = Outcome::Unusable { reason: reason.to_owned(), bytes: kept.into_bytes() };
        assert_eq!(fetch(&client(&server)).await, expected);
    }
}

#[tokio::test]
async fn limits_hold_after_decompression_and_for_the_whole_record() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![b' '; 20 << 20]).expect("memory");
    let bomb = gzip.finish().expect("memory");
    assert!(bomb.len() < 100_000);
    let server = Server::start();
    let limited = |body, record| {
        let settings = Settings { max_body_bytes: body, max_record_bytes: record, ..settings(&server) };
        Client::new(settings, Clock::system()).expect("settings are valid")
    };
    // Twice: the second time there is room for as much as is taken at all.
    let bomb = || Answer::new(200, &[("Content-Encoding", "gzip")], &bomb);
    server.on(at(SESSIONS), [bomb(), bomb()]).on(at(PARTICIPANTS), [participants(1)]);
    match fetch(&limited(4 << 20, 1 << 30)).await {
        Outcome::Unusable { reason, bytes } => assert_eq!((reason.as_str(), bytes.len()), ("too-large", 16 << 10)),
        other => panic!("{other:?}"),
    }
    server.on(at(SESSIONS), [sessions(1, &["1234567890"; 10].join(","), None)]).on(at(PARTICIPANTS), [participants(1)]);
    assert_eq!(reason_of(&fetch(&limited(100, 1 << 30)).await), "too-large");
    server.on(at(SESSIONS), [sessions(1, "1,2,3", None)]).on(at(PARTICIPANTS), [participants(1)]);
    assert_eq!(reason_of(&fetch(&limited(1000, 100)).await), "too-large");
    let next = format!("{}{}", server.url.as_str().trim_end_matches('/'), at("/sessions?$skip=1"));
    server
        .on(at(SESSIONS), [sessions(1, "1", Some(&next))])
        .on(at(PARTICIPANTS), [participants(1)])
        .on(at("/sessions?$skip=1"), [Answer::ok(format!(r#"{{"value":["{}"]}}"#, "x".repeat(500)))]);
    assert_eq!(reason_of(&fetch(&limited(1000, 500)).await), "too-large");
    assert_eq!(server.unused(), 0);
}

#[tokio::test]
async fn a_large_answer_is_asked_for_again_when_there_is_room() {
    let server = Server::start();
    let large = |megabytes: usize| sessions(1, &format!("\"{}\"", "x".repeat(megabytes * 1_000_000)), None);
    for (megabytes, requests) in [(1, 1), (2, 2), (6, 3), (20, 4)] {
        server.on(at(SESSIONS), (0..requests).map(|_| large(megabytes))).on(at(PARTICIPANTS), [participants(1)]);
        let (text, _) = fetched(&client(&server)).await;
        assert!(text.len() > megabytes * 1_000_000);
        assert_eq!(server.unused(), 0, "{megabytes} MB");
    }
}

#[tokio::test]
async fn a_gzip_body_is_read() {
    let server = Server::start();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(format!(r#"{{"id":"{ID}","version":1,"sessions":[5]}}"#).as_bytes()).expect("memory");
    let body = gzip.finish().expect("memory");
    server
        .on(at(SESSIONS), [Answer::new(200, &[("Content-Encoding", "gzip")], body)])
        .on(at(PARTICIPANTS), [participants(1)]);
    assert!(fetched(&client(&server)).await.0.contains(r#""sessions":[5]"#));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_temporary() {
    let server = Server::start();
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let mut settings = settings(&server);
    settings.endpoint.set_port(Some(port)).expect("a port");
    let client = Client::new(settings, Clock::system()).expect("settings are valid");
    assert_eq!(fetch(&client).await, unavailable("connect"));
}
