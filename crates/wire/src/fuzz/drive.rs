//! A driver without a socket: what a machine does with some input, and a check that it keeps the contract of
//! `machine`.

use crate::machine::{BodyPart, Event, Machine, Tick, TlsFacts, Want};

/// What a machine did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// What it wrote, and what the desk wrote.
    pub out: Vec<u8>,
    /// What it gave the desk as bodies.
    pub body: Vec<u8>,
    /// Its questions, as they print; all secrets are stars.
    pub questions: Vec<String>,
}

/// Shows `input` in pieces of `cut` octets, until the input ends, or the machine closes or wants TLS.
///
/// # Panics
/// When the machine breaks the contract.
pub fn drive<M>(
    mut machine: M,
    input: &[u8],
    cut: usize,
    mut answer: impl FnMut(&M::Question, &mut Vec<u8>) -> M::Answer,
) -> Transcript
where
    M: Machine,
    M::Question: std::fmt::Debug,
{
    let mut seen = Transcript::default();
    let mut event = Event::Opened;
    let (mut begin, mut end) = (0, 0);
    let mut idle = 0;
    loop {
        let shown = &input[begin..end];
        let step = machine.step(event, shown, Tick::default(), &mut seen.out);
        assert!(step.used <= shown.len(), "more octets used than shown");
        idle = if step.used > 0 { 0 } else { idle + 1 };
        assert!(idle < 100, "nothing is used, and nothing comes to rest");
        event = match step.want {
            Want::Input { until, .. } if end < input.len() => {
                assert!(until > Tick::default(), "a wait that is over already");
                end = end.saturating_add(cut.max(1)).min(input.len());
                idle = 0;
                Event::Input
            }
            Want::Input { .. } | Want::Upgrade | Want::Close => return seen,
            Want::Ask(question) => {
                seen.questions.push(format!("{question:?}"));
                Event::Answer(answer(&question, &mut seen.out))
            }
            Want::Body(BodyPart::Own(octets)) => {
                assert!(!octets.is_empty(), "an empty part");
                seen.body.extend_from_slice(octets);
                Event::BodyTaken
            }
            Want::Body(BodyPart::Input(range)) => {
                assert!(range.end <= step.used && !range.is_empty(), "a part outside what was used");
                seen.body.extend_from_slice(&shown[range]);
                Event::BodyTaken
            }
        };
        begin += step.used;
    }
}

/// TLS facts for machines that begin under TLS.
pub(super) fn tls() -> TlsFacts {
    TlsFacts {
        version: "TLS1.3".to_owned(),
        cipher: "TLS_AES_128_GCM_SHA256".to_owned(),
        ..TlsFacts::default()
    }
}

/// The first octet of the input chooses the settings, the second the answers; the rest is what a client sends.
pub(super) fn choices(input: &[u8]) -> (u8, u8, &[u8]) {
    match input {
        [settings, answers, rest @ ..] => (*settings, *answers, rest),
        _ => (0, 0, input),
    }
}
