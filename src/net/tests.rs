//! The driver and the listener with a toy protocol: one command a line, answered by a toy desk.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex,
};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use wire::machine::{BodyPart, Event, Machine, Over, Step, Tick, TlsFacts, Want};

use super::*;

mod dialled;

/// `echo TEXT`, `ask TEXT` (the desk answers), `send N` (the desk streams N octets), `watch` (the desk waits
/// for the peer's end), `body N` (N octets follow),
/// `tls`, `idle`, `deaf` (takes no notice of a stop), `stuck`
/// (waits for what has come), `lie` (uses what is not there), `crash`, `quit`.
#[derive(Default)]
struct Toy {
    body_left: usize,
    idle: bool,
    deaf: bool,
    stuck: bool,
}

#[derive(Debug)]
enum Question {
    Ask(String),
    Send(usize),
    Watch,
    BodyEnd,
    Changes,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Toy {
    fn wait(&self, used: usize, now: Tick) -> Step<Question> {
        let until = if self.stuck { Tick::default() } else { now.after(MINUTE) };
        Step { used, want: Want::Input { until, watch: self.idle } }
    }

    fn input(&mut self, input: &[u8], now: Tick, out: &mut Vec<u8>) -> Step<Question> {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            if self.body_left > 0 {
                let here = rest.len().min(self.body_left);
                if here == 0 {
                    return self.wait(used, now);
                }
                self.body_left -= here;
                return Step { used: used + here, want: Want::Body(BodyPart::Input(used..used + here)) };
            }
            let Some(end) = rest.iter().position(|octet| *octet == b'\n') else {
                return self.wait(used, now);
            };
            let line = String::from_utf8(rest[..end].to_vec()).unwrap();
            used += end + 1;
            let (word, text) = line.split_once(' ').unwrap_or((&line, ""));
            let want = match word {
                "echo" => {
                    out.extend_from_slice(format!("{text}\n").as_bytes());
                    continue;
                }
                "deaf" => {
                    self.deaf = true;
                    continue;
                }
                "idle" => {
                    self.idle = true;
                    continue;
                }
                "body" => {
                    self.body_left = text.parse().unwrap();
                    continue;
                }
                "ask" => Want::Ask(Question::Ask(text.to_owned())),
                "send" => Want::Ask(Question::Send(text.parse().unwrap())),
                "watch" => Want::Ask(Question::Watch),
                "tls" => Want::Upgrade,
                "quit" => Want::Close,
                "crash" => panic!("as asked"),
                "stuck" => {
                    self.stuck = true;
                    continue;
                }
                "lie" => return Step { used: input.len() + 1, want: Want::Close },
                _ => Want::Close,
            };
            return Step { used, want };
        }
    }
}

impl Machine for Toy {
    type Question = Question;
    type Answer = String;

    fn step(&mut self, event: Event<String>, input: &[u8], now: Tick, out: &mut Vec<u8>) -> Step<Question> {
        let say = |out: &mut Vec<u8>, text: &str| out.extend_from_slice(format!("{text}\n").as_bytes());
        match event {
            Event::Opened => say(out, "hello"),
            Event::Answer(answer) => say(out, &answer),
            Event::BodyTaken if self.body_left == 0 => {
                return Step { used: 0, want: Want::Ask(Question::BodyEnd) };
            }
            Event::Secured(facts) => say(out, &facts.version),
            Event::Changed => return Step { used: 0, want: Want::Ask(Question::Changes) },
            Event::Ended if self.body_left > 0 => {}
            Event::Ended => return Step { used: 0, want: Want::Close },
            Event::Stopping(Over::Shutdown) if self.body_left > 0 => say(out, "soon"),
            Event::Elapsed | Event::Stopping(_) if !self.deaf => {
                say(
                    out,
                    match event {
                        Event::Stopping(Over::Shutdown) => "bye",
                        Event::Stopping(_) => "out with you",
                        _ => "late",
                    },
                );
                return Step { used: 0, want: Want::Close };
            }
            Event::Elapsed | Event::Stopping(_) | Event::Input | Event::BodyTaken => {}
        }
        self.input(input, now, out)
    }
}

/// What a test sees of the desk, and steers.
#[derive(Default)]
struct Seen {
    body: Mutex<Vec<u8>>,
    most_waiting: AtomicUsize,
    changed: AtomicBool,
    kicked: AtomicBool,
    woken: Notify,
    secured: AtomicBool,
    /// The desk takes bodies at its leisure.
    slow: AtomicBool,
}

struct ToyDesk(Arc<Seen>);

impl Desk for ToyDesk {
    type Question = Question;
    type Answer = String;

    fn answer<'a>(&'a mut self, question: Question, out: &'a Out) -> Later<'a, String> {
        Box::pin(async move {
            match question {
                Question::Ask(text) => text.to_uppercase(),
                Question::Send(octets) => {
                    let mut sent = 0;
                    while sent < octets {
                        let piece = (octets - sent).min(10_000);
                        out.room().await;
                        out.with(|buf| {
                            buf.extend((sent..sent + piece).map(|at| (at % 251) as u8));
                            self.0.most_waiting.fetch_max(buf.len(), Ordering::Relaxed);
                        });
                        sent += piece;
                    }
                    "sent".to_owned()
                }
                Question::Watch => {
                    while !out.peer_ended() {
                        tokio::task::yield_now().await;
                    }
                    // Where the peer is gone, one of these is the end of this.
                    for _ in 0..3 {
                        out.with(|buf| buf.extend_from_slice(b"there?\n"));
                        tokio::task::yield_now().await;
                    }
                    "there".to_owned()
                }
                Question::BodyEnd => format!("{} taken", self.0.body.lock().unwrap().len()),
                Question::Changes => {
                    self.0.changed.store(false, Ordering::Relaxed);
                    "changed".to_owned()
                }
            }
        })
    }

    fn body<'a>(&'a mut self, octets: &'a [u8]) -> Taken<'a> {
        if self.0.slow.load(Ordering::Relaxed) {
            return Taken::Later(Box::pin(async move {
                tokio::task::yield_now().await;
                self.0.body.lock().unwrap().extend_from_slice(octets);
            }));
        }
        self.0.body.lock().unwrap().extend_from_slice(octets);
        Taken::Now
    }

    fn wake(&mut self, watch: bool) -> Option<Later<'_, ()>> {
        let seen = &self.0;
        Some(Box::pin(async move {
            loop {
                let woken = seen.woken.notified();
                if seen.kicked.load(Ordering::Relaxed) || watch && seen.changed.load(Ordering::Relaxed) {
                    return;
                }
                woken.await;
            }
        }))
    }

    fn kicked(&self) -> Option<Over> {
        self.0.kicked.load(Ordering::Relaxed).then_some(Over::PasswordChanged)
    }

    fn secured(&mut self, _: &TlsFacts) {
        self.0.secured.store(true, Ordering::Relaxed);
    }
}

/// A client on a pipe of 64 KiB, its server running.
struct Client {
    stream: DuplexStream,
    seen: Arc<Seen>,
    done: JoinHandle<Done>,
}

fn client(terms: Terms) -> Client {
    client_on(terms, |stream| stream)
}

fn client_on<S>(terms: Terms, wrap: impl FnOnce(DuplexStream) -> S) -> Client
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, server) = duplex(64 * 1024);
    let seen = Arc::new(Seen::default());
    let driving = drive(wrap(server), Toy::default(), ToyDesk(Arc::clone(&seen)), Arc::new(terms));
    Client { stream, seen, done: tokio::spawn(driving) }
}

impl Client {
    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn hears(&mut self, text: &str) {
        let mut got = vec![0; text.len()];
        self.stream.read_exact(&mut got).await.unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), text);
    }

    /// Reads to the end, hangs up, and tells how the server saw it.
    async fn end(mut self) -> (Vec<u8>, Done) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
        drop(self.stream);
        (rest, self.done.await.unwrap())
    }
}

/// Notes the size of each write.
struct Writes<S>(S, Arc<Mutex<Vec<usize>>>);

impl<S: AsyncRead + Unpin> AsyncRead for Writes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Writes<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, octets);
        if let Poll::Ready(Ok(n)) = &written {
            self.1.lock().unwrap().push(*n);
        }
        written
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_conversation() {
    let mut client = client(Terms::default());
    client.hears("hello\n").await;
    client.say("echo one\nask two\n").await;
    client.hears("one\nTWO\n").await;
    client.say("body 5\nabcdeecho after\nquit\necho unheard\n").await;
    client.hears("5 taken\nafter\n").await;
    let (rest, done) = client.end().await;
    assert_eq!(rest, b"");
    assert!(done.result.is_ok(), "{done:?}");
    assert_eq!((done.read, done.written), (58, 28));
}

#[tokio::test]
async fn the_answer_is_the_same_however_the_input_is_cut() {
    let said = "echo one\nask two\nbody 5\nabcdebody 3\nxyzask four\nquit\n";
    let mut answers = Vec::new();
    for cut in 0..said.len() {
        let mut client = client(Terms::default());
        client.hears("hello\n").await;
        client.say(&said[..cut]).await;
        tokio::task::yield_now().await;
        client.say(&said[cut..]).await;
        answers.push(client.end().await.0);
    }
    assert_eq!(answers[0], b"one\nTWO\n5 taken\n8 taken\nFOUR\n");
    answers.dedup();
    assert_eq!(answers.len(), 1);
}

#[tokio::test]
async fn replies_to_pipelined_commands_share_a_packet() {
    let writes = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&writes);
    let mut client = client_on(Terms::default(), |stream| Writes(stream, noted));
    client.hears("hello\n").await;
    client.say("echo one\nask two\necho three\nask four\n").await;
    client.hears("one\nTWO\nthree\nFOUR\n").await;
    assert_eq!(*writes.lock().unwrap(), [6, 19]);
}

#[tokio::test]
async fn a_large_answer_goes_at_the_peers_pace_in_bounded_memory() {
    const SIZE: usize = 3_000_000;
    let writes = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&writes);
    let mut client = client_on(Terms::default(), |stream| Writes(stream, noted));
    client.hears("hello\n").await;
    client.say(&format!("send {SIZE}\nquit\n")).await;
    // Nothing is read for now: the desk gets as far as the pipe and the two buffers allow.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let most = client.seen.most_waiting.load(Ordering::Relaxed);
    assert!((HIGH_WATER..HIGH_WATER + 10_000).contains(&most), "{most}");
    assert_eq!(writes.lock().unwrap()[1..].iter().sum::<usize>(), 64 * 1024, "the pipe is full");
    let (got, done) = client.end().await;
    assert_eq!(got.len(), SIZE + "sent\n".len());
    assert!(got[..SIZE].iter().enumerate().all(|(at, octet)| *octet == (at % 251) as u8));
    assert!(done.result.is_ok());
}

#[tokio::test]
async fn bodies_go_to_a_desk_that_takes_its_time() {
    for slow in [false, true] {
        let mut client = client(Terms::default());
        client.seen.slow.store(slow, Ordering::Relaxed);
        client.hears("hello\n").await;
        let body: Vec<u8> = (0..1_000_000).map(|at| (at % 251) as u8).collect();
        client.say("body 1000000\n").await;
        client.stream.write_all(&body).await.unwrap();
        client.hears("1000000 taken\n").await;
        assert!(*client.seen.body.lock().unwrap() == body);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_told_when_its_time_is_up() {
    let mut client = client(Terms::default());
    client.hears("hello\n").await;
    let began = tokio::time::Instant::now();
    client.hears("late\n").await;
    assert_eq!(began.elapsed().as_secs(), 60);
    assert!(client.end().await.1.result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_dropped() {
    for text in ["send 3000000\n", "ask a\nsend 400000\n", "send 200000\nquit\n"] {
        let mut client = client(Terms::default());
        client.say(text).await;
        let began = tokio::time::Instant::now();
        let done = (&mut client.done).await.unwrap();
        assert!(matches!(done.result, Err(Error::NotReading(_))), "{done:?}");
        assert_eq!(began.elapsed(), Terms::default().write_within);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_slowly_is_not_dropped() {
    let mut client = client(Terms::default());
    client.say("send 1000000\nquit\n").await;
    let mut got = 0;
    let mut piece = [0; 10_000];
    loop {
        tokio::time::sleep(4 * MINUTE).await;
        match client.stream.read(&mut piece).await.unwrap() {
            0 => break,
            n => got += n,
        }
    }
    assert_eq!(got, "hello\n".len() + 1_000_000 + "sent\n".len());
    assert!(client.done.await.unwrap().result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_told_once_and_the_grace_is_held() {
    let stopper = Stopper::new();
    let terms = Terms { stop: stopper.handle(), ..Terms::default() };
    let mut polite = client(terms.clone());
    let mut deaf = client(terms.clone());
    let mut stuck = client(terms.clone());
    polite.hears("hello\n").await;
    deaf.say("deaf\n").await;
    deaf.hears("hello\n").await;
    stuck.say("send 3000000\n").await;
    stuck.hears("hello\n").await;
    stopper.stop();
    let began = tokio::time::Instant::now();
    polite.hears("bye\n").await;
    assert!(polite.end().await.1.result.is_ok());
    // What goes on may go on for a while.
    deaf.say("echo still\n").await;
    deaf.hears("still\n").await;
    for client in [deaf, stuck] {
        let done = client.done.await.unwrap();
        assert!(matches!(done.result, Err(Error::Overdue(_))), "{done:?}");
    }
    assert_eq!(began.elapsed(), terms.grace);
    // Who comes too late hears it at once.
    let late = client(terms);
    assert_eq!(late.end().await.0, b"hello\nbye\n");
}

#[tokio::test]
async fn changes_wake_an_idle_session_and_a_kick_ends_any() {
    let mut client = client(Terms::default());
    client.hears("hello\n").await;
    client.seen.changed.store(true, Ordering::Relaxed);
    client.seen.woken.notify_waiters();
    client.say("echo not idle\n").await;
    client.hears("not idle\n").await;
    // A level, not an event: the change from before counts.
    client.say("idle\n").await;
    client.hears("changed\n").await;
    client.say("echo on\n").await;
    client.hears("on\n").await;
    client.seen.changed.store(true, Ordering::Relaxed);
    client.seen.woken.notify_waiters();
    client.hears("changed\n").await;
    client.seen.kicked.store(true, Ordering::Relaxed);
    client.seen.woken.notify_waiters();
    client.hears("out with you\n").await;
    assert!(client.end().await.1.result.is_ok());
}

#[tokio::test]
async fn who_is_put_out_hears_it_although_the_server_stops_too() {
    let stopper = Stopper::new();
    let mut client = client(Terms { stop: stopper.handle(), ..Terms::default() });
    client.say("body 5\nab").await;
    client.hears("hello\n").await;
    stopper.stop();
    client.hears("soon\n").await;
    client.seen.kicked.store(true, Ordering::Relaxed);
    client.seen.woken.notify_waiters();
    client.hears("out with you\n").await;
    assert!(client.end().await.1.result.is_ok());
}

#[tokio::test]
async fn a_peer_that_goes_in_the_middle_is_an_error_and_at_the_end_is_none() {
    let mut client_ = client(Terms::default());
    client_.say("body 10\nabc").await;
    client_.stream.shutdown().await.unwrap();
    let (said, done) = client_.end().await;
    assert_eq!(said, b"hello\n");
    assert!(matches!(done.result, Err(Error::Ended)), "{done:?}");

    let mut client_ = client(Terms::default());
    client_.say("ask a\necho b\n").await;
    client_.stream.shutdown().await.unwrap();
    let (said, done) = client_.end().await;
    assert_eq!(said, b"hello\nA\nb\n", "who hangs up after its last command is still answered");
    assert!(done.result.is_ok());
}

#[tokio::test]
async fn work_that_looks_at_its_peer_ends_with_one_that_is_gone_and_serves_one_that_only_sends_no_more() {
    let mut half = client(Terms::default());
    half.say("watch\n").await;
    half.hears("hello\n").await;
    half.say("echo what came meanwhile\n").await;
    half.stream.shutdown().await.unwrap();
    let (said, done) = half.end().await;
    assert_eq!(said, b"there?\nthere?\nthere?\nthere\nwhat came meanwhile\n");
    assert!(done.result.is_ok(), "{done:?}");

    let mut gone = client(Terms::default());
    gone.say("watch\n").await;
    gone.hears("hello\n").await;
    drop(gone.stream);
    let done = gone.done.await.unwrap();
    assert!(matches!(done.result, Err(Error::Write(_))), "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_wrong_costs_its_connection_only() {
    for text in ["lie\n", "tls\n", "deaf\nstuck\n"] {
        let mut client = client(Terms::default());
        client.say(text).await;
        let (_, done) = client.end().await;
        assert!(matches!(done.result, Err(Error::Machine(_))), "{text}: {done:?}");
    }
    // More than the bound without a line's end.
    let mut client = client(Terms::default());
    let (mut reader, mut writer) = tokio::io::split(client.stream);
    let flood = tokio::spawn(async move { while writer.write_all(&[b'x'; 10_000]).await.is_ok() {} });
    let mut said = Vec::new();
    reader.read_to_end(&mut said).await.unwrap();
    let done = (&mut client.done).await.unwrap();
    assert!(matches!(done.result, Err(Error::Machine(_))), "{done:?}");
    flood.await.unwrap();
}

/// A server's and a client's side of TLS that know each other.
fn tls() -> (Arc<rustls::ServerConfig>, tokio_rustls::TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["mail.example.org".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), tokio_rustls::TlsConnector::from(Arc::new(client)))
}

fn name() -> rustls_pki_types::ServerName<'static> {
    rustls_pki_types::ServerName::try_from("mail.example.org").unwrap()
}

#[tokio::test]
async fn starttls_drops_what_was_pipelined_before_it() {
    let (server, connector) = tls();
    let mut client = client(Terms { tls: Some(Side::Server(server)), ..Terms::default() });
    client.say("echo plain\ntls\necho injected\nquit\n").await;
    client.hears("hello\nplain\n").await;
    let mut stream = connector.connect(name(), client.stream).await.unwrap();
    let mut got = [0; 7];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"TLS1.3\n");
    assert!(client.seen.secured.load(Ordering::Relaxed));
    stream.write_all(b"echo inside\nsend 300000\ntls\n").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap_err(); // a second STARTTLS is the machine's defect: cut, no close_notify
    assert!(rest.starts_with(b"inside\n\0") && rest.len() == 7 + 300_000 + 5, "{}", rest.len());
    assert!(matches!(client.done.await.unwrap().result, Err(Error::Handshake(_))));
}

#[tokio::test]
async fn tls_is_closed_with_a_notice() {
    let (server, connector) = tls();
    let mut client = client(Terms { tls: Some(Side::Server(server)), ..Terms::default() });
    client.say("tls\n").await;
    client.hears("hello\n").await;
    let mut stream = connector.connect(name(), client.stream).await.unwrap();
    stream.write_all(b"ask a\nquit\n").await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap(); // without close_notify this is an error
    assert_eq!(rest, "TLS1.3\nA\n");
    drop(stream);
    assert!(client.done.await.unwrap().result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_its_time() {
    let (server, _) = tls();
    let terms = Terms { tls: Some(Side::Server(server)), ..Terms::default() };
    let mut client = client(terms.clone());
    client.say("tls\n").await;
    client.hears("hello\n").await;
    let began = tokio::time::Instant::now();
    assert!(matches!(client.done.await.unwrap().result, Err(Error::HandshakeSlow(_))));
    assert_eq!(began.elapsed(), terms.handshake_within);
}

#[tokio::test]
async fn the_drivers_future_is_small() {
    let (_, server) = duplex(64);
    let seen = Arc::new(Seen::default());
    let driving = drive(server, Toy::default(), ToyDesk(Arc::clone(&seen)), Arc::new(Terms::default()));
    let size = size_of_val(&driving);
    assert!(size < 4096, "the driver's future has {size} octets");

    let bound = bind("toy", "127.0.0.1:0".parse().unwrap()).unwrap();
    let stream = TcpStream::connect(bound.address()).await.unwrap();
    let open = |_: Accepted| (Toy::default(), ToyDesk(Arc::clone(&seen)));
    let accepted = Accepted {
        id: 1,
        peer: wire::machine::Peer { ip: bound.address().ip(), tls: None },
        local: bound.address(),
    };
    let whole = listen::connection(stream, accepted, true, &open, Arc::new(Terms::default()));
    let size = size_of_val(&whole);
    assert!(size < 4096, "a connection's future has {size} octets");
}

fn service(most: usize) -> (Service, Stopper) {
    let stopper = Stopper::new();
    let terms = Arc::new(Terms { stop: stopper.handle(), ..Terms::default() });
    (
        Service { gate: Gate::new(most, most), terms, implicit_tls: false, refusal: (*b"not now\n").into() },
        stopper,
    )
}

fn open(_: Accepted) -> (Toy, ToyDesk) {
    (Toy::default(), ToyDesk(Arc::default()))
}

async fn read_all(mut stream: TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    got
}

async fn read(stream: &mut TcpStream, octets: usize) -> Vec<u8> {
    let mut got = vec![0; octets];
    stream.read_exact(&mut got).await.unwrap();
    got
}

#[tokio::test]
async fn a_listener_lets_in_refuses_counts_and_stops() {
    let (service, stopper) = service(2);
    let bound = bind("toy", "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.address();
    let listening = bound.serve(service, open);
    let meter = listening.meter();
    let mut first = TcpStream::connect(address).await.unwrap();
    assert_eq!(read(&mut first, 6).await, b"hello\n");
    let mut second = TcpStream::connect(address).await.unwrap();
    assert_eq!(read(&mut second, 6).await, b"hello\n");
    assert_eq!(read_all(TcpStream::connect(address).await.unwrap()).await, b"not now\n");
    let figures = meter.figures();
    assert_eq!((figures.now, figures.total, figures.refused), (2, 2, 1));
    // A machine that panics takes its own connection only, and gives its place back.
    first.write_all(b"crash\n").await.unwrap();
    read_all(first).await;
    while meter.figures().now > 1 {
        tokio::task::yield_now().await;
    }
    let mut third = TcpStream::connect(address).await.unwrap();
    assert_eq!(read(&mut third, 6).await, b"hello\n");
    stopper.stop();
    assert_eq!(read_all(second).await, b"bye\n");
    assert_eq!(read_all(third).await, b"bye\n");
    listening.finished().await;
    assert_eq!(meter.figures().now, 0);
    assert!(TcpStream::connect(address).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn who_comes_too_early_is_told_so_and_who_comes_later_is_served() {
    let (service, _stopper) = service(2);
    let bound = bind("toy", "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.address();
    let early = async {
        for _ in 0..3 {
            assert_eq!(read_all(TcpStream::connect(address).await.unwrap()).await, b"come again\n");
        }
    };
    tokio::select! {
        () = bound.turn_away(b"come again\n".to_vec()) => unreachable!(),
        () = early => {}
    }
    let _listening = bound.serve(service, open);
    assert_eq!(read(&mut TcpStream::connect(address).await.unwrap(), 6).await, b"hello\n");
}

#[tokio::test]
async fn a_listener_inside_tls_shakes_hands_first() {
    let (server, connector) = tls();
    let (mut service, _stopper) = service(1);
    service.implicit_tls = true;
    service.terms = Arc::new(Terms { tls: Some(Side::Server(server)), ..Terms::default() });
    let bound = bind("toys", "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.address();
    let facts = Arc::new(Mutex::new(None));
    let told = Arc::clone(&facts);
    let _listening = bound.serve(service, move |accepted: Accepted| {
        *told.lock().unwrap() = accepted.peer.tls;
        (Toy::default(), ToyDesk(Arc::default()))
    });
    let mut stream = connector.connect(name(), TcpStream::connect(address).await.unwrap()).await.unwrap();
    let mut got = [0; 6];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello\n");
    let facts = facts.lock().unwrap().clone().unwrap();
    assert_eq!((facts.version.as_str(), facts.server_name.as_deref()), ("TLS1.3", Some("mail.example.org")));
    assert!(facts.cipher.starts_with("TLS_"), "{}", facts.cipher);
    // No plain words to one who expects TLS.
    assert_eq!(read_all(TcpStream::connect(address).await.unwrap()).await, b"");
}

#[tokio::test]
async fn both_families_have_the_same_port_and_a_taken_one_is_explained() {
    let four = bind("smtp", "127.0.0.1:0".parse().unwrap()).unwrap();
    let taken = bind("smtp", four.address()).unwrap_err();
    assert!(matches!(taken, BindError::InUse { .. }));
    let text = taken.to_string();
    for part in [four.address().to_string().as_str(), "smtp", "ss -ltnp", "[listen]"] {
        assert!(text.contains(part), "{text}");
    }
    // All of IPv6 beside an IPv4 address on one port: only because the first takes IPv6 alone.
    match bind("smtp", SocketAddr::from(([0_u16; 8], four.address().port()))) {
        Ok(six) => assert_eq!(six.address().port(), four.address().port()),
        Err(error) => assert!(error.is_no_such_family(), "{error}"),
    }
    let elsewhere = bind("smtp", "192.0.2.1:0".parse().unwrap()).unwrap_err();
    assert!(matches!(elsewhere, BindError::Other { .. }) && !elsewhere.is_no_such_family());
}

/// In a process of its own, since its other threads must not run out of descriptors with it.
#[test]
fn a_listener_outlives_a_lack_of_descriptors() {
    const CHILD: &str = "PENFOLD_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(CHILD).is_none() {
        let name = "net::tests::a_listener_outlives_a_lack_of_descriptors";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{child:?}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (service, _stopper) = service(10);
        let bound = bind("toy", "127.0.0.1:0".parse().unwrap()).unwrap();
        // The system completes these in the backlog.
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(TcpStream::connect(bound.address()).await.unwrap());
        }
        let limit = rustix::process::Rlimit { current: Some(40), maximum: Some(40) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        let mut fill = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            fill.push(file);
        }
        let listening = bound.serve(service, open);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(listening.meter().figures().total, 0, "nothing could be accepted yet");
        drop(fill);
        for client in &mut clients {
            assert_eq!(read(client, 6).await, b"hello\n");
        }
    });
}
