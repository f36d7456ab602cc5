//! Connections that we begin: to other mail servers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use wire::machine::{Machine, TlsFacts};

use super::drive::drive_link;
use super::link::Link;
use super::{Desk, Done, Error, Terms};

/// Why nobody was reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Our own address that it should come from cannot be used.
    #[error("connecting from {from}: {source}")]
    From {
        /// Our address.
        from: IpAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The system or the peer refused.
    #[error("connecting to {to}: {source}")]
    Refused {
        /// The peer.
        to: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody answered.
    #[error("connecting to {to}: no answer within {within:?}")]
    TimedOut {
        /// The peer.
        to: SocketAddr,
        /// The time it had.
        within: Duration,
    },
}

impl DialError {
    /// Whether this host has no way to such addresses (no IPv6, say), so that it says nothing about the peer.
    #[must_use]
    pub fn is_no_route(&self) -> bool {
        let (DialError::From { source, .. } | DialError::Refused { source, .. }) = self else { return false };
        matches!(
            source.kind(),
            io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::AddrNotAvailable
                | io::ErrorKind::Unsupported
                | io::ErrorKind::NetworkDown
        ) || source.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
    }
}

/// A connection that we have begun.
pub struct Dialled {
    link: Link<TcpStream>,
    peer: SocketAddr,
    local: SocketAddr,
}

/// Connects. `from`: our own address to come from, of the same family; else the system chooses.
///
/// # Errors
/// When nobody was reached in time.
pub async fn dial(to: SocketAddr, from: Option<IpAddr>, within: Duration) -> Result<Dialled, DialError> {
    let refused = |source| DialError::Refused { to, source };
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(refused)?;
    if let Some(from) = from {
        let failed = |source| DialError::From { from, source };
        socket.bind(SocketAddr::new(from, 0)).map_err(failed)?;
    }
    let connecting = timeout(within, socket.connect(to));
    let stream = connecting.await.map_err(|_| DialError::TimedOut { to, within })?.map_err(refused)?;
    // What belongs together is written together; Nagle's waiting would only cost round trips.
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().map_err(refused)?;
    Ok(Dialled { link: Link::Plain(stream), peer: to, local })
}

impl Dialled {
    /// The peer's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Our own.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The TLS handshake at once, for servers that want it so (RFC 8314 s.3.3), with the side and the time of `terms`.
    ///
    /// # Errors
    /// When it fails; the connection is gone then.
    pub async fn secure(mut self, terms: &Terms) -> Result<(Dialled, TlsFacts), Error> {
        let side = terms.tls.clone().ok_or(Error::Machine("TLS without a side of it"))?;
        let facts = self.link.secure(side, terms.handshake_within).await?;
        Ok((self, facts))
    }

    /// The stream, if TLS has not begun.
    pub(super) fn into_stream(self) -> Option<TcpStream> {
        match self.link {
            Link::Plain(stream) => Some(stream),
            _ => None,
        }
    }

    /// Drives a machine over it until it closes or fails, as [`super::drive`] does.
    pub fn drive<M, D>(self, machine: M, desk: D, terms: Arc<Terms>) -> impl Future<Output = Done> + Send
    where
        M: Machine<Question = D::Question, Answer = D::Answer> + Send,
        D: Desk,
    {
        drive_link(self.link, machine, desk, terms)
    }
}
