//! One connection's worth of work for one destination: its hosts are found, tried in their order as safely as they must be,
//! and given what waits, message after message.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wire::addr::Domain;
use wire::limits;
use wire::machine::Peer;
use wire::smtp::client::{Client, Config};

use super::Queue;
use super::deliver::Deliver;
use super::lease::Lease;
use super::line::{self, Entry, Trouble};
use super::outward::{Outward, Relay, When};
use super::report::with_code;
use super::settle::{Came, Via, settle};
use super::waiting::Destination;
use crate::flow::route_out::{self, NoRoute, Resolved};
use crate::flow::secure::{self, Asked, Facts, Need, sts};
use crate::net::{self, DialError, Side, Terms};
use crate::tls::client as tls;

/// When no host of a destination was reached, seconds before another message makes us try again; less where the schedule
/// has shorter waits.
const PAUSE: i64 = 30;

/// What has happened on a connection so far: its desk writes it, the courier reads it when the connection is over.
#[derive(Default)]
pub(super) struct Course {
    /// The message that is under way.
    pub(super) lease: Option<Lease>,
    /// What the matter was, if it did not come to any mail.
    pub(super) trouble: Option<Trouble>,
    /// A message was settled: the host works.
    pub(super) served: bool,
    /// The message was sent, and no reply has come yet.
    pub(super) in_doubt: bool,
}

pub(super) type Shared = Arc<Mutex<Course>>;

pub(super) fn lock(course: &Shared) -> MutexGuard<'_, Course> {
    course.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a message asks of its way.
pub(super) fn asked(entry: &Entry) -> Asked {
    match entry {
        Entry { require_tls: true, .. } => Asked::RequireTls,
        Entry { tls_optional: true, .. } => Asked::NotRequired,
        _ => Asked::Nothing,
    }
}

/// How one connection ended.
enum End {
    /// Mail went over it.
    Served,
    /// TLS did not work, and need not.
    WithoutTls,
    /// It was of no use.
    Useless,
}

/// One host, at one address.
struct Stop<'a> {
    host: &'a Domain,
    at: SocketAddr,
    need: &'a Need,
    relay: Option<&'a Relay>,
}

/// A courier's run.
pub(super) struct Courier {
    outward: Arc<Outward>,
    queue: Queue,
    to: Destination,
    course: Shared,
    asked: Asked,
}

impl Courier {
    /// Takes the first message, if there is one.
    pub(super) fn new(outward: &Arc<Outward>, queue: &Queue, to: &Destination) -> Option<Courier> {
        let lease = queue.lease(to)?;
        let asked = asked(&lease.queued.entry);
        let course = Arc::new(Mutex::new(Course { lease: Some(lease), ..Course::default() }));
        Some(Courier { outward: outward.clone(), queue: queue.clone(), to: to.clone(), course, asked })
    }

    /// Does all that it can do now.
    pub(super) async fn run(self) {
        let relay = self.outward.relay.as_ref().filter(|relay| relay.is_for(&self.to));
        let by_relay_only = relay.filter(|relay| relay.when == When::Always);
        let done = match by_relay_only {
            Some(relay) => self.by(relay).await,
            None => self.direct().await,
        };
        let done = match (done, relay) {
            (Err(Came::Later(trouble)), Some(relay)) if by_relay_only.is_none() && self.wants(relay) => {
                self.by(relay).await.map_err(|_| Came::Later(trouble))
            }
            (done, _) => done,
        };
        if let Err(came) = done {
            self.nobody(came).await;
        }
    }

    /// Whether it is time to go by the relay, since the direct way does not work.
    fn wants(&self, relay: &Relay) -> bool {
        let tries = lock(&self.course)
            .lease
            .as_ref()
            .and_then(|lease| lease.recipients.iter().map(|(_, recipient)| recipient.tries).max());
        match relay.when {
            When::Always => true,
            When::After(n) => tries.is_some_and(|tries| tries + 1 >= n) || self.queue.0.reach.is_blocked(),
        }
    }

    /// To the domain's own hosts.
    async fn direct(&self) -> Result<(), Came> {
        let never =
            |status: (u8, u16, u16), what: String| Came::Never(Trouble::new("", with_code(status, what)));
        let domain = Domain::parse(self.to.as_bytes())
            .map_err(|_| never((5, 1, 2), format!("{} is no domain", self.to)))?;
        let no_route = |error: NoRoute| match error.is_temporary() {
            true => Came::Later(Trouble::new("", with_code(error.status(), &error))),
            false => never(error.status(), error.to_string()),
        };
        let Outward { dns, own, families, port, .. } = &*self.outward;
        let (mx, policy) = match domain.literal() {
            Some(_) => (Ok(no_mx()), None),
            None => {
                let asking =
                    async { tokio::join!(dns.mx(&domain), self.outward.sts.policy(&domain, line::now())) };
                let Some(found) = self.unless_stopped(asking).await else { return Ok(()) };
                found
            }
        };
        let hops = route_out::hops(&domain, mx, own, &mut random).map_err(no_route)?;
        let resolving = self.unless_stopped(route_out::resolve(dns, &hops));
        let Some(resolved) = resolving.await else { return Ok(()) };
        let hosts = route_out::reachable(&domain, &hops, resolved, own).map_err(no_route)?;
        let mut never_safe = None;
        for Resolved { hop, addresses } in hosts {
            let addresses = match addresses {
                Ok(addresses) => addresses,
                Err(error) => {
                    self.trouble(Trouble::new(&hop.host, format!("its addresses: {error}")));
                    continue;
                }
            };
            let dane = match hop.host.literal() {
                // RFC 7672 s.2.2.1: where the MX records prove nothing, TLSA records do not either.
                _ if !hops.secure => Ok(secure::Dane::None),
                Some(_) => Ok(secure::Dane::None),
                None => {
                    let asking = self.unless_stopped(secure::discover(dns, &hop.host, &addresses, *port));
                    let Some(found) = asking.await else { return Ok(()) };
                    found
                }
            };
            let facts = Facts {
                domain: &domain,
                host: &hop.host,
                mx_secure: hops.secure,
                dane: &dane,
                sts: policy.as_ref(),
                asked: self.asked,
            };
            let need = match secure::decide(facts) {
                Ok(need) => need,
                Err(error) => {
                    if !error.is_temporary() {
                        never_safe = Some(error.to_string());
                    }
                    self.trouble(Trouble::new(&hop.host, error));
                    continue;
                }
            };
            if let Some(policy) = &policy {
                testing(policy, &hop.host, &need);
            }
            for ip in route_out::order(&addresses, *families, &mut random) {
                let at = SocketAddr::new(ip, *port);
                if self.host(Stop { host: &hop.host, at, need: &need, relay: None }).await {
                    return Ok(());
                }
            }
        }
        let trouble = lock(&self.course).trouble.take();
        match never_safe {
            Some(what) => Err(never((5, 7, 30), what)),
            None => Err(Came::Later(trouble.unwrap_or_else(|| Trouble::new("", "no host could be tried")))),
        }
    }

    /// To the relay.
    async fn by(&self, relay: &Relay) -> Result<(), Came> {
        let addresses = match relay.host.literal() {
            Some(ip) => vec![ip],
            None => match self.unless_stopped(self.outward.dns.addresses(&relay.host)).await {
                None => return Ok(()),
                Some(Ok(addresses)) => route_out::order(&addresses, self.outward.families, &mut random),
                Some(Err(error)) => {
                    let what = format!("the relay's addresses: {error}");
                    return Err(Came::Later(Trouble::new(&relay.host, what)));
                }
            },
        };
        let need = if relay.plain { Need::None } else { Need::Verified(vec![relay.host.clone()]) };
        for ip in addresses {
            let at = SocketAddr::new(ip, relay.port);
            if self.host(Stop { host: &relay.host, at, need: &need, relay: Some(relay) }).await {
                return Ok(());
            }
        }
        let trouble = lock(&self.course).trouble.take();
        Err(Came::Later(trouble.unwrap_or_else(|| Trouble::new(&relay.host, "the relay has no address"))))
    }

    /// Waits for what leads up to a connection; `None` when the server stops meanwhile: then the message is given back.
    async fn unless_stopped<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = what => Some(done),
            () = self.outward.stop.clone().stopped() => {
                let lease = lock(&self.course).lease.take();
                lease.into_iter().for_each(Lease::give_back);
                None
            }
        }
    }

    /// One address of a host; without TLS as well, if that may be. Says whether mail went there.
    async fn host(&self, stop: Stop<'_>) -> bool {
        match self.connect(&stop).await {
            End::Served => true,
            End::Useless => false,
            End::WithoutTls => {
                if let Some(Trouble { host, what, .. }) = &lock(&self.course).trouble {
                    tracing::info!(host, why = what, "TLS does not work with it: tried without");
                }
                let plain = Stop { need: &Need::None, ..stop };
                matches!(self.connect(&plain).await, End::Served)
            }
        }
    }

    async fn connect(&self, stop: &Stop<'_>) -> End {
        let Stop { host, at, need, relay } = *stop;
        let outward = &*self.outward;
        let dialling =
            self.unless_stopped(net::dial(at, outward.source_for(at.ip()), limits::SMTP_CONNECT_WITHIN));
        let Some(dialled) = dialling.await else { return End::Served };
        let dialled = match dialled {
            Ok(dialled) => dialled,
            Err(error) => {
                if matches!(error, DialError::TimedOut { .. }) && relay.is_none() {
                    self.queue.0.reach.silent(at.ip());
                }
                // That this host has no IPv6 is nobody's fault, and says less than another address.
                if !error.is_no_route() || lock(&self.course).trouble.is_none() {
                    self.trouble(Trouble::new(host, error));
                }
                return End::Useless;
            }
        };
        if relay.is_none() {
            self.queue.0.reach.answered();
        }
        let (name, trust) = need.trust(host);
        let side = match outward.clients.side(&name, trust) {
            Ok(side) => side,
            Err(error) => {
                self.trouble(Trouble::new(host, error));
                return End::Useless;
            }
        };
        let terms = Terms { tls: Some(Side::Client(side)), stop: outward.stop.clone(), ..Terms::default() };
        let (dialled, facts) = match relay.is_some_and(|relay| relay.implicit_tls) {
            false => (dialled, None),
            true => match dialled.secure(&terms).await {
                Ok((dialled, facts)) => (dialled, Some(facts)),
                Err(error) => {
                    self.trouble(Trouble::new(host, tls_words(&error)));
                    return End::Useless;
                }
            },
        };
        let config = Config { name: outward.house.hostname.to_string(), timeouts: outward.timeouts };
        let client = Client::new(config, &Peer { ip: at.ip(), tls: facts });
        let via = Via { host: host.to_string(), ip: at.ip().to_string(), tls: String::new() };
        let desk =
            Deliver::new(&self.outward, &self.queue, &self.to, &self.course, via, need, relay, self.asked);
        let done = dialled.drive(client, desk, Arc::new(terms)).await;
        self.ended(host, need, done.result).await
    }

    /// What a connection that is over came to.
    async fn ended(&self, host: &Domain, need: &Need, result: Result<(), net::Error>) -> End {
        let (lease, served) = {
            let mut course = lock(&self.course);
            let in_doubt = std::mem::take(&mut course.in_doubt);
            (course.lease.take().map(|lease| (lease, in_doubt)), course.served)
        };
        let handshake = matches!(&result, Err(net::Error::Handshake(_) | net::Error::HandshakeSlow(_)));
        let Some((mut lease, in_doubt)) = lease else { return End::Served };
        if let Err(error) = &result {
            self.trouble(Trouble::new(host, tls_words(error)));
        }
        if served && !in_doubt && is_reset(&result) {
            // The host works, and this message had not been sent: it goes over another connection, at once.
            lease.give_back();
            return End::Served;
        }
        if served || in_doubt {
            // The host works; the message that was under way when the connection broke is tried again in its time.
            let trouble = lock(&self.course).trouble.take();
            let mut trouble = trouble.unwrap_or_else(|| Trouble::new(host, "the connection was lost"));
            if in_doubt {
                trouble.what.push_str(" (after the message was sent: it may arrive twice)");
            }
            let came: Vec<_> =
                lease.recipients.iter().map(|(number, _)| (*number, Came::Later(trouble.clone()))).collect();
            let via = Via { host: host.to_string(), ..Via::default() };
            if let Err(error) = settle(&self.outward.house, &mut lease, came, &via).await {
                tracing::error!(id = %lease.queued.id, %error, "what came of a try could not be written down");
            }
            return End::Served;
        }
        lock(&self.course).lease = Some(lease);
        if handshake && *need == Need::Opportunistic { End::WithoutTls } else { End::Useless }
    }

    fn trouble(&self, trouble: Trouble) {
        lock(&self.course).trouble = Some(trouble);
    }

    /// Nobody could be reached, or nobody is there: what is due for this destination learns it.
    async fn nobody(&self, came: Came) {
        let later = matches!(came, Came::Later(_));
        let mut next = lock(&self.course).lease.take();
        let all = later && !matches!(self.asked, Asked::RequireTls);
        if later {
            let shortest = self.queue.settings().schedule.shortest();
            self.queue.unreached(&self.to, PAUSE.min(shortest));
        }
        while let Some(mut lease) = next.take() {
            let came = lease.recipients.iter().map(|(number, _)| (*number, came.clone())).collect();
            if let Err(error) = settle(&self.outward.house, &mut lease, came, &Via::default()).await {
                tracing::error!(id = %lease.queued.id, %error, "what came of a try could not be written down");
                return;
            }
            // There may be a hundred thousand of them: what is left waits as it is.
            if (all || !later) && !self.outward.stop.is_stopped() {
                next = self.queue.lease(&self.to);
            }
            if next.as_ref().is_some_and(|next| asked(&next.queued.entry) != self.asked) {
                next.take().into_iter().for_each(Lease::give_back);
            }
        }
    }
}

/// Whether the connection ended under the message rather than because of it.
fn is_reset(result: &Result<(), net::Error>) -> bool {
    matches!(result, Err(net::Error::Read(_) | net::Error::Write(_) | net::Error::Ended))
}

/// What TLS that failed says, in words.
fn tls_words(error: &net::Error) -> String {
    match error {
        net::Error::Handshake(error) => format!("TLS: {}", tls::why(error)),
        other => other.to_string(),
    }
}

/// RFC 8461 s.5: a policy in testing is only told of.
fn testing(policy: &sts::Policy, host: &Domain, need: &Need) {
    if policy.mode == sts::Mode::Testing && !policy.names(host) {
        tracing::info!(%host, ?need, "MTA-STS (testing): the policy does not name this host");
    }
}

fn no_mx() -> crate::dns::Mx {
    crate::dns::Mx { hosts: Vec::new(), secure: false }
}

/// A number below `n`; what it is for needs no secrecy.
fn random(n: usize) -> usize {
    let mut octets = [0; 8];
    let _ = aws_lc_rs::rand::fill(&mut octets);
    usize::try_from(u64::from_le_bytes(octets) % (n.max(1) as u64)).unwrap_or(0)
}
