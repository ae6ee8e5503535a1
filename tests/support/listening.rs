//! A listener as a process, and a client that says what it is told to.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and fail by panics")]

use callrec::notifications::{self, Collected, LogCursor};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The state of the config.
pub const STATE: &str = "a state of the tests, long and random";

/// A config beside which the log is written.
pub fn configure(directory: &Path, listen: &str) -> PathBuf {
    let config = directory.join("callrec.toml");
    let text = format!(
        "[source]\nnotifications = [\"notifications/*.jsonl*\"]\nclient_state = \"{STATE}\"\n\n\
         [listen]\naddress = \"127.0.0.1:0\"\n{listen}"
    );
    std::fs::write(&config, text).unwrap();
    config
}

/// The command, with nothing of the caller's environment that it reads.
pub fn command(binary: &str, config: &Path) -> Command {
    let mut command = Command::new(binary);
    for name in ["CALLREC_CONFIG", "CALLREC_LOG_LEVEL", "CALLREC_LOG_FORMAT", "FAILPOINTS"] {
        command.env_remove(name);
    }
    command.arg("--config").arg(config).args(["--log-format", "json", "listen"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A listener that runs.
pub struct Listening {
    pub child: Child,
    pub address: SocketAddr,
    pub metrics: Option<SocketAddr>,
    stderr: BufReader<ChildStderr>,
    /// What it has logged until it was ready.
    pub logged: String,
}

impl Listening {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// If it ends before.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut started = Self { child, address: nowhere, metrics: None, stderr, logged: String::new() };
        while started.address == nowhere {
            let mut line = String::new();
            assert!(started.stderr.read_line(&mut line).unwrap() > 0, "it ended: {}", started.logged);
            started.logged.push_str(&line);
            let address = || {
                let rest = line.split_once("\"address\":\"").expect("an address").1;
                rest.split('"').next().unwrap().parse::<SocketAddr>().unwrap()
            };
            if line.contains("serving /healthz") {
                started.metrics = Some(address());
            } else if line.contains("taking notifications") {
                started.address = address();
            }
        }
        started
    }

    /// The process is killed as by the system.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by its number.
    pub fn signal(&self, number: i32) {
        let status = Command::new("kill").arg(format!("-{number}")).arg(self.child.id().to_string()).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end; the exit code, and all that was logged.
    pub fn ended(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.logged) + &rest)
    }

    /// SIGTERM, and the end.
    pub fn stop(self) -> (Option<i32>, String) {
        self.signal(15);
        self.ended()
    }

    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        ask(self.address, method, target, body)
    }

    /// Posts notifications; the status.
    pub fn post(&self, body: &str) -> u16 {
        self.ask("POST", "/notifications", body.as_bytes()).status
    }

    /// The value of a metric; 0 if it is not there.
    pub fn metric(&self, name: &str) -> f64 {
        let text = ask(self.metrics.unwrap_or(self.address), "GET", "/metrics", b"").body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}

impl Drop for Listening {
    /// A test that fails leaves no process behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// One request on a connection of its own.
pub fn ask(address: SocketAddr, method: &str, target: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // Refused by its length alone, a body need not be read.
    let _ = stream.write_all(body);
    answer(&mut stream)
}

/// Reads to the end of the connection.
pub fn answer(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// A post with one notification of a call.
pub fn notification(id: &str, state: &str) -> String {
    format!(
        "{{\"value\":[{{\"subscriptionId\":\"33333333-3333-4333-8333-333333333333\",\"clientState\":\"{state}\",\
         \"changeType\":\"updated\",\"resource\":\"communications/callRecords/{id}\",\
         \"subscriptionExpirationDateTime\":\"2099-01-01T00:00:00.000+00:00\",\"resourceData\":{{\
         \"@odata.type\":\"#Microsoft.Graph.callRecord\",\"@odata.id\":\"communications/callRecords/{id}\",\
         \"id\":\"{id}\"}},\"tenantId\":\"11111111-1111-4111-8111-111111111111\"}}]}}"
    )
}

/// The files of the log, sorted.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.join("notifications")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    files.sort();
    files
}

/// All lines of the log.
pub fn lines(directory: &Path) -> Vec<String> {
    let text: String = files(directory).iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    text.lines().map(str::to_owned).collect()
}

/// What a run sees of the log, with its cursors from look to look.
pub struct Reader {
    settings: notifications::Settings,
    cursors: Vec<LogCursor>,
}

impl Reader {
    pub fn new(directory: &Path) -> Self {
        let settings = notifications::Settings {
            patterns: vec![directory.join("notifications/*.jsonl*")],
            client_state: Some(STATE.into()),
            other_client_states: Vec::new(),
            tenant_id: None,
            max_line_bytes: 8 << 20,
        };
        Self { settings, cursors: Vec::new() }
    }

    /// What is new, and what is amiss with it.
    pub fn look(&mut self) -> Collected {
        let collected = notifications::collect(&self.settings, &self.cursors).unwrap();
        self.cursors = serde_json::from_str(&serde_json::to_string(&collected.cursors).unwrap()).unwrap();
        collected
    }

    /// What is new.
    ///
    /// # Panics
    /// If something was refused, or a gap was found.
    pub fn ids(&mut self) -> Vec<String> {
        let Collected { notifications, rejected, gaps, .. } = self.look();
        assert!(rejected.is_empty() && gaps.is_empty(), "{rejected:?} {gaps:?}");
        notifications.iter().map(|one| one.call_id.to_string()).collect()
    }
}

/// The ids that were answered with 202.
pub type Answered = Arc<Mutex<BTreeSet<String>>>;

/// Posts on some connections, until each of them breaks.
pub fn load(
    address: SocketAddr,
    connections: usize,
    next: &Arc<AtomicU32>,
    answered: &Answered,
) -> Vec<JoinHandle<()>> {
    let post = |address, next: Arc<AtomicU32>, answered: Answered| {
        let Ok(mut stream) = TcpStream::connect(address) else { return };
        loop {
            let id = call_id(next.fetch_add(1, Ordering::Relaxed));
            match post(&mut stream, &notification(&id, STATE)) {
                Some(202) => answered.lock().unwrap().insert(id),
                _ => return,
            };
        }
    };
    let start = |_| {
        let (next, answered) = (next.clone(), answered.clone());
        std::thread::spawn(move || post(address, next, answered))
    };
    (0..connections).map(start).collect()
}

/// The id of the n-th call.
pub fn call_id(n: u32) -> String {
    format!("{n:08}-0000-4000-8000-000000000000")
}

/// A post on a connection that stays open; the status, if there is one.
pub fn post(stream: &mut (impl Read + Write), body: &str) -> Option<u16> {
    let head = format!("POST /notifications HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).ok()?;
    let mut got = Vec::new();
    let mut block = [0; 512];
    while !got.ends_with(b"\r\n\r\n") {
        match stream.read(&mut block).ok()? {
            0 => return None,
            count => got.extend_from_slice(&block[..count]),
        }
    }
    std::str::from_utf8(got.get(9..12)?).ok()?.parse().ok()
}
