//! What a failure means, in words that need no knowledge of mail servers: a table over enhanced codes (RFC 3463 and the
//! registry that RFC 5248 made of it), then reply codes. Pure.

use wire::smtp::client::Reply;

/// An enhanced code: class, subject, detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16, pub u16, pub u16);

impl Status {
    /// What a reply says, or what its three digits say alone: RFC 3463 s.3.1 has zeros for what is not known.
    #[must_use]
    pub fn of(reply: &Reply) -> Status {
        let class = reply.code() / 100;
        match (reply.enhanced(), reply.code()) {
            (Some((class, subject, detail)), _) => Status(class, subject, detail),
            (None, 421) => Status(4, 3, 2),
            (None, 452) => Status(4, 3, 1),
            (None, 552) => Status(5, 2, 2),
            (None, 551) => Status(5, 1, 6),
            (None, 553) => Status(5, 1, 3),
            (None, _) => Status(class, 0, 0),
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// What happened, and what a sender can do about it. Whole sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// What happened.
    pub what: &'static str,
    /// What to do.
    pub next: &'static str,
}

const CHECK: &str =
    "Check the address for typing mistakes. If it is right, ask the recipient for another one.";
const CHECK_DOMAIN: &str = "Check what stands behind the @ for typing mistakes.";
const LATER: &str = "Send it again later, or reach the recipient in another way.";
const ROOM: &str = "Tell the recipient in another way, and send it again when there is room.";
const SMALLER: &str = "Send less at once, or put the files where the recipient can fetch them.";
const THEIRS: &str = "The recipient, or who runs the recipient's server, has to allow it.";
const OURS: &str = "Forward this report to who runs your mail server.";
const UTF8: &str = "Send it from and to addresses with plain letters only.";
const PLAIN: &str = "Send it again as plain text without attachments.";
const SPAM: Words = Words {
    what: "Their server refuses your message as spam.",
    next: "Send it again in other words and with fewer links; if that does not help, forward this report to who runs \
           your mail server.",
};

/// What a status means. `said` are the other server's words, if there are any: some say only there what they mean.
#[must_use]
pub fn explain(status: Status, code: Option<u16>, said: &str) -> Words {
    let Status(class, subject, detail) = status;
    let vague = subject == 0
        || (subject, detail) == (7, 0)
        || (subject, detail) == (7, 1)
        || (subject, detail) == (6, 0);
    if vague && class == 5 && is_about_spam(said) {
        return SPAM;
    }
    let row = TABLE.iter().find(|row| (row.0, row.1) == (subject, detail));
    let row = row.or_else(|| TABLE.iter().find(|row| (row.0, row.1) == (subject, 0)));
    match row {
        Some(&(0, _, what, next)) => by_code(code).unwrap_or(Words { what, next }),
        Some(&(_, _, what, next)) => Words { what, next },
        None => Words { what: "It could not be delivered.", next: OURS },
    }
}

/// Subject, detail, what happened, what to do. A row with detail 0 stands for all of its subject that have none.
const TABLE: &[(u16, u16, &str, &str)] = &[
    (0, 0, "Their server does not accept the message.", THEIRS),
    (1, 0, "Their server does not accept the address.", CHECK),
    (1, 1, "The mailbox does not exist.", CHECK),
    (1, 2, "There is no mail server for this address.", CHECK_DOMAIN),
    (1, 3, "Their server says that the address is not written correctly.", CHECK),
    (1, 4, "The address leads to more than one mailbox.", CHECK),
    (1, 6, "The recipient has moved and left no address to send to.", CHECK),
    (1, 7, "Their server says that your address is not written correctly.", OURS),
    (1, 8, "Their server does not believe that your address exists.", OURS),
    (1, 10, "This domain takes no mail at all.", CHECK_DOMAIN),
    (2, 0, "There is something wrong with the mailbox.", LATER),
    (2, 1, "The mailbox is switched off, or takes no mail now.", LATER),
    (2, 2, "The mailbox is full.", ROOM),
    (2, 3, "The message is too large for this mailbox.", SMALLER),
    (2, 4, "The mailing list at this address does not work.", THEIRS),
    (3, 0, "Their server has a problem.", LATER),
    (3, 1, "Their server is full.", LATER),
    (3, 2, "Their server takes no mail at the moment.", LATER),
    (3, 3, "Their server cannot handle this kind of message.", PLAIN),
    (3, 4, "The message is too large for their server.", SMALLER),
    (3, 5, "Their server, or ours, is not set up correctly.", OURS),
    (4, 0, "Their server could not be reached.", LATER),
    (4, 1, "Their server does not answer.", LATER),
    (4, 2, "The connection to their server broke.", LATER),
    (4, 3, "The directory that says where their server is does not answer.", LATER),
    (4, 4, "It is not known where their server is.", CHECK_DOMAIN),
    (4, 5, "Their server is too busy.", LATER),
    (4, 6, "The message went in circles between servers.", OURS),
    (4, 7, "Their server could not be reached, or took nothing, in all the time it was tried.", LATER),
    (5, 0, "Their server and ours did not understand each other.", OURS),
    (5, 3, "The message has too many recipients at once.", "Send it to fewer people at a time."),
    (6, 0, "Their server does not accept what is in the message.", PLAIN),
    (6, 1, "Their server does not accept this kind of attachment.", PLAIN),
    (6, 3, "Their server takes only plain letters, and the message has others.", PLAIN),
    (6, 7, "Their server does not know addresses with letters outside ASCII.", CHECK),
    (
        6,
        9,
        "Their server takes only plain letters in addresses, names and subjects, and the message has others.",
        UTF8,
    ),
    (7, 0, "Their server refuses your message because of its rules.", THEIRS),
    (7, 1, "Their server does not let you write to this address.", THEIRS),
    (7, 2, "You may not write to this mailing list.", THEIRS),
    (7, 3, "Their server refuses a message that was encrypted or signed like this.", THEIRS),
    (7, 4, "The message needs a security that their server does not have.", OURS),
    (7, 5, "The message needs a security that their server does not have.", OURS),
    (7, 8, "The server that passes on our mail does not accept our password.", OURS),
    (7, 9, "The server that passes on our mail does not accept how we log in.", OURS),
    (7, 10, "The connection to their server is not as safe as it has to be.", OURS),
    (7, 11, "The connection to their server is not as safe as it has to be.", OURS),
    (7, 13, "The mailbox is locked.", THEIRS),
    (7, 20, "Their server misses a valid signature of your domain.", OURS),
    (7, 21, "Their server misses a valid signature of your domain.", OURS),
    (7, 22, "Their server misses a valid signature of your domain.", OURS),
    (7, 23, "Your domain does not list this mail server as its own.", OURS),
    (7, 24, "Your domain's list of mail servers could not be read.", OURS),
    (7, 25, "This mail server's address on the Internet has no name.", OURS),
    (7, 26, "Their server does not believe that the message is from your domain.", OURS),
    (7, 27, "Your own domain says that it takes no mail, so nobody could answer you.", OURS),
    (7, 28, "Their server gets too much mail from you at once.", LATER),
    (7, 30, "The connection to their server is not as safe as the message asks for.", OURS),
];

/// What the three digits say where nothing better is known (RFC 5321 s.4.2.3).
fn by_code(code: Option<u16>) -> Option<Words> {
    let (what, next) = match code? {
        421 => ("Their server takes no mail at the moment.", LATER),
        450 => ("The mailbox takes no mail at the moment.", LATER),
        451 => ("Their server has a problem.", LATER),
        452 => ("Their server is full.", LATER),
        500..=504 | 555 => ("Their server and ours did not understand each other.", OURS),
        550 => ("Their server does not accept mail for this address.", CHECK),
        556 => ("This domain takes no mail at all.", CHECK_DOMAIN),
        _ => return None,
    };
    Some(Words { what, next })
}

fn is_about_spam(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    let words =
        ["spam", "blacklist", "blocklist", "block list", "reputation", "junk", "unsolicited", "rbl", "dnsbl"];
    said.split(|c: char| !c.is_ascii_alphanumeric() && c != ' ' && c != '-')
        .any(|part| words.iter().any(|word| part.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (String, Words) {
        let reply = Reply::parse(text.as_bytes()).unwrap();
        let status = Status::of(&reply);
        (status.to_string(), explain(status, Some(reply.code()), reply.text()))
    }

    #[test]
    fn each_code_has_its_words() {
        for (reply, status, what) in [
            ("550 5.1.1 no such user", "5.1.1", "The mailbox does not exist."),
            ("550 5.1.99 new", "5.1.99", "Their server does not accept the address."),
            ("550 no", "5.0.0", "Their server does not accept mail for this address."),
            ("554 no", "5.0.0", "Their server does not accept the message."),
            ("554 rejected as SPAM (score 12)", "5.0.0", "Their server refuses your message as spam."),
            (
                "550 5.7.1 192.0.2.1 is on the blocklist",
                "5.7.1",
                "Their server refuses your message as spam.",
            ),
            ("550 5.1.1 spam@b.test is nobody", "5.1.1", "The mailbox does not exist."),
            ("450 4.7.1 spam? come later", "4.7.1", "Their server does not let you write to this address."),
            ("550 5.7.1 relaying denied", "5.7.1", "Their server does not let you write to this address."),
            ("452 4.2.2 over quota", "4.2.2", "The mailbox is full."),
            ("552 over quota", "5.2.2", "The mailbox is full."),
            ("552 5.3.4 too big", "5.3.4", "The message is too large for their server."),
            ("452 no room", "4.3.1", "Their server is full."),
            ("452 4.3.1 no room", "4.3.1", "Their server is full."),
            ("421 going down", "4.3.2", "Their server takes no mail at the moment."),
            ("450 greylisted", "4.0.0", "The mailbox takes no mail at the moment."),
            ("451 oops", "4.0.0", "Their server has a problem."),
            ("501 what?", "5.0.0", "Their server and ours did not understand each other."),
            ("551 gone", "5.1.6", "The recipient has moved and left no address to send to."),
            ("553 strange", "5.1.3", "Their server says that the address is not written correctly."),
            ("556 no", "5.0.0", "This domain takes no mail at all."),
            ("556 5.1.10 null MX", "5.1.10", "This domain takes no mail at all."),
            (
                "550 5.7.26 unauthenticated",
                "5.7.26",
                "Their server does not believe that the message is from your domain.",
            ),
            ("550 5.9.9 odd", "5.9.9", "It could not be delivered."),
        ] {
            let (found, words) = of(reply);
            assert_eq!((found.as_str(), words.what), (status, what), "{reply}");
        }
        let ours = explain(Status(4, 4, 1), None, "");
        assert_eq!(ours.what, "Their server does not answer.");
    }

    #[test]
    fn the_table_is_whole_sentences_and_names_nothing_twice() {
        for (n, row) in TABLE.iter().enumerate() {
            assert!(row.2.ends_with('.') && row.3.ends_with('.') && row.2.is_ascii() && row.3.is_ascii());
            assert!(TABLE[..n].iter().all(|other| (other.0, other.1) != (row.0, row.1)), "{row:?}");
        }
        for subject in 0..=7 {
            assert!(TABLE.iter().any(|row| (row.0, row.1) == (subject, 0)), "{subject}");
        }
    }
}
