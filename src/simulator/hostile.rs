//! Answers as a broken, overloaded or hostile server gives them.

use super::answer;
use super::faults::{Elsewhere, Fault, Strike};
use super::server::Shared;
use super::wire::Raw;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use flate2::{Compress, Compression, FlushCompress};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a fault that passes keeps a client waiting.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same for one that lasts: longer than any client waits.
const FOR_EVER: Duration = Duration::from_secs(3600);
const DEPTH: usize = 100_000;
const MIB: usize = 1 << 20;

/// Says that nothing is to be answered for so long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold(pub(super) Duration);

/// Says that the answer asks for a wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct AsksFor(pub(super) Duration);

impl Shared {
    /// The answer of a fault that hides the record, if it is one of those.
    pub(super) fn instead(&self, strike: &Strike, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        Some(match strike.fault {
            Fault::Status(204, _) => Response::builder().status(204).body(Body::empty()).unwrap_or_default(),
            Fault::Status(status, None) => answer::error(status, "ServiceUnavailable", headers),
            Fault::Status(status, Some("date")) => {
                let date = |seconds| {
                    let at = self.now() + chrono::TimeDelta::seconds(seconds);
                    HeaderValue::from_str(&httpdate::fmt_http_date(at.into())).ok()
                };
                let mut response = asks_for(status, "", Some(Duration::from_secs(1)), headers);
                for (name, seconds) in [(header::RETRY_AFTER, 1), (header::DATE, 0)] {
                    date(seconds).and_then(|date| response.headers_mut().insert(name, date));
                }
                response
            }
            Fault::Status(status, Some(wait)) => {
                let seconds = wait.parse().ok().filter(|seconds| (0.001..86_400.0).contains(seconds));
                asks_for(status, wait, seconds.map(Duration::from_secs_f64), headers)
            }
            Fault::Expired if strike.times.is_none() || self.revoke(headers, strike.uses) => {
                answer::error(401, "InvalidAuthenticationToken", headers)
            }
            Fault::Redirect(status, to) => self.redirect(status, to, path, headers),
            Fault::Html => answer::html(),
            Fault::ErrorIn200 => {
                let mut response = answer::error(500, "InternalServerError", headers);
                *response.status_mut() = StatusCode::OK;
                response
            }
            Fault::Empty => Response::default(),
            Fault::Reset => raw(Raw::reset(Vec::new())),
            Fault::NoHttp => raw(Raw::close(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec())),
            Fault::Silent => hold(patience(strike)),
            Fault::Bomb => bomb(200),
            Fault::ErrorBomb => bomb(500),
            Fault::Deep => json_text(deep()),
            Fault::Giant => giant(path),
            _ => return None,
        })
    }

    pub(super) fn redirect(&self, status: u16, to: Elsewhere, path: &str, headers: &HeaderMap) -> Response<Body> {
        let mut response = answer::error(status, "Found", headers);
        if let Ok(to) = HeaderValue::from_str(&self.elsewhere(to, path)) {
            response.headers_mut().insert(header::LOCATION, to);
        }
        response
    }

    /// `path` at a place that must not be asked.
    pub(super) fn elsewhere(&self, place: Elsewhere, path: &str) -> String {
        let (scheme, own) = self.base.split_once("://").unwrap_or_default();
        let (other, port) = (if scheme == "http" { "https" } else { "http" }, self.foreign_port);
        match place {
            Elsewhere::Host => format!("{scheme}://localhost:{port}{path}"),
            Elsewhere::Port => format!("{scheme}://127.0.0.1:{port}{path}"),
            Elsewhere::Scheme => format!("{other}://127.0.0.1:{port}{path}"),
            Elsewhere::UserInfo => format!("{scheme}://{own}@127.0.0.1:{port}{path}"),
            Elsewhere::NoScheme => format!("//127.0.0.1:{port}{path}"),
            Elsewhere::TrailingDot => format!("{scheme}://localhost.:{port}{path}"),
            Elsewhere::MetadataService => "http://169.254.169.254/latest/meta-data/".to_owned(),
        }
    }
}

/// The answer of a fault that spoils `whole` on its way.
pub(super) fn spoilt(strike: &Strike, version: Version, whole: &Value) -> Option<Response<Body>> {
    let body = || serde_json::to_vec(whole).unwrap_or_default();
    let sent = |length: usize, body: &[u8]| [head(&format!("Content-Length: {length}")), body.to_vec()].concat();
    Some(match strike.fault {
        Fault::WrongEncoding => encoded("gzip", body()),
        Fault::OddEncoding => encoded("br", body().into_iter().map(|byte| !byte).collect()),
        // Where answers share a connection, one of them breaks off alone.
        Fault::Cut | Fault::LengthTooLong | Fault::LengthTooShort | Fault::BrokenChunks
            if version == Version::HTTP_2 =>
        {
            broken_off(body())
        }
        Fault::Cut => {
            let body = body();
            let size = format!("{:x}\r\n", body.len());
            let half = body.get(..body.len() / 2).unwrap_or_default();
            raw(Raw::close([&head("Transfer-Encoding: chunked"), size.as_bytes(), half].concat()))
        }
        Fault::ResetInBody => {
            let body = body();
            raw(Raw::reset(sent(body.len(), body.get(..body.len() / 2).unwrap_or_default())))
        }
        Fault::LengthTooLong => {
            let body = body();
            raw(Raw::close(sent(body.len() + 100, &body)))
        }
        Fault::LengthTooShort => {
            let body = body();
            raw(Raw::close(sent(body.len() - 1, &body)))
        }
        Fault::BrokenChunks => {
            let body = body();
            let (first, second) = body.split_at(body.len() / 2);
            let size = format!("{:x}\r\n", first.len());
            let parts = [&head("Transfer-Encoding: chunked"), size.as_bytes(), first, b"\r\nno size\r\n", second];
            raw(Raw::close(parts.concat()))
        }
        Fault::SlowBody => slow(body(), patience(strike)),
        _ => return None,
    })
}

pub(super) fn bomb(status: u16) -> Response<Body> {
    static BOMB: OnceLock<Bytes> = OnceLock::new();
    let body = BOMB.get_or_init(|| Bytes::from(zeros(10 * 1024)));
    let builder = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    builder.header(header::CONTENT_ENCODING, "gzip").body(Body::from(body.clone())).unwrap_or_default()
}

/// So many MiB of zeros as gzip: a block that refers to nothing before it, over
/// and over.
fn zeros(mebibytes: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(8 * 1024);
    let mut compress = Compress::new(Compression::best(), false);
    let flushed = compress.compress_vec(&vec![0; MIB], &mut block, FlushCompress::Full);
    if flushed.is_err() || compress.total_in() != MIB as u64 {
        block.clear();
    }
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    gzip.reserve(block.len() * mebibytes);
    for _ in 0..mebibytes {
        gzip.extend_from_slice(&block);
    }
    gzip
}

/// JSON that is too deep for any parser that recurses.
pub(super) fn deep() -> String {
    format!("{{\"value\":{}{}}}", "[".repeat(DEPTH), "]".repeat(DEPTH))
}

pub(super) fn json_text(text: String) -> Response<Body> {
    streamed(Body::from(text))
}

pub(super) fn hold(time: Duration) -> Response<Body> {
    let mut response = raw(Raw::close(Vec::new()));
    response.extensions_mut().insert(Hold(time));
    response
}

pub(super) fn raw(raw: Raw) -> Response<Body> {
    let mut response = Response::default();
    response.extensions_mut().insert(raw);
    response
}

/// An error that says `wait`; the client is to wait so long.
pub(super) fn asks_for(status: u16, wait: &str, asked: Option<Duration>, headers: &HeaderMap) -> Response<Body> {
    let mut response = answer::error(status, "TooManyRequests", headers);
    if let Ok(wait) = HeaderValue::from_str(wait) {
        response.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    if let Some(asked) = asked {
        response.extensions_mut().insert(AsksFor(asked));
    }
    response
}

fn patience(strike: &Strike) -> Duration {
    strike.times.map_or(FOR_EVER, |_| PATIENCE)
}

fn head(header: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{header}\r\n\r\n").into_bytes()
}

fn streamed(body: Body) -> Response<Body> {
    Response::builder().header(header::CONTENT_TYPE, "application/json").body(body).unwrap_or_default()
}

fn encoded(encoding: &str, body: Vec<u8>) -> Response<Body> {
    let mut response = streamed(Body::from(body));
    response.headers_mut().extend(HeaderValue::from_str(encoding).ok().map(|e| (header::CONTENT_ENCODING, e)));
    response
}

/// Half of the body, then an error: over HTTP/2 the stream is reset.
pub(super) fn broken_off(mut bytes: Vec<u8>) -> Response<Body> {
    bytes.truncate(bytes.len() / 2);
    let parts = [Ok(bytes), Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted))];
    streamed(Body::from_stream(futures_util::stream::iter(parts)))
}

/// A byte at a time, until the time is over; then the connection breaks.
fn slow(bytes: Vec<u8>, time: Duration) -> Response<Body> {
    let until = Instant::now() + time;
    let drip = futures_util::stream::unfold(bytes.into_iter(), move |mut rest| async move {
        let byte = rest.next()?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let late = Instant::now() >= until;
        Some((if late { Err(std::io::Error::from(std::io::ErrorKind::TimedOut)) } else { Ok(vec![byte]) }, rest))
    });
    streamed(Body::from_stream(drip))
}

fn giant(path: &str) -> Response<Body> {
    let id = path.rsplit('/').next().unwrap_or_default();
    let start = format!("{},\"pad\":\"", json!({"id": id, "version": 1}).to_string().trim_end_matches('}'));
    let block = Bytes::from(vec![b'x'; MIB]);
    let blocks = std::iter::once(Bytes::from(start)).chain(std::iter::repeat_n(block, 300));
    let blocks = blocks.chain(std::iter::once(Bytes::from_static(b"\"}"))).map(Ok::<_, std::io::Error>);
    streamed(Body::from_stream(futures_util::stream::iter(blocks)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_bomb_is_small_and_holds_much() {
        let bomb = zeros(64);
        assert!(bomb.len() < 64 * 1200, "{}", bomb.len());
        let mut decoder = flate2::read::GzDecoder::new(bomb.as_slice());
        let mut block = vec![1; MIB];
        for _ in 0..64 {
            decoder.read_exact(&mut block).unwrap();
            assert!(block.iter().all(|byte| *byte == 0));
        }
    }
}
