//! The table of commands: one row each, and CAPABILITY computed from the rows.
//!
//! What is not in a row cannot be sent, and what is not there is not advertised.

use crate::imap::command::Command;
use crate::imap::parse;
use crate::imap::syntax::{Cursor, Parsed};
use crate::sasl::Mechanism;

/// A capability that can be told, and switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// LITERAL+ (RFC 7888)
    LiteralPlus,
    /// SASL-IR (RFC 4959)
    SaslIr,
    /// ID (RFC 2971)
    Id,
    /// ENABLE (RFC 5161)
    Enable,
    /// IDLE (RFC 2177)
    Idle,
    /// NAMESPACE (RFC 2342)
    Namespace,
    /// CHILDREN (RFC 3348)
    Children,
    /// UIDPLUS (RFC 4315)
    UidPlus,
    /// MOVE (RFC 6851)
    Move,
    /// UNSELECT (RFC 3691)
    Unselect,
    /// SPECIAL-USE (RFC 6154)
    SpecialUse,
    /// CREATE-SPECIAL-USE (RFC 6154)
    CreateSpecialUse,
    /// LIST-EXTENDED (RFC 5258)
    ListExtended,
    /// LIST-STATUS (RFC 5819)
    ListStatus,
}

impl Capability {
    /// All of them, in the order in which they are told.
    pub const ALL: [Capability; 14] = [
        Capability::LiteralPlus,
        Capability::SaslIr,
        Capability::Id,
        Capability::Enable,
        Capability::Idle,
        Capability::Namespace,
        Capability::Children,
        Capability::UidPlus,
        Capability::Move,
        Capability::Unselect,
        Capability::SpecialUse,
        Capability::CreateSpecialUse,
        Capability::ListExtended,
        Capability::ListStatus,
    ];

    /// As told.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Capability::LiteralPlus => "LITERAL+",
            Capability::SaslIr => "SASL-IR",
            Capability::Id => "ID",
            Capability::Enable => "ENABLE",
            Capability::Idle => "IDLE",
            Capability::Namespace => "NAMESPACE",
            Capability::Children => "CHILDREN",
            Capability::UidPlus => "UIDPLUS",
            Capability::Move => "MOVE",
            Capability::Unselect => "UNSELECT",
            Capability::SpecialUse => "SPECIAL-USE",
            Capability::CreateSpecialUse => "CREATE-SPECIAL-USE",
            Capability::ListExtended => "LIST-EXTENDED",
            Capability::ListStatus => "LIST-STATUS",
        }
    }

    /// By name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Capability> {
        Capability::ALL.into_iter().find(|c| c.name().eq_ignore_ascii_case(name))
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u32);

impl Capabilities {
    /// No capability.
    pub const NONE: Capabilities = Capabilities(0);

    /// With `c`.
    #[must_use]
    pub const fn with(self, c: Capability) -> Capabilities {
        Capabilities(self.0 | 1 << c as u8)
    }
    /// Whether `c` is in it.
    #[must_use]
    pub const fn has(self, c: Capability) -> bool {
        self.0 & 1 << c as u8 != 0
    }
    /// Those in either.
    #[must_use]
    pub const fn union(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 | other.0)
    }
}

/// What a machine is told when it is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name in the greeting.
    pub hostname: String,
    /// Whether the driver can upgrade to TLS; STARTTLS is offered while the connection is not under TLS.
    pub starttls: bool,
    /// Whether one may log in without TLS: only the demo on loopback says so.
    pub auth_in_plain: bool,
    /// Octets of a message.
    pub max_message: u64,
    /// Capabilities switched off for everybody.
    pub without: Capabilities,
}

/// Where a session stands, as a row allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// Anywhere.
    Any,
    /// Before login.
    NotAuthenticated,
    /// After login, mailbox selected or not.
    Authenticated,
    /// With a mailbox selected.
    Selected,
}

/// What is done with a command's literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Literals {
    /// Kept in memory until the command is whole.
    Collected,
    /// The last one is a message, and goes to the desk as it comes.
    Streamed,
}

/// One command.
#[derive(Debug)]
pub(super) struct Row {
    /// Its name in upper case.
    pub(super) name: &'static str,
    /// Where it may be sent.
    pub(super) at: Where,
    /// What reads its arguments.
    pub(super) parse: fn(&mut Cursor<'_>) -> Parsed<Command>,
    /// What is done with its literals.
    pub(super) literals: Literals,
    /// Whether EXPUNGE may be told while it runs: not with FETCH, STORE and SEARCH by sequence number
    /// (RFC 3501 s.7.4.1).
    pub(super) expunge: bool,
    /// Whether the mailbox selected before is left although it fails (RFC 3501 s.6.3.1).
    pub(super) deselects: bool,
    /// What says that it is there; `None` for RFC 3501 itself.
    pub(super) capability: Option<Capability>,
}

const fn row(name: &'static str, at: Where, parse: fn(&mut Cursor<'_>) -> Parsed<Command>) -> Row {
    let literals = Literals::Collected;
    Row { name, at, parse, literals, expunge: true, deselects: false, capability: None }
}

impl Row {
    const fn of(mut self, capability: Capability) -> Row {
        self.capability = Some(capability);
        self
    }
    const fn without_expunge(mut self) -> Row {
        self.expunge = false;
        self
    }
    const fn deselecting(mut self) -> Row {
        self.deselects = true;
        self
    }
    const fn streamed(mut self) -> Row {
        self.literals = Literals::Streamed;
        self
    }
}

/// The table.
static ROWS: [Row; 36] = {
    use Where::{Any, Authenticated, NotAuthenticated, Selected};
    [
        row("CAPABILITY", Any, parse::capability),
        row("NOOP", Any, parse::poll),
        row("LOGOUT", Any, parse::logout),
        row("ID", Any, parse::id).of(Capability::Id),
        row("STARTTLS", NotAuthenticated, parse::starttls),
        row("AUTHENTICATE", NotAuthenticated, parse::authenticate),
        row("LOGIN", NotAuthenticated, parse::login),
        row("ENABLE", Authenticated, parse::enable).of(Capability::Enable),
        row("SELECT", Authenticated, parse::select).deselecting(),
        row("EXAMINE", Authenticated, parse::examine).deselecting(),
        row("CREATE", Authenticated, parse::create),
        row("DELETE", Authenticated, parse::delete),
        row("RENAME", Authenticated, parse::rename),
        row("SUBSCRIBE", Authenticated, parse::subscribe),
        row("UNSUBSCRIBE", Authenticated, parse::unsubscribe),
        row("LIST", Authenticated, parse::list),
        row("LSUB", Authenticated, parse::lsub),
        row("NAMESPACE", Authenticated, parse::namespace).of(Capability::Namespace),
        row("STATUS", Authenticated, parse::status),
        row("APPEND", Authenticated, parse::append).streamed(),
        row("IDLE", Authenticated, parse::idle).of(Capability::Idle),
        row("CHECK", Selected, parse::poll),
        row("CLOSE", Selected, parse::close),
        row("UNSELECT", Selected, parse::unselect).of(Capability::Unselect),
        row("EXPUNGE", Selected, parse::expunge),
        row("UID EXPUNGE", Selected, parse::uid_expunge).of(Capability::UidPlus),
        row("SEARCH", Selected, |c| parse::search(c, false)).without_expunge(),
        row("UID SEARCH", Selected, |c| parse::search(c, true)),
        row("FETCH", Selected, |c| parse::fetch(c, false)).without_expunge(),
        row("UID FETCH", Selected, |c| parse::fetch(c, true)),
        row("STORE", Selected, |c| parse::store(c, false)).without_expunge(),
        row("UID STORE", Selected, |c| parse::store(c, true)),
        row("COPY", Selected, |c| parse::copy(c, false)),
        row("UID COPY", Selected, |c| parse::copy(c, true)),
        row("MOVE", Selected, |c| parse::r#move(c, false)).of(Capability::Move),
        row("UID MOVE", Selected, |c| parse::r#move(c, true)).of(Capability::Move),
    ]
};

/// Capabilities that add to commands which are there anyway: their grammar is accepted always, and only the telling
/// can be switched off.
const FEATURES: [Capability; 7] = [
    Capability::LiteralPlus,
    Capability::SaslIr,
    Capability::Children,
    Capability::SpecialUse,
    Capability::CreateSpecialUse,
    Capability::ListExtended,
    Capability::ListStatus,
];

/// The row of a command, unless its capability is switched off.
pub(super) fn find(name: &str, without: Capabilities) -> Option<&'static Row> {
    ROWS.iter().find(|r| r.name == name && !r.capability.is_some_and(|c| without.has(c)))
}

/// What CAPABILITY tells.
pub(super) fn capabilities(config: &Config, tls: bool, logged_in: bool, without: Capabilities) -> String {
    let mut list = String::from("IMAP4rev1");
    let mut tell = |name: &str| {
        list.push(' ');
        list.push_str(name);
    };
    for c in Capability::ALL {
        let is_there = ROWS.iter().any(|r| r.capability == Some(c)) || FEATURES.contains(&c);
        // SASL-IR says something of AUTHENTICATE, and that is over after login.
        if is_there && !without.has(c) && !(logged_in && c == Capability::SaslIr) {
            tell(c.name());
        }
    }
    if !logged_in {
        if config.starttls && !tls {
            tell("STARTTLS");
        }
        if tls || config.auth_in_plain {
            for m in Mechanism::ALL {
                tell(&format!("AUTH={}", m.name()));
            }
        } else {
            // RFC 3501 s.6.2.3
            tell("LOGINDISABLED");
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order() {
        for (i, row) in ROWS.iter().enumerate() {
            assert_eq!(row.name, row.name.to_ascii_uppercase());
            assert!(ROWS[..i].iter().all(|r| r.name != row.name), "{} stands twice", row.name);
        }
        for c in Capability::ALL {
            let row = ROWS.iter().any(|r| r.capability == Some(c));
            assert!(row != FEATURES.contains(&c), "{} is either a command or a feature", c.name());
            assert_eq!(Capability::parse(c.name()), Some(c));
        }
    }

    #[test]
    fn what_is_switched_off_is_neither_told_nor_done() {
        let config = Config {
            hostname: "h".into(),
            starttls: true,
            auth_in_plain: false,
            max_message: 1,
            without: Capabilities::NONE,
        };
        let without = Capabilities::NONE.with(Capability::Move).with(Capability::Children);
        let told = capabilities(&config, true, true, without);
        assert!(!told.contains("MOVE") && !told.contains("CHILDREN") && told.contains("IDLE"), "{told}");
        assert!(find("UID MOVE", without).is_none() && find("UID MOVE", Capabilities::NONE).is_some());
    }
}
