//! POP3 in dialogues.
//!
//! Settings: `tls` (the connection began under TLS), `no-starttls`, `plain-auth` (logins without TLS).
//! Questions: `connected`, `login USER PASSWORD`, `stat`, `list [N]`, `uidl [N]`, `retr N`, `top N LINES`, `dele N`,
//! `rset`, `quit`.
//! Answers: `done`, `stat COUNT OCTETS`, `listed OCTETS`, `uid TEXT`, and the failures: `no-such-message`, `denied`,
//! `in-use`, `too-often`, `temporary`, `permanent`, `refused`.

use wire::machine::{Peer, TlsFacts};
use wire::pop3::session::{Answer, Config, Failure, Question, Session};

use crate::runner::{Subject, replay_all};

struct Pop3;

impl Subject for Pop3 {
    type Machine = Session;

    fn machine(&self, settings: &[(String, String)]) -> Session {
        let mut config = Config {
            hostname: "pop.demo.test".to_owned(),
            starttls: true,
            auth_in_plain: false,
            implementation: "Penfold-0".to_owned(),
        };
        let mut tls = None;
        for (key, _) in settings {
            match key.as_str() {
                "tls" => tls = Some(TlsFacts::default()),
                "no-starttls" => config.starttls = false,
                "plain-auth" => config.auth_in_plain = true,
                other => panic!("no such setting: {other}"),
            }
        }
        Session::new(config, &Peer { ip: std::net::Ipv4Addr::LOCALHOST.into(), tls })
    }

    fn question(&self, q: &Question) -> String {
        match q {
            Question::Connected => "connected".to_owned(),
            Question::Login(c) => format!("login {} {}", c.user, c.password.expose()),
            Question::Stat => "stat".to_owned(),
            Question::List(None) => "list".to_owned(),
            Question::List(Some(n)) => format!("list {n}"),
            Question::Uidl(None) => "uidl".to_owned(),
            Question::Uidl(Some(n)) => format!("uidl {n}"),
            Question::Retr(n) => format!("retr {n}"),
            Question::Top { number, lines } => format!("top {number} {lines}"),
            Question::Dele(n) => format!("dele {n}"),
            Question::Rset => "rset".to_owned(),
            Question::Quit => "quit".to_owned(),
        }
    }

    fn answer(&self, text: &str) -> Result<Answer, String> {
        let number = |text: &str| text.parse::<u64>().map_err(|e| e.to_string());
        Ok(match text.split(' ').collect::<Vec<_>>()[..] {
            ["done"] => Answer::Done,
            ["stat", count, octets] => Answer::Stat { count: number(count)?, octets: number(octets)? },
            ["listed", octets] => Answer::Listed(number(octets)?),
            ["uid", uid] => Answer::Uid(uid.to_owned()),
            ["no-such-message"] => Answer::Failed(Failure::NoSuchMessage),
            ["denied"] => Answer::Failed(Failure::Denied),
            ["in-use"] => Answer::Failed(Failure::InUse),
            ["too-often"] => Answer::Failed(Failure::TooOften),
            ["temporary"] => Answer::Failed(Failure::Temporary),
            ["permanent"] => Answer::Failed(Failure::Permanent),
            ["refused"] => Answer::Failed(Failure::Refused),
            _ => return Err(format!("no such answer: {text}")),
        })
    }
}

#[test]
fn every_pop3_dialogue_holds() {
    let n = replay_all(&Pop3, "pop3");
    assert!(n >= 12, "only {n} dialogues were found");
}
