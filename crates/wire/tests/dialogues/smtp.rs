//! SMTP in dialogues.
//!
//! Settings: `role mx` (as without it) or `role submission`; `tls` (the connection began under TLS); `no-starttls`; `plain-auth`
//! (AUTH without TLS); `size N`; `recipients N`;
//! `dsn`, `requiretls`, `smtputf8`, `hold SECONDS` (these extensions are offered).
//! Questions: `connected`, `login USER PASSWORD`, `mail <path> [size=N] [8bit] [ret=R] [envid=E] [hold-for=N] [hold-until=N]
//! [require-tls] [utf8] EHLO|HELO NAME [tls]`, `rcpt <path> [notify=N] [orcpt=KIND,ADDRESS]`,
//! `data`, `end OCTETS`, `aborted too-large|bare-line-end|given-up`, `reset`, `quit`.
//! Answers: `ok`, `denied`, or a reply with its enhanced code: `550 5.1.1 no such user`.

use wire::machine::{Peer, TlsFacts};
use wire::smtp::reply::{Code, Enhanced, Reply};
use wire::smtp::session::{
    Aborted, Answer, BodyKind, Config, FutureRelease, Hold, Offers, Question, Recipient, Role, Session,
};

use crate::runner::{Subject, replay_all};

struct Smtp;

impl Subject for Smtp {
    type Machine = Session;

    fn machine(&self, settings: &[(String, String)]) -> Session {
        let mut config = Config {
            hostname: "mx.demo.test".to_owned(),
            role: Role::Mx,
            starttls: true,
            auth_in_plain: false,
            max_message: 50_000_000,
            max_recipients: 1_000,
            offers: Offers::default(),
        };
        let mut tls = None;
        for (key, value) in settings {
            match (key.as_str(), value.as_str()) {
                ("role", "mx") => config.role = Role::Mx,
                ("role", "submission") => config.role = Role::Submission,
                ("tls", _) => tls = Some(TlsFacts::default()),
                ("no-starttls", _) => config.starttls = false,
                ("plain-auth", _) => config.auth_in_plain = true,
                ("size", n) => config.max_message = n.parse().expect("a number"),
                ("dsn", _) => config.offers.dsn = true,
                ("requiretls", _) => config.offers.require_tls = true,
                ("smtputf8", _) => config.offers.smtputf8 = true,
                ("hold", n) => {
                    let max_interval = n.parse().expect("a number");
                    // 2026-11-28T12:00:00Z.
                    config.offers.future_release =
                        Some(FutureRelease { max_interval, opened: 1_795_867_200 });
                }
                ("recipients", n) => config.max_recipients = n.parse().expect("a number"),
                other => panic!("no such setting: {other:?}"),
            }
        }
        Session::new(config, &Peer { ip: std::net::Ipv4Addr::LOCALHOST.into(), tls })
    }

    fn question(&self, q: &Question) -> String {
        match q {
            Question::Connected => "connected".to_owned(),
            Question::Login(c) => format!("login {} {}", c.user, c.password.expose()),
            Question::Mail(mail) => {
                let mut text = format!("mail {}", mail.path);
                if let Some(size) = mail.size {
                    text.push_str(&format!(" size={size}"));
                }
                if mail.body == BodyKind::EightBitMime {
                    text.push_str(" 8bit");
                }
                if let Some(ret) = mail.ret {
                    text.push_str(&format!(" ret={ret}"));
                }
                if let Some(envid) = &mail.envid {
                    text.push_str(&format!(" envid={:?}", envid.as_str()));
                }
                match mail.hold {
                    Some(Hold::For(seconds)) => text.push_str(&format!(" hold-for={seconds}")),
                    Some(Hold::Until(moment)) => text.push_str(&format!(" hold-until={moment}")),
                    None => {}
                }
                if mail.require_tls {
                    text.push_str(" require-tls");
                }
                if mail.smtputf8 {
                    text.push_str(" utf8");
                }
                text.push_str(if mail.hello.extended { " EHLO " } else { " HELO " });
                text.push_str(&mail.hello.name);
                if mail.tls.is_some() {
                    text.push_str(" tls");
                }
                text
            }
            Question::Rcpt(Recipient { path, notify, orcpt }) => {
                let mut text = format!("rcpt {path}");
                if let Some(notify) = notify {
                    text.push_str(&format!(" notify={notify}"));
                }
                if let Some(orcpt) = orcpt {
                    text.push_str(&format!(" orcpt={},{}", orcpt.kind(), orcpt.address()));
                }
                text
            }
            Question::DataBegin => "data".to_owned(),
            Question::DataEnd { octets } => format!("end {octets}"),
            Question::DataAborted(Aborted::TooLarge) => "aborted too-large".to_owned(),
            Question::DataAborted(Aborted::BareLineEnd) => "aborted bare-line-end".to_owned(),
            Question::DataAborted(Aborted::GivenUp) => "aborted given-up".to_owned(),
            Question::Reset => "reset".to_owned(),
            Question::Quit => "quit".to_owned(),
        }
    }

    fn answer(&self, text: &str) -> Result<Answer, String> {
        match text {
            "ok" => return Ok(Answer::Accepted),
            "denied" => return Ok(Answer::Denied),
            _ => {}
        }
        reply(text).map(Answer::Reply).ok_or(format!("no such answer: {text}"))
    }
}

fn reply(text: &str) -> Option<Reply> {
    let (number, rest) = text.split_once(' ')?;
    let code = *Code::ALL.iter().find(|code| code.get().to_string() == number)?;
    let (enhanced, words) = rest.split_once(' ')?;
    let mut parts = enhanced.split('.').skip(1).map(str::parse::<u8>);
    let (Some(Ok(subject)), Some(Ok(detail))) = (parts.next(), parts.next()) else { return None };
    Some(Reply::new(code, Enhanced(subject, detail), words.to_owned()))
}

#[test]
fn every_smtp_dialogue_holds() {
    let n = replay_all(&Smtp, "smtp");
    assert!(n >= 20, "only {n} dialogues were found");
}
