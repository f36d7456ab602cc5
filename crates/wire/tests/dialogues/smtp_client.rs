//! The SMTP client in dialogues, where `S` is the server and `C` the machine.
//!
//! Setting: `tls` (the connection began under TLS).
//! Questions: `ready [tls] [logged-in] OFFERS`, `refused starttls|auth: WHY`, `say LINE`, `next`, `body`, `over PHASE: WHY`,
//! `outcome FATE; FATE ... [over]`, where a fate is `taken REPLY`, `PHASE REPLY` (refused), `unsaid WHY` or `failed PHASE: WHY`.
//! Answers: `starttls`, `auth USER PASSWORD`, `auth-safe USER PASSWORD` (not to be revealed), `go`, `said`,
//! `send <path> <path> ... [size=N] [8bit] [utf8] [tls] [ret=R] [envid=E]` (the sender first; `notify=N` and `orcpt=O` belong
//! to the recipient before them), `sent`, `aborted`, `noted`, `quit`.

use wire::addr::{ForwardPath, ReversePath};
use wire::dsn::{EnvId, Notify, OriginalRecipient, Ret};
use wire::fuzz::PlainHashes;
use wire::machine::{Peer, TlsFacts};
use wire::sasl::client::Login;
use wire::secret::Secret;
use wire::smtp::client::{
    Answer, Client, Config, Envelope, Extensions, Failure, Fate, Question, Recipient, Refused, Timeouts,
};
use wire::smtp::params::BodyKind;

use crate::runner::{Subject, replay_all};

struct SmtpClient;

impl Subject for SmtpClient {
    type Machine = Client;
    const CLIENT: bool = true;

    fn machine(&self, settings: &[(String, String)]) -> Client {
        let mut tls = None;
        for (key, value) in settings {
            match (key.as_str(), value.as_str()) {
                ("tls", _) => tls = Some(TlsFacts::default()),
                other => panic!("no such setting: {other:?}"),
            }
        }
        let config = Config { name: "mail.demo.test".to_owned(), timeouts: Timeouts::default() };
        Client::new(config, &Peer { ip: std::net::Ipv4Addr::LOCALHOST.into(), tls })
    }

    fn question(&self, q: &Question) -> String {
        match q {
            Question::Ready(ready) => {
                assert!(ready.greeting.is_some(), "the server has greeted");
                let mut text = "ready".to_owned();
                text.push_str(if ready.tls.is_some() { " tls" } else { "" });
                text.push_str(if ready.authenticated { " logged-in" } else { "" });
                text + &offers(&ready.extensions)
            }
            Question::Refused(Refused::StartTls(reply)) => format!("refused starttls: {reply}"),
            Question::Refused(Refused::Auth(error)) => format!("refused auth: {error}"),
            Question::Say(line) => {
                let line = String::from_utf8_lossy(line.expose()).into_owned();
                format!("say {}", line.strip_suffix("\r\n").expect("a line")).trim_end().to_owned()
            }
            Question::Next => "next".to_owned(),
            Question::Body => "body".to_owned(),
            Question::Over(failure) => format!("over {}", failed(failure)),
            Question::Outcome(outcome) => {
                let fates: Vec<_> = outcome.fates.iter().map(fate).collect();
                format!("outcome {}{}", fates.join("; "), if outcome.over { " over" } else { "" })
                    .trim_end()
                    .to_owned()
            }
        }
    }

    fn answer(&self, text: &str) -> Result<Answer, String> {
        let words: Vec<_> = text.split(' ').collect();
        Ok(match words.as_slice() {
            ["starttls"] => Answer::StartTls,
            ["auth", user, password] => Answer::Authenticate(login(user, password, true)),
            ["auth-safe", user, password] => Answer::Authenticate(login(user, password, false)),
            ["go"] => Answer::Go,
            ["said"] => Answer::Said,
            ["send", words @ ..] => Answer::Send(Box::new(envelope(words)?)),
            ["sent"] => Answer::Sent,
            ["aborted"] => Answer::Aborted,
            ["noted"] => Answer::Noted,
            ["quit"] => Answer::Quit,
            _ => return Err(format!("no such answer: {text}")),
        })
    }
}

fn login(user: &str, password: &str, reveal: bool) -> Login {
    Login {
        user: user.to_owned(),
        password: Secret::from(password),
        reveal,
        nonce: *b"any eighteen bytes",
        hashes: Box::new(PlainHashes),
    }
}

fn envelope(words: &[&str]) -> Result<Envelope, String> {
    let mut words = words.iter();
    let reverse_path: ReversePath = words.next().ok_or("a sender")?.parse().map_err(|e| format!("{e}"))?;
    let mut envelope = Envelope {
        reverse_path,
        recipients: Vec::new(),
        size: 100,
        body: BodyKind::SevenBit,
        smtputf8: false,
        require_tls: false,
        ret: None,
        envid: None,
    };
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let value = value.as_bytes();
        let last = envelope.recipients.last_mut().ok_or("a recipient first");
        match key {
            "size" => envelope.size = word[5..].parse().map_err(|_| "a size")?,
            "8bit" => envelope.body = BodyKind::EightBitMime,
            "utf8" => envelope.smtputf8 = true,
            "tls" => envelope.require_tls = true,
            "ret" => envelope.ret = Some(Ret::parse(value).map_err(|e| e.to_string())?),
            "envid" => envelope.envid = Some(EnvId::parse(value).map_err(|e| e.to_string())?),
            "notify" => last?.notify = Some(Notify::parse(value).map_err(|e| e.to_string())?),
            "orcpt" => last?.orcpt = Some(OriginalRecipient::parse(value).map_err(|e| e.to_string())?),
            _ => {
                let path: ForwardPath = word.parse().map_err(|e| format!("{word}: {e}"))?;
                envelope.recipients.push(Recipient { path, notify: None, orcpt: None });
            }
        }
    }
    Ok(envelope)
}

fn offers(e: &Extensions) -> String {
    let mut text = String::new();
    for (name, offered) in [
        ("pipelining", e.pipelining),
        ("8bitmime", e.eight_bit_mime),
        ("enhanced", e.enhanced_status_codes),
        ("chunking", e.chunking),
        ("starttls", e.starttls),
        ("dsn", e.dsn),
        ("smtputf8", e.smtputf8),
        ("requiretls", e.require_tls),
    ] {
        if offered {
            text = text + " " + name;
        }
    }
    match e.size {
        None => {}
        Some(None) => text += " size",
        Some(Some(size)) => text += &format!(" size={size}"),
    }
    if e.auth.is_empty() { text } else { text + " auth=" + &e.auth.join(",") }
}

fn failed(failure: &Failure) -> String {
    format!("{}: {}", format!("{:?}", failure.phase).to_lowercase(), failure.why)
}

fn fate(fate: &Fate) -> String {
    match fate {
        Fate::Taken(reply) => format!("taken {reply}"),
        Fate::Refused { phase, reply } => format!("{} {reply}", format!("{phase:?}").to_lowercase()),
        Fate::Unsaid(why) => format!("unsaid {why}"),
        Fate::Failed(failure) if failure.is_in_doubt() => format!("in doubt {}", failed(failure)),
        Fate::Failed(failure) => format!("failed {}", failed(failure)),
    }
}

#[test]
fn every_smtp_client_dialogue_holds() {
    let n = replay_all(&SmtpClient, "smtp-client");
    assert!(n >= 40, "only {n} dialogues were found");
}
