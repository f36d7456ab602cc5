//! IMAP: any octets, with any answers, must give the same however they are cut; what is read as a request prints as
//! the same request.

use super::drive::{Transcript, choices, drive, tls};
use crate::imap::code::Code;
use crate::imap::command::{Command, Request};
use crate::imap::response;
use crate::imap::session::{Answer, Capabilities, Config, Ended, NewState, Question, Session, read};
use crate::machine::Peer;

/// Settings: bit 0 TLS, bit 1 logins in plain, bit 2 a limit of 40 octets, bit 3 logged in already, bit 4 a mailbox
/// selected already.
///
/// # Panics
/// When something is wrong.
pub fn imap_frame(input: &[u8]) {
    let (settings, answers, rest) = choices(input);
    let mut sent = Vec::new();
    if settings & 8 != 0 {
        sent.extend_from_slice(b"a LOGIN u p\r\n");
    }
    if settings & 16 != 0 {
        sent.extend_from_slice(b"a SELECT INBOX\r\n");
    }
    sent.extend_from_slice(rest);
    let whole = run(settings, answers, &sent, usize::MAX);
    assert!(whole.out.ends_with(b"\r\n"), "what is said are whole lines");
    // A line each for the greeting and the goodbye, and for each of the client's a few.
    let lines = sent.iter().filter(|&&b| b == b'\n').count();
    assert!(whole.out.len() <= 1_000 * (lines + 2), "{} octets were said of {lines} lines", whole.out.len());
    assert!(whole.body.len() <= sent.len(), "more was given to the desk than came");
    for cut in [1, 2, 7] {
        assert_eq!(whole, run(settings, answers, &sent, cut), "cut into pieces of {cut}");
    }
}

/// The input is one command, whole.
///
/// # Panics
/// When something is wrong.
pub fn imap_command(input: &[u8]) {
    if let Some(Command::Run(request)) = read(input) {
        let text = format!("a {request}");
        match read(text.as_bytes()) {
            Some(Command::Run(again)) => assert!(same(&request, &again), "{text}"),
            other => panic!("{text} is read as {other:?}"),
        }
    }
}

/// Whether both are the same; texts that are not UTF-8 do not print as they are.
fn same(a: &Request, b: &Request) -> bool {
    a == b || a.to_string() == b.to_string()
}

fn run(settings: u8, answers: u8, sent: &[u8], cut: usize) -> Transcript {
    let config = Config {
        hostname: "imap.example.org".to_owned(),
        starttls: true,
        auth_in_plain: settings & 2 != 0,
        max_message: if settings & 4 == 0 { 1_000_000 } else { 40 },
        without: Capabilities::NONE,
    };
    // Who is to be logged in already must be able to.
    let peer = Peer { ip: std::net::Ipv4Addr::LOCALHOST.into(), tls: (settings & 25 != 0).then(tls) };
    let mut asked = 0;
    drive(Session::new(config, &peer), sent, cut, |question, out| {
        let yes = (answers.rotate_right(asked % 8)) & 1 == 0;
        let preface = asked < u32::from(settings & 8 != 0) + u32::from(settings & 16 != 0);
        asked += 1;
        match question {
            Question::Login(_) if yes || preface => Answer::LoggedIn { without: Capabilities::NONE },
            Question::Login(_) => Answer::Denied,
            Question::AppendBegin(_) if yes => Answer::Go,
            Question::Run { request: Request::Select { .. }, .. } if yes || preface => {
                response::exists(3, out);
                Ended::ok("Selected").with_state(NewState::Selected { read_only: false }).into()
            }
            Question::Run { request: Request::Select { .. } | Request::Close, .. } => {
                Ended::no(Some(Code::NonExistent), "No such mailbox")
                    .with_state(NewState::Authenticated)
                    .into()
            }
            Question::Run { .. } | Question::AppendBegin(_) if !yes => Ended::no(None, "Not now").into(),
            Question::Run { .. } | Question::AppendEnd | Question::Poll | Question::IdleEnd => {
                Ended::ok("Done").into()
            }
            _ if answers == 0xff => Answer::Bye { code: None, text: "Enough".into() },
            _ => Answer::Done,
        }
    })
}
