//! The command line as its users meet it: the built binary, its words, its exit codes, its files.

mod backup;
mod care;
mod demo;
mod dkim;
mod index;
mod limit;
mod people;
mod port;
mod queue;
mod quota;
mod serve;
mod undelete;
mod words;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

/// A host with a configuration of its own. No server runs on it yet.
struct Host {
    directory: tempfile::TempDir,
}

/// What a command did.
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Done {
    fn of(output: Output) -> Done {
        Done {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {:?} {:?}", self.out, self.err))
    }
}

/// What cannot be done here is not tested, unless everything must be.
fn skipped(why: &str) {
    assert!(std::env::var_os("PENFOLD_NO_SKIP").is_none_or(|v| v != "1"), "nothing may be skipped: {why}");
    println!("skipped: {why}");
}

fn penfold(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penfold"));
    command.args(args).stdin(Stdio::null());
    // As if by hand: what the environment of the tests has of these would change what is seen.
    for name in ["NOTIFY_SOCKET", "INVOCATION_ID", "RUST_BACKTRACE", "COLUMNS"] {
        command.env_remove(name);
    }
    command
}

fn run(args: &[&str]) -> Done {
    Done::of(penfold(args).output().unwrap())
}

impl Host {
    fn new() -> Host {
        let host = Host { directory: tempfile::tempdir().unwrap() };
        let mut text = String::from(
            "hostname = \"mail.b.test\"\ndata_dir = \"data\"\ncontrol = \"run/c.sock\"\n[listen]\n",
        );
        for protocol in ["smtp", "submissions", "submission", "imaps", "imap", "pop3s", "pop3"] {
            text.push_str(&format!("{protocol} = [\"127.0.0.1:0\"]\n"));
        }
        host.configure(&text);
        host
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.config(), text).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = penfold(args);
        command.arg("--config").arg(self.config());
        command
    }

    fn run(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).output().unwrap())
    }

    /// Runs a command with something on standard input.
    fn run_with(&self, args: &[&str], input: &str) -> Done {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may end without having read: then there is nobody to write to.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Done::of(child.wait_with_output().unwrap())
    }

    /// Starts `penfold serve` and waits until it has said where it listens.
    fn serve(&self) -> Serving {
        Serving::start(self.command(&["serve"]))
    }
}

/// A running server. Killed when dropped.
struct Serving {
    child: Child,
    /// What it printed until it was ready.
    page: String,
    log: Arc<Mutex<String>>,
    logging: Option<std::thread::JoinHandle<()>>,
}

impl Serving {
    fn start(mut command: Command) -> Serving {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut err = child.stderr.take().unwrap();
        let sink = Arc::clone(&log);
        let logging = std::thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(n @ 1..) = err.read(&mut octets) {
                sink.lock().unwrap().push_str(&String::from_utf8_lossy(&octets[..n]));
            }
        });
        // The page comes in one write; its last line is a port or a step. Logs go elsewhere.
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let octets = out.fill_buf().unwrap().to_vec();
        let page = String::from_utf8(octets).unwrap();
        let serving = Serving { child, page, log, logging: Some(logging) };
        if serving.page.is_empty() {
            panic!("it did not start: {}", serving.ended().1);
        }
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        serving
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has ended by itself: how, and all that it had to say.
    fn ended(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        self.logging.take().unwrap().join().unwrap();
        (status, self.log())
    }

    /// SIGTERM, and how it ended.
    fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything that a process shows to the other users of its host.
fn shown_by(pid: u32) -> String {
    let read = |what: &str| {
        let octets = std::fs::read(Path::new("/proc").join(pid.to_string()).join(what)).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    };
    format!("{}\n{}", read("cmdline"), read("environ"))
}
