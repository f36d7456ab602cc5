//! The table of commands: one row each, and CAPABILITY computed from the rows.
//!
//! What is not in a row cannot be sent, and what is not there is not advertised.

use crate::machine::TlsFacts;

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
    /// Set when the connection began inside TLS.
    pub tls: Option<TlsFacts>,
    /// Whether the driver can upgrade to TLS; STARTTLS is offered while the connection is not under TLS.
    pub starttls: bool,
    /// Whether one may log in without TLS: only the demo on loopback says so.
    pub auth_in_plain: bool,
    /// Octets of a message.
    pub max_message: u64,
    /// Capabilities switched off for everybody.
    pub without: Capabilities,
}
