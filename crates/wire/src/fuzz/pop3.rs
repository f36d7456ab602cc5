//! POP3: any octets, with any answers, must give the same however they are cut.

use super::drive::{Transcript, choices, drive, tls};
use crate::dot::Stuffer;
use crate::machine::Peer;
use crate::pop3::command::Command;
use crate::pop3::reply;
use crate::pop3::session::{Answer, Config, Failure, Question, Session};

/// Settings: bit 0 TLS, bit 1 logins in plain.
///
/// # Panics
/// When something is wrong.
pub fn pop3_command(input: &[u8]) {
    let (settings, answers, rest) = choices(input);
    let line = rest.split(|&b| b == b'\n').next().unwrap_or(rest);
    let _ = Command::parse(line);
    let whole = run(settings, answers, rest, usize::MAX);
    assert!(whole.out.is_empty() || whole.out.ends_with(b"\r\n"), "replies are whole lines");
    for cut in [1, 2, 7] {
        assert_eq!(whole, run(settings, answers, rest, cut), "cut into pieces of {cut}");
    }
}

fn run(settings: u8, answers: u8, rest: &[u8], cut: usize) -> Transcript {
    let config = Config {
        hostname: "pop.example.org".to_owned(),
        starttls: true,
        auth_in_plain: settings & 2 != 0,
        implementation: "Penfold".to_owned(),
    };
    let peer = Peer { ip: std::net::Ipv4Addr::LOCALHOST.into(), tls: (settings & 1 != 0).then(tls) };
    let mut asked = 0;
    drive(Session::new(config, &peer), rest, cut, |question, out| {
        let yes = (answers.rotate_right(asked % 8)) & 1 == 0;
        asked += 1;
        match question {
            Question::Connected => Answer::Done,
            Question::Login(_) if !yes => Answer::Failed(Failure::Denied),
            _ if !yes => Answer::Failed(Failure::NoSuchMessage),
            Question::Login(_) | Question::Stat | Question::Rset => Answer::Stat { count: 1, octets: 7 },
            Question::List(Some(_)) => Answer::Listed(7),
            Question::Uidl(Some(_)) => Answer::Uid("a.1".to_owned()),
            Question::Retr(_) => {
                reply::begin_message(7, out);
                let mut stuffer = Stuffer::new();
                stuffer.push(b".\r\n..", out);
                stuffer.finish(out);
                Answer::Done
            }
            _ => Answer::Done,
        }
    })
}
