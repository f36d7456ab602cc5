//! Which machine and which desk serve a port, and what they are made with.

use std::net::IpAddr;
use std::sync::Arc;

use store::Store;
use wire::imap::response;
use wire::imap::session::{Capabilities, Config as ImapConfig, Session as ImapSession};
use wire::limits;
use wire::machine::Away;
use wire::pop3::reply;
use wire::pop3::session::{Config as Pop3Config, Session as Pop3Session};
use wire::smtp::session::{
    self as smtp, Config as SmtpConfig, FutureRelease, Offers, Role, Session as SmtpSession,
};

use super::Protocol;
use crate::clock;
use crate::config::Config;
use crate::desk::imap::{ImapDesk, Recents};
use crate::desk::pop3::{Maildrops, Pop3Desk};
use crate::desk::smtp::SmtpDesk;
use crate::disk::Ahead;
use crate::flow::House;
use crate::flow::allowances::{Allowances, Daily};
use crate::flow::dkim::Keyring;
use crate::flow::queue::Queue;
use crate::login::Door;
use crate::net::{Accepted, Bound, Listening, Service};

/// What machines and desks are made with.
pub(super) struct Kit {
    config: Arc<Config>,
    hostname: String,
    house: House,
    door: Door,
    maildrops: Maildrops,
    recents: Recents,
    ahead: Ahead,
}

impl Kit {
    pub(super) fn new(
        config: &Arc<Config>,
        store: &Store,
        door: &Door,
        queue: &Queue,
        keyring: &Keyring,
    ) -> Kit {
        let hostname = config.hostname();
        let house = House {
            store: store.clone(),
            hostname: Arc::from(hostname.as_str()),
            postmaster: config.postmaster.as_deref().map(Arc::from),
            queue: queue.clone(),
            keyring: keyring.clone(),
            allowances: Allowances::new(Daily {
                messages: config.limits.messages_a_day,
                new_recipients: config.limits.new_recipients_a_day,
            }),
        };
        Kit {
            config: Arc::clone(config),
            hostname,
            house,
            door: door.clone(),
            maildrops: Maildrops::default(),
            recents: Recents::new(),
            ahead: Ahead::default(),
        }
    }

    /// The house that all of them serve.
    pub(super) fn house(&self) -> &House {
        &self.house
    }

    /// Serves a port.
    pub(super) fn serve(&self, protocol: Protocol, bound: Bound, service: Service) -> Listening {
        match protocol {
            Protocol::Smtp => self.smtp(Role::Mx, bound, service),
            Protocol::Submission | Protocol::Submissions => self.smtp(Role::Submission, bound, service),
            Protocol::Pop3 | Protocol::Pop3s => self.pop3(bound, service),
            Protocol::Imap | Protocol::Imaps => self.imap(bound, service),
        }
    }

    fn smtp(&self, role: Role, bound: Bound, service: Service) -> Listening {
        let (config, house, door) = (Arc::clone(&self.config), self.house.clone(), self.door.clone());
        let hostname = self.hostname.clone();
        bound.serve(service, move |Accepted { peer, local, .. }| {
            let settings = SmtpConfig {
                hostname: hostname.clone(),
                role,
                starttls: true,
                auth_in_plain: plain_logins(&config, peer.ip, local.ip()),
                max_message: config.limits.message_size,
                max_recipients: config.limits.recipients,
                offers: offers(role),
            };
            let desk = SmtpDesk::new(house.clone(), door.clone(), peer.ip);
            (SmtpSession::new(settings, &peer), desk)
        })
    }

    fn imap(&self, bound: Bound, service: Service) -> Listening {
        let (config, door, recents) = (Arc::clone(&self.config), self.door.clone(), self.recents.clone());
        let (store, hostname) = (self.house.store.clone(), self.hostname.clone());
        let ahead = self.ahead.clone();
        bound.serve(service, move |Accepted { peer, local, .. }| {
            let settings = ImapConfig {
                hostname: hostname.clone(),
                starttls: true,
                auth_in_plain: plain_logins(&config, peer.ip, local.ip()),
                max_message: config.limits.message_size,
                without: Capabilities::NONE,
            };
            let desk = ImapDesk::new(store.clone(), door.clone(), recents.clone(), ahead.clone(), peer.ip);
            (ImapSession::new(settings, &peer), desk)
        })
    }

    fn pop3(&self, bound: Bound, service: Service) -> Listening {
        let (config, door, maildrops) = (Arc::clone(&self.config), self.door.clone(), self.maildrops.clone());
        let (store, hostname) = (self.house.store.clone(), self.hostname.clone());
        bound.serve(service, move |Accepted { peer, local, .. }| {
            let settings = Pop3Config {
                hostname: hostname.clone(),
                starttls: true,
                auth_in_plain: plain_logins(&config, peer.ip, local.ip()),
                implementation: concat!("Penfold-", env!("CARGO_PKG_VERSION")).into(),
            };
            let desk = Pop3Desk::new(store.clone(), door.clone(), maildrops.clone(), peer.ip);
            (Pop3Session::new(settings, &peer), desk)
        })
    }
}

/// What is offered beyond what always is. Reports of success are for our own: on port 25 anybody could have them sent to
/// whomever he names as the sender.
fn offers(role: Role) -> Offers {
    let submission = role == Role::Submission;
    let future_release = FutureRelease { max_interval: limits::SMTP_HOLD, opened: clock::wall().seconds };
    Offers {
        dsn: submission,
        require_tls: true,
        future_release: submission.then_some(future_release),
        smtputf8: true,
    }
}

/// Whether somebody may log in without TLS: from this host to this host, and only where that was asked for.
fn plain_logins(config: &Config, from: IpAddr, to: IpAddr) -> bool {
    config.tls.optional_on_loopback && from.to_canonical().is_loopback() && to.to_canonical().is_loopback()
}

/// What a client is told that is turned away, in the words of its protocol.
pub(super) fn turned_away(protocol: Protocol, why: Away) -> Vec<u8> {
    let mut words = Vec::new();
    match protocol {
        Protocol::Smtp | Protocol::Submission | Protocol::Submissions => smtp::turned_away(why, &mut words),
        Protocol::Imap | Protocol::Imaps => response::turned_away(why, &mut words),
        Protocol::Pop3 | Protocol::Pop3s => reply::turned_away(why, &mut words),
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_logins_need_loopback_on_both_ends_and_the_wish() {
        let mut config = Config::default();
        let [here, mapped, there] =
            ["127.0.0.1", "::ffff:127.0.0.2", "192.0.2.1"].map(|ip| ip.parse().unwrap());
        assert!(!plain_logins(&config, here, here));
        config.tls.optional_on_loopback = true;
        assert!(plain_logins(&config, here, mapped));
        assert!(!plain_logins(&config, there, here) && !plain_logins(&config, here, there));
    }

    #[test]
    fn who_is_turned_away_hears_it_in_one_line() {
        for (protocol, begin) in Protocol::ALL
            .into_iter()
            .zip(["421 4.", "421 4.", "421 4.", "* BYE [", "* BYE [", "-ERR [", "-ERR ["])
        {
            for why in [Away::TooMany, Away::Opening] {
                let words = String::from_utf8(turned_away(protocol, why)).unwrap();
                assert!(words.starts_with(begin) && words.ends_with(", try again later\r\n"), "{words}");
                assert_eq!(words.matches('\n').count(), 1, "{words}");
            }
        }
    }
}
