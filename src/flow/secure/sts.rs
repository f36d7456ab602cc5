//! MTA-STS (RFC 8461): the record that says that there is a policy, the policy, and how it is remembered. Pure.

use std::fmt;

use wire::addr::Domain;
use wire::limits;

/// What `_mta-sts` says: the id of the policy (RFC 8461 s.3.1), which changes when the policy does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(Box<str>);

impl Id {
    /// Reads the texts at `_mta-sts` of a domain. `None`: the domain has no policy. Texts of other purposes are passed
    /// over; more than one for this, or one that is not well-formed, is none.
    #[must_use]
    pub fn of<T: AsRef<[u8]>>(texts: &[T]) -> Option<Id> {
        let mut records = texts.iter().map(AsRef::as_ref).filter(|text| text.starts_with(b"v=STSv1;"));
        let record = records.next()?;
        if records.next().is_some() {
            return None;
        }
        Id::read(std::str::from_utf8(record).ok()?)
    }

    fn read(record: &str) -> Option<Id> {
        let mut fields = record.split(';').map(|field| field.trim_matches([' ', '\t']));
        fields.next().filter(|version| *version == "v=STSv1")?;
        let mut id = None;
        let mut fields = fields.peekable();
        while let Some(field) = fields.next() {
            // What stands behind the last delimiter may be nothing.
            if field.is_empty() && fields.peek().is_none() {
                break;
            }
            let (name, value) = field.split_once('=')?;
            if name == "id" {
                let well =
                    (1..=32).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_alphanumeric());
                id = id.or(Some(Id(well.then_some(value)?.into())));
            } else if !is_name(name) || !is_value(value) {
                return None;
            }
        }
        id
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 8461 s.3.1 `sts-ext-name`.
fn is_name(name: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (1..=32).contains(&name.len())
        && name.bytes().all(inside)
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

/// RFC 8461 s.3.1 `sts-ext-value`.
fn is_value(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|b| matches!(b, 0x21..=0x3a | 0x3c | 0x3e..=0x7e))
}

/// What a domain asks of those who send to it (RFC 8461 s.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether it is meant.
    pub mode: Mode,
    /// Its hosts. Empty only if the mode is none.
    pub mx: Vec<Pattern>,
    /// For how many seconds it holds.
    pub max_age: u32,
}

/// Whether a policy is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is: mail that cannot be sent so is not sent.
    Enforce,
    /// Only to be reported on.
    Testing,
    /// The domain has no policy any more.
    None,
}

/// A host of a policy: a name, or all names with one label more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This host.
    Host(Domain),
    /// `*.` and this.
    Under(Domain),
}

/// Why something is no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Longer than `limits::STS_POLICY`.
    #[error("the policy is too long")]
    TooLong,
    /// A line that is no `key: value`, or not text.
    #[error("a line of the policy is not \"key: value\"")]
    Line,
    /// It does not begin with this version.
    #[error("the policy is not of version STSv1")]
    Version,
    /// The mode is missing or unknown.
    #[error("the policy's mode is missing, or none of enforce, testing and none")]
    Mode,
    /// The age is missing or no number up to a year.
    #[error("the policy's max_age is missing or not a number of seconds up to a year")]
    MaxAge,
    /// It names no host, or something that is no host.
    #[error("the policy names no hosts, or something that is no host's name")]
    Mx,
}

impl Policy {
    /// Parses a policy's text (RFC 8461 s.3.2). Unknown keys are passed over; of those that may stand once only, the
    /// first counts.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(octets: &[u8]) -> Result<Policy, PolicyError> {
        if octets.len() > limits::STS_POLICY {
            return Err(PolicyError::TooLong);
        }
        let text = std::str::from_utf8(octets).map_err(|_| PolicyError::Line)?;
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for line in text.lines().map(|line| line.trim_end_matches([' ', '\t', '\r'])) {
            if line.is_empty() {
                continue;
            }
            let (key, value) = line.split_once(':').ok_or(PolicyError::Line)?;
            let value = value.trim_start_matches([' ', '\t']);
            if !is_name(key) || value.chars().any(char::is_control) {
                return Err(PolicyError::Line);
            }
            match key {
                "version" => _ = version.get_or_insert(value),
                "mode" => _ = mode.get_or_insert(value),
                "max_age" => _ = max_age.get_or_insert(value),
                "mx" => mx.push(Pattern::parse(value).ok_or(PolicyError::Mx)?),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(PolicyError::Version);
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err(PolicyError::Mode),
        };
        let digits =
            max_age.filter(|age| (1..=10).contains(&age.len()) && age.bytes().all(|b| b.is_ascii_digit()));
        let max_age = digits.and_then(|age| age.parse::<u64>().ok()).ok_or(PolicyError::MaxAge)?;
        if mx.is_empty() && mode != Mode::None {
            return Err(PolicyError::Mx);
        }
        // RFC 8461 s.3.2: at most about a year. Who says more means that.
        let max_age = u32::try_from(max_age).unwrap_or(u32::MAX).min(limits::STS_MAX_AGE);
        Ok(Policy { mode, mx, max_age })
    }

    /// Whether a host is one of its hosts.
    #[must_use]
    pub fn names(&self, host: &Domain) -> bool {
        self.mx.iter().any(|pattern| pattern.matches(host))
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Pattern> {
        let (under, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name = Domain::parse(name.strip_suffix('.').unwrap_or(name).as_bytes()).ok()?;
        name.name()?;
        Some(if under { Pattern::Under(name) } else { Pattern::Host(name) })
    }

    /// RFC 8461 s.4.1: a star stands for one label, the leftmost.
    fn matches(&self, host: &Domain) -> bool {
        match self {
            Pattern::Host(name) => name == host,
            Pattern::Under(parent) => {
                host.name().and_then(|name| name.split_once('.')).map(|(_, rest)| rest) == parent.name()
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Host(name) => name.fmt(f),
            Pattern::Under(name) => write!(f, "*.{name}"),
        }
    }
}

/// A policy that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The policy.
    pub policy: Policy,
    /// The id under which it was announced.
    pub id: Id,
    /// When it was fetched, in seconds since 1970.
    pub fetched: i64,
}

impl Kept {
    /// When it holds no more, in seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> i64 {
        self.fetched.saturating_add(i64::from(self.policy.max_age))
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, now: i64) -> bool {
        // A clock that was wrong when it was fetched must not make it hold for ever.
        self.fetched <= now.saturating_add(24 * 60 * 60) && now < self.expires()
    }

    /// As octets, for a cache. `decode` reads them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mode = match self.policy.mode {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        };
        let mut text = format!(
            "x-fetched: {}\nx-id: {}\nversion: STSv1\nmode: {mode}\nmax_age: {}\n",
            self.fetched, self.id, self.policy.max_age
        );
        for pattern in &self.policy.mx {
            text += &format!("mx: {pattern}\n");
        }
        text.into_bytes()
    }

    /// Reads what `encode` has written; `None` if it is something else.
    #[must_use]
    pub fn decode(octets: &[u8]) -> Option<Kept> {
        let text = std::str::from_utf8(octets).ok()?;
        let mut lines = text.lines();
        let fetched = lines.next()?.strip_prefix("x-fetched: ")?.parse().ok()?;
        let id = lines.next()?.strip_prefix("x-id: ")?;
        let id = Id::read(&format!("v=STSv1; id={id};"))?;
        Some(Kept { policy: Policy::parse(octets).ok()?, id, fetched })
    }
}
