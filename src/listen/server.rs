//! Connections: accepted, bounded in number and time, and ended.

use super::answers::{self, Shared};
use super::counts::Counts;
use super::files::LogFiles;
use super::settings::{Settings, time};
use super::slots::{Slot, Slots};
use super::subscription::Subscription;
use super::tls::{self, Served};
use super::writer::Writer;
use crate::clock::Clock;
use crate::error::{Class, Error, Result};
use crate::notifications;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// Most connections to the address of the metrics.
const METRICS_CONNECTIONS: usize = 16;
/// Most bytes of the head of a request.
const HEAD_BYTES: usize = 16 * 1024;
/// How long no connection is accepted after the system could not give one.
const BREATH: Duration = Duration::from_millis(100);

/// A receiver that has its ports and its log.
pub struct Listener {
    notifications: Door,
    metrics: Option<Door>,
    certificate: Option<tls::Files>,
    subscription: Subscription,
    thread: JoinHandle<()>,
    stop_time: Duration,
}

/// An address and what is served there.
struct Door {
    listener: TcpListener,
    served: Option<Served>,
    router: TowerToHyperService<Router>,
    slots: Slots,
    header_time: Duration,
}

impl Listener {
    /// Opens ports and log; to be called inside a runtime. The settings are
    /// checked ones.
    ///
    /// # Errors
    /// By class configuration when the certificate cannot be used, by class I/O
    /// when a port is taken or the log cannot be written, by class temporary when
    /// another listener writes to the same directory.
    pub async fn start(settings: &Settings, source: notifications::Settings, clock: Clock) -> Result<Self> {
        let counts = Arc::new(Counts::default());
        let certificate = match (&settings.tls_certificate, &settings.tls_key) {
            (Some(certificate), Some(key)) => Some(tls::Files::open(certificate, key, counts.clone())?),
            _ => None,
        };
        let listener = bind(settings.address, "address").await?;
        let beside = match settings.metrics_address {
            Some(address) => Some(bind(address, "metrics_address").await?),
            None => None,
        };
        let log = LogFiles::open(&settings.directory, settings.rotate_bytes)?;
        let (writer, thread) = Writer::start(log, counts.clone(), clock)?;
        let subscription = Subscription { counts: counts.clone(), asked: Arc::default() };
        let shared = Arc::new(Shared {
            source,
            max_body_bytes: settings.max_body_bytes,
            body_time: time(settings.body_seconds),
            answer_time: time(settings.answer_seconds),
            counts: counts.clone(),
            asked: subscription.asked.clone(),
            writer,
        });
        let (health, metrics) = (answers::health(&counts), answers::metrics(&counts));
        let posts = answers::posts(&shared);
        let header_time = time(settings.header_seconds);
        let (router, metrics) = match beside {
            Some(listener) => (posts, Some((listener, health.merge(metrics)))),
            // How much is called is nobody's business elsewhere.
            None if settings.address.ip().is_loopback() => (posts.merge(health).merge(metrics), None),
            None => (posts.merge(health), None),
        };
        let metrics = metrics.map(|(listener, router)| Door {
            listener,
            served: None,
            router: TowerToHyperService::new(router),
            slots: Slots::new(METRICS_CONNECTIONS, Arc::default()),
            header_time,
        });
        let slots = Slots::new(settings.max_connections, counts);
        let router = TowerToHyperService::new(router);
        let served = certificate.as_ref().map(tls::Files::served);
        let notifications = Door { listener, served, router, slots, header_time };
        Ok(Self { notifications, metrics, certificate, subscription, thread, stop_time: time(settings.stop_seconds) })
    }

    /// For whoever renews the subscription.
    #[must_use]
    pub fn subscription(&self) -> Subscription {
        self.subscription.clone()
    }

    /// Where notifications are taken.
    ///
    /// # Errors
    /// By class I/O when the system does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        self.notifications.address()
    }

    /// Where health and metrics are served, if that is elsewhere.
    ///
    /// # Errors
    /// By class I/O when the system does not say.
    pub fn metrics_address(&self) -> Result<Option<SocketAddr>> {
        self.metrics.as_ref().map(Door::address).transpose()
    }

    /// Serves until `stop`, then ends what is under way.
    ///
    /// # Errors
    /// By class I/O when the thread of the log has failed.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<()> {
        let (stopping, stopped) = watch::channel(false);
        let mut doors = JoinSet::new();
        doors.spawn(self.notifications.serve(stopped.clone(), self.stop_time));
        if let Some(metrics) = self.metrics {
            doors.spawn(metrics.serve(stopped.clone(), self.stop_time));
        }
        if let Some(certificate) = self.certificate {
            doors.spawn(certificate.watch(stopped));
        }
        stop.await;
        let _ = stopping.send(true);
        while doors.join_next().await.is_some() {}
        // No handle of the writer is left, so that its thread ends with the last line.
        let thread = self.thread;
        match tokio::task::spawn_blocking(move || thread.join()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Error::new(Class::Io, "The thread of the notification log has failed")
                .hint("look for the lines above; posts that were answered with 202 are in the log")),
        }
    }
}

async fn bind(address: SocketAddr, key: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| {
        Error::new(Class::Io, format!("Cannot listen on {address}"))
            .hint(format!("give [listen] {key} an address of this machine and a free port that the user may open"))
            .because(e)
    })
}

impl Door {
    fn address(&self) -> Result<SocketAddr> {
        let address = self.listener.local_addr();
        address.map_err(|e| Error::new(Class::Io, "The system does not say which address was bound").because(e))
    }

    async fn serve(self, mut stopped: watch::Receiver<bool>, stop_time: Duration) {
        let mut connections = JoinSet::new();
        let for_connections = stopped.clone();
        loop {
            tokio::select! {
                () = told(&mut stopped) => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if let Some((slot, closed)) = self.slots.take() {
                            connections.spawn(self.connection(stream, slot, closed, for_connections.clone()));
                        }
                    }
                    Err(error) => {
                        tracing::debug!(kind = %error.kind(), "no connection could be accepted");
                        tokio::time::sleep(BREATH).await;
                    }
                },
            }
        }
        drop(self.listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(stop_time, ended).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections that did not end in time are closed");
        }
        connections.shutdown().await;
    }

    /// One connection from its first byte to its end.
    fn connection(
        &self,
        stream: TcpStream,
        slot: Slot,
        closed: oneshot::Receiver<()>,
        stopped: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let acceptor = self.served.as_ref().map(Served::acceptor);
        let (router, header_time) = (self.router.clone(), self.header_time);
        async move {
            let _ = stream.set_nodelay(true);
            let served = async {
                match acceptor {
                    None => http(stream, router, Arc::new(slot), header_time, stopped).await,
                    Some(acceptor) => {
                        if let Ok(Ok(stream)) = tokio::time::timeout(header_time, acceptor.accept(stream)).await {
                            http(stream, router, Arc::new(slot), header_time, stopped).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = served => {}
                _ = closed => {}
            }
        }
    }
}

/// Waits until the end is wanted.
pub(super) async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: TowerToHyperService<Router>,
    slot: Arc<Slot>,
    header_time: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(slot.clone());
        router.call(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_time)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = told(&mut stopped) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
