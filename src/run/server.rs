//! A server from its start to its end: ports, store, certificate, desks, control socket; then the signals, and down
//! again in the reverse order.
//!
//! Ports are bound first, so that one in use is told before a long rebuild; clients that come meanwhile are told to
//! come again. Nothing is served before everything is there.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use sd_notify::NotifyState;
use store::{AccountId, Mode, Store};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use wire::machine::Away;

use super::signals::{Asked, Hangup, Signals};
use super::{Error, limits, storage};
use crate::admin::control::Control;
use crate::admin::{Admin, CertificateStatus, Facts, ListenerStatus, ServerStatus};
use crate::clock;
use crate::config::{Address, Config};
use crate::disk;
use crate::flow::dkim::Keyring;
use crate::flow::queue::Queue;
use crate::login::Door;
use crate::net::{self, Bound, Gate, Listening, Meter, Service, Side, Stopper, Terms};
use crate::tls::{self, Certificates};

/// How long the lock is waited for: the server that ran before may be closing its store.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// How long clients wait in the backlog while the store is opened before they are told to come again.
const MOMENT: Duration = Duration::from_secs(2);
/// What connections get to finish at the end. `net` closes what is left; this only bounds the waiting for it.
const GRACE: Duration = Duration::from_secs(30);
/// What the closing itself may take on top.
const CLOSING: Duration = Duration::from_secs(10);

/// How often keys are looked for that have retired.
const KEYS_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// How often the store is asked whether it takes new mail, for the log.
const HEALTH_EVERY: Duration = Duration::from_secs(5);

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Smtp,
    Submissions,
    Submission,
    Imap,
    Imaps,
    Pop3,
    Pop3s,
}

impl Protocol {
    /// All, in the order in which they are shown.
    pub const ALL: [Protocol; 7] = [
        Protocol::Smtp,
        Protocol::Submissions,
        Protocol::Submission,
        Protocol::Imap,
        Protocol::Imaps,
        Protocol::Pop3,
        Protocol::Pop3s,
    ];

    /// Its name: the key in the configuration, in logs, and in what the demo prints.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Smtp => "smtp",
            Protocol::Submissions => "submissions",
            Protocol::Submission => "submission",
            Protocol::Imap => "imap",
            Protocol::Imaps => "imaps",
            Protocol::Pop3 => "pop3",
            Protocol::Pop3s => "pop3s",
        }
    }

    /// Whether connections begin inside TLS.
    #[must_use]
    pub fn implicit_tls(self) -> bool {
        matches!(self, Protocol::Submissions | Protocol::Imaps | Protocol::Pop3s)
    }

    /// Where the configuration wants it.
    #[must_use]
    pub fn addresses(self, config: &Config) -> &[Address] {
        let listen = &config.listen;
        match self {
            Protocol::Smtp => &listen.smtp,
            Protocol::Submissions => &listen.submissions,
            Protocol::Submission => &listen.submission,
            Protocol::Imap => &listen.imap,
            Protocol::Imaps => &listen.imaps,
            Protocol::Pop3 => &listen.pop3,
            Protocol::Pop3s => &listen.pop3s,
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A port that is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where; the port that the system chose, if it was asked to.
    pub address: SocketAddr,
}

/// A server that has everything it needs, and listens to nobody yet.
pub struct Server {
    config: Arc<Config>,
    signals: Signals,
    bound: Vec<(Protocol, Bound)>,
    store: Store,
    door: Door,
    keyring: Keyring,
    queue: Queue,
    world: Option<AccountId>,
    certificates: Arc<Certificates>,
}

/// A server at work.
pub struct Running {
    signals: Signals,
    store: Store,
    admin: Admin,
    control: Control,
    certificates: Arc<Certificates>,
    stopper: Stopper,
    listening: Vec<Listening>,
    listeners: Vec<Listener>,
    couriers: JoinHandle<()>,
}

impl Server {
    /// Binds the ports, opens the store, and gets a certificate. Signals no longer kill the process from here on.
    ///
    /// `condemned` is called, from any thread, when the index has failed: it ends the process with status 75.
    ///
    /// # Errors
    /// When any of them is not to be had.
    pub async fn open(
        config: Config,
        hangup: Hangup,
        condemned: storage::Condemned,
    ) -> Result<Server, Error> {
        let config = Arc::new(config);
        let io = |what: &str, why| Error::Io { what: what.into(), why };
        let mut signals = Signals::listen(hangup).map_err(|why| io("signals cannot be listened to", why))?;
        limits::raise_open_files(config.limits.connections);
        let bound = bind_all(&config)?;

        // The first octets of randomness take 20 ms: the library gathers them from the processor's jitter. The
        // certificate needs some, so it is begun beside the store.
        tokio::task::spawn_blocking(|| aws_lc_rs::rand::fill(&mut [0]));
        let directory = config.data_dir.clone();
        let days = config.undelete_days;
        let opening = tokio::task::spawn_blocking(move || {
            storage::open_with_room(&directory, days, LOCK_WAIT, condemned)
        });
        let opened = tokio::select! {
            opened = opening => opened.map_err(|why| io("the store cannot be opened", why.into()))?,
            // Whoever is opened later is closed by the next opening: nothing was served.
            () = signals.stop() => return Err(Error::Interrupted),
            () = turn_away(&bound) => return Err(Error::Interrupted),
        };
        let (store, opening) = opened?;
        storage::log_opening(&config.data_dir, &opening);
        disk::lend_threads(&store, Handle::current());

        let certificates = Certificates::open(certificate_source(&config), clock::wall().seconds)?;
        let door = Door::new(store.clone(), super::passwords()?, config.limits.failed_logins);
        let queue = disk::blocking(|| super::outbound::queue(&config, &store))?;
        let keyring = Keyring::new(store.clone());
        Ok(Server { config, signals, bound, store, door, keyring, queue, world: None, certificates })
    }

    /// Nothing leaves this host: what would be sent is put into this account's INBOX.
    pub fn keep_world_in(&mut self, account: AccountId) {
        self.world = Some(account);
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// `admin`, before anything is served.
    #[must_use]
    pub fn admin(&self) -> Admin {
        let Server { config, store, door, keyring, .. } = self;
        Admin::new(store.clone(), config.data_dir.clone(), door.clone(), keyring.clone(), None)
    }

    /// Serves from now on. When this returns, every port answers.
    ///
    /// # Errors
    /// When the control socket cannot be made.
    pub fn serve(self) -> Result<Running, Error> {
        let Server { config, signals, bound, store, door, keyring, queue, world, certificates } = self;
        let control = Control::bind(&config.control)?;
        let stopper = Stopper::new();
        let kit = super::desks::Kit::new(&config, &store, &door, &queue, &keyring);
        let smtp = bound.iter().filter(|(protocol, _)| *protocol == Protocol::Smtp);
        let own = super::outbound::own(&config, smtp.map(|(_, bound)| bound.address()).collect());
        let outward = super::outbound::outward(&config, kit.house().clone(), own, stopper.handle(), world)?;
        let waiting = queue.clone();
        let couriers = tokio::spawn(queue.run(Arc::new(outward)));
        let clients = terms(certificates.for_clients()?, &stopper);
        let servers = terms(certificates.for_servers()?, &stopper);
        let gate = Gate::new(config.limits.connections, config.limits.connections_per_address);
        let mut listeners = Vec::with_capacity(bound.len());
        let mut listening = Vec::with_capacity(bound.len());
        for (protocol, bound) in bound {
            let listener = Listener { protocol, address: bound.address() };
            let service = Service {
                gate: Arc::clone(&gate),
                terms: Arc::clone(if protocol == Protocol::Smtp { &servers } else { &clients }),
                implicit_tls: protocol.implicit_tls(),
                refusal: super::desks::turned_away(protocol, Away::TooMany).into(),
            };
            listening.push(kit.serve(protocol, bound, service));
            tracing::info!(%protocol, address = %listener.address, "listening");
            listeners.push(listener);
        }
        let facts = facts(&config, &certificates, listening.iter().map(Listening::meter).collect());
        let admin = Admin::new(store.clone(), config.data_dir.clone(), door, keyring, Some(facts))
            .with_queue(waiting);
        Ok(Running { signals, store, admin, control, certificates, stopper, listening, listeners, couriers })
    }
}

impl Running {
    /// What is listened on.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// The certificate in use.
    #[must_use]
    pub fn certificate(&self) -> CertificateStatus {
        certificate_status(&self.certificates)
    }

    /// `admin`, as the control socket has it.
    #[must_use]
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// Serves until a signal ends it; then no new work, time for what is under way, and the store closed.
    pub async fn until_stopped(self) {
        let Running {
            mut signals, store, admin, control, certificates, stopper, listening, couriers, ..
        } = self;
        notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
        let imports = admin.clone();
        let mut helpers = JoinSet::new();
        helpers.spawn(Arc::clone(&certificates).keep_looking(|| clock::wall().seconds));
        helpers.spawn(tell_of_health(store.clone()));
        helpers.spawn(tend_keys(admin.clone()));
        helpers.spawn(async move {
            let transfers = admin.clone();
            let answer = move |request| {
                let admin = admin.clone();
                async move { admin.answer(request).await }
            };
            control.serve(answer, move |request, stream| transfers.transfer(request, stream)).await;
        });
        while signals.next().await == Asked::Reload {
            tracing::info!("SIGHUP: the certificate is read again");
            certificates.look_and_log(true, clock::wall().seconds);
        }

        tracing::info!("stopping: no new connections, up to 30 seconds for what is under way");
        notify(&[NotifyState::Stopping, NotifyState::Status("waiting for what is under way")]);
        stopper.stop();
        let ending = tokio::task::spawn_blocking(move || imports.end_imports(CLOSING));
        let all = async {
            for one in listening {
                one.finished().await;
            }
            if let Err(error) = couriers.await {
                tracing::error!(%error, "delivery to other hosts ended badly");
            }
            // Each of them tells its command how it ended.
            drop(ending.await);
        };
        tokio::select! {
            () = all => {}
            () = tokio::time::sleep(GRACE + CLOSING) => tracing::warn!("some connections did not end in time"),
            () = signals.stop() => tracing::warn!("asked a second time: not waiting for connections"),
        }
        // The control socket goes with its task: commands given from here on wait for the lock.
        helpers.shutdown().await;
        notify(&[NotifyState::Status("closing the store")]);
        let closing = tokio::task::spawn_blocking(move || store.close());
        match tokio::time::timeout(CLOSING, closing).await {
            Ok(Ok(Ok(()))) => tracing::info!("stopped"),
            Ok(Ok(Err(error))) => {
                tracing::error!(%error, "the store did not close cleanly: the next start reads its log")
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the store did not close cleanly: the next start reads its log")
            }
            Err(_) => tracing::error!("the store did not close in time: the next start reads its log"),
        }
    }
}

/// A rebuild takes its time: whoever comes meanwhile is told to come again, once it is more than a moment. Never ends.
async fn turn_away(bound: &[(Protocol, Bound)]) {
    tokio::time::sleep(MOMENT).await;
    let mut doors: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = Vec::with_capacity(bound.len());
    for (protocol, bound) in bound {
        // Inside TLS nothing can be said before the handshake.
        let words = match protocol.implicit_tls() {
            true => Vec::new(),
            false => super::desks::turned_away(*protocol, Away::Opening),
        };
        doors.push(Box::pin(bound.turn_away(words)));
    }
    poll_fn(|cx| {
        for door in &mut doors {
            // None of them ends.
            let _ = door.as_mut().poll(cx);
        }
        Poll::Pending
    })
    .await
}

/// Looks after the domains' keys, for ever.
async fn tend_keys(admin: Admin) {
    loop {
        if let Err(error) = admin.tend_keys(clock::wall().seconds).await {
            tracing::error!(%error, "DKIM keys could not be looked after");
        }
        tokio::time::sleep(KEYS_EVERY).await;
    }
}

/// Logs, for ever, when the store stops taking new mail and when it takes it again, and when it makes no snapshots.
async fn tell_of_health(store: Store) {
    let mut last = Mode::Serving;
    let mut no_snapshot = None;
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    let mut frozen = false;
    let mut no_space = None;
    loop {
        let health = store.health();
        for error in &health.disk_errors {
            // One line for each file and look, not one for each sector.
            let known = told.insert(error.file.clone(), error.count);
            if known != Some(error.count) {
                let (file, count, what) = (&error.file, error.count, &error.what);
                tracing::error!(
                    file,
                    count,
                    what,
                    "THE DISK FAILED: `penfold status` and `penfold verify` say more"
                );
            }
        }
        if health.time_frozen != frozen {
            frozen = health.time_frozen;
            if frozen {
                tracing::warn!(
                    "the clock jumped: nothing is given up for its age for a day, or until `penfold clock accept`"
                );
            }
        }
        if health.snapshot_failed != no_snapshot {
            no_snapshot = health.snapshot_failed;
            if let Some(why) = &no_snapshot {
                tracing::warn!(
                    why,
                    "no snapshot was made: nothing is lost, it is tried again, but look at the disk"
                );
            }
        }
        if health.compaction_failed != no_space {
            no_space = health.compaction_failed;
            if let Some(why) = &no_space {
                tracing::warn!(why, "the space of deleted mail was not given back: look at the disk");
            }
        }
        if health.mode != last {
            let free = health.free;
            match health.mode {
                Mode::Serving => tracing::info!(free, "there is room again: new mail is taken"),
                Mode::LowSpace => {
                    tracing::warn!(free, "the disk is nearly full: new mail is refused until there is room")
                }
                Mode::Closed => return,
                Mode::ReadOnly => tracing::error!(
                    "the store is read-only after a failed write: look at the disk, then restart"
                ),
            }
            last = health.mode;
        }
        tokio::time::sleep(HEALTH_EVERY).await;
    }
}

fn bind_all(config: &Config) -> Result<Vec<(Protocol, Bound)>, Error> {
    let mut bound = Vec::new();
    for protocol in Protocol::ALL {
        for address in protocol.addresses(config) {
            match net::bind(protocol.name(), address.0) {
                Ok(one) => bound.push((protocol, one)),
                Err(error) if error.is_no_such_family() => {
                    tracing::info!(%protocol, %address, "not listening: this host has no such addresses");
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(bound)
}

fn terms(tls: Arc<rustls::ServerConfig>, stopper: &Stopper) -> Arc<Terms> {
    Arc::new(Terms { tls: Some(Side::Server(tls)), stop: stopper.handle(), grace: GRACE, ..Terms::default() })
}

fn certificate_source(config: &Config) -> tls::Source {
    match (&config.tls.certificate, &config.tls.key) {
        (Some(certificate), Some(key)) => {
            tls::Source::Files { certificate: certificate.clone(), key: key.clone() }
        }
        _ => {
            let mut names = vec![config.hostname()];
            names.extend(
                config.tls.names.iter().filter(|name| **name != names[0]).cloned().collect::<Vec<_>>(),
            );
            tls::Source::Own { dir: config.data_dir.join("tls"), names }
        }
    }
}

fn certificate_status(certificates: &Certificates) -> CertificateStatus {
    let facts = certificates.facts();
    CertificateStatus {
        names: facts.names.clone(),
        expires: jiff::Timestamp::from_second(facts.not_after)
            .map_or_else(|_| "unknown".into(), |t| t.to_string()),
        fingerprint: facts.fingerprint.clone(),
        self_signed: facts.self_signed,
        file: facts.file.display().to_string(),
    }
}

/// What `status` asks of a running server.
fn facts(config: &Arc<Config>, certificates: &Arc<Certificates>, meters: Vec<Meter>) -> Facts {
    let (hostname, certificates) = (config.hostname(), Arc::clone(certificates));
    let since = clock::monotonic();
    Arc::new(move || ServerStatus {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        hostname: hostname.clone(),
        uptime_seconds: clock::monotonic().saturating_sub(since).as_secs(),
        listeners: meters
            .iter()
            .map(|meter| {
                let figures = meter.figures();
                ListenerStatus {
                    protocol: figures.proto.into(),
                    address: figures.address.to_string(),
                    open: u64::try_from(figures.now).unwrap_or(u64::MAX),
                    total: figures.total,
                    refused: figures.refused,
                }
            })
            .collect(),
        certificate: certificate_status(&certificates),
    })
}

/// Tells systemd, where it listens.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
