//! Signals: SIGTERM and SIGINT end the server, politely the first time; SIGHUP has the certificate read again,
//! or ends what ran on a terminal.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To end.
    Stop,
    /// To read the certificate again.
    Reload,
}

/// The signals that are listened to, from its making on.
#[derive(Debug)]
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    hangup: Hangup,
}

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// A service: the certificate is to be read again.
    Reloads,
    /// A program on somebody's terminal: that is gone.
    Ends,
}

impl Signals {
    /// From now on these signals no longer kill the process.
    pub(super) fn listen(hangup: Hangup) -> io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            hangup,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.term.recv() => Asked::Stop,
            _ = self.int.recv() => Asked::Stop,
            _ = self.hup.recv() => match self.hangup {
                Hangup::Reloads => Asked::Reload,
                Hangup::Ends => Asked::Stop,
            },
        }
    }

    /// The next one that asks to end.
    pub(super) async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }
}
