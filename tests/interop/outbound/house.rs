//! Our own server, as `penfold serve` runs it, with an account that sends.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use data_encoding::BASE64;

use super::super::run;
use super::super::support::client::Lines;
use super::until;

/// Who sends.
pub const ANN: &str = "ann@home.test";

/// A running server, killed when dropped.
pub struct House {
    child: Child,
    directory: tempfile::TempDir,
    submission: SocketAddr,
    imap: SocketAddr,
    password: String,
    log: Arc<Mutex<String>>,
}

impl House {
    /// Starts one with a nameserver, the key that this one proves itself by, the port of other mail servers, and what else its
    /// configuration says.
    pub fn start(dns: SocketAddr, anchor: &Path, smtp_port: u16, more: &str) -> House {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.toml");
        std::fs::write(
            &config,
            format!(
                "hostname = \"mail.home.test\"\ndata_dir = \"data\"\ncontrol = \"control.sock\"\n\
                 listen = {{ smtp = [], submissions = [], submission = [\"127.0.0.1:0\"], imaps = [], imap = [\"127.0.0.1:0\"], \
                 pop3s = [], pop3 = [] }}\ntls.optional_on_loopback = true\n\
                 dns = {{ servers = [\"{dns}\"], trust_anchor = \"{anchor}\" }}\noutbound.smtp_port = {smtp_port}\n{more}",
                anchor = anchor.display()
            ),
        )
        .unwrap();
        let penfold = |args: &[&str]| {
            let done =
                run(Command::new(env!("CARGO_BIN_EXE_penfold")).args(args).arg("--config").arg(&config));
            assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8(done.stdout).unwrap()
        };
        penfold(&["domain", "add", "home.test"]);
        let account: serde_json::Value =
            serde_json::from_str(&penfold(&["account", "add", ANN, "--json"])).unwrap();
        let password = account["password"].as_str().unwrap().to_owned();
        let mut command = Command::new(env!("CARGO_BIN_EXE_penfold"));
        command.arg("serve").arg("--config").arg(&config).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (sink, mut err) = (log.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(n @ 1..) = err.read(&mut octets) {
                sink.lock().unwrap().push_str(&String::from_utf8_lossy(&octets[..n]));
            }
        });
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut listens = |protocol: &str| loop {
            let mut line = String::new();
            if out.read_line(&mut line).unwrap() == 0 {
                let _ = child.kill();
                let _ = child.wait();
                panic!("it did not start: {}", log.lock().unwrap());
            }
            if let Some(at) = line.trim().strip_prefix(protocol) {
                break at.trim().parse().unwrap();
            }
        };
        // In the order in which they are printed.
        let (submission, imap) = (listens("submission "), listens("imap "));
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        House { child, directory, submission, imap, password, log }
    }

    /// Where mail programs hand in mail.
    pub fn submission(&self) -> SocketAddr {
        self.submission
    }

    /// Where they read it.
    pub fn imap(&self) -> SocketAddr {
        self.imap
    }

    /// Another account's password.
    pub fn account(&self, address: &str) -> String {
        let account: serde_json::Value =
            serde_json::from_str(&self.penfold(&["account", "add", address, "--json"])).unwrap();
        account["password"].as_str().unwrap().to_owned()
    }

    /// All that it has logged so far. A test that fails prints it.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    /// What a command prints that must succeed.
    pub fn penfold(&self, args: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_penfold"));
        let done = run(command.args(args).arg("--config").arg(self.config()));
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{args:?}: {out}{err}");
        out.into_owned()
    }

    /// Ann sends a message, which has no line that begins with a dot, or has it doubled.
    pub fn send(&self, to: &[&str], message: &[u8]) {
        let mut s = Lines::plain(self.submission).unwrap();
        s.smtp_reply().unwrap();
        s.smtp("EHLO client.home.test").unwrap();
        let login = BASE64.encode(format!("\0{ANN}\0{}", self.password).as_bytes());
        let done = s.smtp(&format!("AUTH PLAIN {login}")).unwrap();
        assert!(done.starts_with("235 "), "{done}");
        s.smtp(&format!("MAIL FROM:<{ANN}> BODY=8BITMIME")).unwrap();
        for to in to {
            let done = s.smtp(&format!("RCPT TO:<{to}>")).unwrap();
            assert!(done.starts_with("250 "), "{done}");
        }
        s.smtp("DATA").unwrap();
        s.send(message).unwrap();
        let done = s.smtp(".").unwrap();
        assert!(done.starts_with("250 "), "{done}");
    }

    /// What is in Ann's INBOX, once something is.
    pub fn inbox(&self) -> String {
        let mut s = Lines::plain(self.imap).unwrap();
        s.imap_login(ANN, &self.password);
        until("something is in the INBOX", || {
            let (told, _) = s.imap("e", "EXAMINE INBOX").unwrap();
            (!told.contains(&"* 0 EXISTS".to_owned())).then_some(())
        });
        s.imap("f", "FETCH 1:* (BODY.PEEK[])").unwrap().0.join("\n")
    }

    /// What `penfold trace` tells of the fate of the one message to somebody, once it has one.
    #[track_caller]
    pub fn fate(&self, to: &str) -> Fate {
        let json = until("the message has a fate", || {
            let config = self.config();
            let mut command = Command::new(env!("CARGO_BIN_EXE_penfold"));
            let done = run(command.args(["trace", to, "--json", "--config"]).arg(config));
            let told: serde_json::Value = serde_json::from_slice(&done.stdout).ok()?;
            let fates = told["fates"].as_array()?;
            assert!(fates.len() < 2, "{told}");
            if fates.is_empty() && told["waits"][0]["recipients"][0]["why"].is_string() {
                panic!("it was put off: {told}");
            }
            fates.first().cloned()
        });
        Fate { json, words: self.penfold(&["trace", to]) }
    }

    /// Why the one message in the queue was put off, once it was; and what `penfold queue list` says of it.
    pub fn put_off(&self) -> (String, String) {
        let why = until("the message is put off", || {
            let told: serde_json::Value =
                serde_json::from_str(&self.penfold(&["queue", "list", "--json"])).unwrap();
            told["rows"][0]["recipients"][0]["why"].as_str().map(str::to_owned)
        });
        (why, self.penfold(&["queue", "list"]))
    }

    /// The records that its domain's keys ask for: names and values.
    pub fn keys(&self) -> Vec<(String, String)> {
        let rows: serde_json::Value =
            serde_json::from_str(&self.penfold(&["dkim", "show", "home.test", "--json"])).unwrap();
        let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
        rows.as_array().unwrap().iter().map(|row| (text(row, "name"), text(row, "value"))).collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("Penfold said:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What became of a message.
pub struct Fate {
    /// For programs.
    pub json: serde_json::Value,
    /// For people.
    pub words: String,
}
