//! Replays dialogues against a machine: whole, octet by octet, and cut in two at every place.
//!
//! A dialogue is a text file. Lines are, by their first two characters:
//!
//! ```text
//! #            a comment
//! %: key value a setting for the machine, before anything else; what there is, the subject says
//! C: text      the client sends this line (CRLF is added)
//! C> text      the client sends this, with no line end
//! S: text      the machine (or the desk, see D) has written this line
//! S> text      it has written this, with no line end
//! ?: text      the machine asks the desk; the subject says how a question is written
//! D: text      while the question is out, the desk writes this line to the client (expected, like S)
//! =: text      the desk's answer; the subject says how it is written
//! B: text      octets of a body that the desk has taken, joined until something else happens
//! !: upgrade   the machine wants TLS. The rest of what the client has sent is dropped, the handshake is done
//! !: close     the machine wants the connection closed. Nothing may follow
//! @: 30s       the clock moves on (s, m), and the machine hears of it if that is due
//! ~: ended     the client sends no more  ~: changed  the watch fired
//! ~: stopping  the server shuts down  ~: password  the password was changed  ~: removed  the account was removed
//! ```
//!
//! In `C`, `S`, `D`, `B` these are escapes: `\r \n \t \0 \\ \xHH`, and `\{N*text}` for N times the text.
//!
//! What the client does (`C`, `@`, `~`) and what comes of it make a *turn*: consecutive `C` lines are sent at once.
//! All that is not the client's must come in this order, no more and no less.
//!
//! Where the machine is the client itself, `C` and `S` change places: `S` is what the server says, and `C` what the
//! machine has written.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use wire::machine::{BodyPart, Event, Machine, Over, Tick, TlsFacts, Want};

/// How one protocol's machine is made, and how its questions and answers are written in dialogues.
pub trait Subject {
    /// The machine.
    type Machine: Machine;
    /// Whether it is the client, or the server as most are.
    const CLIENT: bool = false;
    /// A fresh machine; `settings` are the `%:` lines, as key and value.
    fn machine(&self, settings: &[(String, String)]) -> Self::Machine;
    /// A question as written after `?:`.
    fn question(&self, q: &<Self::Machine as Machine>::Question) -> String;
    /// The answer that `text` stands for. An error is shown with the line's number.
    fn answer(&self, text: &str) -> Result<<Self::Machine as Machine>::Answer, String>;
}

/// Replays every dialogue of a directory; tells how many there were.
pub fn replay_all<S: Subject>(subject: &S, directory: &str) -> usize {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues").join(directory);
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|e| panic!("{}: {e}", directory.display()))
        .map(|f| f.expect("a directory entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "txt"))
        .collect();
    files.sort();
    let mut failures = String::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a readable dialogue");
        if let Err(e) = replay(subject, &text) {
            let _ = writeln!(failures, "\n{}: {e}", file.display());
        }
    }
    assert!(failures.is_empty(), "{failures}");
    files.len()
}

/// Replays one dialogue in every way.
pub fn replay<S: Subject>(subject: &S, text: &str) -> Result<(), String> {
    let script = Script::parse(text, S::CLIENT)?;
    let sent: usize = script.turns.iter().map(|t| t.sent.len()).sum();
    script.run(subject, Cut::Whole).map_err(|e| format!("whole: {e}"))?;
    script.run(subject, Cut::Octets).map_err(|e| format!("octet by octet: {e}"))?;
    // Large dialogues are cut at the places near turns only, or they would take for ever.
    let every = sent <= 6_000;
    let mut start = 0;
    for turn in &script.turns {
        let n = turn.sent.len();
        for at in 1..n {
            if every || at < 100 || n - at < 100 {
                script
                    .run(subject, Cut::At(start + at))
                    .map_err(|e| format!("cut at octet {}: {e}", start + at))?;
            }
        }
        start += n;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Cut {
    Whole,
    Octets,
    At(usize),
}

/// What can be seen from outside.
#[derive(Clone, PartialEq, Eq)]
enum Seen {
    Out(Vec<u8>),
    Ask(String),
    Body(Vec<u8>),
    Upgrade,
    Close,
}

#[derive(Default)]
struct Script {
    settings: Vec<(String, String)>,
    turns: Vec<Turn>,
}

#[derive(Default)]
struct Turn {
    line: usize,
    sent: Vec<u8>,
    other: Option<Other>,
    expected: Vec<Seen>,
    answers: Vec<(Vec<u8>, String, usize)>,
}

#[derive(Clone, Copy)]
enum Other {
    Clock(Duration),
    Ended,
    Stopping(Over),
    Changed,
}

impl Script {
    fn parse(text: &str, client: bool) -> Result<Script, String> {
        // The opening of the connection is the first turn.
        let mut script = Script { settings: Vec::new(), turns: vec![Turn { line: 1, ..Turn::default() }] };
        let mut desk_wrote = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let number = i + 1;
            let wrong = |what: &str| format!("line {number}: {what}: {line}");
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((mark, rest)) = line.split_at_checked(2) else { return Err(wrong("too short")) };
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            let mark = match mark {
                "C:" if client => "S:",
                "C>" if client => "S>",
                "S:" if client => "C:",
                "S>" if client => "C>",
                mark => mark,
            };
            let octets = |eol: &str| unescape(rest).map(|mut o| (o.extend_from_slice(eol.as_bytes()), o).1);
            let fresh = |t: &Turn| !t.expected.is_empty() || t.other.is_some();
            match mark {
                "%:" => {
                    let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
                    script.settings.push((key.to_owned(), value.to_owned()));
                }
                "C:" | "C>" => {
                    let octets = octets(if mark == "C:" { "\r\n" } else { "" }).map_err(|e| wrong(&e))?;
                    if script.turns.len() == 1 || script.turns.last().is_some_and(fresh) {
                        script.turns.push(Turn { line: number, ..Turn::default() });
                    }
                    script.last().sent.extend(octets);
                }
                "@:" | "~:" => {
                    let other = match (mark, rest) {
                        ("@:", _) => Other::Clock(duration(rest).ok_or_else(|| wrong("not a time"))?),
                        (_, "ended") => Other::Ended,
                        (_, "stopping") => Other::Stopping(Over::Shutdown),
                        (_, "password") => Other::Stopping(Over::PasswordChanged),
                        (_, "removed") => Other::Stopping(Over::AccountRemoved),
                        (_, "changed") => Other::Changed,
                        _ => return Err(wrong("no such event")),
                    };
                    script.turns.push(Turn { line: number, other: Some(other), ..Turn::default() });
                }
                "S:" | "S>" | "D:" => {
                    let octets = octets(if mark == "S>" { "" } else { "\r\n" }).map_err(|e| wrong(&e))?;
                    if mark == "D:" {
                        desk_wrote.extend_from_slice(&octets);
                    }
                    push(&mut script.last().expected, Seen::Out(octets));
                }
                "B:" => {
                    let octets = octets("").map_err(|e| wrong(&e))?;
                    push(&mut script.last().expected, Seen::Body(octets));
                }
                "?:" => script.last().expected.push(Seen::Ask(rest.to_owned())),
                "=:" => {
                    let wrote = std::mem::take(&mut desk_wrote);
                    script.last().answers.push((wrote, rest.to_owned(), number));
                }
                "!:" => script.last().expected.push(match rest {
                    "upgrade" => Seen::Upgrade,
                    "close" => Seen::Close,
                    _ => return Err(wrong("no such want")),
                }),
                _ => return Err(wrong("no such mark")),
            }
        }
        Ok(script)
    }

    fn last(&mut self) -> &mut Turn {
        self.turns.last_mut().expect("there is always the opening turn")
    }

    fn run<S: Subject>(&self, subject: &S, cut: Cut) -> Result<(), String> {
        let mut replay = Replay {
            subject,
            machine: subject.machine(&self.settings),
            unread: Vec::new(),
            now: Tick::default(),
            until: Tick::default(),
            closed: false,
            seen: Vec::new(),
        };
        let mut offset = 0;
        for (i, turn) in self.turns.iter().enumerate() {
            let at = format!("turn at line {}", turn.line);
            if replay.closed {
                return Err(format!("{at}: the connection is closed already"));
            }
            let mut answers = turn.answers.iter();
            replay.seen.clear();
            if i == 0 {
                replay.drive(Event::Opened, &mut answers).map_err(|e| format!("{at}: {e}"))?;
            }
            match turn.other {
                None => {
                    for piece in pieces(&turn.sent, cut, offset) {
                        // What is sent together with the command that asked for TLS is dropped by the driver.
                        if replay.closed || replay.seen.contains(&Seen::Upgrade) {
                            break;
                        }
                        replay.unread.extend_from_slice(piece);
                        replay.drive(Event::Input, &mut answers).map_err(|e| format!("{at}: {e}"))?;
                    }
                }
                Some(other) => replay.other(other, &mut answers).map_err(|e| format!("{at}: {e}"))?,
            }
            offset += turn.sent.len();
            if replay.seen != turn.expected {
                return Err(format!(
                    "{at}:\nexpected\n{}got\n{}",
                    show::<S>(&turn.expected),
                    show::<S>(&replay.seen)
                ));
            }
            if answers.next().is_some() {
                return Err(format!("{at}: an answer too many"));
            }
        }
        Ok(())
    }
}

fn pieces(sent: &[u8], cut: Cut, offset: usize) -> Vec<&[u8]> {
    match cut {
        Cut::Octets => sent.chunks(1).collect(),
        Cut::At(at) if at > offset && at < offset + sent.len() => {
            let (a, b) = sent.split_at(at - offset);
            vec![a, b]
        }
        _ if sent.is_empty() => Vec::new(),
        _ => vec![sent],
    }
}

/// Adds what was seen, joining octets that follow octets.
fn push(all: &mut Vec<Seen>, new: Seen) {
    match (all.last_mut(), new) {
        (Some(Seen::Out(old)), Seen::Out(new)) | (Some(Seen::Body(old)), Seen::Body(new)) => old.extend(new),
        (_, new) => all.push(new),
    }
}

/// A machine in the midst of a dialogue: the driver's part.
struct Replay<'a, S: Subject> {
    subject: &'a S,
    machine: S::Machine,
    unread: Vec<u8>,
    now: Tick,
    until: Tick,
    closed: bool,
    seen: Vec<Seen>,
}

type Answers<'a> = std::slice::Iter<'a, (Vec<u8>, String, usize)>;
type AnswerOf<S> = <<S as Subject>::Machine as Machine>::Answer;

impl<S: Subject> Replay<'_, S> {
    /// Steps until the machine wants input.
    fn drive(&mut self, event: Event<AnswerOf<S>>, answers: &mut Answers<'_>) -> Result<(), String> {
        let mut event = event;
        let mut steps = 0;
        loop {
            let mut out = Vec::new();
            let step = self.machine.step(event, &self.unread, self.now, &mut out);
            if !out.is_empty() {
                push(&mut self.seen, Seen::Out(out));
            }
            if step.used > self.unread.len() {
                return Err("more octets used than shown".to_owned());
            }
            steps += 1;
            if steps > 1_000_000 {
                return Err("the machine does not come to rest".to_owned());
            }
            let mut used = step.used;
            event = match step.want {
                Want::Input { until, .. } => {
                    if until <= self.now {
                        return Err("a wait that is over already".to_owned());
                    }
                    self.until = until;
                    self.unread.drain(..used);
                    return Ok(());
                }
                Want::Ask(q) => {
                    self.seen.push(Seen::Ask(self.subject.question(&q)));
                    let asked =
                        || format!("asked, and no answer is given; so far\n{}", show::<S>(&self.seen));
                    let (wrote, text, line) = answers.next().ok_or_else(asked)?;
                    if !wrote.is_empty() {
                        push(&mut self.seen, Seen::Out(wrote.clone()));
                    }
                    Event::Answer(self.subject.answer(text).map_err(|e| format!("line {line}: {e}"))?)
                }
                Want::Body(part) => {
                    let octets = match part {
                        BodyPart::Own(octets) => octets.to_vec(),
                        BodyPart::Input(range) if range.end <= used => self.unread[range].to_vec(),
                        BodyPart::Input(_) => return Err("a body beyond the octets used".to_owned()),
                    };
                    if octets.is_empty() {
                        return Err("an empty piece of a body".to_owned());
                    }
                    push(&mut self.seen, Seen::Body(octets));
                    Event::BodyTaken
                }
                Want::Upgrade => {
                    self.seen.push(Seen::Upgrade);
                    used = self.unread.len();
                    Event::Secured(TlsFacts {
                        version: "TLS1.3".to_owned(),
                        cipher: "TLS_AES_256_GCM_SHA384".to_owned(),
                        ..TlsFacts::default()
                    })
                }
                Want::Close => {
                    self.seen.push(Seen::Close);
                    self.closed = true;
                    return Ok(());
                }
            };
            self.unread.drain(..used);
        }
    }

    fn other(&mut self, other: Other, answers: &mut Answers<'_>) -> Result<(), String> {
        match other {
            Other::Ended => self.drive(Event::Ended, answers),
            Other::Stopping(over) => self.drive(Event::Stopping(over), answers),
            Other::Changed => self.drive(Event::Changed, answers),
            Other::Clock(by) => {
                let target = self.now.after(by);
                while !self.closed && self.until <= target {
                    self.now = self.until;
                    self.drive(Event::Elapsed, answers)?;
                }
                self.now = target;
                Ok(())
            }
        }
    }
}

fn show<S: Subject>(all: &[Seen]) -> String {
    let mut text = String::new();
    for seen in all {
        match seen {
            Seen::Out(octets) => lines(&mut text, if S::CLIENT { 'C' } else { 'S' }, octets),
            Seen::Body(octets) => lines(&mut text, 'B', octets),
            Seen::Ask(q) => text.push_str(&format!("?: {q}\n")),
            Seen::Upgrade => text.push_str("!: upgrade\n"),
            Seen::Close => text.push_str("!: close\n"),
        }
    }
    text
}

fn lines(text: &mut String, mark: char, octets: &[u8]) {
    for line in octets.split_inclusive(|&b| b == b'\n') {
        let (sign, line) = match line.strip_suffix(b"\r\n") {
            Some(line) if mark != 'B' => (':', line),
            _ if mark != 'B' => ('>', line),
            _ => (':', line),
        };
        let shown: String = line.escape_ascii().to_string().chars().take(300).collect();
        let _ = writeln!(text, "{mark}{sign} {}", shown.replace("\\\"", "\"").replace("\\'", "'"));
    }
}

fn duration(text: &str) -> Option<Duration> {
    let seconds = match text.split_at_checked(text.len().checked_sub(1)?)? {
        (n, "s") => n.parse::<u64>().ok()?,
        (n, "m") => n.parse::<u64>().ok()? * 60,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some(i) = rest.find('\\') {
        octets.extend_from_slice(&rest.as_bytes()[..i]);
        let escape = rest[i + 1..].chars().next().ok_or("a backslash at the end")?;
        rest = &rest[i + 1 + escape.len_utf8()..];
        match escape {
            'r' => octets.push(b'\r'),
            'n' => octets.push(b'\n'),
            't' => octets.push(b'\t'),
            '0' => octets.push(0),
            '\\' => octets.push(b'\\'),
            'x' => {
                let (digits, after) = rest.split_at_checked(2).ok_or("\\x wants two digits")?;
                octets.push(u8::from_str_radix(digits, 16).map_err(|_| "\\x wants two digits")?);
                rest = after;
            }
            '{' => {
                let (inner, after) = rest.split_once('}').ok_or("\\{ wants }")?;
                let (n, what) = inner.split_once('*').ok_or("\\{ wants N*text")?;
                let n = n.parse::<usize>().map_err(|_| "\\{ wants N*text")?;
                octets.extend(unescape(what)?.repeat(n));
                rest = after;
            }
            _ => return Err(format!("no escape \\{escape}")),
        }
    }
    octets.extend_from_slice(rest.as_bytes());
    Ok(octets)
}

/// The runner itself: a machine that echoes lines, and dialogues that must fail.
mod tests {
    use super::*;
    use wire::machine::Step;

    /// Greets; asks about `ask`; gives what follows `body` as a body; wants TLS at `tls`; closes at all else.
    struct Echo {
        /// Answers differently when it is shown part of a line, as a machine must not.
        careless: bool,
    }

    impl Machine for Echo {
        type Question = ();
        type Answer = String;
        fn step(&mut self, event: Event<String>, input: &[u8], now: Tick, out: &mut Vec<u8>) -> Step<()> {
            let wait = Want::Input { until: now.after(Duration::from_secs(60)), watch: false };
            match event {
                Event::Opened => out.extend_from_slice(b"hello\r\n"),
                Event::Answer(a) => out.extend_from_slice(format!("{a}\r\n").as_bytes()),
                Event::Elapsed => return Step { used: 0, want: Want::Close },
                _ => {}
            }
            let Some(lf) = input.iter().position(|&b| b == b'\n') else {
                if self.careless && !input.is_empty() {
                    out.push(b'.');
                }
                return Step { used: 0, want: wait };
            };
            let used = lf + 1;
            let want = match &input[..lf - 1] {
                b"ask" => Want::Ask(()),
                b"tls" => Want::Upgrade,
                [b'b', b'o', b'd', b'y', ..] => Want::Body(BodyPart::Input(4..lf - 1)),
                _ => Want::Close,
            };
            Step { used, want }
        }
    }

    struct Echoes {
        careless: bool,
    }

    impl Subject for Echoes {
        type Machine = Echo;
        fn machine(&self, _: &[(String, String)]) -> Echo {
            Echo { careless: self.careless }
        }
        fn question(&self, (): &()) -> String {
            "what".to_owned()
        }
        fn answer(&self, text: &str) -> Result<String, String> {
            Ok(text.to_owned())
        }
    }

    fn outcome(careless: bool, text: &str) -> Result<(), String> {
        replay(&Echoes { careless }, text)
    }
    const GOOD: &str = "S: hello\nC: ask\nC: bodyx\\{3*ab}\n?: what\nD: *\n=: that\nS: that\nB: xababab\n\
                        C: tls\nC: lost\n!: upgrade\n@: 61s\n!: close\n";

    #[test]
    fn a_true_dialogue_passes() {
        assert_eq!(outcome(false, GOOD), Ok(()));
    }

    #[test]
    fn each_untruth_is_found() {
        for (from, to) in [
            ("S: hello", "S: hallo"),
            ("S: hello\n", ""),
            ("?: what\n", ""),
            ("?: what", "?: where"),
            ("D: *", "S: *"),
            ("=: that\n", ""),
            ("=: that\n", "=: that\n=: that\n"),
            ("S: that\n", ""),
            ("xababab", "xabab"),
            ("!: upgrade\n", ""),
            ("@: 61s", "@: 59s"),
            ("!: close\n", "!: close\nC: more\n"),
        ] {
            let false_one = GOOD.replace(from, to);
            assert_ne!(false_one, GOOD);
            assert!(outcome(false, &false_one).is_err(), "{from:?} -> {to:?} went unnoticed");
        }
    }

    #[test]
    fn a_machine_that_minds_the_cuts_is_found() {
        assert!(outcome(true, GOOD).is_err());
    }
}
