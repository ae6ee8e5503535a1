//! Tokens.

use super::*;
use crate::error::Class;
use crate::graph::settings::{App, Proof};

const TOKEN: &str = "/contoso.example/oauth2/v2.0/token";
const SECRET: &str = "s3cr&t=";

fn with_secret(server: &Server) -> Client {
    let auth = Auth::App(App {
        authority: server.url.clone(),
        tenant_id: "contoso.example".to_owned(),
        client_id: "app".to_owned(),
        scope: "https://graph.microsoft.com/.default".to_owned(),
        proof: Proof::Secret(SECRET.into()),
    });
    Client::new(Settings { auth, ..settings(server) }, Clock::system()).expect("settings are valid")
}

fn granted(token: &str) -> Answer {
    Answer::ok(format!(r#"{{"token_type":"Bearer","expires_in":3599,"access_token":"{token}"}}"#))
}

fn denied(status: u16, error: &str, code: u64) -> Answer {
    Answer::new(
        status,
        &[],
        format!(r#"{{"error":"{error}","error_description":"AADSTS{code}: about Contoso","error_codes":[{code}]}}"#),
    )
}

#[tokio::test]
async fn one_token_serves_all_tasks() {
    let server = Server::start();
    server.on(TOKEN, [granted("one"), granted("two")]);
    for _ in 0..8 {
        server.on(at(SESSIONS), [sessions(1, "1", None)]).on(at(PARTICIPANTS), [participants(1)]);
    }
    let client = with_secret(&server);
    client.token().await.expect("a token");
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { fetch(&client).await })
        })
        .collect();
    for task in tasks {
        assert!(matches!(task.await.expect("no panic"), Outcome::Record { .. }));
    }
    assert_eq!(client.counts().token_requests, 1);
    let seen = server.seen();
    assert_eq!(
        seen[0].body,
        "grant_type=client_credentials&client_id=app&client_secret=s3cr%26t%3D&scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"
    );
    assert!(seen[1..].iter().all(|r| r.headers["authorization"] == "Bearer one"));
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_for_all() {
    let server = Server::start();
    server.on(TOKEN, [granted("one"), granted("two"), granted("three")]);
    server.refuse("Bearer one");
    for _ in 0..4 {
        server.on(at(SESSIONS), [sessions(1, "1", None)]).on(at(PARTICIPANTS), [participants(1)]);
    }
    let client = with_secret(&server);
    let outcomes = tokio::join!(fetch(&client), fetch(&client), fetch(&client), fetch(&client));
    for outcome in [outcomes.0, outcomes.1, outcomes.2, outcomes.3] {
        assert!(matches!(outcome, Outcome::Record { .. }), "{outcome:?}");
    }
    assert_eq!(client.counts().token_requests, 2);
}

#[tokio::test]
async fn a_token_that_worked_may_be_replaced_again() {
    let server = Server::start();
    server.on(TOKEN, [granted("one"), granted("two"), granted("three")]);
    let client = with_secret(&server);
    for refused in ["Bearer one", "Bearer two"] {
        server.refuse(refused).on(at(SESSIONS), [sessions(1, "1", None)]).on(at(PARTICIPANTS), [participants(1)]);
        fetched(&client).await;
    }
    assert_eq!(client.counts().token_requests, 3);
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_ends_the_run() {
    let server = Server::start();
    server.on(TOKEN, (0..9).map(|_| granted("any")));
    server.refuse("Bearer any");
    let client = with_secret(&server);
    for _ in 0..3 {
        assert_eq!(client.call_record(id()).await.expect_err("no access").class(), Class::Access);
    }
    assert_eq!(client.counts().token_requests, 2);
}

#[tokio::test]
async fn a_bearer_token_cannot_be_replaced() {
    let server = Server::start();
    server.on(at(SESSIONS), [Answer::status(401)]).on(at(PARTICIPANTS), [Answer::status(401)]);
    let error = client(&server).call_record(id()).await.expect_err("no access");
    assert_eq!(error.class(), Class::Access);
    assert!(!format!("{error} {error:?}").contains("token-0"));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn denials_and_outages_of_the_token_service_are_told_apart() {
    let html = || Answer::new(200, &[], "<html>");
    for (answers, class, requests) in [
        (vec![denied(401, "invalid_client", 7_000_215)], Some(Class::Access), 1),
        (vec![denied(400, "unauthorized_client", 700_016)], Some(Class::Access), 1),
        (vec![denied(400, "invalid_request", 90_002)], Some(Class::Access), 1),
        (vec![denied(503, "temporarily_unavailable", 90_033), granted("t")], None, 2),
        (vec![Answer::new(429, &[("Retry-After", "0.001")], ""), granted("t")], None, 2),
        (vec![html(), Answer::ok("{}").cut(1), granted("t")], None, 3),
        (vec![html(), html(), html(), granted("t")], Some(Class::Temporary), 3),
        (vec![Answer::status(500), Answer::status(500), Answer::status(500)], Some(Class::Temporary), 3),
    ] {
        let server = Server::start();
        server.on(TOKEN, answers);
        let client = with_secret(&server);
        let result = client.token().await;
        assert_eq!(result.as_ref().err().map(crate::error::Error::class), class, "{result:?}");
        assert_eq!((client.counts().token_requests, client.counts().requests), (requests, 0));
        if let Err(error) = result {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(SECRET) && !shown.contains("Contoso"), "{shown}");
        }
    }
}

#[tokio::test]
async fn the_secret_follows_no_redirect() {
    let (server, foreign) = (Server::start(), Server::start());
    server.on(TOKEN, (0..3).map(|_| Answer::new(307, &[("Location", foreign.url.as_str())], "")));
    assert_eq!(with_secret(&server).token().await.expect_err("no token").class(), Class::Temporary);
    assert_eq!(foreign.connections(), 0);
}
