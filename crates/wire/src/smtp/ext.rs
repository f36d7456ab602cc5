//! The service extensions that this server offers: one row each. EHLO's keywords are computed from the rows, and a
//! command or parameter that belongs to a row works only while the row is offered.

use super::session::{Config, Role};

/// A service extension (RFC 5321 s.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// RFC 2920.
    Pipelining,
    /// RFC 1870.
    Size,
    /// RFC 6152.
    EightBitMime,
    /// RFC 2034.
    EnhancedStatusCodes,
    /// RFC 3030, without BINARYMIME.
    Chunking,
    /// RFC 3207.
    StartTls,
    /// RFC 4954.
    Auth,
    /// RFC 3461.
    Dsn,
    /// RFC 4865.
    FutureRelease,
    /// RFC 8689.
    RequireTls,
    /// RFC 6531.
    SmtpUtf8,
    /// RFC 5321 s.4.1.1.8.
    Help,
}

/// What decides about an offer.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The machine's configuration.
    pub config: &'a Config,
    /// Whether the connection is under TLS.
    pub tls: bool,
}

/// An extension's row.
#[derive(Debug)]
pub struct Row {
    /// Which it is.
    pub extension: Extension,
    /// Its EHLO keyword.
    pub keyword: &'static str,
    /// What follows the keyword.
    pub argument: fn(Facts<'_>) -> Option<String>,
    /// Whether it is offered now.
    pub offered: fn(Facts<'_>) -> bool,
}

const fn row(extension: Extension, keyword: &'static str) -> Row {
    Row { extension, keyword, argument: |_| None, offered: |_| true }
}

/// The rows, in the order in which they are told.
pub const ROWS: &[Row] = &[
    row(Extension::Pipelining, "PIPELINING"),
    Row { argument: |facts| Some(facts.config.max_message.to_string()), ..row(Extension::Size, "SIZE") },
    row(Extension::EightBitMime, "8BITMIME"),
    row(Extension::EnhancedStatusCodes, "ENHANCEDSTATUSCODES"),
    row(Extension::Chunking, "CHUNKING"),
    Row { offered: |facts| facts.config.starttls && !facts.tls, ..row(Extension::StartTls, "STARTTLS") },
    Row {
        argument: |_| Some(crate::sasl::Mechanism::ALL.map(crate::sasl::Mechanism::name).join(" ")),
        offered: |facts| facts.config.role == Role::Submission && (facts.tls || facts.config.auth_in_plain),
        ..row(Extension::Auth, "AUTH")
    },
    Row { offered: |facts| facts.config.offers.dsn, ..row(Extension::Dsn, "DSN") },
    Row {
        // RFC 4865 s.4: the longest interval, and the moment that it leads to.
        argument: |facts| facts.config.offers.future_release.map(|f| f.to_string()),
        offered: |facts| {
            facts.config.role == Role::Submission && facts.config.offers.future_release.is_some()
        },
        ..row(Extension::FutureRelease, "FUTURERELEASE")
    },
    // RFC 8689 s.2: under TLS only.
    Row {
        offered: |facts| facts.config.offers.require_tls && facts.tls,
        ..row(Extension::RequireTls, "REQUIRETLS")
    },
    Row { offered: |facts| facts.config.offers.smtputf8, ..row(Extension::SmtpUtf8, "SMTPUTF8") },
    row(Extension::Help, "HELP"),
];

impl Extension {
    /// Whether it is offered now.
    #[must_use]
    pub fn is_offered(self, facts: Facts<'_>) -> bool {
        ROWS.iter().any(|row| row.extension == self && (row.offered)(facts))
    }
}

/// The lines of an EHLO reply behind the first (RFC 5321 s.4.1.1.1 `ehlo-line`).
pub fn ehlo_lines(facts: Facts<'_>) -> impl Iterator<Item = String> {
    ROWS.iter().filter(move |row| (row.offered)(facts)).map(move |row| match (row.argument)(facts) {
        Some(argument) => format!("{} {argument}", row.keyword),
        None => row.keyword.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::session::{FutureRelease, Offers};
    use crate::smtp::{command, params};

    fn config(role: Role) -> Config {
        Config {
            hostname: "mx.example.org".to_owned(),
            role,
            starttls: true,
            auth_in_plain: false,
            max_message: 1_000,
            max_recipients: 10,
            offers: Offers::default(),
        }
    }

    #[test]
    fn auth_and_starttls_are_told_when_they_work() {
        let told = |role, tls| ehlo_lines(Facts { config: &config(role), tls }).collect::<Vec<_>>().join(",");
        assert_eq!(told(Role::Mx, true), "PIPELINING,SIZE 1000,8BITMIME,ENHANCEDSTATUSCODES,CHUNKING,HELP");
        assert!(told(Role::Mx, false).contains("STARTTLS"));
        assert!(!told(Role::Submission, false).contains("AUTH"));
        assert!(told(Role::Submission, true).contains("AUTH PLAIN LOGIN"));
    }

    #[test]
    fn what_is_switched_on_is_told_where_it_works() {
        let future_release = Some(FutureRelease { max_interval: 86_400, opened: 1_709_208_000 });
        let offers = Offers { dsn: true, require_tls: true, future_release, smtputf8: true };
        let told = |role, tls| {
            let config = Config { offers, ..config(role) };
            ehlo_lines(Facts { config: &config, tls }).skip(5).collect::<Vec<_>>().join(",")
        };
        assert_eq!(told(Role::Mx, true), "DSN,REQUIRETLS,SMTPUTF8,HELP");
        assert_eq!(told(Role::Mx, false), "STARTTLS,DSN,SMTPUTF8,HELP");
        assert_eq!(
            told(Role::Submission, true),
            "AUTH PLAIN LOGIN,DSN,FUTURERELEASE 86400 2024-03-01T12:00:00Z,REQUIRETLS,SMTPUTF8,HELP"
        );
    }

    #[test]
    fn what_is_told_can_be_used() {
        // RFC 2920 and RFC 2034 change no command; every other row has a command or a parameter.
        for row in ROWS {
            let command = command::ROWS.iter().any(|c| c.extension == Some(row.extension));
            let parameter = params::MAIL.iter().any(|p| p.extension == row.extension)
                || params::RCPT.iter().any(|p| p.extension == row.extension);
            let silent = matches!(row.extension, Extension::Pipelining | Extension::EnhancedStatusCodes);
            assert!(command || parameter || silent, "{} is told, and nothing belongs to it", row.keyword);
        }
    }
}
