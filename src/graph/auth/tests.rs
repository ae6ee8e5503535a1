//! Tokens in time.

use super::*;
use crate::graph::settings::App;
use crate::graph::tests::server::{Answer, Server};
use reqwest::Url;

#[tokio::test]
async fn a_token_that_ends_soon_serves_on_while_there_is_no_other() {
    let server = Server::start();
    let granted = |token: &str| Answer::ok(format!(r#"{{"access_token":"{token}","expires_in":3600}}"#));
    server.on("/t/oauth2/v2.0/token", [granted("old"), Answer::status(500), granted("new")]);
    let auth = Auth::App(App {
        authority: server.url.clone(),
        tenant_id: "t".to_owned(),
        client_id: "a".to_owned(),
        scope: "x".to_owned(),
        proof: Proof::Secret("s".into()),
    });
    let settings = Settings::new(server.url.clone(), auth);
    let tokens = Tokens::new(&settings).expect("settings are valid");
    let (http, clock) = (reqwest::Client::new(), Clock::system());
    let way = Way { http: &http, settings: &settings, clock: &clock, deadline: None };
    let ends_soon = async || tokens.held.lock().await.as_mut().expect("a token").refresh_at = Instant::now();
    // Obtained; not replaced, for the service is down; at rest; replaced.
    for (early, token, requests) in [(false, "old", 1), (true, "old", 2), (false, "old", 2), (true, "new", 3)] {
        if early {
            ends_soon().await;
        }
        assert_eq!(tokens.get(&way).await.expect("a token").header, format!("Bearer {token}"));
        assert_eq!(tokens.requests(), requests);
    }
}

#[test]
fn tokens_do_not_show() {
    let endpoint = Url::parse("https://graph.microsoft.com").expect("a URL");
    let tokens = |token: &str| Tokens::new(&Settings::new(endpoint.clone(), Auth::Bearer(token.into())));
    assert!(!format!("{:?}", tokens("eyJ-secret").expect("a token")).contains("eyJ"));
    assert!(tokens("two\nlines").is_err());
    assert!(tokens("line end\n").is_ok());
}

#[test]
fn a_token_is_replaced_five_minutes_early() {
    for (life, early) in [(3600, 300), (200, 100)] {
        let issued = Issued { token: "t".into(), life: Duration::from_secs(life) };
        let held = Held::new(&issued, 1, false).expect("a token");
        assert_eq!(held.expires_at - held.refresh_at, Duration::from_secs(early));
    }
}

fn identity(server: &Server, service: impl FnOnce(Url) -> IdentityService) -> (Tokens, Settings) {
    let identity = ManagedIdentity {
        service: service(server.url.clone()),
        client_id: None,
        resource: "https://graph.microsoft.com".to_owned(),
    };
    let settings = Settings {
        backoff_base: Duration::from_micros(1),
        ..Settings::new(server.url.clone(), Auth::ManagedIdentity(identity))
    };
    (Tokens::new(&settings).expect("settings are valid"), settings)
}

const IMDS: &str = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fgraph.microsoft.com";

async fn asked(tokens: &Tokens, settings: &Settings) -> Result<Token, Error> {
    let (http, clock) = (reqwest::Client::new(), Clock::system());
    tokens.get(&Way { http: &http, settings, clock: &clock, deadline: None }).await
}

#[tokio::test]
async fn the_metadata_service_is_asked_again_as_its_documentation_says() {
    let granted = || Answer::ok(r#"{"access_token":"t","expires_in":"3599","expires_on":"1506484173"}"#);
    let status = Answer::status;
    for (answers, good, requests) in [
        (vec![status(404), status(410), status(429), status(500), granted()], true, 5),
        (
            vec![status(410), status(410), status(410), status(410), status(410), status(410), status(410), granted()],
            true,
            8,
        ),
        (vec![status(404), status(404), status(404), status(404), status(404), status(404), granted()], false, 6),
        (vec![status(400), granted()], false, 1),
        (vec![status(403), granted()], false, 1),
    ] {
        let server = Server::start();
        server.on(IMDS, answers);
        let (tokens, settings) = identity(&server, |root| IdentityService::Imds { root });
        let token = asked(&tokens, &settings).await;
        assert_eq!((token.is_ok(), tokens.requests()), (good, requests), "{token:?}");
        let seen = &server.seen()[0];
        assert_eq!(seen.headers["metadata"], "true");
        assert!(!seen.headers.contains_key("x-forwarded-for"));
    }
}

#[tokio::test]
async fn an_app_service_says_when_a_token_ends_and_no_redirect_is_followed() {
    let target = "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fgraph.microsoft.com";
    let (server, foreign) = (Server::start(), Server::start());
    let ends = Clock::system().now().timestamp() + 3600;
    server.on(target, [Answer::ok(format!(r#"{{"access_token":"t0ken","expires_on":"{ends}","resource":"x"}}"#))]);
    server.on(target, [Answer::new(302, &[("Location", foreign.url.as_str())], "")]);
    let service = |root: Url| IdentityService::AppService {
        endpoint: root.join("msi/token").expect("a URL"),
        header: "h3ader".into(),
    };
    let (tokens, settings) = identity(&server, service);
    assert_eq!(asked(&tokens, &settings).await.expect("a token").header, "Bearer t0ken");
    let left = tokens.held.lock().await.as_ref().expect("a token").expires_at - Instant::now();
    assert!((3590..=3600).contains(&left.as_secs()), "{left:?}");
    assert_eq!(server.seen()[0].headers["x-identity-header"], "h3ader");
    assert_eq!(tokens.redacted(b"x h3ader y t0ken"), b"x *** y ***");
    assert!(!format!("{tokens:?} {settings:?}").contains("h3ader"));
    let (tokens, settings) = identity(&server, service);
    assert_eq!(asked(&tokens, &settings).await.expect_err("no token").class(), crate::error::Class::Access);
    assert_eq!(foreign.connections(), 0);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a file of a test")]
async fn a_federated_token_is_read_anew_for_each_request() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    let server = Server::start();
    let granted = || Answer::ok(r#"{"access_token":"granted","expires_in":0}"#);
    server.on("/t/oauth2/v2.0/token", [granted(), granted()]);
    let auth = Auth::App(App {
        authority: server.url.clone(),
        tenant_id: "t".to_owned(),
        client_id: "a".to_owned(),
        scope: "x".to_owned(),
        proof: Proof::FederatedToken(file.clone()),
    });
    let settings = Settings::new(server.url.clone(), auth);
    let tokens = Tokens::new(&settings).expect("settings are valid");
    for token in ["one.one.one", "two.two.two"] {
        std::fs::write(&file, format!("{token}\n")).expect("a file");
        asked(&tokens, &settings).await.expect("a token");
        let form = server.seen().pop().expect("a request").body;
        assert!(form.contains(&format!("client_assertion={token}&")), "{form}");
        assert!(form.ends_with("jwt-bearer") && !form.contains("client_secret"), "{form}");
        assert_eq!(tokens.redacted(token.as_bytes()), b"***");
    }
}
