//! The control socket: one line of JSON asks, one line answers, over a Unix socket that only its owner and root
//! may open. Commands that change something reach the running server this way.
//!
//! Both ends carry a version, since an upgrade may leave an old server running beside a new program. Input is
//! bounded in length and time. Who connects and asks for nothing is in nobody's way: when there are too many of those,
//! the one that has waited longest goes.
//!
//! An import or export goes on behind its answer, in the frames of `port::frames`; the connection then ends with it.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};

use super::{Answer, Error, Request};

/// The language spoken here. It rises when an older end would misunderstand.
const VERSION: u32 = 1;
/// Octets of a request. The longest names a few hundred alias targets.
const REQUEST: u64 = 256 * 1024;
/// Octets of an answer: room for a list of 100,000 accounts.
const ANSWER: u64 = 64 * 1024 * 1024;
/// Requests under way at once, imports and backups among them; each is of the owner's or root's.
const AT_WORK: usize = 128;
/// Connections that have asked for nothing yet, or for nothing more.
const IDLE: usize = 64;
/// How long a client may take to send a request or to read its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the program waits for an answer: a removal may take a while on a slow disk.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

#[derive(Serialize, Deserialize)]
struct Question<R> {
    version: u32,
    request: R,
}

#[derive(Serialize, Deserialize)]
struct Reply {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

impl Reply {
    fn of(result: Result<Answer, Error>) -> Reply {
        let (answer, error) = match result {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, Some(error)),
        };
        Reply { version: VERSION, answer, error }
    }
}

/// The socket of a running server; its file goes when this is dropped.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

/// Why the control socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another server answers there.
    #[error("another server answers on the control socket {path}")]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket has its name.
    #[error("{path} is in the way of the control socket: it is not a socket")]
    InTheWay {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("the control socket {path} cannot be made: {why}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        why: io::Error,
    },
}

impl Control {
    /// Makes the socket, for its owner alone, in the place of one that a killed server left behind.
    ///
    /// # Errors
    /// When another server answers there, or the directory cannot be written.
    pub fn bind(path: &Path) -> Result<Control, BindError> {
        let failed = |why| BindError::Io { path: path.to_owned(), why };
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(BindError::InTheWay { path: path.to_owned() });
            }
            Ok(_) if StdUnixStream::connect(path).is_ok() => {
                return Err(BindError::Taken { path: path.to_owned() });
            }
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let control = Control { listener, path: path.to_owned() };
        // Whoever connects before this line is still held to `may_ask`.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(control)
    }

    /// Answers requests until the future is dropped. What is under way then ends with its connection. `transfer` does
    /// what goes on behind an answer, on a thread of its own that it may block.
    pub async fn serve<F, Fut, T>(&self, answer: F, transfer: T)
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Answer, Error>> + Send + 'static,
        T: Fn(&Request, StdUnixStream) + Send + Sync + 'static,
    {
        let answer = Arc::new(answer);
        let transfer = Arc::new(transfer);
        let idlers = Arc::new(Idlers::default());
        let places = Arc::new(Semaphore::new(AT_WORK));
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: accepting again at once would spin.
                    tracing::warn!(%error, "control socket: accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if !may_ask(&stream) {
                tracing::warn!("control socket: refused a process of another user");
                continue;
            }
            let (answer, transfer) = (Arc::clone(&answer), Arc::clone(&transfer));
            let idle = idlers.enter();
            let client = Client { idlers: Arc::clone(&idlers), places: Arc::clone(&places) };
            tokio::spawn(async move {
                if let Err(error) = client.converse(stream, idle, &*answer, &transfer).await {
                    tracing::debug!(%error, "control socket: conversation ended");
                }
            });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Failing here leaves a dead socket, which the next start replaces.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Only the user that the server runs as, and root, may ask.
fn may_ask(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw())
}

/// The connections that no request is under way on, in the order in which they came.
#[derive(Debug, Default)]
struct Idlers {
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
    next: AtomicU64,
}

/// One of them.
#[derive(Debug)]
struct Idle {
    idlers: Arc<Idlers>,
    number: u64,
    /// Ends when it must go.
    sent_away: oneshot::Receiver<()>,
}

impl Idlers {
    /// One more; when there are too many, the first of them is sent away.
    fn enter(self: &Arc<Idlers>) -> Idle {
        let (stay, sent_away) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting();
        waiting.insert(number, stay);
        if waiting.len() > IDLE {
            waiting.pop_first();
        }
        drop(waiting);
        Idle { idlers: Arc::clone(self), number, sent_away }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.idlers.waiting().remove(&self.number);
    }
}

/// What serves one client.
struct Client {
    idlers: Arc<Idlers>,
    places: Arc<Semaphore>,
}

impl Client {
    /// Requests one after the other until it hangs up.
    async fn converse<F, Fut, T>(
        self,
        stream: UnixStream,
        mut idle: Idle,
        answer: &F,
        transfer: &Arc<T>,
    ) -> io::Result<()>
    where
        F: Fn(Request) -> Fut,
        Fut: Future<Output = Result<Answer, Error>>,
        T: Fn(&Request, StdUnixStream) + Send + Sync + 'static,
    {
        let (read, mut write) = stream.into_split();
        let mut read = tokio::io::BufReader::new(read);
        loop {
            let mut line = zeroize::Zeroizing::new(Vec::new());
            let mut bounded = (&mut read).take(REQUEST);
            let reading = tokio::time::timeout(PATIENCE, bounded.read_until(b'\n', &mut line));
            let got = tokio::select! {
                got = reading => got??,
                _ = &mut idle.sent_away => return Err(io::Error::other("it asked for nothing, and others wait")),
            };
            if got == 0 {
                return Ok(());
            }
            drop(idle);
            let whole = line.ends_with(b"\n");
            let mut goes_on = None;
            let place = Arc::clone(&self.places).try_acquire_owned();
            let result = match understand(&line, whole) {
                Ok(_) if place.is_err() => {
                    Err(Error::Control { why: "too many requests are under way".into() })
                }
                Ok(request) if request.is_transfer() => {
                    let result = answer(request.clone()).await;
                    goes_on = result.is_ok().then_some(request);
                    result
                }
                Ok(request) => answer(request).await,
                Err(error) => Err(error),
            };
            let mut reply = serde_json::to_vec(&Reply::of(result))?;
            reply.push(b'\n');
            tokio::time::timeout(PATIENCE, write.write_all(&reply)).await??;
            if let Some(request) = goes_on {
                if !read.buffer().is_empty() {
                    return Err(io::Error::other("it went on before it was answered"));
                }
                let stream = read.into_inner().reunite(write).map_err(io::Error::other)?.into_std()?;
                stream.set_nonblocking(false)?;
                let transfer = Arc::clone(transfer);
                return tokio::task::spawn_blocking(move || transfer(&request, stream))
                    .await
                    .map_err(io::Error::other);
            }
            if !whole {
                return Ok(()); // Where the next request would begin is not known.
            }
            idle = self.idlers.enter();
        }
    }
}

fn understand(line: &[u8], whole: bool) -> Result<Request, Error> {
    let control = |why: String| Error::Control { why };
    if !whole {
        return Err(control(format!("a request is one line of at most {REQUEST} octets")));
    }
    // The version first: a request of another version need not have a shape known here.
    let version = serde_json::from_slice::<Question<serde::de::IgnoredAny>>(line)
        .map_err(|e| control(format!("not a request: {e}")))?
        .version;
    if version != VERSION {
        return Err(control(format!("asked in version {version}, this server speaks version {VERSION}")));
    }
    serde_json::from_slice::<Question<Request>>(line)
        .map(|q| q.request)
        // Its text may quote the request, and that may hold a password.
        .map_err(|_| control("an unknown request".into()))
}

/// How asking the running server went.
#[derive(Debug)]
pub enum Asked {
    /// It answered.
    Answered(Result<Answer, Error>),
    /// No server listens there.
    NobodyThere,
    /// Something is there but did not answer; why.
    NoAnswer(io::Error),
}

/// Asks the running server, waiting for its answer. Blocks; for the command line.
#[must_use]
pub fn ask(path: &Path, request: &Request) -> Asked {
    open(path, request).0
}

/// As [`ask`], with the connection, on which an import or export goes on.
#[must_use]
pub fn open(path: &Path, request: &Request) -> (Asked, Option<StdUnixStream>) {
    let stream = match StdUnixStream::connect(path) {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return (Asked::NobodyThere, None);
        }
        Err(e) => return (Asked::NoAnswer(e), None),
    };
    match exchange(&stream, request) {
        Ok(result) => (Asked::Answered(result), Some(stream)),
        Err(e) => (Asked::NoAnswer(e), None),
    }
}

fn exchange(mut stream: &StdUnixStream, request: &Request) -> io::Result<Result<Answer, Error>> {
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut line = zeroize::Zeroizing::new(serde_json::to_vec(&Question { version: VERSION, request })?);
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reply = Vec::new();
    // What comes behind the answer of a transfer must stay in the socket: its line is read octet by octet.
    let buffer = if request.is_transfer() { 1 } else { 64 * 1024 };
    BufReader::with_capacity(buffer, stream.take(ANSWER)).read_until(b'\n', &mut reply)?;
    if reply.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up without an answer"));
    }
    let not_understood = |why: String| Err(Error::Control { why });
    Ok(match serde_json::from_slice::<Reply>(&reply) {
        Err(e) => not_understood(format!("its answer is not understood: {e}")),
        Ok(Reply { error: Some(error), .. }) => Err(error),
        Ok(Reply { version, .. }) if version != VERSION => {
            not_understood(format!("it answered in version {version}, this program speaks version {VERSION}"))
        }
        Ok(Reply { answer: Some(answer), .. }) => Ok(answer),
        Ok(_) => not_understood("its answer is empty".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(request: Request) -> std::future::Ready<Result<Answer, Error>> {
        std::future::ready(match request {
            Request::DomainAdd { name } => Ok(Answer::DomainAdded { name }),
            _ => Err(Error::Full),
        })
    }

    /// Starts a server in a fresh directory and runs blocking `client` against it.
    async fn with_server<T: Send + 'static>(client: impl FnOnce(PathBuf) -> T + Send + 'static) -> T {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/control.sock");
        let control = Control::bind(&path).unwrap();
        let asking = tokio::task::spawn_blocking({
            let path = path.clone();
            move || client(path)
        });
        let result = tokio::select! {
            () = control.serve(echo, |_, _| {}) => unreachable!("serve does not end"),
            result = asking => result.unwrap(),
        };
        drop(control);
        assert!(!path.exists(), "the socket's file goes with the server");
        result
    }

    fn raw(path: &Path, line: &[u8]) -> String {
        let mut stream = StdUnixStream::connect(path).unwrap();
        stream.write_all(line).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }

    #[tokio::test]
    async fn a_request_is_answered_and_an_error_arrives_typed() {
        with_server(|path| {
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let added = ask(&path, &Request::DomainAdd { name: "b.test".into() });
            assert!(matches!(added, Asked::Answered(Ok(Answer::DomainAdded { name })) if name == "b.test"));
            assert!(matches!(ask(&path, &Request::Status), Asked::Answered(Err(Error::Full))));
        })
        .await;
    }

    #[tokio::test]
    async fn several_requests_on_one_connection() {
        with_server(|path| {
            let one = br#"{"version":1,"request":{"domain-add":{"name":"x"}}}"#;
            let both = [&one[..], b"\n", one, b"\n"].concat();
            assert_eq!(raw(&path, &both).lines().count(), 2);
        })
        .await;
    }

    #[tokio::test]
    async fn three_hundred_that_ask_for_nothing_are_in_nobodys_way() {
        with_server(|path| {
            let idle: Vec<StdUnixStream> = (0..300).map(|_| StdUnixStream::connect(&path).unwrap()).collect();
            assert!(matches!(ask(&path, &Request::Status), Asked::Answered(Err(Error::Full))));
            // The first have gone to make room; the last stays, so nobody's time had to run out.
            assert_eq!((&idle[0]).read(&mut [0]).unwrap(), 0);
            idle[299].set_nonblocking(true).unwrap();
            let stays = (&idle[299]).read(&mut [0]).unwrap_err();
            assert_eq!(stays.kind(), io::ErrorKind::WouldBlock);
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_not_understood_says_so_without_quoting_it() {
        with_server(|path| {
            let cases: [(&[u8], &str); 4] = [
                (b"{\"version\":9,\"request\":\"later\"}\n", "version 9"),
                (b"hello\n", "not a request"),
                (
                    b"{\"version\":1,\"request\":{\"account-password\":{\"secret\":\"hunter2\"}}}\n",
                    "unknown request",
                ),
                (b"{\"version\":1,\"request\":\"sta", "one line"),
            ];
            for (line, expected) in cases {
                let reply = raw(&path, line);
                assert!(reply.contains(expected), "{reply}");
                assert!(!reply.contains("hunter2"), "{reply}");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn an_endless_request_is_cut() {
        with_server(|path| {
            let mut stream = StdUnixStream::connect(&path).unwrap();
            // The server stops reading at its bound, answers and hangs up: writing may fail from there on.
            let _ = stream.write_all(&vec![b'x'; usize::try_from(REQUEST).unwrap()]);
            let mut reply = String::new();
            stream.read_to_string(&mut reply).unwrap();
            assert!(reply.contains("at most 262144 octets"), "{reply}");
        })
        .await;
    }

    #[tokio::test]
    async fn a_left_over_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        assert!(matches!(ask(&path, &Request::Status), Asked::NobodyThere));
        let control = Control::bind(&path).unwrap();
        assert!(matches!(Control::bind(&path), Err(BindError::Taken { .. })));
        drop(control);
        assert!(matches!(ask(&path, &Request::Status), Asked::NobodyThere));
        std::fs::write(&path, "a file").unwrap();
        assert!(matches!(Control::bind(&path), Err(BindError::InTheWay { .. })));
    }
}
