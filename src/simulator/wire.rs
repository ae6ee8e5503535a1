//! A connection that can also send what no HTTP server would: raw bytes and a
//! reset. It notes when requests come and when an answer that asks for a wait
//! was written whole.

use super::server::lock;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Instants that are kept: a server that runs for long must not grow.
const KEPT: usize = 1 << 20;

/// Bytes in place of an answer, and the end of the connection.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    bytes: Vec<u8>,
    sent: usize,
    reset: bool,
}

impl Raw {
    /// Sends `bytes`, then hangs up.
    pub(super) const fn close(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0, reset: false }
    }

    /// Sends `bytes`, then resets the connection.
    pub(super) const fn reset(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0, reset: true }
    }
}

/// When requests came, and from when on how long they were not wanted.
#[derive(Debug, Default)]
pub(super) struct Watch {
    arrivals: Mutex<VecDeque<Instant>>,
    windows: Mutex<VecDeque<(Instant, Duration)>>,
}

impl Watch {
    pub(super) fn arrived(&self) {
        keep(&self.arrivals, Instant::now());
    }

    pub(super) fn arrivals(&self) -> Vec<Instant> {
        lock(&self.arrivals).iter().copied().collect()
    }

    pub(super) fn windows(&self) -> Vec<(Instant, Duration)> {
        lock(&self.windows).iter().copied().collect()
    }
}

fn keep<T>(all: &Mutex<VecDeque<T>>, one: T) {
    let mut all = lock(all);
    if all.len() >= KEPT {
        all.pop_front();
    }
    all.push_back(one);
}

#[derive(Debug, Default)]
struct Next {
    raw: Option<Raw>,
    wait: Option<Duration>,
}

/// How the answer on a connection is changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Handle(Arc<Mutex<Next>>);

impl Handle {
    /// In place of the answer.
    pub(super) fn send(&self, raw: Raw) {
        lock(&self.0).raw = Some(raw);
    }

    /// The answer asks for a wait, which counts from its last byte.
    pub(super) fn asks_for(&self, wait: Duration) {
        lock(&self.0).wait = Some(wait);
    }
}

/// Accepts [`Wire`]s.
pub(super) struct Wires {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    /// Connections that do not speak TLS yet: nobody waits for them.
    beginning: JoinSet<io::Result<(Stream, SocketAddr)>>,
    watch: Arc<Watch>,
}

impl Wires {
    pub(super) fn new(listener: TcpListener, acceptor: Option<TlsAcceptor>, watch: Arc<Watch>) -> Self {
        Self { listener, acceptor, beginning: JoinSet::new(), watch }
    }
}

impl Listener for Wires {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, address) = loop {
            let (stream, address) = tokio::select! {
                accepted = Listener::accept(&mut self.listener) => accepted,
                Some(begun) = self.beginning.join_next() => match begun {
                    Ok(Ok(begun)) => break begun,
                    _ => continue,
                },
            };
            // Small answers are not to wait for each other.
            let _ = stream.set_nodelay(true);
            let Some(acceptor) = &self.acceptor else { break (Stream::Plain(stream), address) };
            let accept = acceptor.accept(stream);
            self.beginning.spawn(async move { Ok((Stream::Tls(Box::new(accept.await?)), address)) });
        };
        (Wire { stream, handle: Handle::default(), watch: self.watch.clone() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Wires>> for Handle {
    fn connect_info(stream: IncomingStream<'_, Wires>) -> Self {
        stream.io().handle.clone()
    }
}

/// Clear or enciphered.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buffer),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

pub(super) struct Wire {
    stream: Stream,
    handle: Handle,
    watch: Arc<Watch>,
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        let mut next = lock(&wire.handle.0);
        let Some(raw) = &mut next.raw else { return Pin::new(&mut wire.stream).poll_write(cx, buffer) };
        while let Some(rest) = raw.bytes.get(raw.sent..).filter(|rest| !rest.is_empty()) {
            raw.sent += ready!(Pin::new(&mut wire.stream).poll_write(cx, rest))?;
        }
        if raw.reset {
            let _ = wire.stream.tcp().set_zero_linger();
        }
        // The server gives the connection up, whatever it would have sent.
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        ready!(Pin::new(&mut wire.stream).poll_flush(cx))?;
        if let Some(wait) = lock(&wire.handle.0).wait.take() {
            keep(&wire.watch.windows, (Instant::now(), wait));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
