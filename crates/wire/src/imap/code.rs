//! How a response's condition is told: status and response code.
//!
//! RFC 3501 s.7.1, RFC 4315 s.3, RFC 5530, RFC 6154 s.6, RFC 7888 s.4.

use super::response;
use crate::flag::SystemFlags;
use crate::ids::{Runs, SeqNum, Uid, UidValidity};

/// `resp-cond-state` and its kin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done, or a piece of information.
    Ok,
    /// Understood and not done.
    No,
    /// Not understood, or out of place.
    Bad,
    /// The connection ends.
    Bye,
    /// A greeting: no login needed.
    PreAuth,
}

impl Status {
    /// As printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::No => "NO",
            Status::Bad => "BAD",
            Status::Bye => "BYE",
            Status::PreAuth => "PREAUTH",
        }
    }
}

/// A `resp-text-code`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// The user must see the text.
    Alert,
    /// A character set that SEARCH does not know, and those that it does.
    BadCharset(Vec<&'static str>),
    /// CAPABILITY: the machine's to fill in.
    Capability(String),
    /// Flags that can be changed for good; `\*`: new keywords can be made.
    PermanentFlags {
        /// System flags.
        system: SystemFlags,
        /// The mailbox's keywords.
        keywords: Vec<String>,
        /// `\*`
        new: bool,
    },
    /// The mailbox was opened to be read.
    ReadOnly,
    /// The mailbox was opened to be changed.
    ReadWrite,
    /// There is no such mailbox; CREATE might help.
    TryCreate,
    /// The next UID.
    UidNext(Uid),
    /// The UID validity.
    UidValidity(UidValidity),
    /// The first message without `\Seen`.
    Unseen(SeqNum),
    /// Where an appended message went (RFC 4315 s.3).
    AppendUid(UidValidity, Uid),
    /// Which messages went where, both in rising order (RFC 4315 s.3). Never with empty sets.
    CopyUid {
        /// Of the target mailbox.
        validity: UidValidity,
        /// UIDs there.
        from: Runs,
        /// UIDs here.
        to: Runs,
    },
    /// RFC 5530 `UNAVAILABLE`: try again later.
    Unavailable,
    /// RFC 5530 `AUTHENTICATIONFAILED`.
    AuthenticationFailed,
    /// RFC 5530 `AUTHORIZATIONFAILED`.
    AuthorizationFailed,
    /// RFC 5530 `PRIVACYREQUIRED`: not without TLS.
    PrivacyRequired,
    /// RFC 5530 `CONTACTADMIN`.
    ContactAdmin,
    /// RFC 5530 `NOPERM`.
    NoPerm,
    /// RFC 5530 `INUSE`.
    InUse,
    /// RFC 5530 `EXPUNGEISSUED`: some of the messages are gone.
    ExpungeIssued,
    /// RFC 5530 `CORRUPTION`.
    Corruption,
    /// RFC 5530 `SERVERBUG`.
    ServerBug,
    /// RFC 5530 `CLIENTBUG`.
    ClientBug,
    /// RFC 5530 `CANNOT`: it will never do.
    Cannot,
    /// RFC 5530 `LIMIT`.
    Limit,
    /// RFC 5530 `OVERQUOTA`.
    OverQuota,
    /// RFC 5530 `ALREADYEXISTS`.
    AlreadyExists,
    /// RFC 5530 `NONEXISTENT`.
    NonExistent,
    /// RFC 6154 `USEATTR`: no mailbox with such a use can be made.
    UseAttr,
    /// RFC 7888 `TOOBIG`.
    TooBig,
}

impl Code {
    /// Appends the code, without its brackets.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let plain = match self {
            Code::Alert => "ALERT",
            Code::ReadOnly => "READ-ONLY",
            Code::ReadWrite => "READ-WRITE",
            Code::TryCreate => "TRYCREATE",
            Code::Unavailable => "UNAVAILABLE",
            Code::AuthenticationFailed => "AUTHENTICATIONFAILED",
            Code::AuthorizationFailed => "AUTHORIZATIONFAILED",
            Code::PrivacyRequired => "PRIVACYREQUIRED",
            Code::ContactAdmin => "CONTACTADMIN",
            Code::NoPerm => "NOPERM",
            Code::InUse => "INUSE",
            Code::ExpungeIssued => "EXPUNGEISSUED",
            Code::Corruption => "CORRUPTION",
            Code::ServerBug => "SERVERBUG",
            Code::ClientBug => "CLIENTBUG",
            Code::Cannot => "CANNOT",
            Code::Limit => "LIMIT",
            Code::OverQuota => "OVERQUOTA",
            Code::AlreadyExists => "ALREADYEXISTS",
            Code::NonExistent => "NONEXISTENT",
            Code::UseAttr => "USEATTR",
            Code::TooBig => "TOOBIG",
            Code::BadCharset(known) => {
                out.extend_from_slice(b"BADCHARSET");
                if !known.is_empty() {
                    out.extend_from_slice(b" (");
                    out.extend_from_slice(known.join(" ").as_bytes());
                    out.push(b')');
                }
                return;
            }
            Code::Capability(list) => {
                out.extend_from_slice(b"CAPABILITY ");
                out.extend_from_slice(list.as_bytes());
                return;
            }
            Code::PermanentFlags { system, keywords, new } => {
                out.extend_from_slice(b"PERMANENTFLAGS (");
                let star = new.then_some("\\*");
                response::flag_list(*system, false, keywords.iter().map(String::as_str).chain(star), out);
                out.push(b')');
                return;
            }
            Code::UidNext(uid) => {
                out.extend_from_slice(b"UIDNEXT ");
                response::number(uid.get().into(), out);
                return;
            }
            Code::UidValidity(validity) => return response::uid_validity(b"UIDVALIDITY", *validity, out),
            Code::Unseen(n) => {
                out.extend_from_slice(b"UNSEEN ");
                response::number(n.get().into(), out);
                return;
            }
            Code::AppendUid(validity, uid) => {
                response::uid_validity(b"APPENDUID", *validity, out);
                out.push(b' ');
                response::number(uid.get().into(), out);
                return;
            }
            Code::CopyUid { validity, from, to } => {
                response::uid_validity(b"COPYUID", *validity, out);
                out.push(b' ');
                response::runs(from, out);
                out.push(b' ');
                response::runs(to, out);
                return;
            }
        };
        out.extend_from_slice(plain.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        let validity = UidValidity::new(38).expect("not zero");
        let uid = Uid::new(9).expect("not zero");
        let rows = [
            (Code::ReadWrite, "READ-WRITE"),
            (Code::UidNext(uid), "UIDNEXT 9"),
            (Code::UidValidity(validity), "UIDVALIDITY 38"),
            (Code::AppendUid(validity, uid), "APPENDUID 38 9"),
            (
                Code::CopyUid {
                    validity,
                    from: [304, 319, 320].into_iter().collect(),
                    to: (3956..=3958).collect(),
                },
                "COPYUID 38 304,319:320 3956:3958",
            ),
            (Code::BadCharset(vec!["US-ASCII", "UTF-8"]), "BADCHARSET (US-ASCII UTF-8)"),
            (
                Code::PermanentFlags {
                    system: SystemFlags::from_bits(31),
                    keywords: vec!["$Junk".into()],
                    new: true,
                },
                "PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Junk \\*)",
            ),
            (
                Code::PermanentFlags { system: SystemFlags::NONE, keywords: vec![], new: false },
                "PERMANENTFLAGS ()",
            ),
        ];
        for (code, want) in rows {
            let mut out = Vec::new();
            code.encode(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
    }
}
