//! The SMTP client: any octets from a server, with any answers of the desk, must give the same however they are cut.

use super::drive::{Transcript, choices, drive, tls};
use super::hashes::PlainHashes;
use crate::addr::ReversePath;
use crate::machine::Peer;
use crate::sasl::client::Login;
use crate::secret::Secret;
use crate::smtp::client::{
    Answer, Client, Config, Envelope, Extensions, Found, Question, Ready, Recipient, Replies, Timeouts,
};
use crate::smtp::params::BodyKind;

/// Any octets, as replies.
///
/// # Panics
/// When something is wrong.
pub fn smtp_reply(input: &[u8]) {
    let whole = replies(input, usize::MAX);
    for cut in [1, 2, 7] {
        assert_eq!(whole, replies(input, cut), "cut into pieces of {cut}");
    }
    for reply in &whole {
        assert!(!reply.contains(|c: char| c.is_control() && c != '\n'), "{reply:?}");
    }
}

/// What was found, in words. At what is no reply it ends.
fn replies(input: &[u8], cut: usize) -> Vec<String> {
    let mut finder = Replies::default();
    let mut all = Vec::new();
    let (mut begin, mut end) = (0, 0);
    loop {
        match finder.next(&input[begin..end]) {
            Found::More { used } => {
                begin += used;
                if end == input.len() {
                    return all;
                }
                end = end.saturating_add(cut).min(input.len());
            }
            Found::Reply { reply, used } => {
                assert!(used > 0 && begin + used <= end, "octets used that were not shown");
                begin += used;
                let _ = Extensions::parse(reply.text());
                all.push(format!("{reply}\n{:?}", Extensions::parse(reply.text()).auth));
            }
            Found::Bad { text } => {
                all.push(format!("bad {text}"));
                return all;
            }
        }
    }
}

/// Settings: bit 0 TLS, bits 1 to 3 how many recipients, bit 4 an envelope that needs every extension.
///
/// # Panics
/// When something is wrong.
pub fn smtp_client(input: &[u8]) {
    let (settings, answers, rest) = choices(input);
    let whole = run(settings, answers, rest, usize::MAX);
    assert!(whole.out.is_empty() || whole.out.ends_with(b"\r\n"), "commands are whole lines");
    // RFC 6531 s.3.2: to who does not offer it nothing is said outside ASCII.
    let utf8 = String::from_utf8_lossy(rest).to_ascii_uppercase().contains("SMTPUTF8");
    for line in whole.out.split_inclusive(|&b| b == b'\n') {
        let good =
            line.iter().all(|b| (0x20..0x7f).contains(b) || b"\r\n".contains(b) || utf8 && !b.is_ascii());
        assert!(good && line.ends_with(b"\r\n"), "{}", line.escape_ascii());
    }
    for cut in [1, 2, 7] {
        assert_eq!(whole, run(settings, answers, rest, cut), "cut into pieces of {cut}");
    }
}

fn run(settings: u8, answers: u8, rest: &[u8], cut: usize) -> Transcript {
    let config = Config { name: "client.example".to_owned(), timeouts: Timeouts::default() };
    let peer = Peer { ip: std::net::Ipv4Addr::LOCALHOST.into(), tls: (settings & 1 != 0).then(tls) };
    let (mut asked, mut fates) = (0, None);
    drive(Client::new(config, &peer), rest, cut, |question, out| {
        let choice = answers.rotate_right(asked % 8) & 3;
        asked += 1;
        match question {
            // What needs no server (an envelope that cannot be said, a login that cannot) could go on for ever.
            Question::Ready(_) | Question::Refused(_) | Question::Next if asked > 40 => Answer::Quit,
            // Each envelope has one outcome, unless the desk gives the message up.
            Question::Outcome(outcome) => {
                assert_eq!(
                    fates.take(),
                    Some(outcome.fates.len()),
                    "an outcome with a fate for each recipient"
                );
                Answer::Noted
            }
            Question::Next if choice < 3 => {
                let envelope = envelope(settings);
                assert_eq!(fates.replace(envelope.recipients.len()), None, "the outcome was told");
                Answer::Send(Box::new(envelope))
            }
            Question::Body if choice < 3 => {
                out.extend_from_slice(b"x\r\n.\r\n");
                Answer::Sent
            }
            Question::Body => Answer::Aborted,
            Question::Say(line) => {
                out.extend_from_slice(line.expose());
                Answer::Said
            }
            Question::Ready(Ready { authenticated: false, .. }) if choice == 0 => {
                Answer::Authenticate(login())
            }
            Question::Ready(Ready { tls: None, .. }) | Question::Refused(_) if choice == 1 => {
                Answer::StartTls
            }
            Question::Ready(_) | Question::Refused(_) if choice < 3 => Answer::Go,
            Question::Over(_) => Answer::Noted,
            Question::Ready(_) | Question::Refused(_) | Question::Next => Answer::Quit,
        }
    })
}

fn login() -> Login {
    Login {
        user: "tim".to_owned(),
        password: Secret::from("secret"),
        reveal: true,
        nonce: *b"any eighteen bytes",
        hashes: Box::new(PlainHashes),
    }
}

fn envelope(settings: u8) -> Envelope {
    let all = settings & 16 != 0;
    let utf8 = settings & 32 != 0;
    let recipient = |n| {
        let address =
            if utf8 && n == 0 { "j\u{f6}rg@example.org".to_owned() } else { format!("r{n}@example.org") };
        Recipient {
            path: format!("<{address}>").parse().unwrap_or(crate::addr::ForwardPath::Postmaster),
            notify: None,
            orcpt: utf8.then(|| crate::dsn::OriginalRecipient::of(&format!("\u{fc}{address}"))),
        }
    };
    Envelope {
        reverse_path: ReversePath::Null,
        recipients: (0..settings >> 1 & 7).map(recipient).collect(),
        size: 1_000,
        body: if all { BodyKind::EightBitMime } else { BodyKind::SevenBit },
        smtputf8: all,
        require_tls: all,
        ret: None,
        envid: None,
    }
}
