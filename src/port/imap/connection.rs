//! A connection to another IMAP server: TLS, login, commands one after the other, answers in words.
//!
//! RFC 3501, RFC 8314 s.3 (TLS from the start), RFC 4616 (PLAIN), RFC 4959 (initial response). An answer's literals are
//! bounded: what is larger than any message may be is read past and never held.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use wire::limits;
use wire::secret::Secret;

use crate::port::Error;

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// How long the server may say nothing: large mailboxes take their time to open.
const PATIENCE: Duration = Duration::from_secs(300);
/// Literals above this are counted.
const SMALL: usize = 64 * 1024;

/// How the connection is kept private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the start (port 993).
    Tls,
    /// TLS after a greeting (port 143).
    StartTls,
    /// None; to this very host only.
    PlainOnLoopback,
}

impl Security {
    /// The usual port.
    #[must_use]
    pub fn port(self) -> u16 {
        if self == Security::Tls { 993 } else { 143 }
    }
}

/// Where to log in, and how.
#[derive(Clone, Debug)]
pub struct Login {
    /// The server's name, as its certificate has it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept private.
    pub security: Security,
    /// Who logs in.
    pub user: String,
    /// The password.
    pub password: Secret<String>,
    /// A file of certificates to trust beside those of this host.
    pub trust: Option<PathBuf>,
}

/// Octets of messages in memory, over all connections.
#[derive(Debug)]
pub(super) struct Budget {
    left: Mutex<usize>,
    more: Condvar,
    all: usize,
}

/// Octets taken from a budget, until this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    budget: Arc<Budget>,
    octets: usize,
}

impl Budget {
    pub(super) fn new(octets: usize) -> Arc<Budget> {
        Arc::new(Budget { left: Mutex::new(octets), more: Condvar::new(), all: octets })
    }

    fn take(self: &Arc<Budget>, octets: usize) -> Taken {
        // One that is larger than everything waits until it is alone.
        let octets = octets.min(self.all);
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left =
            self.more.wait_while(left, |left| *left < octets).unwrap_or_else(PoisonError::into_inner);
        *left -= octets;
        Taken { budget: Arc::clone(self), octets }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        *self.budget.left.lock().unwrap_or_else(PoisonError::into_inner) += self.octets;
        self.budget.more.notify_all();
    }
}

/// A word of an answer.
#[derive(Debug)]
pub(super) enum Word {
    /// An atom, with what is in its brackets.
    Atom(Vec<u8>),
    /// A quoted string.
    Quoted(Vec<u8>),
    /// A literal.
    Literal(Vec<u8>, Option<Taken>),
    /// A literal that was read past.
    TooLarge,
    Open,
    Close,
}

impl Word {
    /// Its octets, unless it is a parenthesis.
    pub(super) fn octets(&self) -> Option<&[u8]> {
        match self {
            Word::Atom(octets) | Word::Quoted(octets) | Word::Literal(octets, _) => Some(octets),
            Word::TooLarge | Word::Open | Word::Close => None,
        }
    }

    /// Its octets, with what they took from the budget.
    pub(super) fn into_octets(self) -> Option<(Vec<u8>, Option<Taken>)> {
        match self {
            Word::Literal(octets, taken) => Some((octets, taken)),
            Word::Atom(octets) | Word::Quoted(octets) => Some((octets, None)),
            Word::TooLarge | Word::Open | Word::Close => None,
        }
    }

    /// Whether it is this atom, in any case.
    pub(super) fn is(&self, atom: &str) -> bool {
        matches!(self, Word::Atom(octets) if octets.eq_ignore_ascii_case(atom.as_bytes()))
    }

    /// Its number.
    pub(super) fn number(&self) -> Option<u64> {
        std::str::from_utf8(self.octets()?).ok()?.parse().ok()
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buf),
            Stream::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(buf),
            Stream::Tls(stream) => stream.write(buf),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// A connection that is logged in.
pub(super) struct Connection {
    stream: BufReader<Stream>,
    host: String,
    tags: u32,
    capabilities: HashSet<String>,
    budget: Arc<Budget>,
}

fn tls(login: &Login) -> Result<Arc<ClientConfig>, Error> {
    let mut roots = RootCertStore::empty();
    let own = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(own.certs);
    if let Some(file) = &login.trust {
        let wrong = |why: &dyn std::fmt::Display| Error::wrong(file.display(), why);
        let found = CertificateDer::pem_file_iter(file).map_err(|why| wrong(&why))?;
        for certificate in found {
            roots.add(certificate.map_err(|why| wrong(&why))?).map_err(|why| wrong(&why))?;
        }
    }
    if roots.is_empty() {
        return Err(Error::wrong("this host", "it has no certificates to trust (install ca-certificates)"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| Error::wrong("TLS", why))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

impl Connection {
    /// Connects and logs in.
    pub(super) fn open(login: &Login, budget: &Arc<Budget>) -> Result<Connection, Error> {
        let host = login.host.clone();
        let lost = |why| away(&format!("{host}:{}", login.port), why);
        let socket = connect(login).map_err(lost)?;
        let config = if login.security == Security::PlainOnLoopback { None } else { Some(tls(login)?) };
        let secure = |socket: TcpStream| -> Result<Stream, Error> {
            let Some(config) = config.clone() else { return Ok(Stream::Plain(socket)) };
            let name = ServerName::try_from(login.host.clone())
                .map_err(|_| Error::wrong(&login.host, "it is no host name"))?;
            let tls = ClientConnection::new(config, name).map_err(|why| Error::wrong(&login.host, why))?;
            let mut stream = StreamOwned::new(tls, socket);
            // Now, so that a wrong certificate is told as what it is.
            stream.flush().map_err(lost)?;
            Ok(Stream::Tls(Box::new(stream)))
        };
        let first = if login.security == Security::Tls { secure(socket)? } else { Stream::Plain(socket) };
        let mut connection = Connection {
            stream: BufReader::with_capacity(SMALL, first),
            host: login.host.clone(),
            tags: 0,
            capabilities: HashSet::new(),
            budget: Arc::clone(budget),
        };
        let greeting = connection.answer()?;
        if !greeting.get(1).is_some_and(|w| w.is("OK") || w.is("PREAUTH")) {
            return Err(
                connection.wrong(format_args!("it does not greet as an IMAP server: {}", text_of(&greeting)))
            );
        }
        if login.security == Security::StartTls {
            connection.command("STARTTLS", &mut |_| Ok(()))?;
            if !connection.stream.buffer().is_empty() {
                return Err(
                    connection.wrong("it said more before TLS than it may: somebody may be in between")
                );
            }
            let Stream::Plain(socket) = connection.stream.into_inner() else {
                return Err(Error::wrong(&login.host, "TLS twice"));
            };
            connection.stream = BufReader::with_capacity(SMALL, secure(socket)?);
        }
        connection.learn_capabilities()?;
        // RFC 3501 s.7.1.4: somebody has seen to it already who it is.
        if !greeting.get(1).is_some_and(|w| w.is("PREAUTH")) {
            connection.log_in(login)?;
            connection.learn_capabilities()?;
        }
        Ok(connection)
    }

    fn wrong(&self, why: impl ToString) -> Error {
        Error::wrong(&self.host, why)
    }

    fn lost(&self, why: io::Error) -> Error {
        let silent = why.kind() == io::ErrorKind::WouldBlock;
        let why = if silent {
            io::Error::new(io::ErrorKind::TimedOut, "it has not answered for long")
        } else {
            why
        };
        away(&self.host, why)
    }

    /// Whether the server can do something.
    pub(super) fn can(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }

    fn learn_capabilities(&mut self) -> Result<(), Error> {
        let mut found = HashSet::new();
        self.command("CAPABILITY", &mut |words| {
            if words.get(1).is_some_and(|w| w.is("CAPABILITY")) {
                let names = words.iter().skip(2).filter_map(Word::octets);
                found.extend(names.map(|n| String::from_utf8_lossy(n).to_ascii_uppercase()));
            }
            Ok(())
        })?;
        self.capabilities = found;
        Ok(())
    }

    fn log_in(&mut self, login: &Login) -> Result<(), Error> {
        let (user, password) = (login.user.as_str(), login.password.expose().as_str());
        let refused = |error| match error {
            Error::Wrong { what, why } => Error::Login { what, why },
            other => other,
        };
        if self.can("AUTH=PLAIN") {
            let plain = zeroize::Zeroizing::new(format!("\0{user}\0{password}"));
            let encoded = zeroize::Zeroizing::new(data_encoding::BASE64.encode(plain.as_bytes()));
            let (command, more) = if self.can("SASL-IR") {
                (zeroize::Zeroizing::new(format!("AUTHENTICATE PLAIN {}", *encoded)), None)
            } else {
                (zeroize::Zeroizing::new("AUTHENTICATE PLAIN".to_owned()), Some(encoded.as_str()))
            };
            return self.ask(&command, more, &mut |_| Ok(())).map_err(refused);
        }
        if self.can("LOGINDISABLED") {
            return Err(self.wrong("it takes no password on this connection"));
        }
        if [user, password].iter().any(|s| s.bytes().any(|b| !(b' '..=b'~').contains(&b))) {
            return Err(self.wrong("it takes only names and passwords of plain ASCII"));
        }
        let command = zeroize::Zeroizing::new(format!("LOGIN {} {}", quoted(user), quoted(password)));
        self.ask(&command, None, &mut |_| Ok(())).map_err(refused)
    }

    /// Gives a command and hears its untagged answers, until it is done.
    pub(super) fn command(
        &mut self,
        command: &str,
        hear: &mut dyn FnMut(Vec<Word>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.ask(command, None, hear)
    }

    fn ask(
        &mut self,
        command: &str,
        more: Option<&str>,
        hear: &mut dyn FnMut(Vec<Word>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.tags += 1;
        let tag = format!("p{}", self.tags);
        self.say(&format!("{tag} {command}\r\n"))?;
        let mut more = more;
        loop {
            let words = self.answer()?;
            match words.first() {
                Some(Word::Atom(first)) if first == tag.as_bytes() => {
                    return match words.get(1) {
                        Some(word) if word.is("OK") => Ok(()),
                        _ => Err(self.wrong(text_of(words.get(1..).unwrap_or_default()))),
                    };
                }
                Some(Word::Atom(first)) if first == b"+" => match more.take() {
                    Some(text) => self.say(&format!("{text}\r\n"))?,
                    // It waits for something: an empty answer lets it refuse.
                    None => self.say("*\r\n")?,
                },
                Some(Word::Atom(first)) if first == b"*" => {
                    if words.get(1).is_some_and(|w| w.is("BYE")) {
                        let text = text_of(words.get(2..).unwrap_or_default());
                        return Err(self.lost(io::Error::new(io::ErrorKind::ConnectionAborted, text)));
                    }
                    hear(words)?;
                }
                _ => return Err(self.wrong("its answers are no IMAP")),
            }
        }
    }

    fn say(&mut self, text: &str) -> Result<(), Error> {
        let stream = self.stream.get_mut();
        let said = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
        said.map_err(|why| self.lost(why))
    }

    /// One answer: a line, with the literals and lines that go on from it.
    fn answer(&mut self) -> Result<Vec<Word>, Error> {
        let mut words = Vec::new();
        let mut octets = 0;
        loop {
            let mut line = Vec::new();
            let left = limits::IMAP_ANSWER.saturating_sub(octets);
            let read = (&mut self.stream).take(left as u64).read_until(b'\n', &mut line);
            read.map_err(|why| self.lost(why))?;
            octets += line.len();
            let Some(text) = line.strip_suffix(b"\n") else {
                return Err(if octets >= limits::IMAP_ANSWER {
                    self.wrong("a line of its answers does not end")
                } else {
                    self.lost(io::ErrorKind::UnexpectedEof.into())
                });
            };
            match split(text.strip_suffix(b"\r").unwrap_or(text), &mut words) {
                None => return Ok(words),
                Some(length) => {
                    let literal = self.literal(length, &mut octets)?;
                    words.push(literal);
                }
            }
        }
    }

    fn literal(&mut self, length: u64, octets: &mut usize) -> Result<Word, Error> {
        if length > limits::STORED_MESSAGE {
            let passed = io::copy(&mut (&mut self.stream).take(length), &mut io::sink());
            return match passed {
                Ok(n) if n == length => Ok(Word::TooLarge),
                Ok(_) => Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
                Err(why) => Err(self.lost(why)),
            };
        }
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        let taken = if size > SMALL {
            Some(self.budget.take(size))
        } else {
            *octets += size;
            None
        };
        let mut literal = vec![0; size];
        self.stream.read_exact(&mut literal).map_err(|why| self.lost(why))?;
        Ok(Word::Literal(literal, taken))
    }
}

/// Why nothing comes from a server.
fn away(what: &str, why: io::Error) -> Error {
    let what = what.to_owned();
    let inner = why.get_ref().and_then(|inner| inner.downcast_ref());
    if let Some(rustls::Error::InvalidCertificate(_)) = inner {
        Error::Untrusted { what, why }
    } else {
        Error::Away { what, why }
    }
}

fn connect(login: &Login) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "there is no such host");
    for address in (login.host.as_str(), login.port).to_socket_addrs()? {
        if login.security == Security::PlainOnLoopback && !address.ip().to_canonical().is_loopback() {
            last = io::Error::other("it is not this host: without TLS the password could be read on the way");
            continue;
        }
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(socket) => {
                socket.set_read_timeout(Some(PATIENCE))?;
                socket.set_write_timeout(Some(PATIENCE))?;
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(why) => last = why,
        }
    }
    Err(last)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A mailbox's name as the server wrote it, for a command.
pub(super) fn quoted_name(name: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(name).ok()?;
    (!text.chars().any(char::is_control)).then(|| quoted(text))
}

/// What a line of an answer says, for people.
fn text_of(words: &[Word]) -> String {
    let words: Vec<String> =
        words.iter().filter_map(Word::octets).map(|o| String::from_utf8_lossy(o).into_owned()).collect();
    words.join(" ")
}

/// Splits a line into words. At its end the length of the literal that follows it, if one does.
fn split(line: &[u8], words: &mut Vec<Word>) -> Option<u64> {
    let mut rest = line;
    while let Some(&first) = rest.first() {
        match first {
            b' ' => rest = &rest[1..],
            b'(' => {
                words.push(Word::Open);
                rest = &rest[1..];
            }
            b')' => {
                words.push(Word::Close);
                rest = &rest[1..];
            }
            b'"' => {
                let (text, used) = unquoted(&rest[1..]);
                words.push(Word::Quoted(text));
                rest = rest.get(1 + used..).unwrap_or_default();
            }
            b'{' | b'~' if literal_length(rest).is_some() => return literal_length(rest),
            _ => {
                let used = atom_length(rest);
                let (atom, after) = rest.split_at(used);
                words.push(Word::Atom(atom.to_vec()));
                rest = after;
            }
        }
    }
    None
}

/// `{123}` or `~{123}` at the very end of a line.
fn literal_length(rest: &[u8]) -> Option<u64> {
    let rest = rest.strip_prefix(b"~").unwrap_or(rest);
    let digits = rest.strip_prefix(b"{")?.strip_suffix(b"}")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A quoted string behind its first quote, and the octets used.
fn unquoted(rest: &[u8]) -> (Vec<u8>, usize) {
    let mut text = Vec::new();
    let mut at = 0;
    while let Some(&octet) = rest.get(at) {
        at += 1;
        match octet {
            b'"' => break,
            b'\\' => {
                text.extend(rest.get(at));
                at += 1;
            }
            octet => text.push(octet),
        }
    }
    (text, at)
}

/// How long the atom at the beginning is: brackets and what is in them belong to it.
fn atom_length(rest: &[u8]) -> usize {
    let mut depth = 0usize;
    for (at, octet) in rest.iter().enumerate() {
        match octet {
            b'[' => depth += 1,
            b']' => depth = depth.saturating_sub(1),
            b' ' | b'(' | b')' if depth == 0 => return at.max(1),
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> (String, Option<u64>) {
        let mut words = Vec::new();
        let literal = split(line.as_bytes(), &mut words);
        let text: Vec<String> = words
            .iter()
            .map(|word| match word {
                Word::Open => "(".into(),
                Word::Close => ")".into(),
                Word::Quoted(q) => format!("'{}'", String::from_utf8_lossy(q)),
                other => String::from_utf8_lossy(other.octets().unwrap_or(b"?")).into_owned(),
            })
            .collect();
        (text.join("|"), literal)
    }

    #[test]
    fn answers_are_split_into_words() {
        for (line, words, literal) in [
            ("* 3 EXISTS", "*|3|EXISTS", None),
            (
                "* LIST (\\HasNoChildren \\Sent) \"/\" \"a \\\"b\\\\\"",
                "*|LIST|(|\\HasNoChildren|\\Sent|)|'/'|'a \"b\\'",
                None,
            ),
            (
                "* 1 FETCH (UID 7 BODY[HEADER.FIELDS (MESSAGE-ID)] {12}",
                "*|1|FETCH|(|UID|7|BODY[HEADER.FIELDS (MESSAGE-ID)]",
                Some(12),
            ),
            ("* OK [UIDVALIDITY 5] it's \"open", "*|OK|[UIDVALIDITY 5]|it's|'open'", None),
            ("BODY[] ~{9}", "BODY[]", Some(9)),
            ("{x}", "{x}", None),
            ("{99999999999999999999999}", "{99999999999999999999999}", None),
            (")", ")", None),
            ("", "", None),
        ] {
            assert_eq!(shown(line), (words.to_owned(), literal), "{line}");
        }
    }

    #[test]
    fn without_tls_only_to_this_host() {
        let login = Login {
            host: "192.0.2.1".into(),
            port: 143,
            security: Security::PlainOnLoopback,
            user: "u".into(),
            password: Secret::new("p".into()),
            trust: None,
        };
        assert!(connect(&login).unwrap_err().to_string().contains("not this host"));
    }
}
