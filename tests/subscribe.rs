//! `subscribe` on the real binary, against a receiver of this test and the
//! simulator, which asks it as Graph does.
#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "tests fail by panics")]

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
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
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut first, mut length, mut line) = (String::new(), 0, String::new());
            reader.read_line(&mut first).unwrap();
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let path = first.split(' ').nth(1).unwrap_or_default();
            let url = reqwest::Url::parse(&format!("http://x{path}")).unwrap();
            let token =
                url.query_pairs().find(|(name, _)| name == "validationToken").map(|(_, token)| token.into_owned());
            kept.lock().unwrap().push(String::from_utf8(body).unwrap());
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
