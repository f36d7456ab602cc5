//! The keys: name, type, default and words of each, once. `config.example.toml` is made of this.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

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
        => listen: Listen, tls: Tls, dns: Dns, outbound: Outbound, relay: Relay, limits: Limits, log: Log;
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
    /// The nameservers that are asked.
    Dns {
        /// As "address:port". They must be recursive ones; what they say is checked with DNSSEC here. Default: those in
        /// /etc/resolv.conf. Example:
        servers: Vec<Address> = Vec::new(), shows r#"["127.0.0.1:53"]"#;
        /// A file with the keys that DNSSEC begins with, as DNSKEY records, for networks with a root of their own. Default:
        /// the keys of the world's root. Example:
        trust_anchor: Option<PathBuf> = None, shows r#""/etc/penfold/root.keys""#;
    }
}

section! {
    /// How mail goes to other servers.
    Outbound {
        /// This host's addresses to connect from, one of IPv4 and one of IPv6 at most, if it has several: those whose
        /// names in DNS (PTR) are right. Default: the system chooses. Example:
        source: Vec<IpAddr> = Vec::new(), shows r#"["192.0.2.1", "2001:db8::1"]"#;
        /// Use IPv6 where other servers have it.
        ipv6: bool = true, shows "true";
        /// A file with the authorities that may vouch for other servers, in PEM, instead of the public ones. Example:
        authorities: Option<PathBuf> = None, shows r#""/etc/penfold/authorities.pem""#;
        /// The waits between tries of what cannot be delivered at once; the last one is repeated. Spans are written "90s",
        /// "5m", "2h", "3d".
        retry: Vec<Span> = [1, 5, 15, 30, 60, 120, 240, 480].map(Span::minutes).to_vec(), shows r#"["1m", "5m", "15m", "30m", "1h", "2h", "4h", "8h"]"#;
        /// After this time it is given up, and its sender told.
        give_up: Span = Span::minutes(3 * 24 * 60), shows r#""3d""#;
        /// After this time its sender is told that it takes long.
        notice: Span = Span::minutes(4 * 60), shows r#""4h""#;
        /// Connections at once to other servers.
        connections: usize = 20, shows "20";
        /// ... and to the servers of one domain.
        connections_per_host: usize = 4, shows "4";
        /// The port of other mail servers. Any other than 25 is for tests.
        smtp_port: u16 = 25, shows "25";
        /// The port of the web servers that MTA-STS policies are fetched from. Any other than 443 is for tests.
        https_port: u16 = 443, shows "443";
    }
}

section! {
    /// A host that takes mail for others (a smarthost): for where port 25 is closed, or nobody trusts this host's address.
    Relay {
        /// Its name, which its certificate must have. Default: there is none. Example:
        host: Option<String> = None, shows r#""smtp.example.net""#;
        /// Its port.
        port: u16 = 587, shows "587";
        /// "starttls", "implicit" (TLS from the start, usually port 465), or "none", for a relay on this host or network.
        tls: RelayTls = RelayTls::StartTls, shows r#""starttls""#;
        /// The login there, if it wants one. Example:
        user: Option<String> = None, shows r#""me@example.net""#;
        /// A file with its password. Example:
        password_file: Option<PathBuf> = None, shows r#""/etc/penfold/relay.password""#;
        /// "always", or "fallback": when the direct way does not work.
        when: RelayWhen = RelayWhen::Always, shows r#""always""#;
        /// For "fallback": after so many tries that did not work. Where port 25 seems to be closed it is used at once.
        after: u16 = 3, shows "3";
        /// Only for mail to these domains, and what is below them. Default: for all. Example:
        domains: Vec<String> = Vec::new(), shows r#"["example.com"]"#;
    }
}

section! {
    /// What one client, one account, or all together, may use up.
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
        /// Messages a day that an account may send to other hosts: a stolen password sends more. The day begins with the
        /// first message and lasts 24 hours; 0 allows none. `penfold account limit` sets it for one account.
        messages_a_day: u64 = 1_000, shows "1000";
        /// ... and addresses there that the account has not written to within a year.
        new_recipients_a_day: u64 = 200, shows "200";
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

/// How the connection to a relay is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayTls {
    /// By STARTTLS.
    StartTls,
    /// From the start.
    Implicit,
    /// Not at all.
    None,
}

/// When mail goes by the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayWhen {
    /// Always.
    Always,
    /// When the direct way does not work.
    Fallback,
}

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    const fn minutes(n: u64) -> Span {
        Span(Duration::from_secs(n * 60))
    }
}

impl std::str::FromStr for Span {
    type Err = ();

    fn from_str(text: &str) -> Result<Span, ()> {
        let unit = text.chars().last().ok_or(())?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 24 * 3_600,
            _ => return Err(()),
        };
        let number = text.strip_suffix(unit).filter(|n| n.bytes().all(|b| b.is_ascii_digit())).ok_or(())?;
        let number: u64 = number.parse().map_err(|_| ())?;
        // A year: more is a slip of the finger.
        let span = number.checked_mul(seconds).filter(|&s| (1..=365 * 24 * 3_600).contains(&s)).ok_or(())?;
        Ok(Span(Duration::from_secs(span)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|()| {
            let expected = "a span of time up to a year, such as \"90s\", \"5m\", \"2h\" or \"3d\"";
            de::Error::invalid_value(de::Unexpected::Str(&text), &expected)
        })
    }
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
