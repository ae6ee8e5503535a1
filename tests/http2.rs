//! What only HTTP/2 can do to a run of the binary: streams that are reset, and
//! connections that end with a GOAWAY. Nothing is lost by it.
#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "tests fail by panics")]

#[path = "support/certificate.rs"]
#[allow(unreachable_pub, reason = "shared with a bench")]
mod certificate;
mod support;

use axum::body::Bytes;
use axum::http::{Request, Response};
use certificate::Certificate;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use support::{Ended, Place, call_id, days_ago, record};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const RECORDS: u32 = 12;

/// What becomes of the fifth request for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strike {
    /// Half a body, then RST_STREAM.
    ResetInBody(Reason),
    /// RST_STREAM in place of an answer.
    Reset(Reason),
    /// Half a body, then GOAWAY and the end of the connection.
    Goaway(Reason),
    /// GOAWAY; requests under way are answered.
    GracefulGoaway,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    /// Requests for records.
    requests: usize,
}

struct Server {
    runtime: tokio::runtime::Runtime,
    seen: Arc<Mutex<Seen>>,
    place: Place,
    certificate: Certificate,
}

impl Server {
    fn start(strike: Strike) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        let place = Place::new(&endpoint, "");
        // Few at a time, so that most requests come after the fifth.
        let config = std::fs::read_to_string(place.config()).unwrap();
        support::overwrite(&place.config(), &config.replace("backoff_seconds", "max_concurrency = 2\nbackoff_seconds"));
        let certificate = Certificate::write(place.directory.path());
        let chain = CertificateDer::pem_file_iter(&certificate.certificate).unwrap().map(Result::unwrap).collect();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(&certificate.key).unwrap())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let records: Arc<HashMap<String, Bytes>> = Arc::new(
            (0..RECORDS)
                .map(|n| (call_id(n), record(&call_id(n), 1, days_ago(1), 3).to_string().into_bytes().into()))
                .collect(),
        );
        let count = seen.clone();
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.lock().unwrap().connections += 1;
                tokio::spawn(serve(acceptor.clone(), stream, strike, count.clone(), records.clone()));
            }
        });
        let ids: Vec<String> = (0..RECORDS).map(call_id).collect();
        place.notify(ids.iter().map(String::as_str));
        Self { runtime, seen, place, certificate }
    }

    fn run(&self) -> Ended {
        let mut command = self.place.command(&["run"]);
        command.env("SSL_CERT_FILE", &self.certificate.root);
        support::ended(command)
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    strike: Strike,
    seen: Arc<Mutex<Seen>>,
    records: Arc<HashMap<String, Bytes>>,
) {
    // A client that opened more connections than it needs gives some up.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let Ok(mut connection): Result<Connection<_, Bytes>, _> = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let Some(number) = answer(&request, respond, strike, &seen, &records) else { continue };
        if number != 5 {
            continue;
        }
        match strike {
            Strike::GracefulGoaway => connection.graceful_shutdown(),
            Strike::Goaway(reason) => connection.abrupt_shutdown(reason),
            Strike::Reset(_) | Strike::ResetInBody(_) => {}
        }
    }
}

/// Answers; which request for a record it was, counted from 1.
fn answer(
    request: &Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    strike: Strike,
    seen: &Mutex<Seen>,
    records: &HashMap<String, Bytes>,
) -> Option<usize> {
    let head = Response::builder().header("content-type", "application/json");
    let path = request.uri().path();
    let Some(body) = path.rsplit('/').next().and_then(|id| records.get(id)) else {
        assert!(path.ends_with("/token"), "{path}");
        let token = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "t"}).to_string();
        respond.send_response(head.body(()).unwrap(), false).unwrap().send_data(token.into(), true).unwrap();
        return None;
    };
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.requests += 1;
        seen.requests
    };
    let struck = Some(strike).filter(|_| number == 5);
    if let Some(Strike::Reset(reason)) = struck {
        respond.send_reset(reason);
        return Some(number);
    }
    let mut send = respond.send_response(head.body(()).unwrap(), false).unwrap();
    match struck {
        Some(Strike::ResetInBody(reason)) => {
            send.send_data(body.slice(..body.len() / 2), false).unwrap();
            send.send_reset(reason);
        }
        Some(Strike::Goaway(_)) => {
            send.send_data(body.slice(..body.len() / 2), false).unwrap();
            // The stream stays open until the connection ends.
            std::mem::forget(send);
        }
        _ => send.send_data(body.clone(), true).unwrap(),
    }
    Some(number)
}

#[test]
fn what_ends_a_stream_or_a_connection_costs_no_record() {
    for (strike, retries) in [
        (Strike::ResetInBody(Reason::INTERNAL_ERROR), 1),
        (Strike::ResetInBody(Reason::CANCEL), 1),
        (Strike::ResetInBody(Reason::NO_ERROR), 1),
        (Strike::Reset(Reason::INTERNAL_ERROR), 1),
        (Strike::Reset(Reason::ENHANCE_YOUR_CALM), 1),
        (Strike::Goaway(Reason::NO_ERROR), 1),
        (Strike::Goaway(Reason::ENHANCE_YOUR_CALM), 1),
        (Strike::GracefulGoaway, 0),
    ] {
        let server = Server::start(strike);
        let summary = server.run().expect(0).summary();
        assert_eq!((&summary["exported_new"], &summary["pending"]), (&json!(RECORDS), &json!(0)), "{strike:?}");
        let requests = summary["requests"].as_u64().unwrap();
        assert!(requests >= u64::from(2 * RECORDS) + retries, "{strike:?}: {requests}");
        let mut ids = server.place.column("calls", "call_id");
        ids.sort();
        assert_eq!(ids, (0..RECORDS).map(call_id).collect::<Vec<_>>(), "{strike:?}");
        assert_eq!(server.place.column("sessions", "call_id").len(), 3 * RECORDS as usize, "{strike:?}");
        server.place.callrec(&["verify"]).expect(0);
        assert!(server.seen.lock().unwrap().connections > 1, "{strike:?}: another connection");
        server.runtime.shutdown_background();
    }
}

#[test]
fn a_certificate_that_is_none_ends_the_simulator_with_its_name() {
    let place = Place::new("simulator", "");
    let good = Certificate::write(place.directory.path());
    support::overwrite(&place.path("other.pem"), "no certificate");
    let (good, key, other) = (good.certificate, good.key, place.path("other.pem"));
    for (certificate, key, named) in
        [(&other, &key, "other.pem"), (&good, &other, "other.pem"), (&place.path("missing.pem"), &key, "missing.pem")]
    {
        let files = [certificate.to_str().unwrap(), key.to_str().unwrap()];
        let ended = place.callrec(&["simulate", "--tls-cert", files[0], "--tls-key", files[1]]).expect(78);
        assert!(ended.stderr.contains(named), "{}", ended.stderr);
    }
}
