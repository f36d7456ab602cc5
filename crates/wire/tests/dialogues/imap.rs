//! IMAP in dialogues.
//!
//! Settings: `tls` (the connection began under TLS), `no-starttls`, `plain-auth` (logins without TLS), `message N`
//! (octets of a message), `without CAPABILITY`.
//! Questions: `login USER PASSWORD`, `run COMMAND`, `run-quiet COMMAND` (EXPUNGE may not be told), `APPEND ..`,
//! `append-end`, `append-aborted`, `poll`, `idle-begin`, `idle-update`, `idle-end`, `logout`.
//! Answers: `login [without CAPABILITY]`, `denied`, `go`, `done`, `bye TEXT`, or how a command ended: `OK TEXT`,
//! `NO [CODE] TEXT`, with `selected` or `unselected` in front where the state moves.

use wire::flag::SystemFlags;
use wire::ids::{Runs, Uid, UidValidity};
use wire::imap::code::Code;
use wire::imap::session::{Answer, Capabilities, Capability, Config, Ended, NewState, Question, Session};
use wire::machine::{Peer, TlsFacts};

use crate::runner::{Subject, replay_all};

struct Imap;

fn capability(name: &str) -> Capability {
    Capability::parse(name).unwrap_or_else(|| panic!("no such capability: {name}"))
}

impl Subject for Imap {
    type Machine = Session;

    fn machine(&self, settings: &[(String, String)]) -> Session {
        let mut config = Config {
            hostname: "imap.demo.test".to_owned(),
            starttls: true,
            auth_in_plain: false,
            max_message: 50_000_000,
            without: Capabilities::NONE,
        };
        let mut tls = None;
        for (key, value) in settings {
            match (key.as_str(), value.as_str()) {
                ("tls", _) => tls = Some(TlsFacts::default()),
                ("no-starttls", _) => config.starttls = false,
                ("plain-auth", _) => config.auth_in_plain = true,
                ("message", n) => config.max_message = n.parse().expect("a number"),
                ("without", name) => config.without = config.without.with(capability(name)),
                other => panic!("no such setting: {other:?}"),
            }
        }
        Session::new(config, &Peer { ip: std::net::Ipv4Addr::LOCALHOST.into(), tls })
    }

    fn question(&self, q: &Question) -> String {
        match q {
            Question::Login(c) => format!("login {} {}", c.user, c.password.expose()),
            Question::Run { request, expunge: true } => format!("run {request}"),
            Question::Run { request, expunge: false } => format!("run-quiet {request}"),
            Question::AppendBegin(append) => append.to_string(),
            Question::AppendEnd => "append-end".to_owned(),
            Question::AppendAborted => "append-aborted".to_owned(),
            Question::Poll => "poll".to_owned(),
            Question::IdleBegin => "idle-begin".to_owned(),
            Question::IdleUpdate => "idle-update".to_owned(),
            Question::IdleEnd => "idle-end".to_owned(),
            Question::Logout => "logout".to_owned(),
        }
    }

    fn answer(&self, text: &str) -> Result<Answer, String> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        Ok(match word {
            "login" => {
                let without =
                    rest.split(' ').skip(1).fold(Capabilities::NONE, |set, name| set.with(capability(name)));
                Answer::LoggedIn { without }
            }
            "denied" => Answer::Denied,
            "go" => Answer::Go,
            "done" => Answer::Done,
            "bye" => Answer::Bye { code: None, text: rest.to_owned().into() },
            "selected" => ended(rest)?.with_state(NewState::Selected { read_only: false }).into(),
            "unselected" => ended(rest)?.with_state(NewState::Authenticated).into(),
            _ => ended(text)?.into(),
        })
    }
}

fn ended(text: &str) -> Result<Ended, String> {
    let (status, mut text) = text.split_once(' ').ok_or("an answer has a text")?;
    let mut code = None;
    if let Some((inside, after)) = text.strip_prefix('[').and_then(|t| t.split_once("] ")) {
        code = Some(self::code(inside).ok_or_else(|| format!("no such code: {inside}"))?);
        text = after;
    }
    let ended = match status {
        "OK" => Ended::ok(text.to_owned()),
        "NO" => Ended::no(None, text.to_owned()),
        "BAD" => Ended::bad(text.to_owned()),
        _ => return Err(format!("no such answer: {status}")),
    };
    Ok(Ended { code, ..ended })
}

fn code(text: &str) -> Option<Code> {
    let set = |text: &str| {
        let mut runs = Runs::default();
        for range in text.split(',') {
            let (a, b) = range.split_once(':').unwrap_or((range, range));
            runs.add(a.parse().ok()?, b.parse().ok()?);
        }
        Some(runs)
    };
    Some(match text.split(' ').collect::<Vec<_>>()[..] {
        ["READ-WRITE"] => Code::ReadWrite,
        ["READ-ONLY"] => Code::ReadOnly,
        ["TRYCREATE"] => Code::TryCreate,
        ["NONEXISTENT"] => Code::NonExistent,
        ["ALREADYEXISTS"] => Code::AlreadyExists,
        ["UNAVAILABLE"] => Code::Unavailable,
        ["OVERQUOTA"] => Code::OverQuota,
        ["PERMANENTFLAGS"] => {
            Code::PermanentFlags { system: SystemFlags::NONE, keywords: Vec::new(), new: true }
        }
        ["APPENDUID", v, u] => {
            Code::AppendUid(UidValidity::new(v.parse().ok()?)?, Uid::new(u.parse().ok()?)?)
        }
        ["COPYUID", v, from, to] => {
            Code::CopyUid { validity: UidValidity::new(v.parse().ok()?)?, from: set(from)?, to: set(to)? }
        }
        _ => return None,
    })
}

#[test]
fn every_imap_dialogue_holds() {
    let n = replay_all(&Imap, "imap");
    assert!(n >= 30, "only {n} dialogues were found");
}
