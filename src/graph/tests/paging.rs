//! Pages, versions, next links.

use super::*;
use std::collections::HashSet;

fn sorted<const N: usize>(mut targets: [String; N]) -> Vec<String> {
    targets.sort();
    targets.to_vec()
}

#[tokio::test]
async fn a_small_record_takes_two_requests() {
    let server = Server::start();
    server
        .on(
            at(SESSIONS),
            [Answer::ok(format!(
                "{{\n  \"id\": \"{ID}\",\n  \"version\": 3,\n  \"sessions\": [ {{ \"id\": \"s  1\" }} ]\n}}"
            ))],
        )
        .on(at(PARTICIPANTS), [participants(3)]);
    let client = client(&server);
    let (text, version) = fetched(&client).await;
    assert_eq!(version, 3);
    assert_eq!(
        text,
        format!(r#"{{"id":"{ID}","version":3,"sessions":[{{"id":"s  1"}}],"participants_v2":[{{"id":"p"}}]}}"#)
    );
    assert_eq!(server.targets(), sorted([at(SESSIONS), at(PARTICIPANTS)]));
    assert_eq!(client.counts(), crate::graph::Counts { requests: 2, throttled: 0, token_requests: 0 });
}

#[tokio::test]
async fn all_pages_are_read_and_the_record_is_closed() {
    let server = Server::start();
    let link = |rest: &str| format!("{}{}", server.url.as_str().trim_end_matches('/'), at(rest));
    let (s2, s3, s4, p2) =
        ("/sessions?$skiptoken=2", "/sessions?$skiptoken=3", "?$skiptoken=4", "/participants_v2?$skip=1");
    server
        .on(at(SESSIONS), [sessions(1, "1,2", Some(&link(s2)))])
        .on(at(s2), [Answer::ok(format!(r#"{{"@odata.nextLink":"{}","value":[]}}"#, link(s3)))])
        .on(at(s3), [Answer::ok(format!(r#"{{"value":[2,3],"sessions@odata.nextlink":"{}"}}"#, link(s4)))])
        .on(at(s4), [sessions(1, "4", None)])
        .on(at(PARTICIPANTS), [page(1, "participants_v2", "7", Some(&link(p2)))])
        .on(at(p2), [Answer::ok(r#"{"value":[8]}"#)])
        .on(at(CLOSING), [closing(1)]);
    let client = client(&server);
    let (text, _) = fetched(&client).await;
    assert!(text.ends_with(r#""sessions":[1,2,3,4],"participants_v2":[7,8]}"#), "{text}");
    assert!(!text.to_lowercase().contains("nextlink"), "{text}");
    assert_eq!(client.counts().requests, 2 + 4 + 1);
    assert_eq!(server.unused(), 0);
    let seen = server.seen();
    for request in &seen {
        let header = |name: &str| request.headers.get(name).map(String::as_str);
        assert_eq!(header("authorization"), Some("Bearer token-0"));
        assert_eq!(header("prefer"), Some("include-unknown-enum-members"));
        assert_eq!(header("accept"), Some("application/json"));
        assert_eq!(header("accept-encoding"), Some("gzip"));
        assert!(header("client-request-id").is_some_and(|id| id.parse::<CallId>().is_ok()));
    }
    assert_eq!(seen.iter().map(|r| &r.headers["client-request-id"]).collect::<HashSet<_>>().len(), seen.len());
    assert_eq!(seen.last().map(|r| r.target.clone()), Some(at(CLOSING)));
}

#[tokio::test]
async fn versions_are_never_mixed() {
    let server = Server::start();
    let next = format!("{}{}", server.url.as_str().trim_end_matches('/'), at("/sessions?$skiptoken=2"));
    server
        // The two first answers differ.
        .on(at(SESSIONS), [sessions(1, "1", Some(&next))])
        .on(at(PARTICIPANTS), [participants(2)])
        // The record changes between its pages.
        .on(at(SESSIONS), [sessions(2, "2", Some(&next))])
        .on(at(PARTICIPANTS), [participants(2)])
        .on(at("/sessions?$skiptoken=2"), [Answer::ok(r#"{"value":[22]}"#)])
        .on(at(CLOSING), [closing(3)])
        // A later page says that it is of another version.
        .on(at(SESSIONS), [sessions(3, "3", Some(&next))])
        .on(at(PARTICIPANTS), [participants(3)])
        .on(at("/sessions?$skiptoken=2"), [sessions(4, "33", None)])
        // At last it is still.
        .on(at(SESSIONS), [sessions(4, "4", Some(&next))])
        .on(at(PARTICIPANTS), [participants(4)])
        .on(at("/sessions?$skiptoken=2"), [Answer::ok(r#"{"value":[44]}"#)])
        .on(at(CLOSING), [closing(4)]);
    let (text, version) = fetched(&client(&server)).await;
    assert_eq!(version, 4);
    assert!(text.contains(r#""sessions":[4,44]"#), "{text}");
    assert_eq!(server.unused(), 0);
}

#[tokio::test]
async fn a_record_that_never_rests_is_left_for_later() {
    let server = Server::start();
    for version in 0..10 {
        server.on(at(SESSIONS), [sessions(version, "1", None)]).on(at(PARTICIPANTS), [participants(version + 1)]);
    }
    let client = client(&server);
    assert_eq!(fetch(&client).await, unavailable("changing"));
    assert_eq!(client.counts().requests, 8);
}

#[tokio::test]
async fn a_foreign_next_link_gets_no_request() {
    let (server, foreign) = (Server::start(), Server::start());
    let own = "/sessions?$expand=segments";
    let elsewhere = format!("{}v1.0/communications/callRecords/x", foreign.url);
    for link in
        [&elsewhere, &format!("{}v1.0/$metadata#communications/callRecords('x')/sessions?$skiptoken=abc", server.url)]
    {
        server
            .on(at(SESSIONS), [sessions(1, "1,2", Some(link))])
            .on(at(PARTICIPANTS), [participants(1)])
            .on(at(own), [Answer::ok(r#"{"value":[1,2,3]}"#)])
            .on(at(CLOSING), [closing(1)]);
        let (text, _) = fetched(&client(&server)).await;
        assert!(text.contains(r#""sessions":[1,2,3]"#), "{text}");
    }
    server
        .on(at(SESSIONS), [sessions(1, "1,2", Some(&elsewhere))])
        .on(at(PARTICIPANTS), [participants(1)])
        .on(at(own), [Answer::ok(format!(r#"{{"value":[1,2,3],"@odata.nextLink":"{elsewhere}"}}"#))]);
    match fetch(&client(&server)).await {
        Outcome::Unusable { reason, bytes } => {
            assert_eq!(reason, "foreign-next-link");
            assert!(String::from_utf8(bytes).expect("UTF-8").contains(r#""sessions":[1,2,3]"#));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(server.unused(), 0);
    assert_eq!(foreign.connections(), 0);
}

#[tokio::test]
async fn links_that_go_round_end() {
    let server = Server::start();
    let link = |rest: &str| format!("{}{}", server.url.as_str().trim_end_matches('/'), at(rest));
    let (a, b, own) = ("/sessions?$skiptoken=a", "/sessions?$skiptoken=b", "/sessions?$expand=segments");
    server
        .on(at(SESSIONS), [sessions(1, "1", Some(&link(a)))])
        .on(at(PARTICIPANTS), [participants(1)])
        .on(at(a), [Answer::ok(format!(r#"{{"value":[2],"@odata.nextLink":"{}"}}"#, link(b)))])
        .on(at(b), [Answer::ok(format!(r#"{{"value":[3],"@odata.nextLink":"{}"}}"#, link(a)))])
        .on(at(own), [Answer::ok(format!(r#"{{"value":[1,2],"@odata.nextLink":"{}"}}"#, link(own)))]);
    assert_eq!(reason_of(&fetch(&client(&server)).await), "page-loop");
    assert_eq!(server.unused(), 0);
}

#[tokio::test]
async fn pages_that_add_nothing_do_not_go_on_for_ever() {
    // Without elements, or the same page under ever new links.
    for elements in ["", "1"] {
        let server = Server::start();
        let link =
            |n: usize| format!("{}{}", server.url.as_str().trim_end_matches('/'), at(&format!("/sessions?$skip={n}")));
        let page = |n: usize| Answer::ok(format!(r#"{{"value":[{elements}],"@odata.nextLink":"{}"}}"#, link(n)));
        server.on(at(SESSIONS), [sessions(1, "1", Some(&link(0)))]).on(at(PARTICIPANTS), [participants(1)]);
        server.on(at("/sessions?$expand=segments"), [page(0)]);
        for n in 0..50 {
            server.on(at(&format!("/sessions?$skip={n}")), [page(n + 1), page(n + 1)]);
        }
        assert_eq!(reason_of(&fetch(&client(&server)).await), "page-loop");
        assert!(server.seen().len() < 50, "{}", server.seen().len());
    }
}

#[tokio::test]
async fn a_page_without_its_list_is_not_taken() {
    let server = Server::start();
    let next = format!("{}{}", server.url.as_str().trim_end_matches('/'), at("/sessions?$skip=1"));
    for body in [r#"{"value":{}}"#, r#"{"participants_v2":[]}"#, "{}"] {
        server
            .on(at(SESSIONS), [sessions(1, "1", Some(&next))])
            .on(at(PARTICIPANTS), [participants(1)])
            .on(at("/sessions?$skip=1"), [Answer::ok(body)]);
        assert_eq!(reason_of(&fetch(&client(&server)).await), "page-without-list", "{body}");
    }
}

#[tokio::test]
async fn a_window_of_a_log_that_is_too_much_is_told_from_one_that_fits() {
    use crate::graph::{LogOutcome, LogWindow};
    let instant = |text: &str| text.parse().expect("an instant");
    let window = LogWindow {
        function: "getPstnCalls",
        version: "v1.0",
        from: instant("2026-11-01T00:00:00Z"),
        to: instant("2026-11-03T00:00:00Z"),
    };
    let path = "/v1.0/communications/callRecords/getPstnCalls(fromDateTime=2026-11-01T00:00:00Z,toDateTime=2026-11-03T00:00:00Z)";
    let server = Server::start();
    let next = format!("{}{path}?$skip=2", server.url.as_str().trim_end_matches('/'));
    let first = Answer::ok(format!(r#"{{"@odata.nextLink":"{next}","value":[{{"id":"1"}},{{"id":"2"}}]}}"#));
    let second = Answer::ok(r#"{"value":[{"id":"3"}]}"#);
    server.on(path, [first.clone(), first]).on(format!("{path}?$skip=2"), [second]);
    let reader = client(&server).log_reader(1000);
    assert_eq!(reader.rows(&window, 19).await.expect("no error"), LogOutcome::TooMuch);
    let LogOutcome::Rows(rows) = reader.rows(&window, 30).await.expect("no error") else { panic!("no rows") };
    assert_eq!(rows, [&br#"{"id":"1"}"#[..], br#"{"id":"2"}"#, br#"{"id":"3"}"#]);
}
