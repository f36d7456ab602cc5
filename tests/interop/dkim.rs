//! Signatures as others see them: mail-auth, dkimpy and OpenDKIM verify what this server signs, on messages that are hard
//! to canonicalise.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt};
use penfold::flow::dkim::{Key, Reading, Signers, State};

use super::{run, say};

/// 2026-11-28: no verifier minds a signature of yesterday, but some do mind one of tomorrow.
const MADE: i64 = 1_700_000_000;

/// (what is hard about it, the message).
fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let header = "From: Ann <ann@b.test>\r\nTo: <bob@far.test>\r\nSubject: hello\r\n\
        Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <1@b.test>\r\nMIME-Version: 1.0\r\n";
    let with_body = |body: &[u8]| [header.as_bytes(), b"\r\n", body].concat();
    let with_header = |more: &str| [header, more, "\r\nHello.\r\n"].concat().into_bytes();
    vec![
        ("plain", with_body(b"Hello.\r\n")),
        ("no body", with_body(b"")),
        ("nothing but line ends", with_body(b"\r\n\r\n\r\n")),
        ("no line end at its end", with_body(b"Hello.")),
        ("empty lines at its end", with_body(b"Hello.\r\n\r\n\r\n")),
        ("lines of white space at its end", with_body(b"Hello.\r\n \r\n\t\r\n")),
        ("spaces at ends of lines", with_body(b"Hello.   \r\nYou \t \r\n")),
        ("tabs and runs of spaces", with_body(b"\tindented\r\n  a \t  b\r\n")),
        ("empty lines at its beginning", with_body(b"\r\n\r\nHello.\r\n")),
        ("octets above 127", with_body(b"gr\xfc\xdfe \xff\xfe\r\nna\xc3\xafve\r\n")),
        ("dots", with_body(b".\r\n..\r\n.a\r\n")),
        (
            "a long line",
            with_body(&[vec![b'x'; 5_000], b" ".repeat(3_000), vec![b'y'; 5_000], b"\r\n".to_vec()].concat()),
        ),
        ("a large body", with_body(&b"The quick brown fox  jumps.\t\r\n".repeat(40_000))),
        (
            "folded fields",
            with_header("References: <a@b.test>\r\n\t<c@d.test>\r\n   <e@f.test>\r\nX-Y: z\r\n"),
        ),
        (
            "fields of one name",
            with_header("Cc: a@b.test\r\nReceived: one\r\nCC:   c@d.test\r\nReceived: two\r\n"),
        ),
        ("white space in fields", with_header("Reply-To:\t  a@b.test  \r\nIn-Reply-To:<x@y.test>\r\n")),
        ("an empty field", with_header("Content-Type:\r\nList-Id: \t\r\n")),
        (
            "a field with octets above 127",
            [b"Sender: \xc3\xa4nn <a@b.test>\r\n", header.as_bytes(), b"\r\nx\r\n"].concat(),
        ),
        (
            "another signature",
            with_header("DKIM-Signature: v=1; a=rsa-sha256; d=far.test; s=x; h=from; bh=AA==; b=AA==\r\n"),
        ),
    ]
}

/// A pair of keys, and all messages signed with them.
fn signed() -> (Vec<Key>, Vec<(&'static str, Vec<u8>)>) {
    let keys = Key::pair("b.test", &[], State::Active, MADE).unwrap();
    let signers = Signers::of(keys.clone());
    let sign = |(what, message): (&'static str, Vec<u8>)| {
        let mut reading = Reading::default();
        message.chunks(977).for_each(|piece| reading.push(piece));
        let (header, body) = reading.finish().unwrap();
        let fields = signers.sign(&header, &body, MADE);
        assert_eq!(fields.matches("DKIM-Signature:").count(), 2);
        (what, [fields.as_bytes(), &message].concat())
    };
    (keys, messages().into_iter().map(sign).collect())
}

/// The message with one octet changed, and with a second From: no verifier may take either.
fn spoilt(message: &[u8]) -> [Vec<u8>; 2] {
    let at = message.windows(5).position(|w| w == b"hello").unwrap();
    let mut changed = message.to_vec();
    changed[at] = b'j';
    let from = message.windows(6).position(|w| w == b"\nFrom:").unwrap() + 1;
    let second = [&message[..from], b"From: Eve <eve@far.test>\r\n", &message[from..]].concat();
    [changed, second]
}

struct Cache<K, V>(Mutex<HashMap<K, (V, Instant)>>);

impl<K: Hash + Eq, V: Clone> ResolverCache<K, V> for Cache<K, V> {
    fn get<Q>(&self, name: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.lock().unwrap().get(name).map(|(value, _)| value.clone())
    }
    fn remove<Q>(&self, name: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.lock().unwrap().remove(name).map(|(value, _)| value)
    }
    fn insert(&self, key: K, value: V, until: Instant) {
        self.0.lock().unwrap().insert(key, (value, until));
    }
}

/// mail-auth with nothing to ask but these keys' records: its name server is a closed port of this host.
fn mail_auth_with(keys: &[Key]) -> (MessageAuthenticator, Cache<Box<str>, Txt>) {
    let closed: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let mut udp = ConnectionConfig::udp();
    udp.port = closed.port();
    let server = NameServerConfig::new(closed.ip(), true, vec![udp]);
    let config = ResolverConfig::from_parts(None, vec![], vec![server]);
    let mut options = ResolverOpts::default();
    (options.timeout, options.attempts) = (Duration::from_millis(100), 1);
    let records = Cache(Mutex::new(HashMap::new()));
    for key in keys {
        let record = DomainKey::parse(key.record().unwrap().as_bytes());
        records.insert(
            format!("{}.", key.name()).into(),
            Txt::from(record),
            tokio::time::Instant::now().into_std(),
        );
    }
    (MessageAuthenticator::new(config, options).unwrap(), records)
}

#[tokio::test]
async fn mail_auth_verifies_both_signatures() {
    let (keys, messages) = signed();
    let (verifier, records) = mail_auth_with(&keys);
    let verify = async |message: &[u8]| {
        let message = AuthenticatedMessage::parse(message).unwrap();
        let results = verifier.verify_dkim(Parameters::new(&message).with_txt_cache(&records)).await;
        let ours = results.iter().filter(|r| r.signature().is_some_and(|s| s.d == "b.test"));
        ours.map(|r| r.result() == &DkimResult::Pass).collect::<Vec<_>>()
    };
    for (what, message) in &messages {
        // Its version 0.13 takes lines of white space at the end for text, against RFC 6376 s.3.4.4.
        let passes = *what != "lines of white space at its end";
        assert_eq!(verify(message).await, [passes, passes], "{what}");
    }
    for message in spoilt(&messages[0].1) {
        assert_eq!(verify(&message).await, [false, false]);
    }
}

/// Writes each message into a file.
fn files(directory: &Path, messages: &[(&'static str, Vec<u8>)]) -> Vec<PathBuf> {
    let write = |(n, (_, message)): (usize, &(&str, Vec<u8>))| {
        let path = directory.join(format!("{n:02}.eml"));
        std::fs::write(&path, message).unwrap();
        path
    };
    messages.iter().enumerate().map(write).collect()
}

/// Whether a tool that is asked with `--version`-like arguments answers.
fn is_there(command: &mut Command, package: &str) -> bool {
    let there = command.output().is_ok_and(|done| done.status.success());
    if !there {
        assert!(
            std::env::var_os("PENFOLD_NO_SKIP").is_none_or(|v| v != "1"),
            "{package} is missing, and nothing may be skipped"
        );
        say(&format!("SKIPPED: {package} is not installed"));
    }
    there
}

/// What dkimpy says of the first two signatures of each message, by these records (names and values): "True False". `None` if
/// it is not there.
pub(super) fn dkimpy(records: &[(String, String)], files: &[PathBuf]) -> Option<Vec<String>> {
    // Debian's package is for Debian's Python, whichever others there are.
    const PYTHON: &str = "/usr/bin/python3";
    if !is_there(Command::new(PYTHON).args(["-c", "import dkim, nacl"]), "python3-dkim") {
        return None;
    }
    let mut command = Command::new(PYTHON);
    command.args(["-I", "-c", include_str!("dkim.py")]);
    command.args(records.iter().map(|(name, value)| format!("{name}={value}"))).args(files);
    let done = run(&mut command);
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    Some(said.lines().map(str::to_owned).collect())
}

/// How many signatures of each message pass, as OpenDKIM says, and its words. `None` if it is not there.
pub(super) fn opendkim(
    records: &[(String, String)],
    files: &[PathBuf],
    directory: &Path,
) -> Option<Vec<(usize, String)>> {
    // Unpacked, not installed: its package would start a service.
    let unpacked =
        std::env::var_os("PENFOLD_OPENDKIM").map(|root| Path::new(&root).join("usr/sbin/opendkim"));
    let program = unpacked.unwrap_or_else(|| "opendkim".into());
    if !is_there(Command::new(&program).arg("-V"), "opendkim (PENFOLD_OPENDKIM)") {
        return None;
    }
    let path = |name: &str| directory.join(name);
    let lines: Vec<String> = records.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
    std::fs::write(path("keys"), lines.concat()).unwrap();
    std::fs::write(
        path("conf"),
        format!(
            "Mode v\nSyslog no\nAlwaysAddARHeader yes\nAuthservID here.test\nSenderHeaders From\nOn-Default accept\n\
             TestPublicKeys {}\nPidFile {}\n",
            path("keys").display(),
            path("pid").display()
        ),
    )
    .unwrap();
    let said = |file: &PathBuf| {
        let done = run(Command::new(&program).arg("-x").arg(path("conf")).args(["-vv", "-t"]).arg(file));
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).replace("\n\t", " ");
        (said.matches("dkim=pass").count(), said)
    };
    Some(files.iter().map(said).collect())
}

/// The names and values of keys' records.
fn records(keys: &[Key]) -> Vec<(String, String)> {
    keys.iter().map(|key| (key.name(), key.record().unwrap())).collect()
}

#[test]
fn dkimpy_verifies_both_signatures() {
    let (keys, mut messages) = signed();
    let expected = messages.len();
    messages.extend(spoilt(&messages[0].1.clone()).map(|message| ("spoilt", message)));
    let directory = tempfile::tempdir().unwrap();
    let Some(lines) = dkimpy(&records(&keys), &files(directory.path(), &messages)) else { return };
    assert_eq!(lines.len(), messages.len());
    for (n, (line, (what, _))) in lines.iter().zip(&messages).enumerate() {
        let result = if n < expected { "True True" } else { "False False" };
        assert_eq!(*line, result, "{what}");
    }
}

#[test]
fn opendkim_verifies_both_signatures() {
    let (keys, mut messages) = signed();
    // Its reader of files waits for a line's end, which a filter's peer has always sent.
    messages.retain(|(what, _)| *what != "no line end at its end");
    let expected = messages.len();
    messages.extend(spoilt(&messages[0].1.clone()).map(|message| ("spoilt", message)));
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path(), &messages);
    let Some(said) = opendkim(&records(&keys), &files, directory.path()) else { return };
    let mut wrong = Vec::new();
    for (n, ((passes, said), (what, _))) in said.iter().zip(&messages).enumerate() {
        if *passes != if n < expected { 2 } else { 0 } {
            wrong.push(format!("{what}: {passes} pass: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
