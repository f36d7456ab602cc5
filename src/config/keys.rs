//! The keys: name, type, default and words of each, once. `config.example.toml` is made of this.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de};
use wire::limits;

/// Makes a section: the struct with its documentation, its defaults, and its part of the example. What `shows`
/// gives is the key's value in the example, in TOML: the default, or a value that could stand there.
macro_rules! section {
    ($(#[doc = $about:literal])* $Name:ident {
        $($(#[doc = $words:literal])* $key:ident: $Type:ty = $default:expr, shows $shows:literal;)*
        $(=> $($sub:ident: $Sub:ty),*;)?
    }) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $Name {
            $($(#[doc = $words])* pub $key: $Type,)*
            $($(#[doc = concat!("The section `[", stringify!($sub), "]`.")] pub $sub: $Sub,)*)?
        }

        impl Default for $Name {
            fn default() -> $Name {
                $Name { $($key: $default,)* $($($sub: <$Sub>::default(),)*)? }
            }
        }

        impl $Name {
            fn example(out: &mut String) {
                for words in [$($about),*] {
                    line(out, words);
                }
                $(
                    out.push('\n');
                    for words in [$($words),*] {
                        line(out, words);
                    }
                    out.push_str(concat!("#", stringify!($key), " = ", $shows, "\n"));
                )*
                $($(
                    out.push_str(concat!("\n\n[", stringify!($sub), "]\n"));
                    <$Sub>::example(out);
                )*)?
            }
        }
    };
}

fn line(out: &mut String, words: &str) {
    out.push('#');
    out.push_str(words);
    out.push('\n');
}

/// `config.example.toml`: every key with its words and its default.
#[must_use]
pub fn example() -> String {
    let mut out = String::new();
    Config::example(&mut out);
    out
}

section! {
    /// The configuration of Penfold: the facts of this host. All keys may be left out; what stands behind a `#` is the
    /// default, or an example where it says so. Domains, accounts and aliases are not here: `penfold --help`.
    /// `penfold config check` tells whether the server would start with it.
    Config {
        /// This host's name, fully qualified, as its DNS and its clients know it. It stands in greetings, in headers
        /// and in the certificate. Default: what the system calls itself. Example:
        hostname: Option<String> = None, shows r#""mail.example.org""#;
        /// Where all mail and all state is kept.
        data_dir: PathBuf = PathBuf::from("/var/lib/penfold"), shows r#""/var/lib/penfold""#;
        /// The socket by which commands reach the running server. Only its owner and root may use it.
        control: PathBuf = PathBuf::from("/run/penfold/control.sock"), shows r#""/run/penfold/control.sock""#;
        /// The login name of the account that gets what is sent to postmaster and abuse. Default: the first account.
        /// Example:
        postmaster: Option<String> = None, shows r#""alice""#;
        /// For how many days deleted mail can be brought back (`penfold undelete`). It takes up room a day longer. With
        /// 0 it is gone at once.
        undelete_days: u16 = 14, shows "14";
        => listen: Listen, tls: Tls, limits: Limits, log: Log;
    }
}

section! {
    /// What is listened on, as "address:port". An empty list switches it off. "[::]" is all of IPv6, "0.0.0.0" all of
    /// IPv4.
    Listen {
        /// Mail from other servers. It must be port 25 for them to find it.
        smtp: Vec<Address> = any(25), shows r#"["[::]:25", "0.0.0.0:25"]"#;
        /// Mail from your own clients, inside TLS from the start: what they should use.
        submissions: Vec<Address> = any(465), shows r#"["[::]:465", "0.0.0.0:465"]"#;
        /// The same with STARTTLS.
        submission: Vec<Address> = any(587), shows r#"["[::]:587", "0.0.0.0:587"]"#;
        /// IMAP inside TLS.
        imaps: Vec<Address> = any(993), shows r#"["[::]:993", "0.0.0.0:993"]"#;
        /// IMAP with STARTTLS.
        imap: Vec<Address> = any(143), shows r#"["[::]:143", "0.0.0.0:143"]"#;
        /// POP3 inside TLS.
        pop3s: Vec<Address> = any(995), shows r#"["[::]:995", "0.0.0.0:995"]"#;
        /// POP3 with STLS.
        pop3: Vec<Address> = any(110), shows r#"["[::]:110", "0.0.0.0:110"]"#;
    }
}

section! {
    /// The certificate. Without one the server makes its own for its hostname, keeps it in the data directory and
    /// renews it; clients ask once whether they should trust it.
    Tls {
        /// The certificate with its chain, in PEM. Read again when it changes, and on SIGHUP. Example:
        certificate: Option<PathBuf> = None, shows r#""/etc/letsencrypt/live/mail.example.org/fullchain.pem""#;
        /// Its private key, in PEM. Example:
        key: Option<PathBuf> = None, shows r#""/etc/letsencrypt/live/mail.example.org/privkey.pem""#;
        /// Further names for the certificate that the server makes itself. Example:
        names: Vec<String> = Vec::new(), shows r#"["imap.example.org", "smtp.example.org"]"#;
        /// Allow logins without TLS from this host itself (loopback addresses).
        optional_on_loopback: bool = false, shows "false";
    }
}

section! {
    /// What one client, or all together, may use up.
    Limits {
        /// Connections at once, over all ports.
        connections: usize = 1000, shows "1000";
        /// Connections at once from one address (of IPv6: from one /64).
        connections_per_address: usize = 50, shows "50";
        /// Failed logins a minute from one address before it is slowed down.
        failed_logins: u32 = 10, shows "10";
        /// Octets of a message; what it stands at is also the most.
        message_size: u64 = limits::MESSAGE, shows "50000000";
        /// Recipients of a message.
        recipients: usize = limits::RECIPIENTS, shows "1000";
    }
}

section! {
    /// What is logged, to standard error.
    Log {
        /// "human" for people, "json" for one JSON object a line; "auto" is "human" on a terminal, else "json".
        format: LogFormat = LogFormat::Auto, shows r#""auto""#;
        /// "error", "warn", "info" or "debug".
        level: Level = Level::Info, shows r#""info""#;
        /// Log what is said on connections, without passwords and without mail. For finding out why a client fails.
        transcript: bool = false, shows "false";
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// By whether standard error is a terminal.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// From which level on lines are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub SocketAddr);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Address, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map(Address).map_err(|_| {
            let expected = "an address with its port, such as \"0.0.0.0:25\" or \"[::]:25\"";
            de::Error::invalid_value(de::Unexpected::Str(&text), &expected)
        })
    }
}

fn any(port: u16) -> Vec<Address> {
    [SocketAddr::from(([0_u16; 8], port)), SocketAddr::from(([0_u8; 4], port))].map(Address).to_vec()
}

impl Listen {
    /// All lists with the names of their keys.
    pub(super) fn all(&self) -> [(&'static str, &[Address]); 7] {
        [
            ("listen.smtp", &self.smtp),
            ("listen.submissions", &self.submissions),
            ("listen.submission", &self.submission),
            ("listen.imaps", &self.imaps),
            ("listen.imap", &self.imap),
            ("listen.pop3s", &self.pop3s),
            ("listen.pop3", &self.pop3),
        ]
    }
}
