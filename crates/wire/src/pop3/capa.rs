//! The capabilities that this server has: one row each. CAPA's list (RFC 2449) is computed from the rows, and a
//! command that belongs to a row works only while the row is offered.

use super::session::Config;
use crate::sasl::Mechanism;

/// A capability (RFC 2449 s.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// RFC 2449 s.6.1.
    Top,
    /// RFC 2449 s.6.8.
    Uidl,
    /// RFC 2449 s.6.2.
    User,
    /// RFC 5034 s.3.
    Sasl,
    /// RFC 2595 s.4.
    Stls,
    /// RFC 2449 s.6.6.
    Pipelining,
    /// RFC 2449 s.6.4.
    RespCodes,
    /// RFC 3206 s.3.
    AuthRespCode,
    /// RFC 2449 s.6.7.
    Expire,
    /// RFC 2449 s.6.9.
    Implementation,
}

/// What decides about an offer.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The machine's configuration.
    pub config: &'a Config,
    /// Whether the connection is under TLS.
    pub tls: bool,
}

impl Facts<'_> {
    /// Whether passwords may travel.
    fn logins(self) -> bool {
        self.tls || self.config.auth_in_plain
    }
}

/// A capability's row.
#[derive(Debug)]
pub struct Row {
    /// Which it is.
    pub capability: Capability,
    /// Its tag.
    pub tag: &'static str,
    /// What follows the tag.
    pub argument: fn(Facts<'_>) -> Option<String>,
    /// Whether it is offered now.
    pub offered: fn(Facts<'_>) -> bool,
}

const fn row(capability: Capability, tag: &'static str) -> Row {
    Row { capability, tag, argument: |_| None, offered: |_| true }
}

/// The rows, in the order in which they are told.
pub const ROWS: &[Row] = &[
    row(Capability::Top, "TOP"),
    row(Capability::Uidl, "UIDL"),
    Row { offered: |facts| facts.logins(), ..row(Capability::User, "USER") },
    Row {
        argument: |_| Some(Mechanism::ALL.map(Mechanism::name).join(" ")),
        offered: |facts| facts.logins(),
        ..row(Capability::Sasl, "SASL")
    },
    Row { offered: |facts| facts.config.starttls && !facts.tls, ..row(Capability::Stls, "STLS") },
    row(Capability::Pipelining, "PIPELINING"),
    row(Capability::RespCodes, "RESP-CODES"),
    row(Capability::AuthRespCode, "AUTH-RESP-CODE"),
    Row { argument: |_| Some("NEVER".to_owned()), ..row(Capability::Expire, "EXPIRE") },
    Row {
        argument: |facts| Some(facts.config.implementation.clone()),
        ..row(Capability::Implementation, "IMPLEMENTATION")
    },
];

impl Capability {
    /// Whether it is offered now.
    #[must_use]
    pub fn is_offered(self, facts: Facts<'_>) -> bool {
        ROWS.iter().any(|row| row.capability == self && (row.offered)(facts))
    }
}

/// The lines of a CAPA reply between the first and the final dot.
pub fn lines(facts: Facts<'_>) -> impl Iterator<Item = String> {
    ROWS.iter().filter(move |row| (row.offered)(facts)).map(move |row| match (row.argument)(facts) {
        Some(argument) => format!("{} {argument}", row.tag),
        None => row.tag.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pop3::command;

    #[test]
    fn what_is_told_can_be_used() {
        use Capability::{AuthRespCode, Expire, Implementation, Pipelining, RespCodes};
        for row in ROWS {
            let command = command::ROWS.iter().any(|c| c.capability == Some(row.capability));
            let silent =
                matches!(row.capability, Pipelining | RespCodes | AuthRespCode | Expire | Implementation);
            assert!(command != silent, "{}", row.tag);
        }
    }
}
