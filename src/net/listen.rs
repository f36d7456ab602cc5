//! Listening: bind, accept, let in or refuse, and give each connection its task and its span.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;
use wire::machine::{Machine, Peer};

use super::drive::drive_link;
use super::gate::Gate;
use super::link::Link;
use super::{Desk, Done, Error, Terms};

/// Why an address cannot be listened on. The text says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Something else listens there.
    #[error(
        "{address} ({proto}) is in use, by another mail server? `ss -ltnp 'sport = :{}'` names it: stop it (for \
         example `systemctl disable --now postfix` or `exim4`), or give another address in the section [listen] of \
         the configuration",
        address.port()
    )]
    InUse {
        /// The listener's name.
        proto: &'static str,
        /// What was to be bound.
        address: SocketAddr,
    },
    /// The system does not allow it.
    #[error(
        "no permission to listen on {address} ({proto}): ports below 1024 need root or the capability \
         CAP_NET_BIND_SERVICE, which systemd/penfold.service gives; or give higher ports in the section [listen] of \
         the configuration (`penfold config example` prints one)"
    )]
    NotPermitted {
        /// The listener's name.
        proto: &'static str,
        /// What was to be bound.
        address: SocketAddr,
    },
    /// Anything else: the address is not this host's, IPv6 is switched off.
    #[error("cannot listen on {address} ({proto}): {source}; see the section [listen] of the configuration")]
    Other {
        /// The listener's name.
        proto: &'static str,
        /// What was to be bound.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

impl BindError {
    /// Whether the host has no such address family: an IPv6 default on a host without IPv6 is no error.
    #[must_use]
    pub fn is_no_such_family(&self) -> bool {
        use rustix::io::Errno;
        let Self::Other { source, address, .. } = self else { return false };
        let missing = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL];
        address.ip().is_unspecified()
            && missing.iter().any(|e| source.raw_os_error() == Some(e.raw_os_error()))
    }
}

/// An address that is bound; clients wait until it is served.
#[derive(Debug)]
pub struct Bound {
    proto: &'static str,
    address: SocketAddr,
    socket: TcpListener,
}

/// Binds an address, for the listener that logs and status call `proto`. IPv6 sockets take IPv6 only. To be called
/// inside the runtime.
pub fn bind(proto: &'static str, address: SocketAddr) -> Result<Bound, BindError> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait for the last connections' TIME_WAIT.
        socket.set_reuseaddr(true)?;
        if address.is_ipv6() {
            rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
        }
        socket.bind(address)?;
        socket.listen(1024)
    };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { proto, address },
        io::ErrorKind::PermissionDenied => BindError::NotPermitted { proto, address },
        _ => BindError::Other { proto, address, source },
    };
    let socket = bound().map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok(Bound { proto, address, socket })
}

/// What a listener does with who comes.
#[derive(Clone)]
pub struct Service {
    /// Shared by all listeners.
    pub gate: Arc<Gate>,
    /// What holds for each connection.
    pub terms: Arc<Terms>,
    /// Whether connections begin inside TLS.
    pub implicit_tls: bool,
    /// What a client is told that may not come in: the protocol's own words, CRLF included. Not told inside TLS.
    pub refusal: Arc<[u8]>,
}

/// A connection that was let in, before a word was said.
#[derive(Debug)]
pub struct Accepted {
    /// Its number in this process, as the logs show it.
    pub id: u64,
    /// Who it is from, and TLS if it began so.
    pub peer: Peer,
    /// The address that it came to.
    pub local: SocketAddr,
}

/// A listener at work.
#[derive(Debug)]
pub struct Listening {
    proto: &'static str,
    address: SocketAddr,
    counters: Arc<Counters>,
    done: mpsc::Receiver<()>,
}

#[derive(Debug, Default)]
struct Counters {
    now: AtomicUsize,
    total: AtomicU64,
    refused: AtomicU64,
}

/// What `status` shows of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The listener's name.
    pub proto: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    /// Connections now.
    pub now: usize,
    /// Connections since the start.
    pub total: u64,
    /// Clients that were not let in.
    pub refused: u64,
}

/// A listener's figures, for as long as one likes.
#[derive(Clone, Debug)]
pub struct Meter {
    proto: &'static str,
    address: SocketAddr,
    counters: Arc<Counters>,
}

impl Meter {
    /// The figures now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            proto: self.proto,
            address: self.address,
            now: self.counters.now.load(Ordering::Relaxed),
            total: self.counters.total.load(Ordering::Relaxed),
            refused: self.counters.refused.load(Ordering::Relaxed),
        }
    }
}

impl Listening {
    /// What its figures are read from.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter { proto: self.proto, address: self.address, counters: Arc::clone(&self.counters) }
    }

    /// Completes when it was stopped and the last of its connections has ended.
    pub async fn finished(mut self) {
        while self.done.recv().await.is_some() {}
    }
}

impl Bound {
    /// Where it is bound: the port that the system chose, if it was asked to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Turns everybody away with `words` (the protocol's own, CRLF included). Never ends: to be dropped when the
    /// server is ready to serve.
    pub async fn turn_away(&self, words: Vec<u8>) {
        loop {
            match self.socket.accept().await {
                Ok((stream, _)) => refuse(stream, &words),
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Accepts from now on until the terms' stop: each connection gets a task, a span, and the machine and desk
    /// that `open` makes for it (after the handshake, where connections begin inside TLS).
    pub fn serve<M, D>(
        self,
        service: Service,
        open: impl Fn(Accepted) -> (M, D) + Send + Sync + 'static,
    ) -> Listening
    where
        M: Machine<Question = D::Question, Answer = D::Answer> + Send + 'static,
        D: Desk + 'static,
    {
        // Held by the loop and by every connection; when all are gone, the receiver learns it.
        let (alive, done) = mpsc::channel(1);
        let counters = Arc::new(Counters::default());
        let listening =
            Listening { proto: self.proto, address: self.address, counters: Arc::clone(&counters), done };
        let stop = service.terms.stop.clone();
        let accepting = self.accept(service, counters, Arc::new(open), alive);
        tokio::spawn(async move {
            tokio::select! {
                () = accepting => {}
                () = stop.stopped() => {}
            }
        });
        listening
    }

    /// Never ends by itself: a listener that gives up is a server that is down.
    async fn accept<M, D, F>(
        self,
        service: Service,
        counters: Arc<Counters>,
        open: Arc<F>,
        alive: mpsc::Sender<()>,
    ) where
        M: Machine<Question = D::Question, Answer = D::Answer> + Send + 'static,
        D: Desk + 'static,
        F: Fn(Accepted) -> (M, D) + Send + Sync + 'static,
    {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let proto = self.proto;
        let mut failing = Sparse::default();
        let mut refusing = Sparse::default();
        loop {
            let (stream, from) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    // No descriptor is free (or no memory): what is open goes on, the rest waits in the backlog.
                    if let Some(times) = failing.say() {
                        tracing::warn!(proto, times, %error, "cannot accept connections: raise the limit of open files?");
                    }
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let permit = match service.gate.enter(from.ip()) {
                Ok(permit) => permit,
                Err(why) => {
                    counters.refused.fetch_add(1, Ordering::Relaxed);
                    if let Some(times) = refusing.say() {
                        tracing::info!(proto, peer = %from.ip(), ?why, times, "too many connections");
                    }
                    refuse(stream, if service.implicit_tls { b"" } else { &service.refusal });
                    continue;
                }
            };
            let id = IDS.fetch_add(1, Ordering::Relaxed);
            counters.total.fetch_add(1, Ordering::Relaxed);
            counters.now.fetch_add(1, Ordering::Relaxed);
            let present = Present { counters: Arc::clone(&counters), _permit: permit, _alive: alive.clone() };
            let accepted = Accepted {
                id,
                peer: Peer { ip: from.ip().to_canonical(), tls: None },
                local: stream.local_addr().unwrap_or(self.address),
            };
            let span = tracing::info_span!("conn", proto, id, peer = %accepted.peer.ip);
            let (open, terms, implicit) =
                (Arc::clone(&open), Arc::clone(&service.terms), service.implicit_tls);
            let connection = async move {
                report(&connection(stream, accepted, implicit, &*open, terms).await);
                drop(present);
            };
            tokio::spawn(connection.instrument(span));
        }
    }
}

/// One connection, from the handshake on.
pub(super) async fn connection<M, D>(
    stream: TcpStream,
    mut accepted: Accepted,
    implicit_tls: bool,
    open: &(impl Fn(Accepted) -> (M, D) + Send + Sync),
    terms: Arc<Terms>,
) -> Done
where
    M: Machine<Question = D::Question, Answer = D::Answer> + Send,
    D: Desk,
{
    // Replies are gathered into few writes already; Nagle's waiting would only cost round trips.
    let _ = stream.set_nodelay(true);
    let mut link = Link::Plain(stream);
    if implicit_tls {
        let failed = |error| Done { read: 0, written: 0, result: Err(error) };
        let Some(side) = terms.tls.clone() else {
            return failed(Error::Machine("a listener inside TLS without a certificate"));
        };
        match link.secure(side, terms.handshake_within).await {
            Ok(facts) => accepted.peer.tls = Some(facts),
            Err(error) => return failed(error),
        }
    }
    let (machine, desk) = open(accepted);
    drive_link(link, machine, desk, terms).await
}

/// The one line about how a connection ended.
fn report(Done { read, written, result }: &Done) {
    match result {
        Ok(()) => tracing::debug!(read, written, "closed"),
        Err(error @ Error::Machine(_)) => tracing::error!(read, written, %error, "connection ended"),
        Err(error) => tracing::info!(read, written, %error, "connection ended"),
    }
}

/// Counts a connection for as long as it lives, panics included.
struct Present {
    counters: Arc<Counters>,
    _permit: super::gate::Permit,
    _alive: mpsc::Sender<()>,
}

impl Drop for Present {
    fn drop(&mut self) {
        self.counters.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says the refusal if the socket takes it at once, and closes.
fn refuse(stream: TcpStream, words: &[u8]) {
    if let Ok(mut stream) = stream.into_std() {
        // The socket is non-blocking: nobody waits for who may not come in.
        let _ = stream.write(words);
    }
}

/// Errors of accept(2) that concern the one connection that was about to come.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Lets a line through once in ten seconds, and counts the ones it held back.
#[derive(Default)]
struct Sparse {
    last: Option<Instant>,
    held: u64,
}

impl Sparse {
    fn say(&mut self) -> Option<u64> {
        self.held += 1;
        let now = Instant::now();
        if self.last.is_some_and(|last| now - last < Duration::from_secs(10)) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held))
    }
}
