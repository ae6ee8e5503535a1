//! A receiver of posts that answers as it is told, and keeps what it got.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "test support")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

/// Answers with no status: it closes the connection.
pub const SILENT: u16 = 0;

pub struct Receiver {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    posts: Arc<Mutex<Vec<(String, String)>>>,
}

/// The first line of a request, and its body.
pub fn request(stream: &TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
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
    (first, String::from_utf8(body).unwrap())
}

impl Receiver {
    /// One that takes everything, on loopback.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (status, posts): (Arc<AtomicU16>, Arc<Mutex<Vec<_>>>) = (Arc::new(AtomicU16::new(204)), Arc::default());
        let (answers, kept) = (status.clone(), posts.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (first, body) = request(&stream);
                let target = first.rsplit_once(' ').unwrap().0.to_owned();
                kept.lock().unwrap().push((target, body));
                let status = answers.load(Ordering::SeqCst);
                if status != SILENT {
                    let location = if status == 307 { "Location: /elsewhere\r\n" } else { "" };
                    let head =
                        format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{location}Content-Length: 0\r\n\r\n");
                    let _ = stream.write_all(head.as_bytes());
                }
            }
        });
        Self { address, status, posts }
    }

    /// Where it is, with a secret as such addresses have.
    pub fn url(&self) -> String {
        format!("http://{}/hook?key=s3cret-of-the-hook", self.address)
    }

    /// How it answers from now on.
    pub fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// What it got since the last question: method with target, and body.
    pub fn posts(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.posts.lock().unwrap())
    }
}
