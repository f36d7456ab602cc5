//! Which machine and which desk serve a port, and what they are made with.

use std::net::IpAddr;
use std::sync::Arc;

use store::Store;
use wire::imap::session::{Capabilities, Config as ImapConfig, Session as ImapSession};
use wire::pop3::session::{Config as Pop3Config, Session as Pop3Session};
use wire::smtp::session::{Config as SmtpConfig, Role, Session as SmtpSession};

use super::Protocol;
use crate::config::Config;
use crate::desk::imap::{ImapDesk, Recents};
use crate::desk::pop3::{Maildrops, Pop3Desk};
use crate::desk::smtp::SmtpDesk;
use crate::flow::House;
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
}

impl Kit {
    pub(super) fn new(config: &Arc<Config>, store: &Store, door: &Door) -> Kit {
        let hostname = config.hostname();
        let house = House {
            store: store.clone(),
            hostname: Arc::from(hostname.as_str()),
            postmaster: config.postmaster.as_deref().map(Arc::from),
        };
        Kit {
            config: Arc::clone(config),
            hostname,
            house,
            door: door.clone(),
            maildrops: Maildrops::default(),
            recents: Recents::new(),
        }
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
            };
            let desk = SmtpDesk::new(house.clone(), door.clone(), role, peer.ip);
            (SmtpSession::new(settings, &peer), desk)
        })
    }

    fn imap(&self, bound: Bound, service: Service) -> Listening {
        let (config, door, recents) = (Arc::clone(&self.config), self.door.clone(), self.recents.clone());
        let (store, hostname) = (self.house.store.clone(), self.hostname.clone());
        bound.serve(service, move |Accepted { peer, local, .. }| {
            let settings = ImapConfig {
                hostname: hostname.clone(),
                starttls: true,
                auth_in_plain: plain_logins(&config, peer.ip, local.ip()),
                max_message: config.limits.message_size,
                without: Capabilities::NONE,
            };
            let desk = ImapDesk::new(store.clone(), door.clone(), recents.clone(), peer.ip);
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

/// Whether somebody may log in without TLS: from this host to this host, and only where that was asked for.
fn plain_logins(config: &Config, from: IpAddr, to: IpAddr) -> bool {
    config.tls.optional_on_loopback && from.to_canonical().is_loopback() && to.to_canonical().is_loopback()
}

/// What a client is told that may not come in, in the words of its protocol.
pub(super) fn refusal(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Smtp | Protocol::Submission | Protocol::Submissions => {
            b"421 4.7.0 too many connections, try again later\r\n"
        }
        Protocol::Imap | Protocol::Imaps => b"* BYE [UNAVAILABLE] too many connections, try again later\r\n",
        Protocol::Pop3 | Protocol::Pop3s => b"-ERR [SYS/TEMP] too many connections, try again later\r\n",
    }
}

/// What a client is told that comes while the store is being opened, likewise.
pub(super) fn too_early(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Smtp | Protocol::Submission => {
            b"421 4.3.2 the mail store is being opened, try again later\r\n"
        }
        Protocol::Imap => b"* BYE [UNAVAILABLE] the mail store is being opened, try again later\r\n",
        Protocol::Pop3 => b"-ERR [SYS/TEMP] the mail store is being opened, try again later\r\n",
        // Inside TLS nothing can be said before the handshake.
        Protocol::Submissions | Protocol::Imaps | Protocol::Pop3s => b"",
    }
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
    fn refusals_are_whole_lines() {
        for protocol in Protocol::ALL {
            let whole =
                |words: &[u8]| words.ends_with(b"\r\n") && words.iter().filter(|&&b| b == b'\n').count() == 1;
            assert!(whole(refusal(protocol)));
            assert!(protocol.implicit_tls() && too_early(protocol).is_empty() || whole(too_early(protocol)));
        }
    }
}
