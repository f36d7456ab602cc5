//! How far a long work is: a bar on a terminal, a line now and then elsewhere, nothing for scripts.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::print::{self, count, duration, octets};
use crate::clock;

/// Between two lines.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Between two looks of the bar.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// Shows how far it is, on standard error.
pub(super) struct Teller {
    bar: Option<ProgressBar>,
    silent: bool,
    began: Duration,
    next: Duration,
}

impl Teller {
    /// Begins. A script (`--json`) is told nothing.
    pub(super) fn new(silent: bool) -> Teller {
        let bar = (!silent && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        let now = clock::monotonic();
        let first = if bar.is_some() { now } else { now + LINE_EVERY };
        Teller { bar, silent, began: now, next: first }
    }

    /// So many messages are done, and so much of the work: `done` of `total` (octets or whatever is counted; 0 when
    /// nobody knows).
    pub(super) fn tell(&mut self, messages: u64, done: u64, total: u64) {
        let now = clock::monotonic();
        if self.silent || now < self.next {
            return;
        }
        let since = now.saturating_sub(self.began);
        let text = line(messages, done, total, since);
        match &self.bar {
            Some(bar) => {
                self.next = now + BAR_EVERY;
                if total > 0 && bar.length() != Some(total) {
                    bar.set_length(total);
                    if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {percent:>3}%  {msg}") {
                        bar.set_style(style.progress_chars("=> "));
                    }
                }
                bar.set_position(done.min(total.max(1)));
                bar.set_message(text);
            }
            None => {
                self.next = now + LINE_EVERY;
                print::err(&format!("{text}\n"));
            }
        }
    }

    /// The end; how long it took.
    pub(super) fn end(&self) -> Duration {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        clock::monotonic().saturating_sub(self.began)
    }
}

/// `12,000 messages, 1.2 GB of 4.0 GB, 5,000 messages/s, 3 min left`
fn line(messages: u64, done: u64, total: u64, since: Duration) -> String {
    let mut text = count(messages, "message");
    if total > 0 {
        text.push_str(&format!(", {} of {}", octets(done.min(total)), octets(total)));
    } else {
        text.push_str(&format!(", {}", octets(done)));
    }
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    if millis >= 500 {
        text.push_str(&format!(", {}/s", print::number(messages.saturating_mul(1_000) / millis)));
    }
    if total > 0 && done > 0 && millis >= 2_000 {
        let left = u128::from(millis) * u128::from(total.saturating_sub(done)) / u128::from(done) / 1_000;
        text.push_str(&format!(", {} left", duration(u64::try_from(left).unwrap_or(u64::MAX))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_in_words() {
        let at = |messages, done, total, millis| line(messages, done, total, Duration::from_millis(millis));
        assert_eq!(at(1, 10, 0, 0), "1 message, 10 B");
        assert_eq!(
            at(12_000, 1_000_000_000, 4_000_000_000, 2_400),
            "12,000 messages, 1.0 GB of 4.0 GB, 5,000/s, 7 s left"
        );
        assert_eq!(at(10, 10, 5, 3_000), "10 messages, 5 B of 5 B, 3/s, 0 s left");
    }
}
