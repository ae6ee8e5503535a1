//! SIGINT and SIGTERM: the first stops cleanly, the second at once.

use crate::error::{Class, Error, Result};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// What a verb that fetches does at the first signal.
pub const COMMITS: &str = "stopping: no new requests; what is fetched is committed";

/// Whether the process was asked to stop.
#[derive(Clone, Debug)]
pub struct Shutdown {
    signal: watch::Receiver<Option<u8>>,
}

impl Shutdown {
    /// Listens for signals; to be called inside a runtime.
    #[must_use]
    pub fn listen() -> Self {
        Self::listen_and_say(COMMITS)
    }

    /// Listens for signals on a thread, for as long as the runtime is kept; the first
    /// one logs `says`.
    ///
    /// # Errors
    /// By class I/O when the system gives no thread.
    pub fn beside(says: &'static str) -> Result<(Runtime, Self)> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|e| Error::new(Class::Io, "Cannot start the runtime").because(e))?;
        let shutdown = runtime.block_on(async { Self::listen_and_say(says) });
        Ok((runtime, shutdown))
    }

    fn listen_and_say(says: &'static str) -> Self {
        let (sender, signal) = watch::channel(None);
        // At once: a signal that comes before the task runs is not to kill.
        let mut signals = Signals::new();
        tokio::spawn(async move {
            let code = signals.next().await;
            tracing::warn!("{says}");
            let _ = sender.send(Some(code));
            let code = signals.next().await;
            std::process::exit(i32::from(code));
        });
        Self { signal }
    }

    /// Whether a signal came.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.signal.borrow().is_some()
    }

    /// The exit code of the signal that came.
    #[must_use]
    pub fn exit_code(&self) -> Option<u8> {
        *self.signal.borrow()
    }

    /// Waits for a signal.
    pub async fn requested(&mut self) {
        if self.signal.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
struct Signals(Option<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)>);

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self(signal(SignalKind::interrupt()).ok().zip(signal(SignalKind::terminate()).ok()))
    }

    async fn next(&mut self) -> u8 {
        let Some((interrupt, terminate)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = interrupt.recv() => 130,
            _ = terminate.recv() => 143,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    const fn new() -> Self {
        Self
    }

    async fn next(&mut self) -> u8 {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        130
    }
}
