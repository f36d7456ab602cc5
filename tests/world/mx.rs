//! Mail servers that do as a script says, and remember what they were told.
//!
//! A script has a line for each command: the command, then its replies one after another, with ` / ` in between; the last
//! one is given ever after. `MAIL 451 4.3.0 later / 250 ok` puts off one transaction. What no line names is answered as
//! every server does. The count goes on over connections. Commands: `CONNECT` (the greeting), `EHLO`, `HELO`, `STARTTLS`, `TLS` (what comes
//! in place of the handshake), `MAIL`, `RCPT`, `RCPT bob@x.test` (for this recipient), `DATA`, `DOT` (the end of the message), `RSET`, `QUIT`.
//!
//! A reply is text, with `|` between its lines; or `close`, `reset` (the connection is cut, by RST), `hang` (no reply ever),
//! or begins with `wait`, which holds it back until [`Mx::release`].

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penfold::clock;

use crate::support::client::Stream;

/// How long a test waits for what must come: long, since it only matters when it fails.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A message that a server has taken.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Which of its connections it came over, from 0 on.
    pub connection: usize,
    /// Over TLS.
    pub tls: bool,
    /// What followed `MAIL FROM:`.
    pub from: String,
    /// What followed `RCPT TO:`, for those that it took.
    pub to: Vec<String>,
    /// Header and body, dots taken away.
    pub octets: Vec<u8>,
    /// What the server's clock said when it was taken, which is before anybody was told; 0 without a clock.
    pub at: u64,
}

impl Mail {
    /// Its subject.
    pub fn subject(&self) -> String {
        let text = String::from_utf8_lossy(&self.octets);
        let line = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default();
        line.trim().to_owned()
    }
}

/// What happened at a server so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// Connections that came.
    pub connections: usize,
    /// Everything that was said to it, a line each, with the connection's number.
    pub lines: Vec<(usize, String)>,
    /// What the server's clock said when each of them was heard.
    pub heard: Vec<u64>,
    /// What it took.
    pub mail: Vec<Mail>,
    /// Messages that were there up to their dot, whatever was replied.
    pub dots: Vec<String>,
    /// Replies that are held back now.
    pub held: usize,
    used: HashMap<String, usize>,
    released: usize,
}

struct Inner {
    at: SocketAddr,
    script: Vec<(String, Vec<String>)>,
    tls: Option<Arc<rustls::ServerConfig>>,
    clock: Option<Clock>,
    seen: Mutex<Seen>,
    bell: Condvar,
    over: AtomicBool,
}

/// Any number that never goes back, to be noted with what happens.
pub type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// A server, for as long as it is held.
pub struct Mx(Arc<Inner>);

/// Addresses of loopback that no other test of this process has: 127.b.c.1 to 127.b.c.254.
pub fn network() -> impl Fn(u8) -> Ipv4Addr + Send + Sync {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() * 64;
    let [_, _, b, c] = n.to_be_bytes();
    move |d| Ipv4Addr::new(127, 1 + b % 250, c, d)
}

/// A port that is free on an address.
pub fn free_port(ip: Ipv4Addr) -> u16 {
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap().port()
}

impl Mx {
    /// Starts one.
    pub fn start(at: SocketAddr, script: &str) -> Mx {
        Mx::with(at, script, None, None)
    }

    /// Starts one that has a certificate.
    pub fn with_tls(at: SocketAddr, script: &str, tls: Arc<rustls::ServerConfig>) -> Mx {
        Mx::with(at, script, Some(tls), None)
    }

    /// Starts one that notes when things happen, by some clock.
    pub fn with_clock(at: SocketAddr, script: &str, clock: Clock) -> Mx {
        Mx::with(at, script, None, Some(clock))
    }

    fn with(
        at: SocketAddr,
        script: &str,
        tls: Option<Arc<rustls::ServerConfig>>,
        clock: Option<Clock>,
    ) -> Mx {
        let script = script
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| {
                let (command, rest) = line.split_once(' ').unwrap();
                let (of, rest) = match (command, rest.split_once(' ')) {
                    ("RCPT", Some((to, rest))) if to.contains('@') => (format!("RCPT {to}"), rest),
                    _ => (command.to_owned(), rest),
                };
                (of, rest.split(" / ").map(|reply| reply.trim().to_owned()).collect())
            })
            .collect();
        let listener = TcpListener::bind(at).unwrap();
        let inner = Arc::new(Inner {
            at,
            script,
            tls,
            clock,
            seen: Mutex::default(),
            bell: Condvar::new(),
            over: AtomicBool::new(false),
        });
        let shared = inner.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.over.load(Ordering::Relaxed) {
                    return;
                }
                let (inner, Ok(stream)) = (shared.clone(), stream) else { continue };
                std::thread::spawn(move || {
                    let number = inner.change(|seen| {
                        seen.connections += 1;
                        seen.connections - 1
                    });
                    // However it ends: what matters was noted.
                    let _ = Session::new(&inner, number, stream).and_then(Session::run);
                });
            }
        });
        Mx(inner)
    }

    /// What happened so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something has happened; `None` if it does not in time.
    pub fn wait(&self, until: impl Fn(&Seen) -> bool) -> Option<MutexGuard<'_, Seen>> {
        self.wait_for(PATIENCE, until)
    }

    /// The same, with a time.
    pub fn wait_for(
        &self,
        patience: Duration,
        until: impl Fn(&Seen) -> bool,
    ) -> Option<MutexGuard<'_, Seen>> {
        let end = clock::monotonic() + patience;
        let mut seen = self.seen();
        while !until(&seen) {
            let left = end.checked_sub(clock::monotonic())?;
            seen = self.0.bell.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(seen)
    }

    /// Lets so many replies go that are, or will be, held back.
    pub fn release(&self, replies: usize) {
        self.0.change(|seen| seen.released = seen.released.saturating_add(replies));
    }
}

impl Drop for Mx {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
        self.release(usize::MAX);
        let _ = TcpStream::connect(self.0.at);
    }
}

impl Inner {
    fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let changed = change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_all();
        changed
    }

    fn now(&self) -> u64 {
        self.clock.as_ref().map_or(0, |clock| clock())
    }

    /// What the script says to a command, this time.
    fn scripted(&self, command: &str) -> Option<String> {
        let (_, replies) = self.script.iter().find(|(of, _)| of == command)?;
        let used = self.change(|seen| {
            let used = seen.used.entry(command.to_owned()).or_default();
            *used += 1;
            *used - 1
        });
        replies.get(used).or(replies.last()).cloned()
    }
}

struct Session<'a> {
    inner: &'a Inner,
    number: usize,
    stream: BufReader<Box<dyn Stream>>,
    socket: TcpStream,
    tls: bool,
    from: String,
    to: Vec<String>,
}

impl<'a> Session<'a> {
    fn new(inner: &'a Inner, number: usize, stream: TcpStream) -> io::Result<Session<'a>> {
        stream.set_nodelay(true)?;
        let socket = stream.try_clone()?;
        let stream = BufReader::new(Box::new(stream) as Box<dyn Stream>);
        Ok(Session { inner, number, stream, socket, tls: false, from: String::new(), to: Vec::new() })
    }

    /// Gives a reply. Says whether it was a good one; an error ends the session.
    fn reply(&mut self, reply: &str) -> io::Result<bool> {
        let over = || io::Error::from(io::ErrorKind::ConnectionAborted);
        let reply = match reply.strip_prefix("wait ") {
            None => reply,
            Some(reply) => {
                let mut seen = self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.held += 1;
                self.inner.bell.notify_all();
                while seen.released == 0 {
                    seen = self.inner.bell.wait(seen).unwrap_or_else(PoisonError::into_inner);
                }
                seen.released = if seen.released == usize::MAX { usize::MAX } else { seen.released - 1 };
                seen.held -= 1;
                drop(seen);
                reply
            }
        };
        match reply {
            "close" => return Err(over()),
            "reset" => {
                rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO))?;
                return Err(over());
            }
            "hang" => {
                while self.stream.read(&mut [0; 4096])? > 0 {}
                return Err(over());
            }
            text => {
                let text = format!("{}\r\n", text.replace('|', "\r\n"));
                self.stream.get_mut().write_all(text.as_bytes())?;
                self.stream.get_mut().flush()?;
            }
        }
        Ok(reply.starts_with('2') || reply.starts_with('3'))
    }

    fn answer(&mut self, command: &str, usual: &str) -> io::Result<bool> {
        let reply = self.inner.scripted(command).unwrap_or_else(|| usual.to_owned());
        self.reply(&reply)
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }

    fn run(mut self) -> io::Result<()> {
        self.answer("CONNECT", "220 mx.test ESMTP")?;
        loop {
            let line = String::from_utf8_lossy(&self.line()?).trim_end().to_owned();
            self.inner.change(|seen| {
                seen.lines.push((self.number, line.clone()));
                seen.heard.push(self.inner.now());
            });
            let upper = line.to_ascii_uppercase();
            let verb = upper.split([' ', ':']).next().unwrap_or_default();
            match verb {
                "EHLO" => {
                    let tls = if self.inner.tls.is_some() && !self.tls { "250-STARTTLS|" } else { "" };
                    self.answer(
                        "EHLO",
                        &format!("250-mx.test|{tls}250-PIPELINING|250-8BITMIME|250 SIZE 50000000"),
                    )?;
                }
                "HELO" => {
                    self.answer("HELO", "250 mx.test")?;
                }
                "STARTTLS" => {
                    if self.answer("STARTTLS", "220 go ahead")? {
                        self = self.secure()?;
                    }
                }
                "MAIL" => {
                    if self.answer("MAIL", "250 2.1.0 ok")? {
                        self.from = line.get(10..).unwrap_or_default().to_owned();
                    }
                }
                "RCPT" => {
                    let to = line.get(8..).unwrap_or_default().to_owned();
                    let address = to.trim_start_matches('<').split('>').next().unwrap_or_default();
                    let own = self.inner.scripted(&format!("RCPT {address}"));
                    let good = match own {
                        None if self.from.is_empty() => self.reply("503 5.5.1 whose mail is it?")?,
                        Some(reply) => self.reply(&reply)?,
                        None => self.answer("RCPT", "250 2.1.5 ok")?,
                    };
                    if good {
                        self.to.push(to);
                    }
                }
                "DATA" => {
                    let usual = if self.to.is_empty() { "554 5.5.1 nobody" } else { "354 go ahead" };
                    if self.answer("DATA", usual)? {
                        self.data()?;
                    }
                    self.from.clear();
                    self.to.clear();
                }
                "RSET" => {
                    self.from.clear();
                    self.to.clear();
                    self.answer("RSET", "250 2.0.0 ok")?;
                }
                "QUIT" => {
                    self.answer("QUIT", "221 2.0.0 bye")?;
                    return Ok(());
                }
                other => {
                    self.answer(other, "500 5.5.1 what?")?;
                }
            }
        }
    }

    fn data(&mut self) -> io::Result<()> {
        let mut octets = Vec::new();
        loop {
            let line = self.line()?;
            if line == b".\r\n" {
                break;
            }
            let line = line.strip_prefix(b".").unwrap_or(&line);
            octets.extend_from_slice(line);
        }
        let mail = Mail {
            connection: self.number,
            tls: self.tls,
            from: self.from.clone(),
            to: self.to.clone(),
            octets,
            at: self.inner.now(),
        };
        self.inner.change(|seen| seen.dots.push(mail.subject()));
        // It counts once it is there for good, which is before anybody is told.
        let reply = self.inner.scripted("DOT").unwrap_or_else(|| "250 2.0.0 taken".to_owned());
        let takes = !reply.trim_start_matches("wait ").starts_with(['4', '5']);
        if takes && !self.to.is_empty() {
            self.inner.change(|seen| seen.mail.push(mail));
        }
        self.reply(&reply).map(drop)
    }

    fn secure(mut self) -> io::Result<Session<'a>> {
        if let Some(instead) = self.inner.scripted("TLS") {
            // Once the other side has begun.
            self.stream.fill_buf()?;
            self.reply(&instead)?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let Some(tls) = self.inner.tls.clone() else { return Err(io::ErrorKind::Unsupported.into()) };
        let connection = rustls::ServerConnection::new(tls).map_err(io::Error::other)?;
        let mut stream = rustls::StreamOwned::new(connection, self.socket.try_clone()?);
        stream.conn.complete_io(&mut stream.sock)?;
        let stream = BufReader::new(Box::new(stream) as Box<dyn Stream>);
        Ok(Session { stream, tls: true, ..self })
    }
}
