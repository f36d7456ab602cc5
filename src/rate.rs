//! Guessing slowed down: who fails to log in too often waits, longer each time, and is then refused for a while.
//!
//! A household must not lock itself out: an address from which somebody logged in well within a day is never slowed
//! down, and a mail program that repeats the same old password counts once. Pure: time is an argument, nothing here
//! waits or writes.

use std::collections::HashMap;
use std::time::Duration;

use crate::config::Network;

/// How long a good login speaks for its address.
const TRUSTED: Duration = Duration::from_secs(24 * 60 * 60);
/// Delays double from one second; the failure after this many is refused instead.
const DELAYS: u32 = 5;
/// How far above the allowance failures are counted: after that they no longer make the time to come back longer.
const ABOVE: u32 = 20;
/// Wrong guesses known again, each address.
const GUESSES: usize = 16;
/// Addresses remembered. 200 octets each.
const ADDRESSES: usize = 20_000;

/// What to do with a login attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Look at it at once.
    Go,
    /// Look at it after this time.
    Wait(Duration),
    /// Do not look at it: too many wrong passwords. Trying again makes sense after this time.
    Refuse(Duration),
}

/// Failed logins by address.
#[derive(Debug)]
pub struct Logins {
    a_minute: u32,
    most: usize,
    from: HashMap<Network, Record>,
}

#[derive(Debug, Default)]
struct Record {
    /// Failures not yet worn off, in thousandths; `a_minute` of them wear off each minute.
    failures: u64,
    /// When that was so.
    at: Duration,
    guesses: Vec<u64>,
    trusted_until: Option<Duration>,
}

impl Logins {
    /// Allows so many failed logins a minute from one address.
    #[must_use]
    pub fn new(a_minute: u32) -> Logins {
        Logins { a_minute: a_minute.max(1), most: ADDRESSES, from: HashMap::new() }
    }

    /// What to do with an attempt from this address.
    pub fn verdict(&mut self, from: Network, now: Duration) -> Verdict {
        let a_minute = self.a_minute;
        let Some(record) = self.from.get_mut(&from) else { return Verdict::Go };
        record.wear_off(a_minute, now);
        let failures = record.failures / 1000;
        let Some(above) = failures.checked_sub(u64::from(a_minute)) else { return Verdict::Go };
        if record.is_trusted(now) {
            return Verdict::Go;
        }
        match u32::try_from(above) {
            Ok(above) if above < DELAYS => Verdict::Wait(Duration::from_secs(1 << above)),
            _ => {
                // Until the last delay holds again.
                let excess = record.failures.saturating_sub((u64::from(a_minute) + u64::from(DELAYS)) * 1000);
                Verdict::Refuse(Duration::from_millis((excess + 1000) * 60 / u64::from(a_minute)))
            }
        }
    }

    /// A login failed. `mark` tells guesses apart: the same one again does not count.
    pub fn failed(&mut self, from: Network, mark: u64, now: Duration) {
        let a_minute = self.a_minute;
        self.make_room(from, now);
        let record = self.from.entry(from).or_default();
        record.wear_off(a_minute, now);
        if record.guesses.contains(&mark) {
            return;
        }
        if record.guesses.len() >= GUESSES {
            record.guesses.remove(0);
        }
        record.guesses.push(mark);
        record.failures = (record.failures + 1000).min(u64::from(a_minute.saturating_add(ABOVE)) * 1000);
    }

    /// A login went well: the address is trusted for a day.
    pub fn succeeded(&mut self, from: Network, now: Duration) {
        self.make_room(from, now);
        self.from.entry(from).or_default().trusted_until = Some(now + TRUSTED);
    }

    /// Keeps the table bounded: first goes what says nothing any more, then what says least. A host that is tried
    /// from more addresses than stand here at once is not protected by counting addresses anyway.
    fn make_room(&mut self, from: Network, now: Duration) {
        if self.from.len() < self.most || self.from.contains_key(&from) {
            return;
        }
        let a_minute = self.a_minute;
        self.from.retain(|_, record| {
            record.wear_off(a_minute, now);
            record.failures > 0 || record.is_trusted(now)
        });
        if self.from.len() < self.most {
            return;
        }
        // An eighth at once, so that the search is rare.
        let mut worth: Vec<_> =
            self.from.iter().map(|(from, r)| ((r.is_trusted(now), r.failures, r.at), *from)).collect();
        worth.sort_unstable();
        for (_, from) in worth.into_iter().take(self.most / 8 + 1) {
            self.from.remove(&from);
        }
    }
}

impl Record {
    fn wear_off(&mut self, a_minute: u32, now: Duration) {
        let since = now.saturating_sub(self.at);
        let worn =
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_mul(u64::from(a_minute)) / 60;
        self.failures = self.failures.saturating_sub(worn);
        if self.failures == 0 {
            // The old password of a phone is known again only while anything is held against the address; it costs
            // one failure a minute at most then.
            self.guesses = Vec::new();
        }
        self.at = now;
    }

    fn is_trusted(&self, now: Duration) -> bool {
        self.trusted_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::of(text.parse().unwrap())
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn ten_a_minute_are_free_then_delays_grow_then_it_is_refused() {
        let mut logins = Logins::new(10);
        let from = network("192.0.2.1");
        let mut verdicts = Vec::new();
        for guess in 0..20 {
            verdicts.push(logins.verdict(from, seconds(0)));
            logins.failed(from, guess, seconds(0));
        }
        assert_eq!(verdicts[..10], [Verdict::Go; 10]);
        assert_eq!(verdicts[10..15], [1, 2, 4, 8, 16].map(|s| Verdict::Wait(seconds(s))));
        assert!(verdicts[15..].iter().all(|v| matches!(v, Verdict::Refuse(_))), "{verdicts:?}");
        // Others are not concerned.
        assert_eq!(logins.verdict(network("192.0.2.2"), seconds(0)), Verdict::Go);
        // It wears off: one in six seconds.
        let Verdict::Refuse(after) = logins.verdict(from, seconds(0)) else { panic!() };
        assert_eq!(after, seconds(36));
        assert_eq!(logins.verdict(from, after), Verdict::Wait(seconds(16)));
        assert_eq!(logins.verdict(from, seconds(120)), Verdict::Go);
    }

    #[test]
    fn the_same_guess_counts_once() {
        let mut logins = Logins::new(10);
        let from = network("2001:db8::1");
        for _ in 0..100 {
            logins.failed(from, 7, seconds(1));
        }
        assert_eq!(logins.verdict(from, seconds(1)), Verdict::Go);
        // A phone with an old password, every 20 s for a day, beside a person who mistypes.
        for n in 0..4000 {
            logins.failed(from, 7, seconds(n * 20));
            assert_eq!(logins.verdict(from, seconds(n * 20)), Verdict::Go);
        }
    }

    #[test]
    fn an_address_that_logged_in_well_is_never_slowed() {
        let mut logins = Logins::new(10);
        let (good, same) = (network("2001:db8::1"), network("2001:db8::ffff"));
        logins.succeeded(good, seconds(0));
        for guess in 0..50 {
            logins.failed(same, guess, seconds(1));
        }
        assert_eq!(logins.verdict(same, seconds(1)), Verdict::Go);
        // A day later it is like any other.
        let later = TRUSTED + seconds(1);
        for guess in 0..50 {
            logins.failed(same, guess, later);
        }
        assert!(matches!(logins.verdict(same, later), Verdict::Refuse(_)));
        // And one good login speaks for it again.
        logins.succeeded(good, later);
        assert_eq!(logins.verdict(same, later), Verdict::Go);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_what_matters() {
        let mut logins = Logins::new(10);
        logins.most = 100;
        let (good, bad) = (network("192.0.2.1"), network("192.0.2.2"));
        logins.succeeded(good, seconds(0));
        for guess in 0..50 {
            logins.failed(bad, guess, seconds(0));
        }
        for n in 0..10_000_u32 {
            logins.failed(Network::of(std::net::Ipv4Addr::from_bits(n).into()), 1, seconds(0));
            assert!(logins.from.len() <= 100);
        }
        assert!(matches!(logins.verdict(bad, seconds(0)), Verdict::Refuse(_)));
        logins.failed(good, 1, seconds(0));
        assert!(logins.from[&good].is_trusted(seconds(0)));
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut logins = Logins::new(u32::MAX);
        let from = network("192.0.2.1");
        logins.failed(from, 1, Duration::MAX / 2);
        assert_eq!(logins.verdict(from, Duration::MAX / 2), Verdict::Go);
        logins.failed(from, 2, seconds(0));
    }
}
