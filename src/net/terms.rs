//! What holds for connections, how they are stopped, and how they end.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::watch;

use crate::tls::client::ClientSide;

/// Which side of TLS a connection is.
#[derive(Clone)]
pub enum Side {
    /// It was accepted: we show our certificate.
    Server(Arc<ServerConfig>),
    /// It was dialled: we look at the peer's.
    Client(Arc<ClientSide>),
}

/// What holds for each connection of a listener, or for one that was dialled.
#[derive(Clone)]
pub struct Terms {
    /// For STARTTLS, and for what is inside TLS from the start; without it `Want::Upgrade` is an error.
    pub tls: Option<Side>,
    /// Tells of the server's end.
    pub stop: Stop,
    /// For a TLS handshake.
    pub handshake_within: Duration,
    /// For a peer to take any of the output that waits.
    pub write_within: Duration,
    /// From the server's stop, or the session's (see [`Desk::kicked`]), to the end of the connection, done or not.
    pub grace: Duration,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            tls: None,
            stop: Stop::never(),
            handshake_within: Duration::from_secs(30),
            // RFC 5321 s.4.5.3.2 has no time for replies; a phone in a tunnel comes back within this.
            write_within: Duration::from_secs(5 * 60),
            grace: Duration::from_secs(30),
        }
    }
}

/// Stops what holds a [`Stop`] of it: listeners and connections.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// A new one; nothing is stopped.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "made once, where the server is put together")]
    pub fn new() -> Stopper {
        Stopper(watch::Sender::new(false))
    }

    /// From now on it is stopped.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// What tells of it.
    #[must_use]
    pub fn handle(&self) -> Stop {
        Stop(Some(self.0.subscribe()))
    }
}

/// Tells when a [`Stopper`] has stopped (or has gone, which is the same).
#[derive(Clone, Debug)]
pub struct Stop(Option<watch::Receiver<bool>>);

impl Stop {
    /// One that never stops.
    #[must_use]
    pub fn never() -> Stop {
        Stop(None)
    }

    /// Whether it has stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.as_ref().is_some_and(|stop| *stop.borrow())
    }

    /// Completes once stopped.
    pub async fn stopped(mut self) {
        match &mut self.0 {
            Some(stop) => drop(stop.wait_for(|stopped| *stopped).await),
            None => pending().await,
        }
    }
}

/// Why a connection ended other than by its machine's wish.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("reading: {0}")]
    Read(#[source] io::Error),
    #[error("writing: {0}")]
    Write(#[source] io::Error),
    #[error("the peer took none of what was sent for {0:?}")]
    NotReading(Duration),
    #[error("TLS handshake: {0}")]
    Handshake(#[source] io::Error),
    #[error("TLS handshake not done within {0:?}")]
    HandshakeSlow(Duration),
    #[error("the peer closed the connection in the middle")]
    Ended,
    #[error("not done {0:?} after it was told to stop")]
    Overdue(Duration),
    #[error("a defect of this server: {0}")]
    Machine(&'static str),
}

/// How a connection ended.
#[derive(Debug)]
pub struct Done {
    /// Octets read, inside TLS as the machine saw them.
    pub read: u64,
    /// Octets written, likewise.
    pub written: u64,
    /// Why it ended, if not by the machine's wish.
    pub result: Result<(), Error>,
}
