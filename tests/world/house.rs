//! Our server with a world around it: zones, other servers' addresses, an account that sends and reads.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::mx::{Mx, PATIENCE, Seen, free_port, network};
use crate::nameserver::{Zone, serve};
use crate::support::client::{Lines, trusting};

/// The binary under test; `PENFOLD_BINARY` names another, for figures of a release.
fn binary() -> PathBuf {
    std::env::var_os("PENFOLD_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_penfold").into(), PathBuf::from)
}

const PASSWORD: &str = "correct horse battery";

/// A place in the world where our server may run.
pub struct House {
    directory: PathBuf,
    /// Goes with the house, if it is one of its own.
    _place: Option<tempfile::TempDir>,
    net: Box<dyn Fn(u8) -> Ipv4Addr + Send + Sync>,
    /// The port that all other servers share.
    pub port: u16,
    /// The nameserver lives as long as this.
    _runtime: tokio::runtime::Runtime,
}

/// How a world is made.
pub struct Plan {
    zone: Zone,
    net: Box<dyn Fn(u8) -> Ipv4Addr + Send + Sync>,
    outbound: String,
    smtp: String,
    below: Vec<Zone>,
    files: Vec<(String, String)>,
    port: u16,
}

impl Plan {
    /// A signed zone for everything, with nothing in it.
    pub fn new() -> Plan {
        let net = network();
        Plan {
            zone: Zone::new(".").ip("ns.test", "127.0.0.1"),
            port: free_port(net(1)),
            files: Vec::new(),
            net: Box::new(net),
            outbound: "retry = [\"1s\"]\n".to_owned(),
            smtp: "127.0.0.1:0".to_owned(),
            below: Vec::new(),
        }
    }

    /// The world's address number `n`.
    pub fn ip(&self, n: u8) -> String {
        (self.net)(n).to_string()
    }

    /// Changes the zone.
    pub fn zone(mut self, change: impl FnOnce(Zone) -> Zone) -> Plan {
        self.zone = change(self.zone);
        self
    }

    /// A host with the world's address number `n`.
    pub fn host(self, name: &str, n: u8) -> Plan {
        let ip = self.ip(n);
        self.zone(|zone| zone.ip(name, &ip))
    }

    /// A domain with one host, which is called `mx.` and has the world's address number `n`.
    pub fn domain(self, name: &str, n: u8) -> Plan {
        let host = format!("mx.{name}");
        self.host(&host, n).zone(|zone| zone.mx(name, 10, &host))
    }

    /// Lines of `[outbound]`, in place of `retry = ["1s"]`.
    pub fn outbound(mut self, lines: &str) -> Plan {
        self.outbound = format!("{lines}\n");
        self
    }

    /// Where our server takes mail from others.
    pub fn listening(mut self, at: &str) -> Plan {
        self.smtp = at.to_owned();
        self
    }

    /// An unsigned zone below, with a delegation to it.
    pub fn unsigned(mut self, origin: &str, change: impl FnOnce(Zone) -> Zone) -> Plan {
        self.below.push(change(Zone::new(origin)));
        self.zone(|zone| zone.delegate(origin))
    }

    /// A file beside the configuration.
    pub fn file(mut self, name: &str, text: &str) -> Plan {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// The port that all other servers will share.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes it: the nameserver answers, and ann@home.test has an account.
    pub fn make(self) -> House {
        let place = tempfile::tempdir().unwrap();
        let mut house = self.make_in(place.path());
        house._place = Some(place);
        house.command(&["domain", "add", "home.test"], "");
        house.account("ann@home.test");
        house
    }

    /// The same in a directory that is there, and may have data: there is no account but those.
    pub fn make_in(self, directory: &Path) -> House {
        let Plan { mut zone, net, outbound, smtp, mut below, files, port } = self;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let anchor = zone.sign(directory);
        let nameserver = {
            below.insert(0, zone);
            runtime.block_on(serve(below))
        };
        for (name, text) in files {
            std::fs::write(directory.join(name), text).unwrap();
        }
        let config = format!(
            "hostname = \"mail.home.test\"\ndata_dir = \"data\"\ncontrol = \"c.sock\"\n\
             [listen]\nsmtp = [\"{smtp}\"]\nsubmission = [\"127.0.0.1:0\"]\nimap = [\"127.0.0.1:0\"]\n\
             submissions = [\"127.0.0.1:0\"]\nimaps = []\npop3 = []\npop3s = []\n\
             [tls]\noptional_on_loopback = true\n\
             [dns]\nservers = [\"{nameserver}\"]\ntrust_anchor = \"{}\"\n\
             [limits]\nconnections_per_address = 500\nmessages_a_day = 1000000\nnew_recipients_a_day = 1000000\n\
             [outbound]\nsmtp_port = {port}\n{outbound}",
            anchor.display()
        );
        std::fs::write(directory.join("config.toml"), config).unwrap();
        House { directory: directory.to_owned(), _place: None, net, port, _runtime: runtime }
    }
}

impl House {
    /// Where the world's address number `n` takes mail.
    pub fn at(&self, n: u8) -> SocketAddr {
        SocketAddr::from(((self.net)(n), self.port))
    }

    /// Another server at the world's address number `n`.
    pub fn mx(&self, n: u8, script: &str) -> Mx {
        Mx::start(self.at(n), script)
    }

    fn config(&self) -> PathBuf {
        self.directory.join("config.toml")
    }

    /// The binary with arguments, to its good end. What it printed.
    pub fn command(&self, args: &[&str], input: &str) -> String {
        let mut command = Command::new(binary());
        command.args(args).arg("--config").arg(self.config());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Another account.
    pub fn account(&self, address: &str) {
        self.command(&["account", "add", address, "--password-stdin"], &format!("{PASSWORD}\n"));
    }

    /// Starts our server, and waits until every port answers.
    pub fn serve(&self) -> Serving {
        self.serve_by(Command::new(binary()))
    }

    /// The same, by a command that names the binary and perhaps something of its environment.
    pub fn serve_by(&self, command: Command) -> Serving {
        Serving::start(command, &self.config())
    }

    /// Nothing is left in the queue's books. Only while no server runs.
    #[track_caller]
    pub fn is_empty(&self) {
        let left = self.left();
        assert!(left.is_empty(), "left in the queue: {left:?}");
    }

    /// Our server's data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn store(&self) -> store::Store {
        let data = self.data();
        let options = store::Options {
            vfs: Arc::new(store::RealVfs::new(data.clone())),
            index: Arc::new(store::index::sled::SledHost::new(data)),
            derive: Arc::new(store::NoDigest),
            clock: Arc::new(Clock),
            random: Arc::new(|octets| octets.fill(7)),
            progress: Arc::new(|_| {}),
            condemned: Arc::new(|why| panic!("{why}")),
            boot_id: None,
            tuning: store::Tuning::default(),
            threads: true,
        };
        store::Store::open(options).unwrap().0
    }

    /// What is left in the queue's books. Only while no server runs.
    pub fn left(&self) -> Vec<String> {
        let store = self.store();
        let mut left = Vec::new();
        for book in [store::Book::Queue, store::Book::Recipients] {
            for (key, line) in store.lines(book, &[], None, 1_000_000).unwrap() {
                let (key, value) = (String::from_utf8_lossy(&key), String::from_utf8_lossy(&line.value));
                left.push(format!("{book:?} {key}: {value}"));
            }
        }
        store.close().unwrap();
        left
    }
}

/// A running server. Killed when dropped.
pub struct Serving {
    child: Child,
    ports: Vec<(String, SocketAddr)>,
    log: Arc<Log>,
    certificate: PathBuf,
}

/// What a server has logged; who waits for something is woken by each further line.
#[derive(Default)]
struct Log {
    text: Mutex<String>,
    bell: Condvar,
}

impl Serving {
    fn start(mut command: Command, config: &Path) -> Serving {
        command.arg("serve").arg("--config").arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Log::default());
        let (mut err, sink) = (child.stderr.take().unwrap(), log.clone());
        std::thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(n @ 1..) = err.read(&mut octets) {
                sink.text.lock().unwrap().push_str(&String::from_utf8_lossy(&octets[..n]));
                sink.bell.notify_all();
            }
        });
        // The page comes in one write.
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let page = String::from_utf8(out.fill_buf().unwrap().to_vec()).unwrap();
        let ports = page
            .lines()
            .filter_map(|line| {
                let (name, at) = line.trim().split_once(' ')?;
                Some((name.to_owned(), at.trim().parse().ok()?))
            })
            .collect();
        let certificate = config.with_file_name("data").join("tls/self-signed.pem");
        let serving = Serving { child, ports, log, certificate };
        if page.is_empty() {
            panic!("it did not start: {}", serving.log());
        }
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        serving
    }

    fn at(&self, protocol: &str) -> SocketAddr {
        self.ports.iter().find(|(name, _)| name == protocol).unwrap().1
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has logged something.
    #[track_caller]
    pub fn logged(&self, until: impl Fn(&str) -> bool) {
        let log = self.log.text.lock().unwrap();
        let (log, late) = self.log.bell.wait_timeout_while(log, PATIENCE, |log| !until(log)).unwrap();
        assert!(!late.timed_out(), "it is not logged:\n{log}");
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and wait.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and wait for the end. All that it logged.
    pub fn stop(self) -> String {
        signal(self.pid(), rustix::process::Signal::TERM);
        self.ended()
    }

    /// Waits for its good end. All that it logged.
    pub fn ended(mut self) -> String {
        let status: ExitStatus = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
        self.log()
    }

    /// Waits until something has happened at another server.
    #[track_caller]
    pub fn wait<'a>(&self, mx: &'a Mx, until: impl Fn(&Seen) -> bool) -> std::sync::MutexGuard<'a, Seen> {
        match mx.wait(until) {
            Some(seen) => seen,
            None => panic!("it does not come about: {:?}\n{}", mx.seen(), self.log()),
        }
    }

    /// A field of /proc/PID/status in KiB.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Logs in to send.
    pub fn submission(&self) -> Sender {
        self.submission_as("ann@home.test")
    }

    /// Logs in to send as another.
    #[track_caller]
    pub fn submission_as(&self, user: &str) -> Sender {
        self.try_submission(user).unwrap()
    }

    /// Logs in to send, unless the server ends.
    pub fn try_submission(&self, user: &str) -> std::io::Result<Sender> {
        let mut lines = Lines::plain(self.at("submission"))?;
        lines.smtp_reply()?;
        Sender::log_in(lines, user)
    }

    /// Logs in to send, inside TLS.
    #[track_caller]
    pub fn submission_in_tls(&self) -> Sender {
        let mut lines = Lines::tls_from(1, self.at("submissions"), &trusting(&self.certificate)).unwrap();
        lines.smtp_reply().unwrap();
        Sender::log_in(lines, "ann@home.test").unwrap()
    }

    /// Comes as another server does.
    pub fn port_25(&self) -> Sender {
        let mut lines = Lines::plain(self.at("smtp")).unwrap();
        lines.smtp_reply().unwrap();
        lines.smtp("EHLO other.test").unwrap();
        Sender { lines, from: "stranger@other.test".to_owned() }
    }

    /// Waits until an account's INBOX has so many messages; all of them.
    #[track_caller]
    pub fn inbox(&self, user: &str, messages: usize) -> Vec<String> {
        match self.try_inbox(user, messages) {
            Ok(all) => all,
            Err(error) => panic!("no {messages} messages came: {error}\n{}", self.log()),
        }
    }

    fn try_inbox(&self, user: &str, messages: usize) -> std::io::Result<Vec<String>> {
        let mut lines = Lines::plain(self.at("imap"))?;
        lines.imap_login(user, PASSWORD);
        let (seen, _) = lines.imap("s", "SELECT INBOX")?;
        let exists = |line: &str| line.strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse::<usize>().ok();
        // The last one: a message that comes meanwhile is told in the same response.
        let mut there = seen.iter().rev().find_map(|line| exists(line)).unwrap_or_default();
        if there < messages {
            lines.send(b"i IDLE\r\n")?;
            while there < messages {
                there = exists(&lines.line()?).unwrap_or(there);
            }
            lines.send(b"DONE\r\n")?;
            lines.imap_until("i")?;
        }
        let mut all = Vec::new();
        for n in 1..=there {
            lines.send(format!("f FETCH {n} BODY.PEEK[]\r\n").as_bytes())?;
            let first = lines.line()?;
            let size = first.rsplit_once('{').unwrap().1.trim_end_matches('}').parse().unwrap();
            all.push(String::from_utf8_lossy(&lines.take(size)?).into_owned());
            lines.imap_until("f")?;
        }
        Ok(all)
    }

    /// The reports in ann's INBOX, once there are so many.
    #[track_caller]
    pub fn reports(&self, number: usize) -> Vec<Report> {
        self.inbox("ann@home.test", number).iter().map(|text| Report::read(text)).collect()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("{}", self.log());
        }
    }
}

/// A connection that hands mail to our server.
pub struct Sender {
    lines: Lines,
    from: String,
}

impl Sender {
    fn log_in(mut lines: Lines, user: &str) -> std::io::Result<Sender> {
        lines.smtp("EHLO client.test")?;
        let proof = data_encoding::BASE64.encode(format!("\0{user}\0{PASSWORD}").as_bytes());
        let reply = lines.smtp(&format!("AUTH PLAIN {proof}"))?;
        if !reply.starts_with("235") {
            return Err(std::io::Error::other(reply));
        }
        Ok(Sender { lines, from: user.to_owned() })
    }

    /// Sends a short message; it is taken.
    #[track_caller]
    pub fn send(&mut self, subject: &str, to: &[&str]) {
        let reply = self.try_send(subject, to, "", "", "It rains.\r\n").unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    }

    /// Sends a message with parameters of MAIL, and of each RCPT; the last reply.
    pub fn try_send(
        &mut self,
        subject: &str,
        to: &[&str],
        mail: &str,
        rcpt: &str,
        body: &str,
    ) -> std::io::Result<String> {
        let Sender { lines, from } = self;
        let mut commands = format!("MAIL FROM:<{from}>{mail}\r\n");
        for to in to {
            commands.push_str(&format!("RCPT TO:<{to}>{rcpt}\r\n"));
        }
        lines.send(commands.as_bytes())?;
        for _ in 0..=to.len() {
            let reply = lines.smtp_reply()?;
            if !reply.starts_with("250") {
                return Ok(reply);
            }
        }
        let reply = lines.smtp("DATA")?;
        if !reply.starts_with("354") {
            return Ok(reply);
        }
        let message = format!(
            "From: <{from}>\r\nTo: others:;\r\nSubject: {subject}\r\nDate: Sat, 28 Nov 2026 10:00:00 +0000\r\n\
             Message-ID: <{subject}@home.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: 8bit\r\n\r\n{body}.\r\n"
        );
        lines.send(message.as_bytes())?;
        lines.smtp_reply()
    }
}

/// A report, read as a program does.
#[derive(Debug)]
pub struct Report {
    /// All of it.
    pub text: String,
    /// What stands about each recipient: names in lower case.
    pub recipients: Vec<Vec<(String, String)>>,
}

impl Report {
    /// Reads one. Anything else is an error of the test.
    #[track_caller]
    pub fn read(text: &str) -> Report {
        let unfolded = text.replace("\r\n ", " ").replace("\r\n\t", " ");
        let head = unfolded.split("\r\n\r\n").next().unwrap();
        assert!(
            head.contains("multipart/report; report-type=") && head.contains("Return-Path: <>"),
            "{text}"
        );
        let after = unfolded.split("delivery-status\r\n").last().unwrap();
        let part = after.split("\r\n--").next().unwrap();
        let groups = part.split("\r\n\r\n").map(|group| {
            let fields = group.lines().filter_map(|line| line.split_once(": "));
            fields
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect::<Vec<_>>()
        });
        let recipients = groups.filter(|group| group.iter().any(|(name, _)| name == "action")).collect();
        Report { text: text.to_owned(), recipients }
    }

    /// The one recipient that it is about.
    #[track_caller]
    pub fn only(&self) -> String {
        let [group] = &self.recipients[..] else { panic!("{}", self.text) };
        let value = group.iter().find(|(name, _)| name == "final-recipient").map_or("", |(_, value)| value);
        value.rsplit(' ').next().unwrap_or_default().to_owned()
    }

    /// A field of the group of a recipient.
    pub fn field(&self, recipient: &str, name: &str) -> &str {
        let of = |group: &&Vec<(String, String)>| {
            group
                .iter()
                .any(|(name, value)| name == "final-recipient" && value.ends_with(&format!(" {recipient}")))
        };
        let group = self.recipients.iter().find(of).unwrap_or_else(|| panic!("{recipient}: {}", self.text));
        group.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// Whether a recipient failed with this status, and the report's words contain these.
    #[track_caller]
    pub fn says(&self, recipient: &str, action: &str, status: &str, words: &[&str]) {
        assert_eq!(self.field(recipient, "action"), action, "{}", self.text);
        assert_eq!(self.field(recipient, "status"), status, "{}", self.text);
        let flat = self.text.replace("=\r\n", "").replace("\r\n", " ");
        for words in words {
            assert!(flat.contains(words), "{words:?} is missing: {}", self.text);
        }
    }
}

/// Sends a signal to a server; that it has ended already does not matter.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

struct Clock;

impl store::Clock for Clock {
    fn wall(&self) -> store::UnixTime {
        store::UnixTime { secs: penfold::clock::wall().seconds, nanos: 0 }
    }

    fn monotonic(&self) -> Duration {
        penfold::clock::monotonic()
    }
}
