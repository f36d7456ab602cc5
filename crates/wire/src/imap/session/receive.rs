//! Octets come in: commands and their literals, messages, the lines of AUTHENTICATE and IDLE.

use std::mem;

use super::rows::{self, Literals, Row, Where};
use super::{Asked, Doing, Flow, Question, Session, State, Taking, Verdict};
use crate::imap::code::{Code, Status};
use crate::imap::command::{Append, Tag};
use crate::imap::frame::{Announced, Discard, Discarded, Frame, Framed};
use crate::imap::parse::{self, AppendHead};
use crate::imap::syntax::{Cursor, Refusal};
use crate::machine::{BodyPart, Want};

/// What is made of a command that cannot be read for its tag.
const NO_TAG: &str = "A command begins with a tag and a space";

impl Verdict {
    pub(super) fn bad(tag: Option<Tag>, text: &'static str) -> Verdict {
        Verdict { tag, status: Status::Bad, code: None, text: text.into(), deselects: false }
    }

    pub(super) fn no(tag: Tag, code: Code, text: &'static str) -> Verdict {
        Verdict { tag: Some(tag), status: Status::No, code: Some(code), text: text.into(), deselects: false }
    }

    pub(super) fn refused(tag: Tag, refusal: Refusal) -> Verdict {
        match refusal {
            Refusal::Bad(why) => Verdict::bad(Some(tag), why),
            Refusal::No(code, why) => Verdict::no(tag, code, why),
        }
    }

    /// A command of this row has failed: what was refused as BAD was no such command at all.
    fn failing(mut self, row: &Row) -> Verdict {
        self.deselects = row.deselects && self.status == Status::No;
        self
    }
}

impl Session {
    /// Looks at the input, which begins with what `doing` is about. Adds what it used to `at`.
    pub(super) fn take(&mut self, input: &[u8], at: &mut usize, out: &mut Vec<u8>) -> Taking {
        match &mut self.doing {
            Doing::Command(frame) => match frame.look(input) {
                Framed::More => Taking::Starved,
                Framed::Whole { text, end } => {
                    *at += end;
                    self.command(&input[..text], out).into()
                }
                Framed::Literal { header, end, literal } => {
                    self.literal(&input[..header], end, literal, at, out).into()
                }
                Framed::TooLong { line } => {
                    *at += line;
                    let tag = tag_of(input);
                    self.discard(0, Verdict::bad(tag, "The command is too long"));
                    Taking::Again
                }
            },
            Doing::Discard(discard, _) => {
                let (used, how) = discard.look(input);
                *at += used;
                match how {
                    Discarded::More => Taking::Starved,
                    Discarded::TooMuch => self.too_much(out).into(),
                    Discarded::All => match mem::replace(&mut self.doing, Doing::Closed) {
                        Doing::Discard(_, verdict) => self.finish(&verdict, out).into(),
                        _ => Taking::Again,
                    },
                }
            }
            Doing::Message { left, .. } => {
                let n = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= n as u64;
                if *left == 0
                    && let Doing::Message { tag, .. } = mem::replace(&mut self.doing, Doing::Closed)
                {
                    self.doing = Doing::MessageEnd { tag, frame: Frame::default() };
                }
                if n == 0 {
                    return Taking::Starved;
                }
                let from = *at;
                *at += n;
                Taking::Want(Want::Body(BodyPart::Input(from..*at)))
            }
            Doing::MessageEnd { frame, .. } => {
                let framed = frame.look(input);
                self.message_end(input, &framed, at)
            }
            Doing::Sasl { frame, .. } => {
                let framed = frame.look(input);
                self.sasl_line(input, &framed, at, out)
            }
            Doing::Idle { frame, .. } => {
                let framed = frame.look(input);
                self.idle_line(input, &framed, at, out)
            }
            Doing::Closed => Taking::Want(Want::Close),
            // Not reached: the driver answers before it shows more.
            Doing::Asked { .. } | Doing::Upgrading => Taking::Starved,
        }
    }

    /// A row that may be used now, or why not.
    pub(super) fn row(&self, name: &str) -> Result<&'static Row, &'static str> {
        let Some(row) = rows::find(name, self.without) else { return Err("There is no such command") };
        match (row.at, self.state) {
            (Where::Any, _)
            | (Where::NotAuthenticated, State::NotAuthenticated)
            | (Where::Authenticated, State::Authenticated | State::Selected)
            | (Where::Selected, State::Selected) => Ok(row),
            (Where::NotAuthenticated, _) => Err("You are logged in already"),
            (_, State::NotAuthenticated) => Err("Log in first"),
            (_, _) => Err("No mailbox is selected"),
        }
    }

    /// A literal was announced. `head` is the command up to its header, which ends at `end`.
    fn literal(&mut self, head: &[u8], end: usize, a: Announced, at: &mut usize, out: &mut Vec<u8>) -> Flow {
        let Some((tag, name, mut cursor)) = parse::words(head) else {
            return self.refuse(Verdict::bad(None, NO_TAG), end, a, at, out);
        };
        let row = match self.row(&name) {
            Ok(row) => row,
            Err(why) => return self.refuse(Verdict::bad(Some(tag), why), end, a, at, out),
        };
        if a.binary {
            let verdict = Verdict::bad(Some(tag), "Binary literals are not offered");
            return self.refuse(verdict, end, a, at, out);
        }
        if row.literals == Literals::Streamed {
            match parse::append_head(&mut cursor) {
                Ok(AppendHead::MailboxComes) => {}
                Ok(AppendHead::MessageComes { mailbox, flags, date }) => {
                    let append = Append { mailbox, flags, date, size: a.octets };
                    return self.append(tag, append, end, a, at, out);
                }
                Err(refusal) => return self.refuse(Verdict::refused(tag, refusal), end, a, at, out),
            }
        }
        let Doing::Command(frame) = &mut self.doing else { return None };
        if !frame.accept(end, a.octets) {
            let verdict = Verdict::no(tag, Code::TooBig, "The literal is too long").failing(row);
            return self.refuse(verdict, end, a, at, out);
        }
        if a.sync {
            out.extend_from_slice(b"+ Go ahead\r\n");
        }
        None
    }

    /// APPEND has come to its message.
    fn append(
        &mut self,
        tag: Tag,
        append: Append,
        end: usize,
        a: Announced,
        at: &mut usize,
        out: &mut Vec<u8>,
    ) -> Flow {
        if a.octets == 0 {
            let verdict = Verdict::no(tag, Code::Cannot, "An empty message cannot be appended");
            return self.refuse(verdict, end, a, at, out);
        }
        if a.octets > self.config.max_message {
            let verdict = Verdict::no(tag, Code::TooBig, "The message is too large");
            return self.refuse(verdict, end, a, at, out);
        }
        *at += end;
        let asked = Asked::AppendBegin { octets: a.octets, sync: a.sync };
        self.ask(tag, asked, Question::AppendBegin(append))
    }

    /// Refuses a command at a literal's header (RFC 7888 s.4): a client that waits learns it at once; else the
    /// literal is on its way, and is thrown away, or too large even for that.
    fn refuse(
        &mut self,
        verdict: Verdict,
        end: usize,
        a: Announced,
        at: &mut usize,
        out: &mut Vec<u8>,
    ) -> Flow {
        *at += end;
        if a.sync {
            return self.finish(&verdict, out);
        }
        if a.octets > self.config.max_message {
            return self.too_much(out);
        }
        self.discard(a.octets, verdict);
        None
    }

    pub(super) fn discard(&mut self, literal: u64, verdict: Verdict) {
        self.doing = Doing::Discard(Discard::new(literal, self.config.max_message), verdict);
    }

    fn too_much(&mut self, out: &mut Vec<u8>) -> Flow {
        self.bye(Some(&Code::TooBig), "The literal is too long", out)
    }

    /// A whole command.
    fn command(&mut self, text: &[u8], out: &mut Vec<u8>) -> Flow {
        let Some((tag, name, mut cursor)) = parse::words(text) else {
            return self.finish(&Verdict::bad(None, NO_TAG), out);
        };
        let row = match self.row(&name) {
            Ok(row) => row,
            Err(why) => return self.finish(&Verdict::bad(Some(tag), why), out),
        };
        match (row.parse)(&mut cursor) {
            Ok(command) => self.obey(tag, row, command, out),
            Err(refusal) => self.finish(&Verdict::refused(tag, refusal).failing(row), out),
        }
    }

    /// What follows a message must be the command's end.
    fn message_end(&mut self, input: &[u8], framed: &Framed, at: &mut usize) -> Taking {
        let (end, discard) = match framed {
            Framed::More => return Taking::Starved,
            Framed::Whole { text, end } => {
                if Cursor(&input[..*text]).end().is_ok() {
                    *at += end;
                    return match mem::replace(&mut self.doing, Doing::Closed) {
                        Doing::MessageEnd { tag, .. } => {
                            self.ask(tag, Asked::AppendEnd, Question::AppendEnd).into()
                        }
                        _ => Taking::Again,
                    };
                }
                (*end, None)
            }
            Framed::Literal { end, literal, .. } if literal.sync => (*end, None),
            Framed::Literal { end, literal, .. } => (*end, Some(literal.octets)),
            Framed::TooLong { line } => (*line, Some(0)),
        };
        *at += end;
        let Doing::MessageEnd { tag, .. } = mem::replace(&mut self.doing, Doing::Closed) else {
            return Taking::Again;
        };
        let discard = discard.map(|octets| Discard::new(octets, self.config.max_message));
        let verdict = Verdict::bad(Some(tag.clone()), "Something follows the message");
        self.ask(tag, Asked::AppendAborted(verdict, discard), Question::AppendAborted).into()
    }

    /// A line of AUTHENTICATE.
    fn sasl_line(&mut self, input: &[u8], framed: &Framed, at: &mut usize, out: &mut Vec<u8>) -> Taking {
        let (text, end) = match framed {
            Framed::More => return Taking::Starved,
            Framed::Whole { text, end } => (*text, *end),
            // Neither is base64; the exchange says so.
            Framed::Literal { end, .. } | Framed::TooLong { line: end } => (*end, *end),
        };
        *at += end;
        let Doing::Sasl { tag, mut exchange, .. } = mem::replace(&mut self.doing, Doing::Closed) else {
            return Taking::Again;
        };
        if matches!(framed, Framed::TooLong { .. }) {
            self.discard(0, Verdict::bad(Some(tag), "The response is too long"));
            return Taking::Again;
        }
        let progress = exchange.respond(&input[..text]);
        self.sasl(tag, exchange, progress, out).into()
    }

    /// A line during IDLE: DONE, or something that has no place there.
    fn idle_line(&mut self, input: &[u8], framed: &Framed, at: &mut usize, out: &mut Vec<u8>) -> Taking {
        let (text, end) = match framed {
            Framed::More => return Taking::Starved,
            Framed::Whole { text, end } => (*text, *end),
            Framed::Literal { end, .. } => (*end, *end),
            Framed::TooLong { .. } => return self.bye(None, "The line is too long", out).into(),
        };
        *at += end;
        let Doing::Idle { tag, .. } = mem::replace(&mut self.doing, Doing::Closed) else {
            return Taking::Again;
        };
        let done = Cursor(input[..text].trim_ascii_end()).0.eq_ignore_ascii_case(b"DONE");
        let verdict = (!done).then(|| Verdict::bad(Some(tag.clone()), "IDLE ends with DONE"));
        self.ask(tag, Asked::IdleEnd(verdict), Question::IdleEnd).into()
    }
}

/// The tag of a command that is not whole, if it can be read.
fn tag_of(input: &[u8]) -> Option<Tag> {
    let longest = &input[..input.len().min(Tag::LONGEST + 1)];
    let end = longest.iter().position(|&b| b == b' ')?;
    Tag::parse(&longest[..end])
}
