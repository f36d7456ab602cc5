//! One connection's worth of work for one destination: its hosts are found, tried in their order as safely as they must be,
//! and given what waits, message after message.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use wire::addr::Domain;
use wire::limits;

use super::Queue;
use super::connection::{After, Stop};
use super::course::{Course, Shared, Work, lock};
use super::lease::Lease;
use super::line::{self, Entry, Trouble};
use super::outward::{Outward, Relay, When};
use super::report::with_code;
use super::settle::{Came, Tried, Via, settle_all};
use super::waiting::Destination;
use crate::dns::Addresses;
use crate::flow::route_out::{self, Hop, NoRoute, Own, Resolved};
use crate::flow::secure::{self, Asked, Facts, Need, Unsafe, sts};

/// When no host of a destination was reached, or those that were took nothing and ended the connection, seconds before
/// another message makes us try again; less where the schedule has shorter waits.
const PAUSE: i64 = 30;

/// What a message asks of its way.
pub(super) fn asked(entry: &Entry) -> Asked {
    match entry {
        Entry { require_tls: true, .. } => Asked::RequireTls,
        Entry { tls_optional: true, .. } => Asked::NotRequired,
        _ => Asked::Nothing,
    }
}

/// A courier's run.
pub(super) struct Courier {
    pub(super) outward: Arc<Outward>,
    pub(super) queue: Queue,
    pub(super) to: Destination,
    pub(super) course: Shared,
    pub(super) asked: Asked,
}

impl Courier {
    /// Takes the first message, if there is one.
    pub(super) fn new(outward: &Arc<Outward>, queue: &Queue, to: &Destination) -> Option<Courier> {
        let lease = queue.lease(to)?;
        let asked = asked(&lease.queued.entry);
        let course = Arc::new(Mutex::new(Course { work: Some(Work::new(lease)), ..Course::default() }));
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
        self.put_off().await;
        if let Err(came) = done {
            self.nobody(came).await;
        }
        let (cut_off, took) = {
            let course = lock(&self.course);
            (course.cut_off, course.took)
        };
        if cut_off && !took {
            // It may be so with each message: they do not come one behind the other.
            self.queue.rest(&self.to, self.pause());
        }
    }

    /// What hosts have put off, and no other took, waits for its next round.
    async fn put_off(&self) {
        let mut all: Vec<Work> = lock(&self.course).put_off.drain(..).collect();
        let tried = all.iter_mut().map(|work| {
            let came = std::mem::take(&mut work.said);
            Tried { lease: &mut work.lease, came }
        });
        if let Err(error) = settle_all(&self.outward.house, tried.collect()).await {
            tracing::error!(%error, "what came of tries could not be written down");
        }
    }

    /// Whether it is time to go by the relay, since the direct way does not work.
    fn wants(&self, relay: &Relay) -> bool {
        let most = |work: &Work| work.lease.recipients.iter().map(|(_, recipient)| recipient.tries).max();
        let tries = lock(&self.course).work.as_ref().and_then(most);
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
        for (n, Resolved { hop, addresses }) in hosts.iter().enumerate() {
            let addresses = match addresses {
                Ok(addresses) => addresses,
                Err(error) => {
                    self.trouble(Trouble::new(&hop.host, format!("its addresses: {error}")));
                    continue;
                }
            };
            let deciding =
                self.unless_stopped(self.need(&domain, hop, addresses, hops.secure, policy.as_ref()));
            let need = match deciding.await {
                None => return Ok(()),
                Some(Ok(need)) => need,
                Some(Err(error)) => {
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
            let behind = hosts.iter().skip(n + 1).any(|host| host.addresses.is_ok());
            let mut ips = route_out::order(addresses, *families, &mut random).into_iter().peekable();
            while let Some(ip) = ips.next() {
                let (at, more) = (SocketAddr::new(ip, *port), behind || ips.peek().is_some());
                let stop = Stop { host: &hop.host, at, need: &need, plain: "", relay: None, more };
                match self.host(stop).await {
                    After::Nothing => return Ok(()),
                    After::Next => {}
                    After::Better => {
                        // Better hosts were tried before it.
                        let with_it = Own { addresses: vec![ip.to_canonical()], ..Own::default() };
                        let better = route_out::reachable(&domain, &hops, hosts.clone(), &with_it);
                        return match better {
                            Err(error) if lock(&self.course).work.is_some() => Err(no_route(error)),
                            _ => self.nobody_took_it(never_safe),
                        };
                    }
                }
            }
        }
        self.nobody_took_it(never_safe)
    }

    /// How safe the way to one of its hosts must be.
    async fn need(
        &self,
        domain: &Domain,
        hop: &Hop,
        addresses: &Addresses,
        mx_secure: bool,
        sts: Option<&sts::Policy>,
    ) -> Result<Need, Unsafe> {
        let Outward { dns, port, .. } = &*self.outward;
        let dane = match hop.host.literal() {
            // RFC 7672 s.2.2.1: where the MX records prove nothing, TLSA records do not either.
            None if mx_secure => secure::discover(dns, &hop.host, addresses, *port).await,
            _ => Ok(secure::Dane::None),
        };
        secure::decide(Facts { domain, host: &hop.host, mx_secure, dane: &dane, sts, asked: self.asked })
    }

    /// The end of the list. What hosts have put off has come to something.
    fn nobody_took_it(&self, never_safe: Option<String>) -> Result<(), Came> {
        let mut course = lock(&self.course);
        let trouble = course.trouble.take();
        match never_safe {
            _ if course.work.is_none() => Ok(()),
            Some(what) => Err(Came::Never(Trouble::new("", with_code((5, 7, 30), what)))),
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
        let plain = if relay.plain { "no TLS is asked of the relay (`tls = \"none\"`)" } else { "" };
        let mut ips = addresses.into_iter().peekable();
        while let Some(ip) = ips.next() {
            let (at, more) = (SocketAddr::new(ip, relay.port), ips.peek().is_some());
            let stop = Stop { host: &relay.host, at, need: &need, plain, relay: Some(relay), more };
            if self.host(stop).await == After::Nothing {
                return Ok(());
            }
        }
        let mut course = lock(&self.course);
        let trouble = course.trouble.take();
        match course.work {
            None => Ok(()),
            Some(_) => Err(Came::Later(
                trouble.unwrap_or_else(|| Trouble::new(&relay.host, "the relay has no address")),
            )),
        }
    }

    /// Waits for what leads up to a connection; `None` when the server stops meanwhile: then the message is given back.
    pub(super) async fn unless_stopped<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = what => Some(done),
            () = self.outward.stop.clone().stopped() => {
                lock(&self.course).give_back();
                None
            }
        }
    }

    fn pause(&self) -> i64 {
        PAUSE.min(self.queue.settings().schedule.shortest())
    }

    pub(super) fn trouble(&self, trouble: Trouble) {
        lock(&self.course).trouble = Some(trouble);
    }

    /// Nobody could be reached, or nobody is there: what is due for this destination learns it, many messages in a commit.
    /// Where a host was ready for mail, it is only the message under way that nobody took.
    async fn nobody(&self, came: Came) {
        let later = matches!(came, Came::Later(_));
        let ready = later && lock(&self.course).ready;
        let all = !later || !(ready || matches!(self.asked, Asked::RequireTls));
        if later && !ready {
            self.queue.unreached(&self.to, self.pause());
        }
        let via = Arc::new(Via::default());
        let first = lock(&self.course).work.take();
        let mut leases: Vec<Lease> = first.into_iter().map(|work| work.lease).collect();
        let mut more = all;
        loop {
            let mut lines: usize = leases.iter().map(|lease| lease.recipients.len()).sum();
            // There may be a hundred thousand of them: what is left when the server stops waits as it is.
            more &= !self.outward.stop.is_stopped();
            while more && lines < limits::SETTLED_TOGETHER {
                match self.queue.lease(&self.to) {
                    Some(lease) if asked(&lease.queued.entry) == self.asked => {
                        lines += lease.recipients.len();
                        leases.push(lease);
                    }
                    other => {
                        other.into_iter().for_each(Lease::give_back);
                        more = false;
                    }
                }
            }
            if leases.is_empty() {
                return;
            }
            let tried = leases.iter_mut().map(|lease| {
                let came = lease.recipients.iter().map(|(number, _)| (*number, came.clone(), via.clone()));
                Tried { came: came.collect(), lease }
            });
            if let Err(error) = settle_all(&self.outward.house, tried.collect()).await {
                tracing::error!(%error, "what came of tries could not be written down");
                return;
            }
            leases.clear();
        }
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
