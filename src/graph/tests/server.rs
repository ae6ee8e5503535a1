//! A server that answers as it was told, byte for byte, and remembers what it
//! was asked.

use reqwest::Url;
use std::collections::{HashMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

#[derive(Clone, Debug)]
pub(in crate::graph) struct Answer {
    bytes: Vec<u8>,
    then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    KeepOpen,
    Close,
    /// Send nothing more until the client hangs up.
    Hold,
}

impl Answer {
    pub(in crate::graph) fn new(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Self { bytes: [head.as_bytes(), body].concat(), then: Then::KeepOpen }
    }

    pub(in crate::graph) fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::new(200, &[("Content-Type", "application/json")], body)
    }

    pub(in crate::graph) fn status(status: u16) -> Self {
        Self::new(status, &[], r#"{"error":{"code":"x"}}"#)
    }

    /// The connection breaks `bytes` before the end.
    pub(in crate::graph) fn cut(mut self, bytes: usize) -> Self {
        self.bytes.truncate(self.bytes.len() - bytes);
        self.then = Then::Close;
        self
    }

    /// The last `bytes` never come.
    pub(in crate::graph) fn stuck(mut self, bytes: usize) -> Self {
        self.bytes.truncate(self.bytes.len() - bytes);
        self.then = Then::Hold;
        self
    }
}

#[derive(Clone, Debug)]
pub(in crate::graph) struct Seen {
    pub(in crate::graph) target: String,
    pub(in crate::graph) headers: HashMap<String, String>,
    pub(in crate::graph) body: String,
    pub(in crate::graph) connection: usize,
    pub(in crate::graph) at: Instant,
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<String, VecDeque<Answer>>,
    /// An `Authorization` that is always answered with 401.
    refused: Option<String>,
    seen: Vec<Seen>,
    connections: usize,
}

#[derive(Clone, Debug)]
pub(in crate::graph) struct Server {
    pub(in crate::graph) url: Url,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(in crate::graph) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let url = Url::parse(&format!("http://127.0.0.1:{port}/")).expect("a URL");
        let server = Self { url, state: Arc::default() };
        let state = Arc::clone(&server.state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                let connection = {
                    let mut state = state.lock().expect("no panic");
                    state.connections += 1;
                    state.connections
                };
                thread::spawn(move || serve(stream, &state, connection));
            }
        });
        server
    }

    /// The next answers to `target`, its path and query, in order.
    pub(in crate::graph) fn on(&self, target: impl Into<String>, answers: impl IntoIterator<Item = Answer>) -> &Self {
        self.state.lock().expect("no panic").answers.entry(target.into()).or_default().extend(answers);
        self
    }

    /// From now on 401 is the answer to requests with this `Authorization` only.
    pub(in crate::graph) fn refuse(&self, authorization: &str) -> &Self {
        self.state.lock().expect("no panic").refused = Some(authorization.to_owned());
        self
    }

    pub(in crate::graph) fn seen(&self) -> Vec<Seen> {
        self.state.lock().expect("no panic").seen.clone()
    }

    /// What was asked, sorted.
    pub(in crate::graph) fn targets(&self) -> Vec<String> {
        let mut targets: Vec<_> = self.seen().into_iter().map(|seen| seen.target).collect();
        targets.sort();
        targets
    }

    pub(in crate::graph) fn connections(&self) -> usize {
        self.state.lock().expect("no panic").connections
    }

    pub(in crate::graph) fn unused(&self) -> usize {
        self.state.lock().expect("no panic").answers.values().map(VecDeque::len).sum()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>, connection: usize) {
    let mut writer = stream.try_clone().expect("a socket");
    let mut reader = BufReader::new(stream);
    while let Some(seen) = read_request(&mut reader, connection) {
        let answer = {
            let mut state = state.lock().expect("no panic");
            let refused = state.refused.is_some() && seen.headers.get("authorization") == state.refused.as_ref();
            let answer = match state.answers.get_mut(&seen.target) {
                _ if refused => Some(Answer::status(401)),
                answers => answers.and_then(VecDeque::pop_front),
            };
            state.seen.push(seen);
            answer.unwrap_or_else(|| Answer::status(418))
        };
        if writer.write_all(&answer.bytes).is_err() || answer.then == Then::Close {
            return;
        }
        if answer.then == Then::Hold {
            let _ = reader.read(&mut [0]);
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>, connection: usize) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let at = Instant::now();
    let target = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|n: &String| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { target, headers, body: String::from_utf8(body).ok()?, connection, at })
}
