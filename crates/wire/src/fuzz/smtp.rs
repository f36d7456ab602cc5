//! SMTP: any octets, on either role, with any answers, must give the same however they are cut.

use super::drive::{Transcript, choices, drive, tls};
use crate::machine::Peer;
use crate::smtp::command::Command;
use crate::smtp::reply::{Code, Enhanced, Reply};
use crate::smtp::session::{Answer, Config, FutureRelease, Offers, Question, Role, Session};

/// Settings: bit 0 submission, bit 1 TLS, bit 2 AUTH in plain, bit 3 a limit of 40 octets, bit 4 one recipient, bit 5 all
/// extensions.
///
/// # Panics
/// When something is wrong.
pub fn smtp_command(input: &[u8]) {
    let (settings, answers, rest) = choices(input);
    let line = rest.split(|&b| b == b'\n').next().unwrap_or(rest);
    let _ = Command::parse(line);
    let whole = run(settings, answers, rest, usize::MAX);
    assert!(whole.out.is_empty() || whole.out.ends_with(b"\r\n"), "replies are whole lines");
    for line in whole.out.split_inclusive(|&b| b == b'\n') {
        let good = matches!(line, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', ..]);
        assert!(good && line.ends_with(b"\r\n") && line.len() <= 512, "{}", line.escape_ascii());
    }
    for cut in [1, 2, 7] {
        assert_eq!(whole, run(settings, answers, rest, cut), "cut into pieces of {cut}");
    }
}

fn run(settings: u8, answers: u8, rest: &[u8], cut: usize) -> Transcript {
    let all = Offers {
        dsn: true,
        require_tls: true,
        future_release: Some(FutureRelease { max_interval: 3_600, opened: 1_700_000_000 }),
        smtputf8: true,
    };
    let config = Config {
        hostname: "mx.example.org".to_owned(),
        role: if settings & 1 == 0 { Role::Mx } else { Role::Submission },
        starttls: true,
        auth_in_plain: settings & 4 != 0,
        max_message: if settings & 8 == 0 { 1_000_000 } else { 40 },
        max_recipients: if settings & 16 == 0 { 100 } else { 1 },
        offers: if settings & 32 == 0 { Offers::default() } else { all },
    };
    let peer = Peer { ip: std::net::Ipv4Addr::LOCALHOST.into(), tls: (settings & 2 != 0).then(tls) };
    let mut asked = 0;
    drive(Session::new(config, &peer), rest, cut, |question, _| {
        let yes = (answers.rotate_right(asked % 8)) & 1 == 0;
        asked += 1;
        match question {
            Question::Connected | Question::Quit | Question::Reset => Answer::Accepted,
            _ if yes => Answer::Accepted,
            Question::Login(_) => Answer::Denied,
            _ => Answer::Reply(Reply::new(Code::LOCAL_ERROR, Enhanced(3, 0), "not now\nlater")),
        }
    })
}
