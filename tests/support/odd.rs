//! A server that answers as a test wants, byte for byte, and notes what it was
//! asked. Tokens are granted, unless the test answers for them too.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_types,
    reason = "every test binary uses another part"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// One request: its path with query, and when it was read.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub at: Instant,
}

type Answer = dyn Fn(&str, usize) -> Vec<u8> + Send + Sync;
type Token = dyn Fn(usize) -> Vec<u8> + Send + Sync;

pub struct Odd {
    pub endpoint: String,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    pub tokens: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    address: std::net::SocketAddr,
}

impl Drop for Odd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Odd {
    /// `answer` is given the path with query and how often it was asked before.
    pub fn start(answer: impl Fn(&str, usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::with_tokens(answer, |number| grant(&format!("token-{number}")))
    }

    /// As [`Odd::start`]; `token` answers for the token service.
    pub fn with_tokens(
        answer: impl Fn(&str, usize) -> Vec<u8> + Send + Sync + 'static,
        token: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let odd = Self {
            endpoint: format!("http://{address}"),
            asked: Arc::default(),
            tokens: Arc::default(),
            stop: Arc::default(),
            address,
        };
        let (asked, tokens, stop) = (odd.asked.clone(), odd.tokens.clone(), odd.stop.clone());
        let answer: Arc<Answer> = Arc::new(answer);
        let token: Arc<Token> = Arc::new(token);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (asked, tokens) = (asked.clone(), tokens.clone());
                let (answer, token) = (answer.clone(), token.clone());
                std::thread::spawn(move || serve(stream, &asked, &tokens, &*answer, &*token));
            }
        });
        odd
    }

    pub fn requests(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, asked: &Mutex<Vec<Asked>>, tokens: &AtomicUsize, answer: &Answer, token: &Token) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    if reader.read_line(&mut first).unwrap_or(0) == 0 {
        return;
    }
    let mut length = 0;
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap_or(0) > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let response = if path.contains("/oauth2/") {
        token(tokens.fetch_add(1, Ordering::SeqCst))
    } else {
        let mut all = asked.lock().unwrap();
        let before = all.iter().filter(|one| one.path == path).count();
        all.push(Asked { path: path.clone(), at: Instant::now() });
        drop(all);
        answer(&path, before)
    };
    let _ = stream.write_all(&response);
    let _ = stream.flush();
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = reader.read_to_end(&mut Vec::new());
}

/// The answer that grants a token.
pub fn grant(token: &str) -> Vec<u8> {
    json(200, &format!("{{\"token_type\":\"Bearer\",\"expires_in\":3599,\"access_token\":\"{token}\"}}"), "")
}

/// A whole answer; `headers` are lines that end with `\r\n`.
pub fn json(status: u16, body: &str, headers: &str) -> Vec<u8> {
    bytes(status, body.as_bytes(), &format!("Content-Type: application/json\r\n{headers}"))
}

pub fn bytes(status: u16, body: &[u8], headers: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The answer to either request for `record`: both lists are in it, whole.
pub fn whole(path: &str, record: &serde_json::Value) -> Vec<u8> {
    let mut record = record.clone();
    let other = if path.contains("participants_v2") { "sessions" } else { "participants_v2" };
    record.as_object_mut().unwrap().remove(other);
    json(200, &record.to_string(), "")
}
