//! Replies in a table, and the machine against our own server's, in lock step and cut anyhow.

use super::*;
use crate::dot::Stuffer;
use crate::machine::BodyPart;
use crate::smtp::params::BodyKind;
use crate::smtp::reply::{Code, Enhanced, Reply as Said};
use crate::smtp::session;
use proptest::prelude::*;

#[test]
fn replies() {
    for (octets, shown) in [
        ("250 ok\r\n", "250 ok"),
        ("250 ok\n", "250 ok"),
        ("250 2.1.0 ok\r\n", "250 2.1.0 ok"),
        ("250\r\n", "250"),
        ("250 \r\n", "250"),
        ("250ok\r\n", "250 ok"),
        ("550 5.1.1\r\n", "550 5.1.1"),
        ("550 5.1.1.1 x\r\n", "550 5.1.1.1 x"),
        ("550-5.1.1 one\r\n550-5.7.1 two\r\n550 three\r\n", "550 5.1.1 one 5.7.1 two three"),
        ("550-5.1.1 one\r\n550 5.1.1 two\r\n", "550 5.1.1 one two"),
        ("250-one\r\n251 two\r\n", "250 one two"),
        ("421 4.3.2 \u{fc}\r\n", "421 4.3.2 \u{fc}"),
        ("550 a\tb\x07\r\n", "550 a b "),
    ] {
        let reply = Reply::parse(octets.as_bytes()).unwrap_or_else(|| panic!("{octets:?} is a reply"));
        assert_eq!(reply.to_string(), shown, "{octets:?}");
    }
    // An enhanced code counts only with the reply's own class, and numbers of up to three digits (RFC 3463 s.2).
    for (octets, enhanced) in [
        ("550 5.123.456 x", Some((5, 123, 456))),
        ("550 4.1.1 x", None),
        ("550 5.1234.1 x", None),
        ("550 5.1 x", None),
        ("550 5..1 x", None),
        ("354 3.0.0 x", None),
    ] {
        assert_eq!(Reply::parse(octets.as_bytes()).and_then(|r| r.enhanced()), enhanced, "{octets:?}");
    }
    for bad in [
        "",
        "\r\n",
        "25\r\n",
        "25x ok\r\n",
        "150 x\r\n",
        "650 x\r\n",
        "2500 x\r\n",
        " 250 x\r\n",
        "250-x\r\n",
    ] {
        assert_eq!(Reply::parse(bad.as_bytes()), None, "{bad:?}");
    }
    let long = format!("550-5.1.1 {}\r\n", "x".repeat(500)).repeat(20) + "550 5.1.1 end\r\n";
    assert_eq!(Reply::parse(long.as_bytes()).map(|r| r.text().len()), Some(limits::SMTP_REPLY_TEXT));
}

proptest! {
    /// Whatever our own server says is read as it was meant.
    #[test]
    fn our_own_replies_are_read(n in 0..Code::ALL.len(), words in proptest::collection::vec("[a-z][a-z ]{0,30}[a-z]", 1..5)) {
        let code = Code::ALL[n];
        let mut octets = Vec::new();
        Said::new(code, Enhanced(7, 1), words.join("\n")).write(&mut octets);
        let reply = Reply::parse(&octets).expect("a reply");
        let class = code.get() / 100;
        prop_assert_eq!(reply.code(), code.get());
        if class != 3 {
            prop_assert_eq!(reply.enhanced(), Some((class, 7, 1)));
            prop_assert_eq!(reply.text(), words.join("\n"));
        }
    }
}

/// What is to be sent, and what the server makes of it.
#[derive(Clone, Debug)]
struct Case {
    /// Each with its message and recipients. A recipient's name says what becomes of it.
    envelopes: Vec<(String, Vec<&'static str>)>,
    /// Whether the server refuses the senders, the beginnings of messages, and messages, by turns.
    refusals: Vec<bool>,
    /// Or is it enough to know what the server offers.
    goes_on: bool,
    starttls: bool,
    smtputf8: bool,
    limit: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let recipient = prop_oneof![Just("yes"), Just("no"), Just("later"), Just("j\u{e4}")];
    let envelope = ("[.a\n]{0,30}", proptest::collection::vec(recipient, 0..5));
    (
        proptest::collection::vec(envelope, 0..4),
        proptest::collection::vec(any::<bool>(), 1..7),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        10u64..60,
    )
        .prop_map(|(envelopes, refusals, goes_on, starttls, smtputf8, limit)| Case {
            envelopes,
            refusals,
            goes_on,
            starttls,
            smtputf8,
            limit,
        })
}

/// Recipients and a message.
type Taken = (Vec<String>, Vec<u8>);

/// Both sides, and what became of it.
struct Pair<'a> {
    case: &'a Case,
    client: Client,
    server: session::Session,
    /// From the server, unread by the client; and the other way.
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    /// What the server took.
    taken: Vec<Taken>,
    incoming: Taken,
    turn: usize,
    sent: usize,
    outcomes: Vec<Outcome>,
    closed: (bool, bool),
    secured: (bool, bool),
}

/// A message as the stuffer sends it: lines end with CRLF.
fn mended(message: &str) -> String {
    let lines = message.replace("\r\n", "\n").replace('\n', "\r\n");
    if lines.is_empty() || lines.ends_with("\r\n") {
        lines
    } else {
        lines.trim_end_matches('\r').to_owned() + "\r\n"
    }
}

fn facts() -> TlsFacts {
    TlsFacts::default()
}

impl<'a> Pair<'a> {
    fn new(case: &'a Case) -> Pair<'a> {
        let peer = Peer { ip: std::net::Ipv4Addr::LOCALHOST.into(), tls: None };
        let config = session::Config {
            hostname: "mx.example.org".to_owned(),
            role: session::Role::Mx,
            starttls: case.starttls,
            auth_in_plain: false,
            max_message: case.limit,
            max_recipients: 3,
            offers: session::Offers {
                dsn: true,
                require_tls: true,
                future_release: None,
                smtputf8: case.smtputf8,
            },
        };
        let client = Config { name: "client.example".to_owned(), timeouts: Timeouts::default() };
        Pair {
            case,
            client: Client::new(client, &peer),
            server: session::Session::new(config, &peer),
            to_client: Vec::new(),
            to_server: Vec::new(),
            taken: Vec::new(),
            incoming: Default::default(),
            turn: 0,
            sent: 0,
            outcomes: Vec::new(),
            closed: (false, false),
            secured: (false, false),
        }
    }

    /// Both speak until both have closed. At each turn a side is shown at most `cut` octets more.
    fn run(mut self, cut: usize) -> (Vec<Taken>, Vec<Outcome>) {
        self.server_step(Event::Opened, 0);
        self.client_step(Event::Opened, 0);
        let (mut seen_by_client, mut seen_by_server) = (0, 0);
        for _ in 0..20_000 {
            if self.closed == (true, true) {
                return (self.taken, self.outcomes);
            }
            if !self.closed.1 && seen_by_server < self.to_server.len() {
                seen_by_server = seen_by_server.saturating_add(cut).min(self.to_server.len());
                seen_by_server -= self.server_step(Event::Input, seen_by_server);
            } else if !self.closed.0 && seen_by_client < self.to_client.len() {
                seen_by_client = seen_by_client.saturating_add(cut).min(self.to_client.len());
                seen_by_client -= self.client_step(Event::Input, seen_by_client);
            } else if self.closed.0 {
                self.server_step(Event::Ended, seen_by_server);
            } else if self.closed.1 {
                self.client_step(Event::Ended, seen_by_client);
            } else {
                panic!("both wait: {:?} {:?} {:?}", self.case, self.client, self.server);
            }
            // A handshake drops what was read before it.
            if self.secured == (true, true) {
                self.secured = (false, false);
                (seen_by_client, seen_by_server) = (0, 0);
                self.to_server.clear();
                self.to_client.clear();
                self.server_step(Event::Secured(facts()), 0);
                self.client_step(Event::Secured(facts()), 0);
            }
        }
        panic!("no end: {:?}", self.case);
    }

    fn refuses(&mut self) -> bool {
        self.turn += 1;
        self.case.refusals[self.turn % self.case.refusals.len()]
    }

    fn server_step(&mut self, mut event: Event<session::Answer>, shown: usize) -> usize {
        let mut used = 0;
        loop {
            let input = &self.to_server[..shown - used];
            let step = self.server.step(event, input, Tick::default(), &mut self.to_client);
            event = match step.want {
                Want::Body(BodyPart::Input(range)) => {
                    let octets = input[range].to_vec();
                    self.incoming.1.extend_from_slice(&octets);
                    Event::BodyTaken
                }
                Want::Body(BodyPart::Own(octets)) => {
                    self.incoming.1.extend_from_slice(octets);
                    Event::BodyTaken
                }
                Want::Ask(question) => Event::Answer(self.serve(question)),
                want => {
                    self.to_server.drain(..step.used);
                    self.closed.1 |= matches!(want, Want::Close);
                    self.secured.1 |= matches!(want, Want::Upgrade);
                    return used + step.used;
                }
            };
            self.to_server.drain(..step.used);
            used += step.used;
        }
    }

    fn serve(&mut self, question: session::Question) -> session::Answer {
        use session::{Answer, Question};
        let no = |code, words| Answer::Reply(Said::new(code, Enhanced(7, 1), words));
        match question {
            Question::Mail(_) => {
                self.incoming = Default::default();
                if self.refuses() { no(Code::REFUSED, "not this sender") } else { Answer::Accepted }
            }
            Question::Rcpt(recipient) => {
                let path = recipient.path.to_string();
                match path.as_str() {
                    "<no@example.org>" => no(Code::REFUSED, "nobody"),
                    "<later@example.org>" => no(Code::LOCAL_ERROR, "later"),
                    _ => {
                        self.incoming.0.push(path);
                        Answer::Accepted
                    }
                }
            }
            Question::DataBegin if self.refuses() => no(Code::LOCAL_ERROR, "no message now"),
            Question::DataEnd { .. } if self.refuses() => no(Code::FAILED, "not this message"),
            Question::DataEnd { .. } => {
                self.taken.push(std::mem::take(&mut self.incoming));
                Answer::Accepted
            }
            _ => Answer::Accepted,
        }
    }

    fn client_step(&mut self, mut event: Event<Answer>, shown: usize) -> usize {
        let mut used = 0;
        loop {
            let input = &self.to_client[..shown - used];
            let step = self.client.step(event, input, Tick::default(), &mut self.to_server);
            self.to_client.drain(..step.used);
            used += step.used;
            event = match step.want {
                Want::Ask(question) => Event::Answer(self.ask(question)),
                want => {
                    self.closed.0 |= matches!(want, Want::Close);
                    self.secured.0 |= matches!(want, Want::Upgrade);
                    return used;
                }
            };
        }
    }

    fn ask(&mut self, question: Question) -> Answer {
        match question {
            Question::Ready(ready) if ready.extensions.starttls => Answer::StartTls,
            Question::Ready(ready) => {
                assert_eq!(ready.tls.is_some(), self.case.starttls);
                if self.case.goes_on { Answer::Go } else { Answer::Quit }
            }
            Question::Next if self.sent == self.case.envelopes.len() => Answer::Quit,
            Question::Next => {
                let (message, names) = &self.case.envelopes[self.sent];
                let recipient = |name| Recipient {
                    path: format!("<{name}@example.org>").parse().expect("a path"),
                    notify: Some(crate::dsn::Notify::NEVER),
                    orcpt: None,
                };
                Answer::Send(Box::new(Envelope {
                    reverse_path: crate::addr::ReversePath::Null,
                    recipients: names.iter().map(recipient).collect(),
                    size: message.len() as u64,
                    body: BodyKind::EightBitMime,
                    smtputf8: false,
                    require_tls: self.case.starttls,
                    ret: None,
                    envid: None,
                }))
            }
            Question::Body => {
                let mut stuffer = Stuffer::new();
                stuffer.push(self.case.envelopes[self.sent].0.as_bytes(), &mut self.to_server);
                stuffer.finish(&mut self.to_server);
                Answer::Sent
            }
            Question::Outcome(outcome) => {
                self.sent += 1;
                self.outcomes.push(outcome);
                Answer::Noted
            }
            Question::Over(_) => Answer::Noted,
            other => panic!("not reached: {other:?}"),
        }
    }
}

proptest! {
    /// What the client believes was taken, the server has taken, and nothing else: for exactly these recipients.
    #[test]
    fn our_own_server_and_client_agree(case in case(), cuts in proptest::collection::vec(1usize..40, 1..4)) {
        let (taken, outcomes) = Pair::new(&case).run(usize::MAX);
        let believed: Vec<Vec<String>> = outcomes
            .iter()
            .zip(&case.envelopes)
            .map(|(outcome, (_, names))| {
                assert_eq!(outcome.fates.len(), names.len());
                let taken = |fate: &Fate| matches!(fate, Fate::Taken(_));
                let recipients = names.iter().zip(&outcome.fates).filter(|(_, fate)| taken(fate));
                recipients.map(|(name, _)| format!("<{name}@example.org>")).collect()
            })
            .filter(|recipients: &Vec<String>| !recipients.is_empty())
            .collect();
        // Not doubled, not cut, and dots as they were.
        let sent: Vec<_> = case.envelopes.iter().map(|(message, _)| mended(message)).collect();
        let mut left = sent.iter();
        for (_, message) in &taken {
            let message = String::from_utf8_lossy(message);
            prop_assert!(left.any(|s| *s == message), "{:?} was not sent, or not then: {:?}", message, sent);
        }
        let took: Vec<_> = taken.iter().map(|(recipients, _)| recipients.clone()).collect();
        prop_assert_eq!(&believed, &took);
        if case.goes_on {
            prop_assert_eq!(outcomes.len(), case.envelopes.len());
        }
        let names = case.envelopes.iter().flat_map(|(_, names)| names);
        for (name, fate) in names.zip(outcomes.iter().flat_map(|o| &o.fates)) {
            if *name == "j\u{e4}" && !case.smtputf8 {
                prop_assert!(matches!(fate, Fate::Unsaid(_)), "{:?}", fate);
            }
        }
        for outcome in outcomes.iter().flat_map(|o| &o.fates) {
            prop_assert!(!matches!(outcome, Fate::Failed(_)), "{:?}", outcome);
        }
        for cut in cuts {
            prop_assert_eq!(&Pair::new(&case).run(cut), &(taken.clone(), outcomes.clone()), "cut {}", cut);
        }
    }
}
