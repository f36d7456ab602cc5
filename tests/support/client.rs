//! Blocking line clients over TCP or TLS: enough of SMTP, IMAP and POP3 to drive a server and time it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

/// A stream, plain or inside TLS.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection that speaks lines.
pub struct Lines {
    inner: BufReader<Box<dyn Stream>>,
}

/// TLS settings that trust the certificate in `pem` (the server's own self-signed one).
pub fn trusting(pem: &Path) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for c in CertificateDer::pem_file_iter(pem).unwrap() {
        roots.add(c.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

impl Lines {
    /// Connects in plain text. Reads give up after a minute, so that no test hangs.
    pub fn plain(to: SocketAddr) -> io::Result<Lines> {
        let s = TcpStream::connect(to)?;
        Self::prepare(&s)?;
        Ok(Lines { inner: BufReader::with_capacity(1 << 16, Box::new(s)) })
    }

    /// Connects in plain text from `127.0.0.last`, so that limits an address do not meet.
    pub fn plain_from(last: u8, to: SocketAddr) -> io::Result<Lines> {
        Ok(Lines { inner: BufReader::with_capacity(1 << 16, Box::new(Self::socket_from(last, to)?)) })
    }

    /// Connects inside TLS from `127.0.0.last`. Small buffers: a thousand of these may stand.
    pub fn tls_from(last: u8, to: SocketAddr, config: &Arc<rustls::ClientConfig>) -> io::Result<Lines> {
        let s = Self::socket_from(last, to)?;
        let name = ServerName::try_from("localhost").unwrap();
        let c = rustls::ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        Ok(Lines { inner: BufReader::with_capacity(1 << 16, Box::new(rustls::StreamOwned::new(c, s))) })
    }

    fn socket_from(last: u8, to: SocketAddr) -> io::Result<TcpStream> {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let fd = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&fd, &SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
        connect(&fd, &to)?;
        let s = TcpStream::from(fd);
        Self::prepare(&s)?;
        Ok(s)
    }

    fn prepare(s: &TcpStream) -> io::Result<()> {
        s.set_nodelay(true)?;
        s.set_read_timeout(Some(Duration::from_secs(60)))
    }

    /// Sends octets as they are.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.inner.get_mut().write_all(octets)?;
        self.inner.get_mut().flush()
    }

    /// The next line without its CRLF; an error at the end of the stream.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        if self.inner.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while matches!(line.last(), Some(b'\r' | b'\n')) {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Reads and drops exactly `n` octets.
    pub fn skip(&mut self, n: u64) -> io::Result<()> {
        let got = io::copy(&mut (&mut self.inner).take(n), &mut io::sink())?;
        if got == n { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Reads exactly `n` octets.
    pub fn take(&mut self, n: usize) -> io::Result<Vec<u8>> {
        let mut octets = vec![0; n];
        self.inner.read_exact(&mut octets)?;
        Ok(octets)
    }

    /// Everything until the peer closes.
    pub fn rest(&mut self) -> String {
        let mut all = Vec::new();
        let _ = self.inner.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    }

    // SMTP

    /// A whole SMTP reply; its last line.
    pub fn smtp_reply(&mut self) -> io::Result<String> {
        loop {
            let line = self.line()?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }

    /// Sends a line and reads the reply.
    pub fn smtp(&mut self, line: &str) -> io::Result<String> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.smtp_reply()
    }

    /// One message, pipelined as real senders do; the reply to the final dot. `message` ends with CRLF and has no
    /// line that begins with a dot.
    pub fn deliver(&mut self, from: &str, to: &str, message: &[u8]) -> io::Result<String> {
        self.send(format!("MAIL FROM:<{from}>\r\nRCPT TO:<{to}>\r\nDATA\r\n").as_bytes())?;
        for _ in 0..3 {
            let r = self.smtp_reply()?;
            if !r.starts_with('2') && !r.starts_with('3') {
                return Err(io::Error::other(r));
            }
        }
        let mut all = message.to_vec();
        all.extend_from_slice(b".\r\n");
        self.send(&all)?;
        self.smtp_reply()
    }

    // IMAP

    /// Sends `tag command`, reads to the tagged line; (untagged lines, tagged line). Literals are kept as lines.
    pub fn imap(&mut self, tag: &str, command: &str) -> io::Result<(Vec<String>, String)> {
        self.send(format!("{tag} {command}\r\n").as_bytes())?;
        self.imap_until(tag)
    }

    /// Reads to the line tagged `tag`.
    pub fn imap_until(&mut self, tag: &str) -> io::Result<(Vec<String>, String)> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            if line.strip_prefix(tag).is_some_and(|r| r.starts_with(' ')) {
                return Ok((lines, line));
            }
            lines.push(line);
        }
    }

    /// Greeting and LOGIN; panics when refused.
    pub fn imap_login(&mut self, user: &str, password: &str) {
        let greeting = self.line().unwrap();
        assert!(greeting.starts_with("* OK"), "{greeting}");
        let (_, done) = self.imap("l0", &format!("LOGIN \"{user}\" \"{password}\"")).unwrap();
        assert!(done.starts_with("l0 OK"), "{done}");
    }

    /// APPEND with a non-synchronising literal; the tagged line.
    pub fn append(&mut self, tag: &str, mailbox: &str, message: &[u8]) -> io::Result<String> {
        let mut all = format!("{tag} APPEND {mailbox} {{{}+}}\r\n", message.len()).into_bytes();
        all.extend_from_slice(message);
        all.extend_from_slice(b"\r\n");
        self.send(&all)?;
        Ok(self.imap_until(tag)?.1)
    }

    /// Sends a command and counts the octets of its answer up to the tagged line, without keeping them; literals
    /// are skipped by their length.
    pub fn imap_drain(&mut self, tag: &str, command: &str) -> io::Result<(u64, u64)> {
        self.send(format!("{tag} {command}\r\n").as_bytes())?;
        let end = format!("{tag} ");
        let (mut octets, mut lines) = (0, 0);
        let mut line = Vec::with_capacity(4096);
        loop {
            line.clear();
            if self.inner.read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            octets += line.len() as u64;
            if line.starts_with(end.as_bytes()) {
                if !line[end.len()..].starts_with(b"OK") {
                    return Err(io::Error::other(String::from_utf8_lossy(&line).into_owned()));
                }
                return Ok((octets, lines));
            }
            if line.starts_with(b"* ") {
                lines += 1;
            }
            if line.ends_with(b"}\r\n") {
                let open = line.iter().rposition(|&b| b == b'{').unwrap();
                let n: u64 = std::str::from_utf8(&line[open + 1..line.len() - 3]).unwrap().parse().unwrap();
                self.skip(n)?;
                octets += n;
            }
        }
    }
}

/// A message of about `size` octets with `id` in its Message-ID and subject; CRLF throughout, no leading dots.
pub fn message(id: &str, size: usize) -> Vec<u8> {
    let mut m = format!(
        "From: Sender <sender@example.net>\r\nTo: Alice <alice@demo.test>\r\nSubject: message {id}\r\n\
         Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{id}@example.net>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n"
    )
    .into_bytes();
    let line = b"The quick brown fox jumps over the lazy dog, and the dog does not mind it at all.\r\n";
    while m.len() + line.len() <= size {
        m.extend_from_slice(line);
    }
    m.resize(size.max(m.len() + 2) - 2, b'x');
    m.extend_from_slice(b"\r\n");
    m
}
