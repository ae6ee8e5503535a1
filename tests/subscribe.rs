//! `subscribe` on the real binary, against a receiver of this test and the
//! simulator, which asks it as Graph does.
#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "tests fail by panics")]

#[path = "support/listening.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod listening;
#[path = "support/receiver.rs"]
mod receiver;
mod support;

use callrec::clock::Clock;
use callrec::config::Config;
use callrec::error::Class;
use callrec::graph::Client;
use callrec::pipeline;
use callrec::renewal::Renewal;
use callrec::subscribe::How;
use chrono::{DateTime, TimeDelta, Utc};
use listening::{Listening, command, notification};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use support::{Graph, Place};

/// A receiver that answers handshakes, and keeps what it is sent.
struct Receiver {
    url: String,
    posts: Arc<Mutex<Vec<String>>>,
}

fn receiver(is_honest: bool) -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/notifications", listener.local_addr().unwrap());
    let posts: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = posts.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (first, body) = receiver::request(&stream);
            let path = first.split(' ').nth(1).unwrap_or_default();
            let url = reqwest::Url::parse(&format!("http://x{path}")).unwrap();
            let token =
                url.query_pairs().find(|(name, _)| name == "validationToken").map(|(_, token)| token.into_owned());
            kept.lock().unwrap().push(body);
            let answer = token.map(|token| if is_honest { token } else { "no".to_owned() }).unwrap_or_default();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                answer.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    Receiver { url, posts }
}

/// The config with a file for the state and a receiver.
fn configure(place: &Place, graph: &Graph, url: &str) {
    place.configure(&graph.endpoint(), &format!("\n[subscription]\nnotification_url = \"{url}\"\n"));
    let config = std::fs::read_to_string(place.config()).unwrap();
    let state = format!("client_state = \"{}\"", support::STATE);
    assert!(config.contains(&state));
    support::overwrite(&place.config(), &config.replace(&state, "client_state_file = \"state\""));
}

fn list(place: &Place) -> Vec<Value> {
    serde_json::from_str(&place.callrec(&["subscribe", "list", "--format", "json"]).expect(0).stdout).unwrap()
}

#[test]
fn a_subscription_is_made_renewed_and_replaced_when_its_state_is_unknown() {
    let (graph, receiver) = (Graph::empty(), receiver(true));
    let place = Place::new(&graph.endpoint(), "");
    configure(&place, &graph, &receiver.url);
    assert!(place.callrec(&["subscribe", "ensure"]).expect(0).stdout.starts_with("created"));
    let made = list(&place);
    assert_eq!(made.len(), 1);
    assert_eq!((&made[0]["changeType"], &made[0]["notificationUrl"]), (&json!("updated"), &json!(receiver.url)));
    let state = std::fs::read_to_string(place.path("state")).unwrap();
    assert_eq!(state.trim().len(), 64);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        assert_eq!(std::fs::metadata(place.path("state")).unwrap().mode() & 0o777, 0o600);
    }
    assert!(place.callrec(&["subscribe", "ensure"]).expect(0).stdout.starts_with("renewed"));
    assert_eq!(list(&place)[0]["id"], made[0]["id"], "the same one");

    // The file was lost: notifications would carry a state that nobody knows.
    std::fs::remove_file(place.path("state")).unwrap();
    assert!(place.callrec(&["subscribe", "ensure"]).expect(0).stdout.starts_with("replaced"));
    let replaced = list(&place);
    assert_eq!(replaced.len(), 1);
    assert_ne!(replaced[0]["id"], made[0]["id"]);
    assert_ne!(std::fs::read_to_string(place.path("state")).unwrap(), state);

    let id = replaced[0]["id"].as_str().unwrap();
    place.callrec(&["subscribe", "delete", id]).expect(0);
    place.callrec(&["subscribe", "delete", id]).expect(2);
    place.callrec(&["subscribe", "delete", "../callRecords"]).expect(2);
    assert!(list(&place).is_empty());
}

#[test]
fn another_subscription_in_the_way_is_named_and_only_replaced_when_told() {
    let (graph, old, new) = (Graph::empty(), receiver(true), receiver(true));
    let place = Place::new(&graph.endpoint(), "");
    configure(&place, &graph, &old.url);
    place.callrec(&["subscribe", "ensure"]).expect(0);
    configure(&place, &graph, &new.url);
    let ended = place.callrec(&["subscribe", "ensure"]).expect(78);
    assert!(ended.stderr.contains("--replace"), "{}", ended.stderr);
    assert_eq!(list(&place)[0]["notificationUrl"], old.url);
    assert!(place.callrec(&["subscribe", "ensure", "--replace"]).expect(0).stdout.starts_with("replaced"));
    let left = list(&place);
    assert_eq!((left.len(), &left[0]["notificationUrl"]), (1, &json!(new.url)));
}

#[test]
fn a_receiver_that_fails_the_handshake_and_a_missing_url_say_what_to_do() {
    let (graph, liar) = (Graph::empty(), receiver(false));
    let place = Place::new(&graph.endpoint(), "");
    configure(&place, &graph, &liar.url);
    let ended = place.callrec(&["subscribe", "ensure"]).expect(78);
    assert!(ended.stderr.contains("callrec listen"), "{}", ended.stderr);
    assert!(list(&place).is_empty());
    place.configure(&graph.endpoint(), "");
    let ended = place.callrec(&["subscribe", "ensure"]).expect(78);
    assert!(ended.stderr.contains("notification_url"), "{}", ended.stderr);
    assert_eq!(liar.posts.lock().unwrap().len(), 1);
}

#[test]
fn a_run_renews_what_ends_within_a_day_and_goes_on_without_a_subscription() {
    let (graph, receiver) = (Graph::empty(), receiver(true));
    let place = Place::new(&graph.endpoint(), "");
    configure(&place, &graph, &receiver.url);
    place.callrec(&["subscribe", "ensure"]).expect(0);
    let before = list(&place);
    let quiet = place.callrec(&["run"]).expect(0);
    assert_eq!(quiet.summary()["requests"], 0, "it lives for more than a day");

    let memory = place.root().join("_callrec/subscription.json");
    let mut remembered: Value = serde_json::from_slice(&std::fs::read(&memory).unwrap()).unwrap();
    remembered["expiration_date_time"] = json!(support::days_ago(0).to_rfc3339());
    support::overwrite(&memory, &remembered.to_string());
    place.callrec(&["run"]).expect(0);
    let remembered: Value = serde_json::from_slice(&std::fs::read(&memory).unwrap()).unwrap();
    assert_eq!(
        remembered["expiration_date_time"].as_str().map(|at| &at[..19]),
        before[0]["expirationDateTime"].as_str().map(|at| &at[..19])
    );

    let id = before[0]["id"].as_str().unwrap();
    place.callrec(&["subscribe", "delete", id]).expect(0);
    support::overwrite(&memory, "{}");
    let ended = place.callrec(&["run"]).expect(3);
    assert!(ended.stderr.contains("callrec subscribe ensure"), "{}", ended.stderr);
}

/// What a client of the config does at the simulator.
fn at_graph<T>(place: &Place, work: impl AsyncFnOnce(Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = Config::load(&callrec::config::whole(Some(&place.config())).unwrap()).unwrap();
        let (_, client) = pipeline::connect(&config, config.clock(), None).await.unwrap();
        work(client).await
    })
}

/// Lets the only subscription end in an hour.
fn shorten(place: &Place) -> DateTime<Utc> {
    let end = Clock::system().now() + TimeDelta::hours(1);
    at_graph(place, async |client| {
        let id = client.subscriptions().await.unwrap()[0].id.clone();
        client.renew(&id, end).await.unwrap().unwrap().expiration_date_time
    })
}

fn ends(place: &Place) -> Option<DateTime<Utc>> {
    at_graph(place, async |client| client.subscriptions().await.unwrap().first().map(|one| one.expiration_date_time))
}

fn remember(place: &Place, end: DateTime<Utc>) {
    let memory = place.root().join("_callrec/subscription.json");
    let mut remembered: Value = serde_json::from_slice(&std::fs::read(&memory).unwrap()).unwrap();
    remembered["expiration_date_time"] = json!(end);
    support::overwrite(&memory, &remembered.to_string());
}

/// The config with a listener, whose subscription was made.
fn listening_place(more: &str) -> (Graph, Receiver, Place) {
    let (graph, receiver) = (Graph::empty(), receiver(true));
    let place = Place::new(&graph.endpoint(), "");
    configure(&place, &graph, &receiver.url);
    let config = std::fs::read_to_string(place.config()).unwrap().replace("events.jsonl*", "notifications/*.jsonl*");
    support::overwrite(&place.config(), &format!("{config}\n[listen]\naddress = \"127.0.0.1:0\"\n{more}"));
    place.callrec(&["subscribe", "ensure"]).expect(0);
    (graph, receiver, place)
}

fn listen(place: &Place) -> Listening {
    Listening::start(command(env!("CARGO_BIN_EXE_callrec"), &place.config()))
}

fn lifecycle(place: &Place, listening: &Listening, event: &str) {
    let state = std::fs::read_to_string(place.path("state")).unwrap();
    let body = json!({"value": [{"lifecycleEvent": event, "clientState": state.trim(),
        "subscriptionId": "33333333-3333-4333-8333-333333333333"}]});
    assert_eq!(listening.ask("POST", "/lifecycle", body.to_string().as_bytes()).status, 202);
}

const EXPIRES: &str = "callrec_subscription_expires_timestamp_seconds";
const FAILED: &str = "callrec_subscription_renewals_failed_total";

#[test]
fn a_listener_renews_what_ends_within_a_day_and_what_graph_asks_to_renew() {
    let (_graph, _receiver, place) = listening_place("");
    let end = shorten(&place);
    remember(&place, end);
    let listening = listen(&place);
    while listening.metric(EXPIRES) <= end.timestamp() as f64 {}
    let renewed = ends(&place).unwrap();
    assert_eq!(listening.metric(EXPIRES), renewed.timestamp() as f64);
    assert!(renewed - end > TimeDelta::days(2), "{renewed}");

    // As far as is known it lives on, and Graph knows better.
    shorten(&place);
    lifecycle(&place, &listening, "reauthorizationRequired");
    while ends(&place).unwrap() < renewed {}
    let id = at_graph(&place, async |client| client.subscriptions().await.unwrap()[0].id.clone());
    place.callrec(&["subscribe", "delete", &id]).expect(0);
    lifecycle(&place, &listening, "subscriptionRemoved");
    while ends(&place).is_none() {}
    assert_ne!(list(&place)[0]["id"], id);
    assert_eq!(listening.metric(FAILED), 0.0);
    let (code, logged) = listening.stop();
    assert_eq!(code, Some(143), "{logged}");
    // What it remembers of the new one is enough for a run.
    assert_eq!(place.callrec(&["run"]).expect(0).summary()["requests"], 0);
}

#[test]
fn a_listener_that_cannot_renew_says_so_and_goes_on() {
    let (_graph, _receiver, place) = listening_place("");
    let id = list(&place)[0]["id"].as_str().unwrap().to_owned();
    place.callrec(&["subscribe", "delete", &id]).expect(0);
    remember(&place, Clock::system().now());
    let listening = listen(&place);
    while listening.metric(FAILED) < 1.0 {}
    let state = std::fs::read_to_string(place.path("state")).unwrap();
    assert_eq!(listening.post(&notification(&support::call_id(1), state.trim())), 202);
    let (code, logged) = listening.stop();
    assert_eq!(code, Some(143));
    assert!(logged.contains("callrec subscribe ensure"), "{logged}");
}

#[test]
fn a_listener_without_a_way_to_authenticate_or_told_not_to_asks_graph_nothing() {
    for (more, is_named) in [("renew = false\n", true), ("", false)] {
        let (graph, _receiver, place) = listening_place(more);
        remember(&place, Clock::system().now());
        if !is_named {
            let config = std::fs::read_to_string(place.config()).unwrap();
            support::overwrite(&place.config(), &config.replace("client_secret = \"sample-secret-not-real\"\n", ""));
        }
        let before = graph.simulator.counts().requests;
        let listening = listen(&place);
        lifecycle(&place, &listening, "reauthorizationRequired");
        assert_eq!((listening.metric(EXPIRES), listening.metric(FAILED)), (0.0, 0.0));
        let (code, logged) = listening.stop();
        assert_eq!(code, Some(143));
        assert_eq!(graph.simulator.counts().requests, before, "{logged}");
    }
}

#[test]
fn a_look_renews_only_what_ends_within_a_day() {
    let (_graph, _receiver, place) = listening_place("");
    let renewal = Renewal::configured(&callrec::config::places(Some(&place.config())).unwrap(), Clock::system());
    let renewal = renewal.unwrap().unwrap();
    let look = |how| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(renewal.check(how)).map(Option::unwrap)
    };
    let made = ends(&place).unwrap();
    assert_eq!(look(How::IfNeeded).unwrap(), made);
    let short = shorten(&place);
    assert_eq!(look(How::IfNeeded).unwrap(), made, "Graph is not asked while it lives on");
    assert_eq!(ends(&place).unwrap(), short);
    assert!(look(How::Renew).unwrap() > made);
    remember(&place, shorten(&place));
    assert!(look(How::IfNeeded).unwrap() > made);
    // Secrets are read anew at each look.
    remember(&place, shorten(&place));
    let config = std::fs::read_to_string(place.config()).unwrap();
    support::overwrite(&place.config(), &config.replace("sample-secret-not-real", "another"));
    let error = look(How::IfNeeded).unwrap_err();
    assert_eq!(error.class(), Class::Access, "{error}");
    support::overwrite(&place.config(), &config);
    assert!(look(How::IfNeeded).unwrap() > made);
    // Made elsewhere, as far as is known here: it is not ended.
    let before = list(&place);
    std::fs::remove_file(place.root().join("_callrec/subscription.json")).unwrap();
    assert_eq!(look(How::Renew).unwrap_err().class(), Class::Config);
    assert_eq!(list(&place), before);
}
