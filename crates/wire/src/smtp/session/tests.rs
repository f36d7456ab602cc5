//! Bodies through the whole machine, against a model that knows the RFC and nothing of the machine.

use super::*;
use crate::fuzz::{Transcript, drive};
use crate::smtp::reply::Enhanced;
use proptest::prelude::*;

fn run(role: Role, limit: u64, input: &[u8], cut: usize) -> Transcript {
    let config = Config {
        hostname: "mx".to_owned(),
        role,
        starttls: false,
        auth_in_plain: true,
        max_message: limit,
        max_recipients: 1,
        offers: Offers::default(),
    };
    let peer = Peer { ip: std::net::Ipv4Addr::LOCALHOST.into(), tls: None };
    drive(Session::new(config, &peer), input, cut, |question, _| match question {
        Question::Connected => Answer::Reply(Reply::new(Code::READY, Enhanced(0, 0), "hi")),
        _ => Answer::Accepted,
    })
}

/// Everything up to the body, which is to follow in the form that `how` says; and what follows it.
fn session(role: Role, how: &str, body: &[u8]) -> Vec<u8> {
    let mut input = b"EHLO x\r\n".to_vec();
    if role == Role::Submission {
        input.extend_from_slice(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n");
    }
    input.extend_from_slice(b"MAIL FROM:<>\r\nRCPT TO:<a@x>\r\n");
    input.extend_from_slice(how.as_bytes());
    input.extend_from_slice(body);
    input.extend_from_slice(b"NOOP\r\n");
    input
}

/// CR and LF of their own, as CRLF.
fn mended(body: &str) -> String {
    body.replace("\r\n", "\x01").replace(['\r', '\n'], "\x01").replace('\x01', "\r\n")
}

/// What a desk should see of a body: all of it mended, or the part before the first fault.
fn expected(role: Role, body: &str, limit: usize) -> (String, bool) {
    let whole = mended(body);
    let mut clean = whole.as_str();
    if role == Role::Mx {
        let joined = body.replace("\r\n", "\x01\x01");
        clean = joined.find(['\r', '\n']).map_or(clean, |i| &whole[..i]);
    }
    let fault = clean.len() < whole.len() || clean.len() > limit;
    (clean[..clean.len().min(limit)].to_owned(), fault)
}

fn check(role: Role, input: &[u8], body: &str, limit: usize, cut: usize) -> Result<(), TestCaseError> {
    let (clean, fault) = expected(role, body, limit);
    let seen = run(role, limit as u64, input, cut);
    prop_assert_eq!(String::from_utf8_lossy(&seen.body), clean.as_str());
    let ended = seen.questions.contains(&format!("DataEnd {{ octets: {} }}", clean.len()));
    let aborted = seen.questions.iter().any(|q| q.starts_with("DataAborted"));
    prop_assert_eq!((ended, aborted), (!fault, fault), "{:?}", seen.questions);
    prop_assert!(
        seen.out.ends_with(b"250 2.0.0 ok\r\n"),
        "NOOP is a command again: {:?}",
        String::from_utf8_lossy(&seen.out)
    );
    prop_assert_eq!(&seen, &run(role, limit as u64, input, usize::MAX));
    Ok(())
}

proptest! {
    #[test]
    fn data_means_what_the_rfc_says(
        typed in "[.a\r\n]{0,24}", crlf in any::<bool>(), limit in 1usize..40, cut in 1usize..6, mx in any::<bool>(),
    ) {
        let role = if mx { Role::Mx } else { Role::Submission };
        let typed = if crlf { typed.replace('\r', "").replace('\n', "\r\n") } else { typed };
        // The first CRLF.CRLF ends it, and the beginning counts as behind a CRLF.
        let sent = format!("\r\n{typed}\r\n.\r\n");
        let end = sent.find("\r\n.\r\n").expect("it is there");
        let body = if end == 0 { String::new() } else { sent[2..end + 2].to_owned() };
        let body: Vec<_> = body.split("\r\n").map(|line| line.strip_prefix('.').unwrap_or(line)).collect();
        let body = body.join("\r\n");
        let input = session(role, "DATA\r\n", &sent.as_bytes()[2..end + 5]);
        check(role, &input, &body, limit, cut)?;
    }

    #[test]
    fn chunks_mean_what_they_hold(
        clean in "[.a\n]{0,16}", at in 0usize..20, last in "[.a\r\n]{0,8}", cut in 1usize..6, mx in any::<bool>(),
    ) {
        // A chunk may end in the midst of a CRLF; only the last one has a CR or LF of its own.
        let role = if mx { Role::Mx } else { Role::Submission };
        let clean = clean.replace('\n', "\r\n");
        let (first, second) = clean.split_at(at.min(clean.len()));
        let body = format!("{clean}{last}");
        let sent = format!("BDAT {}\r\n{first}BDAT {} LAST\r\n{second}{last}", first.len(), second.len() + last.len());
        check(role, &session(role, &sent, b""), &body, 1_000, cut)?;
    }
}
