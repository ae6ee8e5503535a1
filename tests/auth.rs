//! Every way to authenticate, right and wrong: the real binary against a
//! simulator that checks what it is shown.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, reason = "tests fail by panics")]

#[path = "support/credentials.rs"]
mod credentials;
#[path = "support/odd.rs"]
mod odd;
mod support;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callrec::clock::Clock;
use callrec::simulator::{Settings, TokenFault};
use chrono::TimeDelta;
use credentials::{PASSWORD, file, jwt, jwt_with, text};
use ring::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::Path;
use support::{Ended, Graph, Place, TENANT};

const CLIENT: &str = "22222222-2222-4222-8222-222222222222";
const SUBJECT: &str = "system:serviceaccount:default:callrec";
const HEADER: &str = "sample-identity-header";

/// What no output may hold: password and header, keys, and JWTs.
const SECRETS: [&str; 6] = [PASSWORD, HEADER, "PRIVATE KEY", "eyJ", "sample-secret-not-real", "simulated-"];

fn graph() -> Graph {
    Graph::start(Settings {
        generate: Some(1),
        certificate: Some(file("app.crt")),
        federated_issuer: Some(file("other.crt")),
        ..Settings::default()
    })
}

/// A place whose `[graph.auth]` has `auth` in place of the client secret.
fn place(graph: &Graph, auth: &str) -> Place {
    let place = Place::new(&graph.endpoint(), "");
    place.append("");
    let config = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), config.replace("client_secret = \"sample-secret-not-real\"", auth)).unwrap();
    place
}

/// Runs `check` with these variables and no other that names a credential.
fn check(place: &Place, variables: &[(&str, &str)]) -> Ended {
    let mut command = place.command(&["--log-level", "trace", "check"]);
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
        if name.starts_with("AZURE_") || name.starts_with("IDENTITY_") || name.starts_with("CALLREC_") {
            command.env_remove(name);
        }
    }
    let ended = support::ended({
        command.envs(variables.iter().copied());
        command
    });
    for secret in SECRETS {
        for (stream, output) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
            assert!(!output.contains(secret), "{secret} on {stream}: {output}");
        }
    }
    ended
}

fn granted(ended: Ended, method: &str) {
    let ended = ended.expect(0);
    assert!(ended.stdout.contains(&format!("token       granted ({method}")), "{}", ended.stdout);
    assert!(ended.stdout.contains("clock       within 300 seconds"), "{}", ended.stdout);
    assert!(ended.stdout.contains("list        call records can be listed"), "{}", ended.stdout);
}

fn refused(ended: Ended, code: i32, parts: &[&str]) {
    let ended = ended.expect(code);
    for part in parts {
        assert!(ended.stderr.contains(part), "{part} is not in: {}", ended.stderr);
    }
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_str().unwrap())
}

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_certificate_in_any_form_gets_a_token() {
    let graph = graph();
    let both = |key: &str| format!("{}{}", text("app.crt"), text(key));
    for (name, content) in [
        ("one.pem", both("app.key")),
        ("key-first.pem", format!("{}{}", text("app.key"), text("app.crt"))),
        ("pkcs1.pem", both("app-pkcs1.key")),
        ("chain.pem", format!("{}{}{}", text("other.crt"), text("app.crt"), text("app.key"))),
    ] {
        for chain in [false, true] {
            let place = place(&graph, &format!("certificate_file = {name:?}\nsend_certificate_chain = {chain}"));
            private(&place.path(name), &content);
            granted(check(&place, &[]), "certificate, chosen by what is set; from the configuration");
        }
    }
    let two = format!(
        "method = \"certificate\"\ncertificate_file = {}\ncertificate_key_file = {}",
        quoted(&file("app.crt")),
        quoted(&file("app.key"))
    );
    granted(check(&place(&graph, &two), &[]), "certificate, as configured");
    for name in ["app.pfx", "app-3des.pfx"] {
        let pfx = format!("certificate_file = {}\ncertificate_password_file = \"pw\"", quoted(&file(name)));
        let place = place(&graph, &pfx);
        private(&place.path("pw"), &format!("{PASSWORD}\n"));
        granted(check(&place, &[]), "certificate");
    }
    let open = format!("certificate_file = {}", quoted(&file("app-no-password.pfx")));
    granted(check(&place(&graph, &open), &[]), "certificate");
}

#[test]
fn a_certificate_that_cannot_serve_is_named_before_anything_is_sent() {
    let graph = graph();
    let of = |name: &str| format!("{}{}", text(&format!("{name}.crt")), text(&format!("{name}.key")));
    for (content, code, parts) in [
        (format!("{}{}", credentials::certificate_of(2001..2021), text("app.key")), 77, ["has ended", "upload"]),
        (format!("{}{}", credentials::certificate_of(2900..2999), text("app.key")), 77, ["not valid before", "clock"]),
        (format!("{}{}", text("app.crt"), text("other.key")), 78, ["does not belong", "openssl"]),
        (of("small"), 78, ["cannot be used", "2048"]),
        (of("ec"), 78, ["cannot be used", "RSA"]),
        (text("app.crt"), 78, ["no private key", "certificate_key_file"]),
        (text("app.key"), 78, ["no certificate", "BEGIN CERTIFICATE"]),
        (format!("{}{}", text("app.crt"), text("app-encrypted.key")), 78, ["no private key", "openssl pkey"]),
        ("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n".to_owned(), 78, ["not valid PEM", "again"]),
        ("neither".to_owned(), 78, ["neither PEM nor a PFX", "export"]),
    ] {
        let place = place(&graph, "certificate_file = \"app.pem\"");
        private(&place.path("app.pem"), &content);
        refused(check(&place, &[]), code, &parts);
    }
    let pfx = format!("certificate_file = {}", quoted(&file("app.pfx")));
    refused(check(&place(&graph, &pfx), &[]), 78, &["has a password", "AZURE_CLIENT_CERTIFICATE_PASSWORD"]);
    let wrong = [("AZURE_CLIENT_CERTIFICATE_PASSWORD", "wrong")];
    refused(check(&place(&graph, &pfx), &wrong), 78, &["password does not open"]);
    refused(check(&place(&graph, "certificate_file = \"none.pem\""), &[]), 78, &["cannot read", "none.pem"]);
    assert_eq!(graph.simulator.counts().tokens, 0);
}

#[test]
fn a_certificate_that_is_not_of_the_app_is_refused_with_advice() {
    let graph = graph();
    let place = place(&graph, "certificate_file = \"other.pem\"");
    private(&place.path("other.pem"), &format!("{}{}", text("other.crt"), text("other.key")));
    refused(check(&place, &[]), 77, &["AADSTS700027", "upload its public part"]);
    assert_eq!(graph.simulator.counts().tokens, 1);
}

#[test]
fn a_certificate_that_ends_soon_serves_and_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let now = Clock::system().now();
    let pem = credentials::certificate_between(now - TimeDelta::days(1), now + TimeDelta::days(20));
    private(&path("app.pem"), &format!("{pem}{}", text("app.key")));
    private(&path("app.crt"), &pem);
    let graph = Graph::start(Settings { generate: Some(1), certificate: Some(path("app.crt")), ..Settings::default() });
    let place = place(&graph, &format!("certificate_file = {}", quoted(&path("app.pem"))));
    let ended = check(&place, &[]);
    assert!(ended.stderr.contains("the certificate ends soon"), "{}", ended.stderr);
    granted(ended, "certificate");
}

#[test]
#[cfg(unix)]
fn a_key_that_others_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let graph = graph();
    let place = place(&graph, "certificate_file = \"app.pem\"");
    let path = place.path("app.pem");
    private(&path, &format!("{}{}", text("app.crt"), text("app.key")));
    assert!(!check(&place, &[]).expect(0).stderr.contains("others may read"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let warned = check(&place, &[]).expect(0).stderr;
    assert!(warned.contains("others may read this private key") && warned.contains("0640"), "{warned}");
}

fn claims() -> Value {
    let now = Clock::system().now().timestamp();
    json!({"iss": "https://issuer.example", "sub": SUBJECT, "aud": ["api://AzureADTokenExchange"], "iat": now, "exp": now + 3600})
}

#[test]
fn a_federated_token_is_exchanged_and_a_wrong_one_refused() {
    let graph = graph();
    let header = json!({"alg": "RS256", "typ": "JWT"});
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        jwt("other.key", &header, &claims)
    };
    let place = place(&graph, "federated_token_file = \"token\"");
    let put = |token: &str| private(&place.path("token"), token);
    put(&format!("{}\n", jwt("other.key", &header, &claims())));
    granted(check(&place, &[]), "workload-identity");
    for (token, parts) in [
        (with("aud", json!("api://other")), ["AADSTS700212", "api://AzureADTokenExchange"]),
        (with("sub", json!("system:serviceaccount:default:other")), ["AADSTS700213", "subject"]),
        (with("exp", json!(1_700_000_000)), ["AADSTS700024", "renewed"]),
        (jwt("app.key", &header, &claims()), ["AADSTS50013", "issuer"]),
        ("no-token".to_owned(), ["holds no federated token", "JWT"]),
    ] {
        put(&token);
        refused(check(&place, &[]), 77, &parts);
    }
    fs::remove_file(place.path("token")).unwrap();
    refused(check(&place, &[]), 77, &["cannot read the federated token", "federated_token_file"]);
}

#[test]
fn the_variables_alone_are_enough() {
    let graph = graph();
    let place = place(&graph, "");
    let config = fs::read_to_string(place.config()).unwrap();
    let without: String = config
        .lines()
        .filter(|line| !["authority", "tenant_id", "client_id"].iter().any(|key| line.starts_with(key)))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(place.config(), without).unwrap();
    let endpoint = graph.endpoint();
    let token = place.path("token");
    private(&token, &jwt("other.key", &json!({"alg": "RS256"}), &claims()));
    let pfx = file("app.pfx");
    let ids = [("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", CLIENT), ("AZURE_AUTHORITY_HOST", endpoint.as_str())];
    let federated = ("AZURE_FEDERATED_TOKEN_FILE", token.to_str().unwrap());
    let certificate = [
        ("AZURE_CLIENT_CERTIFICATE_PATH", pfx.to_str().unwrap()),
        ("AZURE_CLIENT_CERTIFICATE_PASSWORD", PASSWORD),
        ("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "true"),
    ];
    let secret = ("AZURE_CLIENT_SECRET", "sample-secret-not-real");
    let mut variables = [&ids[..], &[federated]].concat();
    let from = |method: &str, names: &str| {
        format!("{method}, chosen by what is set; from AZURE_AUTHORITY_HOST, {names}, AZURE_TENANT_ID)")
    };
    granted(check(&place, &variables), &from("workload-identity", "AZURE_CLIENT_ID, AZURE_FEDERATED_TOKEN_FILE"));
    variables.extend(certificate);
    let names = "AZURE_CLIENT_CERTIFICATE_PASSWORD, AZURE_CLIENT_CERTIFICATE_PATH, AZURE_CLIENT_ID, AZURE_CLIENT_SEND_CERTIFICATE_CHAIN";
    granted(check(&place, &variables), &from("certificate", names));
    variables.push(secret);
    granted(check(&place, &variables), &from("client-secret", "AZURE_CLIENT_ID, AZURE_CLIENT_SECRET"));
    refused(check(&place, &[]), 78, &["AZURE_TENANT_ID"]);
    refused(check(&place, &ids), 78, &["no way to authenticate", "managed-identity"]);
}

#[test]
fn a_managed_identity_gets_a_token_from_this_machine_alone() {
    let graph = graph();
    let endpoint = graph.endpoint();
    let bare = Place::new(&endpoint, "");
    let config = fs::read_to_string(bare.config()).unwrap();
    let begin = config.find("[graph.auth]").unwrap();
    let with = |auth: &str| {
        let place = Place::new(&endpoint, "");
        place.append("");
        let text = format!(
            "{}[graph.auth]\nmethod = \"managed-identity\"\n{auth}\n[output]\nroot = \"out\"\n",
            &config[..begin]
        );
        fs::write(place.config(), text).unwrap();
        place
    };
    // A proxy that is not there: whoever asks it, fails.
    let proxy = ("http_proxy", "http://127.0.0.1:9");
    let imds = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", endpoint.as_str()), proxy];
    granted(check(&with(""), &imds), "managed-identity, as configured; from AZURE_POD_IDENTITY_AUTHORITY_HOST");
    let mine = format!("client_id = \"{CLIENT}\"");
    granted(check(&with(&mine), &imds), "managed-identity");
    let other = "client_id = \"00000000-0000-0000-0000-000000000000\"";
    refused(check(&with(other), &imds), 77, &["IMDS", "invalid_request", "user-assigned"]);
    let msi = format!("{endpoint}/msi/token");
    let app = [("IDENTITY_ENDPOINT", msi.as_str()), ("IDENTITY_HEADER", HEADER), proxy];
    granted(check(&with(""), &app), "managed-identity, as configured; from IDENTITY_ENDPOINT, IDENTITY_HEADER");
    let wrong = [("IDENTITY_ENDPOINT", msi.as_str()), ("IDENTITY_HEADER", "wr0ng-header")];
    let ended = check(&with(""), &wrong);
    assert!(!ended.stderr.contains("wr0ng-header"), "{}", ended.stderr);
    refused(ended, 77, &["http-401", "IDENTITY_HEADER"]);
    let asked = graph.simulator.counts().tokens;
    for (variable, away) in [
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://identity.example"),
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://10.0.0.1"),
        ("IDENTITY_ENDPOINT", "https://identity.example/msi/token"),
    ] {
        let variables = [(variable, away), ("IDENTITY_HEADER", HEADER)];
        refused(check(&with(""), &variables), 78, &[variable, "loopback and link-local"]);
    }
    refused(
        check(&with(""), &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9")]),
        77,
        &["no managed identity here", "workload-identity"],
    );
    assert_eq!(graph.simulator.counts().tokens, asked);
}

#[test]
fn without_the_permission_the_hint_fits_the_method() {
    let graph =
        Graph::start(Settings { generate: Some(1), token_fault: Some(TokenFault::NoRole), ..Settings::default() });
    let secret = place(&graph, "client_secret = \"sample-secret-not-real\"");
    let ended = check(&secret, &[]);
    assert!(ended.stdout.contains("token       granted"), "{}", ended.stdout);
    refused(ended, 77, &["403", "CallRecords.Read.All with admin consent"]);
    let identity = place(&graph, "method = \"managed-identity\"");
    let endpoint = graph.endpoint();
    let ended = check(&identity, &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", endpoint.as_str())]);
    refused(ended, 77, &["403", "app-role assignment", "up to a day"]);
}

#[test]
fn a_list_that_is_refused_alone_is_said() {
    let odd = odd::Odd::start(|path, _| {
        let status = if path.contains("filter") { 403 } else { 404 };
        odd::json(status, "{}", "")
    });
    let place = Place::new(&odd.endpoint, "");
    let ended = check(&place, &[]);
    assert!(ended.stdout.contains("permission  call records can be read"), "{}", ended.stdout);
    refused(ended, 77, &["list of call records", "CallRecords.Read.All"]);
    let asked = odd.requests();
    assert!(asked.iter().any(|one| one.path.contains("?$filter=startDateTime%20ge%20")), "{asked:?}");
}

#[test]
fn a_clock_that_is_off_is_said_even_where_the_token_is_refused() {
    let denied = r#"{"error":"invalid_client","error_codes":[700024]}"#;
    for (date, way) in [("Mon, 01 Jan 2024 00:00:00 GMT", "ahead of"), ("Tue, 01 Jan 2199 00:00:00 GMT", "behind")] {
        let answer = odd::json(401, denied, &format!("Date: {date}\r\n"));
        let odd = odd::Odd::with_tokens(|_, _| odd::json(404, "{}", ""), move |_| answer.clone());
        let ended = check(&Place::new(&odd.endpoint, ""), &[]);
        assert!(ended.stdout.contains("clock       warning: ") && ended.stdout.contains(way), "{}", ended.stdout);
        refused(ended, 77, &["AADSTS700024", "clock"]);
    }
}

/// The simulator is no yes-man: what is wrong with an assertion is found.
#[test]
fn the_simulator_refuses_every_wrong_assertion() {
    let graph = graph();
    graph.runtime.block_on(async {
    let url = format!("{}/{TENANT}/oauth2/v2.0/token", graph.endpoint());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |assertion: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT),
            ("scope", "https://graph.microsoft.com/.default"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion),
        ];
        let answer = http.post(&url).form(&form).send().await.unwrap();
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        body["error_codes"][0].as_u64()
    };
    let der = rustls_pki_types::CertificateDer::from(certificate("app.crt"));
    let print = URL_SAFE_NO_PAD.encode(Sha256::digest(&der));
    let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": print});
    let now = Clock::system().now().timestamp();
    let fresh = || json!({"aud": url, "iss": CLIENT, "sub": CLIENT, "jti": uuid::Uuid::new_v4(), "nbf": now, "iat": now, "exp": now + 600});
    let with = |name: &str, value: Value| {
        let mut claims = fresh();
        claims[name] = value;
        jwt_with(&RSA_PSS_SHA256, "app.key", &header, &claims)
    };
    let headed = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        jwt_with(&RSA_PSS_SHA256, "app.key", &header, &fresh())
    };
    let good = jwt_with(&RSA_PSS_SHA256, "app.key", &header, &fresh());
    assert_eq!(post(&good).await, None);
    for (what, assertion, code) in [
        ("used twice", good, 50_027),
        ("another key", jwt_with(&RSA_PSS_SHA256, "other.key", &header, &fresh()), 700_027),
        ("another way to sign", jwt_with(&RSA_PKCS1_SHA256, "app.key", &header, &fresh()), 700_027),
        ("another algorithm named", headed("alg", json!("RS256")), 50_027),
        ("another certificate", headed("x5t#S256", json!("AAAA")), 700_027),
        ("another chain", headed("x5c", json!(["AAAA"])), 700_027),
        ("another audience", with("aud", json!("https://login.microsoftonline.com/x/oauth2/v2.0/token")), 700_023),
        ("another subject", with("sub", json!("me")), 700_021),
        ("ended", with("exp", json!(now - 301)), 700_024),
        ("not begun", with("nbf", json!(now + 400)), 700_024),
        ("too long", with("exp", json!(now + 601)), 700_024),
        ("no id", with("jti", json!("1")), 50_027),
        ("no JWT", "a.b".to_owned(), 50_027),
    ] {
        assert_eq!(post(&assertion).await, Some(code), "{what}");
    }
    });
}

fn certificate(name: &str) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject as _;
    rustls_pki_types::CertificateDer::from_pem_file(file(name)).unwrap().to_vec()
}

#[test]
fn the_simulator_refuses_wrong_questions_for_a_managed_identity() {
    let graph = graph();
    graph.runtime.block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let status = async |path: &str, headers: &[(&str, &str)]| {
            let mut request = http.get(format!("{}{path}", graph.endpoint()));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.send().await.unwrap().status().as_u16()
        };
        let imds = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://graph.microsoft.com/";
        let app = "/msi/token?api-version=2019-08-01&resource=https://graph.microsoft.com";
        let metadata = ("Metadata", "true");
        for (path, headers, expected) in [
            (imds, &[metadata][..], 200),
            (imds, &[], 400),
            (imds, &[("Metadata", "True")], 400),
            (imds, &[metadata, ("X-Forwarded-For", "10.0.0.1")], 400),
            ("/metadata/identity/oauth2/token?resource=https://graph.microsoft.com", &[metadata], 400),
            ("/metadata/identity/oauth2/token?api-version=2018-02-01", &[metadata], 400),
            (app, &[("X-IDENTITY-HEADER", HEADER)], 200),
            (app, &[("X-IDENTITY-HEADER", "x")], 401),
            (app, &[metadata], 401),
        ] {
            assert_eq!(status(path, headers).await, expected, "{path} {headers:?}");
        }
    });
}
