//! `penfold demo`: a server for one computer, with two accounts that have something to read.
//!
//! It listens on loopback only, and nothing in it connects anywhere: what would be sent lands in an account of its own.

use std::fs::DirBuilder;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use store::{AccountId, Batch, CommitError, Intent, Prefix, Store};
use wire::flag::FlagNames;

use super::{Error, Listener};
use crate::admin::{self, Admin, Password, Request};
use crate::clock::Date;
use crate::config::{Address, Config, Listen};
use crate::password;

/// The demo's domain. `.test` is reserved for such things, so nobody's mail is ever meant.
pub const DOMAIN: &str = "demo.test";
/// Its accounts' local parts.
pub const ACCOUNTS: [&str; 2] = ["alice", "bob"];

/// The account that gets what would be sent to other hosts.
pub const WORLD: &str = "world";

/// A file with a message, to be sent by hand.
pub const LETTER: &str = "letter.eml";
/// Whom it is from: somebody elsewhere.
pub const STRANGER: &str = "friend@example.org";

/// The demo's directory. A fresh one goes with it.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    fresh: bool,
}

impl Place {
    /// The directory named, or a fresh one that only this user can look into.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(named: Option<&Path>) -> Result<Place, Error> {
        let failed = |path: &Path, why| Error::Io { what: format!("the directory {}", path.display()), why };
        if let Some(path) = named {
            if path.exists() && !path.is_dir() {
                return Err(failed(path, io::ErrorKind::NotADirectory.into()));
            }
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|why| failed(path, why))?;
            let path = path.canonicalize().map_err(|why| failed(path, why))?;
            return Ok(Place { path, fresh: false });
        }
        let base = std::env::temp_dir();
        let mut name = [0; 6];
        aws_lc_rs::rand::fill(&mut name)
            .map_err(|_| failed(&base, io::Error::other("the system gave no randomness for a name")))?;
        let name: String = name.iter().map(|octet| format!("{octet:02x}")).collect();
        let path = base.join(format!("penfold-demo-{name}"));
        // Never an existing one: its name might have been guessed.
        DirBuilder::new().mode(0o700).create(&path).map_err(|why| failed(&path, why))?;
        Ok(Place { path, fresh: true })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it goes at the end.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.fresh {
            // What is left over lies in the directory for such things.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A configuration for this computer alone, on the standard ports + `base`; 0 lets the system choose.
#[must_use]
pub fn config(directory: &Path, base: u16) -> Config {
    let at = |port: u16| {
        let port = if base == 0 { 0 } else { base.saturating_add(port) };
        vec![Address(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))]
    };
    let mut config = Config {
        hostname: Some("localhost".into()),
        data_dir: directory.to_owned(),
        control: directory.join("control.sock"),
        listen: Listen {
            smtp: at(25),
            submissions: at(465),
            submission: at(587),
            imaps: at(993),
            imap: at(143),
            pop3s: at(995),
            pop3: at(110),
        },
        ..Config::default()
    };
    // Whose hash is ready first is the first account: that must not decide.
    config.postmaster = Some(format!("{}@{DOMAIN}", ACCOUNTS[0]));
    config.tls.names = vec!["localhost".into(), "127.0.0.1".into()];
    config.tls.optional_on_loopback = true;
    config
}

/// Writes the files that come with the demo: a configuration with which `penfold --config FILE status` and the like
/// reach it, and a letter to send.
///
/// # Errors
/// When one cannot be written.
pub fn write_files(directory: &Path, listeners: &[Listener]) -> Result<(), Error> {
    let mut config = "# Written by `penfold demo`, for commands like `penfold --config THIS status`.\n\
                      hostname = \"mail.demo.test\"\ndata_dir = \".\"\ncontrol = \"control.sock\"\n\n[listen]\n"
        .to_owned();
    for listener in listeners {
        config.push_str(&format!("{} = [\"{}\"]\n", listener.protocol, listener.address));
    }
    let letter = format!(
        "From: A friend <{STRANGER}>\nTo: <{}@{DOMAIN}>\nSubject: It works\nDate: {}\n\nHello, Alice.\n",
        ACCOUNTS[0],
        Date::now()
    );
    for (name, text) in [("config.toml", config), (LETTER, letter)] {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|why| Error::Io { what: path.display().to_string(), why })?;
    }
    Ok(())
}

/// Makes the domain and the accounts, each with a new password and, at the first start, a message to read. All
/// passwords are hashed at the same time.
///
/// # Errors
/// What `admin` or the store refuses.
pub async fn furnish(admin: &Admin, store: &Store) -> Result<Vec<(String, Password)>, Error> {
    if !store.directory().has_domain(DOMAIN) {
        // Not by `admin`, which would make its DKIM keys first: they take longer than all the rest, and the server makes
        // them as soon as it serves.
        let add = Batch::of(Intent::AddDomain { name: DOMAIN.into() });
        store.commit(add).await.map_err(admin::Error::from)?;
    }
    let [alice, bob] = ACCOUNTS;
    let (alice, bob, world) =
        tokio::join!(account(admin, store, alice), account(admin, store, bob), account(admin, store, WORLD));
    Ok(vec![alice?, bob?, world?])
}

/// The account that gets what would be sent.
#[must_use]
pub fn world(store: &Store) -> Option<AccountId> {
    store.directory().login(&format!("{WORLD}@{DOMAIN}")).map(|account| account.id)
}

async fn account(admin: &Admin, store: &Store, name: &str) -> Result<(String, Password), Error> {
    let address = format!("{name}@{DOMAIN}");
    let made = password::generate().map_err(|why| admin::Error::Hash { why: why.to_string() })?;
    let password = Password::new(made.expose().clone());
    let add = Request::AccountAdd { address: address.clone(), password: password.clone() };
    match admin.answer(add).await {
        Ok(_) => welcome(store, name, &address).await?,
        Err(admin::Error::AddressTaken { .. }) => {
            // Its password is known as a hash only: it gets another.
            let set = Request::AccountPassword { address: address.clone(), password: password.clone() };
            admin.answer(set).await?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok((address, password))
}

/// Puts a message into INBOX.
async fn welcome(store: &Store, name: &str, address: &str) -> Result<(), admin::Error> {
    let directory = store.directory();
    let inbox = directory.login(address).and_then(|account| directory.mailbox_at(account.id, "INBOX"));
    let Some(inbox) = inbox else { return Err(CommitError::Closed.into()) };
    let mut batch = Batch::new();
    let body = batch.body(welcome_text(name, address, Date::now()).into_bytes());
    batch.push(Intent::Append {
        mailbox: inbox.id,
        body,
        prefix: Prefix::default(),
        flags: FlagNames::default(),
        date: None,
    });
    store.commit(batch).await?;
    Ok(())
}

fn welcome_text(name: &str, address: &str, date: Date) -> String {
    let other = if name == ACCOUNTS[0] { ACCOUNTS[1] } else { ACCOUNTS[0] };
    let lines = [
        format!("From: Penfold <postmaster@{DOMAIN}>"),
        format!("To: <{address}>"),
        "Subject: Welcome to Penfold".into(),
        format!("Date: {date}"),
        format!("Message-ID: <welcome-{name}.{}@{DOMAIN}>", date.unix),
        "MIME-Version: 1.0".into(),
        "Content-Type: text/plain; charset=us-ascii".into(),
        String::new(),
        "Hello!".into(),
        String::new(),
        "This message came out of a mail server that runs on this computer only.".into(),
        format!("Write to {other}@{DOMAIN} to see mail move, or sort this one into Archive."),
        String::new(),
        format!("Nothing leaves this computer: what you send to other places lands in {WORLD}@{DOMAIN}."),
        String::new(),
    ];
    lines.join("\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_place_is_private_and_goes() {
        use std::os::unix::fs::PermissionsExt;
        let place = Place::make(None).unwrap();
        let path = place.path().to_owned();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(path.join("x"), "x").unwrap();
        drop(place);
        assert!(!path.exists());
    }

    #[test]
    fn a_named_place_stays() {
        let outer = tempfile::tempdir().unwrap();
        let named = outer.path().join("a/b");
        let place = Place::make(Some(&named)).unwrap();
        drop(place);
        assert!(named.exists());
    }

    #[test]
    fn everything_listens_on_loopback() {
        for base in [0, 1_000, 64_000] {
            let listen = config(Path::new("/x"), base).listen;
            for address in
                [&listen.smtp, &listen.submissions, &listen.submission, &listen.imaps, &listen.imap]
                    .into_iter()
                    .chain([&listen.pop3s, &listen.pop3])
                    .flatten()
            {
                assert!(address.0.ip().is_loopback());
                assert!(base == 0 && address.0.port() == 0 || address.0.port() > base);
            }
        }
    }

    #[test]
    fn the_welcome_is_a_message_in_crlf() {
        let text = welcome_text("alice", "alice@demo.test", Date { unix: 0, zone_minutes: 0 });
        assert!(text.ends_with("\r\n") && !text.replace("\r\n", "").contains(['\r', '\n']));
        assert!(text.is_ascii() && text.contains("Write to bob@demo.test"));
    }
}
