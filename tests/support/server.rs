//! Starts the real binary as `penfold demo` and learns its ports from the line it prints.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A running demo. Killed when dropped.
pub struct Demo {
    child: Child,
    /// What `penfold demo --json` printed.
    pub ready: serde_json::Value,
    log: std::sync::Arc<std::sync::Mutex<String>>,
    /// Whether it made its own directory, which a killed process cannot take away.
    fresh: bool,
}

impl Demo {
    /// Starts `binary demo --json --port-base 0`, on `dir` if given, and waits for its ready line.
    pub fn start(binary: &str, dir: Option<&Path>, more: &[&str]) -> Demo {
        Demo::start_by(Command::new(binary), dir, more)
    }

    /// The same, by a command that names the binary and perhaps something of its environment.
    pub fn start_by(mut cmd: Command, dir: Option<&Path>, more: &[&str]) -> Demo {
        cmd.args(["demo", "--json", "--port-base", "0"]).args(more);
        if let Some(dir) = dir {
            cmd.arg("--dir").arg(dir);
        }
        cmd.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = cmd.spawn().expect("the binary starts");
        let log = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let mut err = child.stderr.take().expect("stderr is piped");
        let sink = log.clone();
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = err.read(&mut buf) {
                sink.lock().unwrap().push_str(&String::from_utf8_lossy(&buf[..n]));
            }
        });
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        out.read_line(&mut line).expect("stdout can be read");
        let ready = serde_json::from_str(&line).unwrap_or_else(|e| {
            let _ = child.kill();
            let _ = child.wait();
            panic!("no ready line ({e}): {line:?}\n{}", log.lock().unwrap())
        });
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        Demo { child, ready, log, fresh: dir.is_none() && !more.contains(&"--dir") }
    }

    /// Where a service listens, by its name in the ready line: `smtp`, `imaps`, ...
    pub fn addr(&self, service: &str) -> SocketAddr {
        let port = self.ready["ports"][service].as_u64().unwrap_or_else(|| panic!("no port for {service}"));
        SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()))
    }

    /// (address, password) of account `n`: 0 is alice, 1 is bob.
    pub fn account(&self, n: usize) -> (String, String) {
        let a = &self.ready["accounts"][n];
        (a["address"].as_str().unwrap().to_owned(), a["password"].as_str().unwrap().to_owned())
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        PathBuf::from(self.ready["data"].as_str().unwrap())
    }

    /// The certificate's file (PEM).
    pub fn certificate(&self) -> PathBuf {
        PathBuf::from(self.ready["certificate"].as_str().unwrap())
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL, and wait.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and wait for the end.
    pub fn stop(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }

    /// A field of /proc/PID/status in KiB: `VmRSS`, `VmHWM`.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with(field)).unwrap_or_else(|| panic!("no {field}"));
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Processor time used so far, user and system, in milliseconds.
    pub fn cpu_ms(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let after = stat.rsplit(')').next().unwrap();
        let fields: Vec<&str> = after.split_whitespace().collect();
        (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let (true, Some(data)) = (self.fresh, self.ready["data"].as_str())
            && data.contains("penfold-demo-")
        {
            let _ = std::fs::remove_dir_all(data);
        }
    }
}
