//! The desk has answered: the tagged line is written, the state moves on.

use std::mem;

use super::{Answer, Asked, Doing, Ended, Flow, NewState, Session, State, Verdict};
use crate::imap::code::{Code, Status};
use crate::imap::command::Tag;
use crate::imap::frame::Frame;
use crate::imap::response;
use crate::machine::{Pace, Tick};

impl Session {
    /// Takes an answer to the question that was out.
    pub(super) fn answered(&mut self, answer: Answer, now: Tick, out: &mut Vec<u8>) -> Flow {
        let (tag, asked) = match mem::replace(&mut self.doing, Doing::Closed) {
            Doing::Asked { tag, asked } => (tag, asked),
            doing => {
                self.doing = doing;
                return None;
            }
        };
        if let Answer::Bye { code, text } = answer {
            return self.bye(code.as_ref(), &text, out);
        }
        match (asked, answer) {
            (Asked::Login, Answer::LoggedIn { without }) => {
                self.state = State::Authenticated;
                self.without = self.config.without.union(without);
                self.bad = 0;
                let code = Some(Code::Capability(self.capabilities()));
                let text = "Logged in".into();
                self.finish(
                    &Verdict { tag: Some(tag), status: Status::Ok, code, text, deselects: false },
                    out,
                )
            }
            (Asked::Login, Answer::Denied) => {
                self.denied += 1;
                let text = "Wrong user name or password";
                self.finish(&Verdict::no(tag, Code::AuthenticationFailed, text), out)
            }
            (Asked::AppendBegin { octets, sync }, Answer::Go) => {
                if sync {
                    out.extend_from_slice(b"+ Go ahead\r\n");
                }
                self.doing = Doing::Message { tag, left: octets };
                self.pace = Some(Pace::from(now));
                None
            }
            (Asked::AppendBegin { octets, sync }, Answer::Ended(ended)) => {
                let verdict = self.verdict(tag, ended);
                if sync {
                    return self.finish(&verdict, out);
                }
                self.discard(octets, verdict);
                None
            }
            (Asked::AppendAborted(verdict, None), _) => self.finish(&verdict, out),
            (Asked::AppendAborted(verdict, Some(discard)), _) => {
                self.doing = Doing::Discard(discard, verdict);
                None
            }
            (Asked::IdleBegin, Answer::Done) => {
                self.doing = Doing::Idle { tag, frame: Frame::default(), told: now };
                None
            }
            (Asked::IdleUpdate { frame }, Answer::Done) => {
                self.doing = Doing::Idle { tag, frame, told: now };
                None
            }
            (Asked::IdleEnd(Some(verdict)), _) => self.finish(&verdict, out),
            (Asked::Deselect(verdict), _) => {
                self.state = State::Authenticated;
                self.finish(&verdict, out)
            }
            (Asked::IdleEnd(None), Answer::Done) => self.done(tag, Status::Ok, "IDLE is over", out),
            (Asked::Logout, _) => {
                response::untagged(Status::Bye, None, "Goodbye", out);
                response::tagged(tag.as_str(), Status::Ok, None, "Logged out", out);
                self.close()
            }
            (_, Answer::Ended(ended)) => {
                let verdict = self.verdict(tag, ended);
                self.finish(&verdict, out)
            }
            (_, Answer::Done) => self.done(tag, Status::Ok, "Done", out),
            // An answer that does not fit its question is a defect of the desk; the client only learns of it.
            (_, Answer::LoggedIn { .. } | Answer::Denied | Answer::Go | Answer::Bye { .. }) => {
                self.finish(&Verdict::no(tag, Code::ServerBug, "Internal error"), out)
            }
        }
    }

    /// What is to be told of how a command ended; moves the state.
    fn verdict(&mut self, tag: Tag, ended: Ended) -> Verdict {
        match ended.state {
            Some(NewState::Selected { .. }) => self.state = State::Selected,
            Some(NewState::Authenticated) => self.state = State::Authenticated,
            None => {}
        }
        let Ended { status, code, text, .. } = ended;
        Verdict { tag: Some(tag), status, code, text, deselects: false }
    }
}
