//! Passwords: hashed with argon2id, verified without telling whether a user exists, and generated.
//!
//! A hash takes 19 MiB and tens of milliseconds, so at most two are made at once, off the async threads; what was
//! verified is remembered for five minutes as a keyed hash that is worth nothing outside this process. A password
//! itself is never kept and never logged.
//!
//! The parameters are those that OWASP's password storage cheat sheet asks for; the hash's text is a PHC string.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use tokio::sync::Semaphore;
use wire::secret::Secret;

/// Hashes at once: two cost 38 MiB, and a small host has no more cores than that.
const AT_ONCE: usize = 2;
/// Logins that may wait for their turn: about three seconds' worth. More would only time out at the client.
const WAITING: usize = 200;
/// How long a verified password is remembered: mail programs log in for every folder.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);
/// How many are remembered. 64 octets each.
const REMEMBERED_MOST: usize = 4096;

/// A hash of nobody's password with the parameters of all others: verifying against it costs the same.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What SCRAM-SHA-256 computes with, where we log in elsewhere (RFC 5802 s.2.2).
#[derive(Clone, Copy, Debug)]
pub struct Sha256;

impl wire::sasl::client::Hashes for Sha256 {
    fn sha256(&self, octets: &[u8]) -> [u8; 32] {
        array(digest::digest(&digest::SHA256, octets).as_ref())
    }

    fn hmac_sha256(&self, key: &[u8], octets: &[u8]) -> [u8; 32] {
        array(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), octets).as_ref())
    }

    fn pbkdf2_sha256(&self, password: &[u8], salt: &[u8], iterations: std::num::NonZeroU32) -> [u8; 32] {
        let mut key = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, &mut key);
        key
    }
}

/// SHA-256 gives 32 octets.
fn array(octets: &[u8]) -> [u8; 32] {
    octets.try_into().unwrap_or([0; 32])
}

/// Why a password could not be hashed or verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too many logins wait.
    #[error("too many logins at once")]
    Busy,
    /// No randomness, or no memory.
    #[error("the password could not be hashed")]
    Hash,
}

/// An account, as far as its password goes.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// Its number.
    pub id: u32,
    /// Rises with each change of the password.
    pub epoch: u64,
    /// The hash, as [`Passwords::hash`] made it.
    pub phc: &'a str,
}

/// Hashes and verifies.
pub struct Passwords {
    hashing: Arc<Semaphore>,
    waiting: AtomicUsize,
    key: hmac::Key,
    verified: Mutex<HashMap<[u8; 32], Verified>>,
}

struct Verified {
    account: u32,
    until: Duration,
}

impl Passwords {
    /// A new one, with a key of its own and nothing remembered.
    pub fn new() -> Result<Passwords, Error> {
        let key =
            hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new()).map_err(|_| Error::Hash)?;
        give_memory_back();
        Ok(Passwords {
            hashing: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: AtomicUsize::new(0),
            key,
            verified: Mutex::default(),
        })
    }

    /// The hash to keep, as a PHC string.
    pub async fn hash(&self, password: &Secret<String>) -> Result<Secret<String>, Error> {
        let password = plain(password);
        self.blocking(move || {
            let hash = argon2id().hash_password(password.expose().as_bytes()).map_err(|_| Error::Hash)?;
            Ok(Secret::new(hash.to_string()))
        })
        .await?
    }

    /// Whether the password is the account's. `None` is no account: it takes as long as a wrong password and is
    /// always false. `now` is monotonic.
    pub async fn verify(
        &self,
        account: Option<Account<'_>>,
        password: &Secret<String>,
        now: Duration,
    ) -> Result<bool, Error> {
        let password = plain(password);
        let tag = account.map(|account| self.tag(account, &password));
        if let Some(tag) = tag
            && self.verified().get(&tag).is_some_and(|verified| now < verified.until)
        {
            return Ok(true);
        }
        let phc = account.map_or(NOBODY, |account| account.phc).to_owned();
        let right = self
            .blocking(move || argon2id().verify_password(password.expose().as_bytes(), phc.as_str()).is_ok())
            .await?;
        match (account, tag) {
            (Some(account), Some(tag)) if right => {
                self.remember(tag, account.id, now);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Forgets what was verified for an account: its password was changed, or it is gone.
    pub fn forget(&self, account: u32) {
        self.verified().retain(|_, verified| verified.account != account);
    }

    /// A mark of a wrong guess, by which `rate` knows the same guess again. It tells nothing outside this process.
    #[must_use]
    pub fn mark(&self, login: &str, password: &Secret<String>) -> u64 {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(b"guess\0");
        context.update(login.as_bytes());
        context.update(b"\0");
        context.update(password.expose().as_bytes());
        let tag = context.sign();
        tag.as_ref().iter().take(8).fold(0, |mark, octet| mark << 8 | u64::from(*octet))
    }

    fn tag(&self, account: Account<'_>, password: &Secret<String>) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(b"verified\0");
        context.update(&account.id.to_be_bytes());
        // With the epoch a verification that ends after a change cannot bring the old password back.
        context.update(&account.epoch.to_be_bytes());
        context.update(password.expose().as_bytes());
        let mut tag = [0; 32];
        for (to, from) in tag.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        tag
    }

    fn remember(&self, tag: [u8; 32], account: u32, now: Duration) {
        let mut verified = self.verified();
        if verified.len() >= REMEMBERED_MOST {
            verified.retain(|_, old| now < old.until);
        }
        if verified.len() >= REMEMBERED_MOST {
            // Forgetting costs a hash each, nothing more.
            verified.clear();
        }
        verified.insert(tag, Verified { account, until: now + REMEMBERED });
    }

    /// Runs on the blocking pool, at most [`AT_ONCE`] at a time. The permit goes with the work: a client that hangs
    /// up does not make room for a third.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        struct Leave<'a>(&'a AtomicUsize);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _leave = Leave(&self.waiting);
        if before >= WAITING {
            return Err(Error::Busy);
        }
        let permit = Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| Error::Busy)?;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        })
        .await
        .map_err(|_| Error::Hash)
    }

    fn verified(&self) -> MutexGuard<'_, HashMap<[u8; 32], Verified>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// glibc learns from the first freed block that such blocks should stay: each thread that ever hashed would keep 19
/// MiB for good. With a fixed threshold they go back to the system at once.
///
/// And it gives each thread a heap of its own: what one thread gathered and another let go of stays in the first one's.
/// A mailbox of 100,000 messages that is emptied, and a snapshot of it, left 60 MiB lying about so; in two heaps the next
/// one uses what the last one left. Best called before there are threads.
pub fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const M_MMAP_THRESHOLD: i32 = -3;
        const M_ARENA_MAX: i32 = -8;
        #[expect(unsafe_code, reason = "glibc's own declaration; std has no word for it")]
        unsafe extern "C" {
            safe fn mallopt(param: i32, value: i32) -> i32;
        }
        // Refused or not: it is about memory use only.
        let _ = mallopt(M_MMAP_THRESHOLD, 4 << 20);
        let _ = mallopt(M_ARENA_MAX, 2);
    }
}

fn argon2id() -> Argon2<'static> {
    // These are also the library's defaults; they stand here so that they do not change with it.
    let params = Params::new(19_456, 2, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Without 0 and o, 1 and i and l, u and v, which look alike when written down. Lower case only: phones.
const ALPHABET: &[u8; 29] = b"abcdefghjkmnpqrstwxyz23456789";
/// 21 characters of 29: 102 bits.
const LENGTH: usize = 21;
/// Characters of a group.
const GROUP: usize = 3;

/// Makes a password of letters and digits only (signs broke set-ups of mail programs).
pub fn generate() -> Result<Secret<String>, Error> {
    let mut text = String::with_capacity(LENGTH);
    while text.len() < LENGTH {
        let mut octet = [0];
        rand::fill(&mut octet).map_err(|_| Error::Hash)?;
        // 232 is the largest multiple of 29 in an octet: every character is as likely.
        if octet[0] < 232 {
            text.push(char::from(ALPHABET[usize::from(octet[0] % 29)]));
        }
    }
    Ok(Secret::new(text))
}

/// A generated password as it is shown: in groups. The spaces are no part of it.
#[must_use]
pub fn in_groups(password: &Secret<String>) -> Secret<String> {
    let mut shown = String::with_capacity(LENGTH * 2);
    for (at, character) in password.expose().chars().enumerate() {
        if at > 0 && at % GROUP == 0 {
            shown.push(' ');
        }
        shown.push(character);
    }
    Secret::new(shown)
}

/// A password as it is hashed: a generated one without the spaces that it was shown or typed with, any other as it is.
fn plain(password: &Secret<String>) -> Secret<String> {
    let typed = password.expose();
    let characters = || typed.bytes().filter(|octet| *octet != b' ');
    if characters().count() == LENGTH && characters().all(|octet| ALPHABET.contains(&octet)) {
        return Secret::new(characters().map(char::from).collect());
    }
    password.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Duration = Duration::from_secs(1000);

    fn secret(text: &str) -> Secret<String> {
        Secret::from(text)
    }

    #[tokio::test]
    async fn right_wrong_and_nobody() {
        let passwords = Passwords::new().unwrap();
        let phc = passwords.hash(&secret("correct horse")).await.unwrap();
        assert!(phc.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", phc.expose());
        let account = Some(Account { id: 7, epoch: 1, phc: phc.expose() });
        assert!(passwords.verify(account, &secret("correct horse"), T0).await.unwrap());
        assert!(!passwords.verify(account, &secret("correct  horse"), T0).await.unwrap());
        assert!(!passwords.verify(None, &secret("correct horse"), T0).await.unwrap());
        // What stands in for nobody's hash is one that is really computed.
        let parsed = argon2::password_hash::phc::PasswordHash::new(NOBODY).unwrap();
        assert_eq!(
            parsed.params,
            argon2::password_hash::phc::PasswordHash::new(phc.expose()).unwrap().params
        );
        assert_eq!(parsed.hash.unwrap().len(), 32);
    }

    #[tokio::test]
    async fn remembered_for_five_minutes_for_this_password_and_epoch_only() {
        let passwords = Passwords::new().unwrap();
        let phc = passwords.hash(&secret("pw")).await.unwrap();
        let account = Account { id: 7, epoch: 1, phc: phc.expose() };
        assert!(passwords.verify(Some(account), &secret("pw"), T0).await.unwrap());
        // With an impossible hash, only what is remembered is right.
        let gone = Account { phc: "", ..account };
        let later = T0 + REMEMBERED - Duration::from_secs(1);
        assert!(passwords.verify(Some(gone), &secret("pw"), later).await.unwrap());
        assert!(!passwords.verify(Some(gone), &secret("pW"), later).await.unwrap());
        assert!(!passwords.verify(Some(Account { epoch: 2, ..gone }), &secret("pw"), later).await.unwrap());
        assert!(!passwords.verify(Some(Account { id: 8, ..gone }), &secret("pw"), later).await.unwrap());
        assert!(!passwords.verify(Some(gone), &secret("pw"), T0 + REMEMBERED).await.unwrap());
        passwords.forget(8);
        assert!(passwords.verify(Some(gone), &secret("pw"), later).await.unwrap());
        passwords.forget(7);
        assert!(!passwords.verify(Some(gone), &secret("pw"), later).await.unwrap());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let passwords = Passwords::new().unwrap();
        for n in 0..3 * REMEMBERED_MOST {
            let mut tag = [0; 32];
            tag[..8].copy_from_slice(&n.to_be_bytes());
            passwords.remember(tag, 1, T0);
        }
        assert!((1..=REMEMBERED_MOST).contains(&passwords.verified().len()));
    }

    #[tokio::test]
    async fn generated_ones_are_taken_with_and_without_spaces() {
        let made = generate().unwrap();
        assert_eq!(made.expose().len(), LENGTH);
        assert_ne!(made.expose(), generate().unwrap().expose());
        assert!((ALPHABET.len() as f64).log2() * LENGTH as f64 >= 100.0);
        let shown = in_groups(&made);
        assert_eq!(shown.expose().split(' ').map(str::len).collect::<Vec<_>>(), [GROUP; LENGTH / GROUP]);
        assert_eq!(plain(&shown).expose(), made.expose());
        assert_eq!(plain(&secret(&format!(" {}  ", shown.expose()))).expose(), made.expose());
        // A password that somebody chose keeps its spaces.
        for chosen in ["correct horse", " pw", "abc def ghj", "ABC def ghj kmn pqr stw xyz"] {
            assert_eq!(plain(&secret(chosen)).expose(), chosen);
        }
    }

    #[tokio::test]
    async fn a_queue_that_is_full_says_so() {
        let passwords = Passwords::new().unwrap();
        passwords.waiting.store(WAITING, Ordering::Relaxed);
        assert_eq!(passwords.verify(None, &secret("x"), T0).await, Err(Error::Busy));
        assert_eq!(passwords.waiting.load(Ordering::Relaxed), WAITING, "who was sent away does not wait");
    }

    #[test]
    fn marks_tell_guesses_apart() {
        let passwords = Passwords::new().unwrap();
        let mark = passwords.mark("alice", &secret("a"));
        assert_eq!(mark, passwords.mark("alice", &secret("a")));
        assert_ne!(mark, passwords.mark("alice", &secret("b")));
        assert_ne!(mark, passwords.mark("bob", &secret("a")));
        assert_ne!(mark, Passwords::new().unwrap().mark("alice", &secret("a")));
    }
}
