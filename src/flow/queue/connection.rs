//! One connection of a courier to one address of a host, and what it came to.

use std::net::SocketAddr;
use std::sync::Arc;

use wire::addr::Domain;
use wire::limits;
use wire::machine::Peer;
use wire::smtp::client::{Client, Config};

use super::courier::Courier;
use super::course::lock;
use super::deliver::{Deliver, IN_DOUBT, Way};
use super::lease::Lease;
use super::line::Trouble;
use super::outward::Relay;
use super::settle::{Came, Fared, Via, settle};
use crate::flow::secure::Need;
use crate::net::{self, DialError, Side, Terms};
use crate::tls::client as tls;

/// How one connection ended.
enum End {
    /// Mail went over it, or was put off.
    Served,
    /// TLS did not work, for this reason, and need not.
    WithoutTls(String),
    /// It was of no use.
    Useless,
    /// It came back to this server.
    Ourselves,
    /// This server stops.
    Stopped,
}

/// What comes after a host.
#[derive(PartialEq, Eq)]
pub(super) enum After {
    /// Nothing: the work is done.
    Nothing,
    /// The next host, for what has not gone yet.
    Next,
    /// Nothing worse: this host is ourselves.
    Better,
}

/// One host, at one address.
#[derive(Clone, Copy)]
pub(super) struct Stop<'a> {
    pub(super) host: &'a Domain,
    pub(super) at: SocketAddr,
    pub(super) need: &'a Need,
    /// Why TLS is not tried, where it is not.
    pub(super) plain: &'a str,
    pub(super) relay: Option<&'a Relay>,
    /// There are others behind it.
    pub(super) more: bool,
}

impl Courier {
    /// One address of a host; without TLS as well, if that may be.
    pub(super) async fn host(&self, stop: Stop<'_>) -> After {
        {
            let mut course = lock(&self.course);
            course.dialled += usize::from(!course.put_off.is_empty());
        }
        let end = match self.connect(&stop).await {
            End::WithoutTls(why) => {
                tracing::info!(host = %stop.host, why, "TLS does not work with it: tried without");
                let plain = format!("TLS failed ({why})");
                self.connect(&Stop { need: &Need::None, plain: &plain, ..stop }).await
            }
            end => end,
        };
        let course = lock(&self.course);
        match end {
            End::Stopped => After::Nothing,
            End::Ourselves => After::Better,
            End::Served if course.put_off.is_empty() => After::Nothing,
            _ if course.is_enough() => After::Nothing,
            _ => After::Next,
        }
    }

    async fn connect(&self, stop: &Stop<'_>) -> End {
        let Stop { host, at, need, plain, relay, more } = *stop;
        let outward = &*self.outward;
        lock(&self.course).served = false;
        let dialling =
            self.unless_stopped(net::dial(at, outward.source_for(at.ip()), limits::SMTP_CONNECT_WITHIN));
        let Some(dialled) = dialling.await else { return End::Stopped };
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
            if outward.own.is_reached(dialled.local(), dialled.peer()) {
                return End::Ourselves;
            }
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
                    self.trouble(Trouble::new(host, broken(&error)));
                    return End::Useless;
                }
            },
        };
        let config = Config { name: outward.house.hostname.to_string(), timeouts: outward.timeouts };
        let client = Client::new(config, &Peer { ip: at.ip(), tls: facts });
        let via = Via {
            host: host.to_string(),
            ip: at.ip().to_string(),
            plain: plain.to_owned(),
            ..Via::default()
        };
        let way = Way { via, need, relay, more };
        let desk = Deliver::new(&self.outward, &self.queue, &self.to, &self.course, way, self.asked);
        let done = dialled.drive(client, desk, Arc::new(terms)).await;
        self.ended(host, need, done.result).await
    }

    /// What a connection that is over came to.
    async fn ended(&self, host: &Domain, need: &Need, result: Result<(), net::Error>) -> End {
        let (work, served, in_doubt) = {
            let mut course = lock(&self.course);
            let in_doubt = std::mem::take(&mut course.in_doubt);
            course.cut_off |= course.ready && course.work.is_some();
            (course.work.take(), course.served, in_doubt)
        };
        let without_tls = match &result {
            Err(net::Error::Handshake(error)) if *need == Need::Opportunistic => Some(tls::why(error)),
            Err(error @ net::Error::HandshakeSlow(_)) if *need == Need::Opportunistic => {
                Some(error.to_string())
            }
            _ => None,
        };
        // A further host takes nothing before it is ready for it.
        let Some(mut work) = work else { return without_tls.map_or(End::Served, End::WithoutTls) };
        if let Err(error) = &result {
            self.trouble(Trouble::new(host, broken(error)));
        }
        if served && !in_doubt && is_reset(&result) && work.said.is_empty() {
            // The host works, and this message had not been sent: it goes over another connection, at once.
            work.lease.give_back();
            return End::Served;
        }
        if in_doubt || (served && work.said.is_empty()) {
            // The host works; the message that was under way when the connection broke is tried again in its time.
            let trouble = lock(&self.course).trouble.take();
            let mut trouble = trouble.unwrap_or_else(|| Trouble::new(host, "the connection was lost"));
            if in_doubt {
                trouble.what.push_str(IN_DOUBT);
            }
            let via = Arc::new(Via { host: host.to_string(), ..Via::default() });
            let later = |number: &u16| (*number, Came::Later(trouble.clone()), via.clone());
            let came = work.lease.recipients.iter().map(|(number, _)| later(number)).collect();
            self.settle(&mut work.lease, came).await;
            return End::Served;
        }
        let mut course = lock(&self.course);
        match work.said.is_empty() {
            true => course.work = Some(work),
            // What an earlier host said is more than that this one said nothing.
            false => course.put_off.push_back(work),
        }
        without_tls.map_or(End::Useless, End::WithoutTls)
    }

    async fn settle(&self, lease: &mut Lease, came: Vec<Fared>) {
        if let Err(error) = settle(&self.outward.house, lease, came).await {
            tracing::error!(id = %lease.queued.id, %error, "what came of a try could not be written down");
        }
    }
}

/// Whether the connection ended under the message rather than because of it.
fn is_reset(result: &Result<(), net::Error>) -> bool {
    matches!(result, Err(net::Error::Read(_) | net::Error::Write(_) | net::Error::Ended))
}

/// What the end of a connection says, in words.
fn broken(error: &net::Error) -> String {
    match error {
        net::Error::Handshake(error) => format!("TLS: {}", tls::why(error)),
        other => other.to_string(),
    }
}
