//! The guard around an index: its first error, panic or hang condemns it, and nothing is asked of it again.
//!
//! The index below may panic on a flipped bit, keep an error for itself or wait for ever on a thread that died. The
//! guard turns all of it into one thing, [`IndexError::Condemned`]: `CONDEMNED` is written into its directory, a
//! callback is told (the server's ends the process with 75), and the next start builds a new index. Mail is not
//! touched by any of it: the log is elsewhere.

use super::{Each, Index, IndexError, IndexHost, Pair, Writes, state};
use crate::vfs::{Open, Vfs};
use std::any::Any;
use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak, mpsc};
use std::thread;
use std::time::Duration;

/// Told why an index was condemned, once an index. In the server it does not return.
pub type OnCondemned = Arc<dyn Fn(&str) + Send + Sync>;

/// How long the index may take before it counts as hung.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Opening, which reads much of it, and closing, which writes what is left.
    pub open: Duration,
    /// Anything else, counted from the last sign of life: each row of a scan is one.
    pub call: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { open: Duration::from_secs(120), call: Duration::from_secs(60) }
    }
}

/// Opens guarded indexes.
pub struct Guard {
    below: Arc<dyn IndexHost>,
    vfs: Arc<dyn Vfs>,
    patience: Patience,
    told: OnCondemned,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("below", &self.below)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// Guards what `below` opens; `CONDEMNED` is written through `vfs`.
    pub fn new(below: Arc<dyn IndexHost>, vfs: Arc<dyn Vfs>, patience: Patience, told: OnCondemned) -> Guard {
        Guard { below, vfs, patience, told }
    }
}

impl IndexHost for Guard {
    /// An error or panic here writes `CONDEMNED` and returns; the caller may build a new index at once, since nothing
    /// of the old one runs any more. A hang also calls the callback: something of it still does.
    fn open(&self, dir: &str) -> Result<Arc<dyn Index>, IndexError> {
        Ok(Arc::new(self.guarded(dir)?))
    }
}

impl Guard {
    fn guarded(&self, dir: &str) -> Result<Guarded, IndexError> {
        let verdict = Arc::new(Verdict {
            dir: dir.to_owned(),
            vfs: Arc::clone(&self.vfs),
            told: Arc::clone(&self.told),
            why: OnceLock::new(),
        });
        let below = Arc::clone(&self.below);
        let (answer, answered) = mpsc::channel();
        let dir = dir.to_owned();
        spawn("index-open", move || {
            // The receiver is gone if it took too long: nobody wants the answer then.
            let _ = answer.send(catch_unwind(AssertUnwindSafe(|| below.open(&dir))));
        });
        let index = match answered.recv_timeout(self.patience.open) {
            Ok(Ok(Ok(index))) => index,
            Ok(Ok(Err(e))) => return Err(verdict.record(&format!("opening: {e}"))),
            Ok(Err(panic)) => return Err(verdict.record(&format!("opening: {}", text_of(&*panic)))),
            Err(_) => return Err(verdict.condemn("opening hung")),
        };
        let watch = Watch::start(self.patience.call, &verdict);
        Ok(Guarded {
            index: Mutex::new(Some(index)),
            verdict,
            watch,
            closing: AtomicBool::new(false),
            patience: self.patience,
        })
    }
}

/// Why an index was condemned, if it was, and who is to know.
struct Verdict {
    dir: String,
    vfs: Arc<dyn Vfs>,
    told: OnCondemned,
    why: OnceLock<Arc<str>>,
}

impl Verdict {
    /// Condemns it: recorded on disk, then told. The first reason stands.
    fn condemn(&self, why: &str) -> IndexError {
        self.settle(why, true)
    }

    /// Condemns it without telling: its owner learns it from the answer.
    fn record(&self, why: &str) -> IndexError {
        self.settle(why, false)
    }

    fn settle(&self, why: &str, tell: bool) -> IndexError {
        let why: Arc<str> = why.into();
        if self.why.set(Arc::clone(&why)).is_ok() {
            // If the disk does not take this either, the next start finds the fault by itself, or by the boot id.
            let _ = state::condemn(&*self.vfs, &self.dir, &why);
            if tell {
                (self.told)(&why);
            }
        }
        self.refusal().unwrap_or(IndexError::Condemned(why))
    }

    fn refusal(&self) -> Option<IndexError> {
        self.why.get().map(|why| IndexError::Condemned(Arc::clone(why)))
    }
}

/// Notices calls that do not end. Time is counted in its own ticks, so that a stopped or sleeping machine does not look
/// like a hung index.
struct Watch {
    calls: Mutex<Calls>,
    changed: Condvar,
    now: AtomicU64,
}

#[derive(Default)]
struct Calls {
    next: u64,
    open: HashMap<u64, (&'static str, Arc<AtomicU64>)>,
    stop: bool,
}

const TICKS: u32 = 4;

impl Watch {
    fn start(patience: Duration, verdict: &Arc<Verdict>) -> Arc<Watch> {
        let watch =
            Arc::new(Watch { calls: Mutex::default(), changed: Condvar::new(), now: AtomicU64::new(0) });
        let (own, verdict) = (Arc::downgrade(&watch), Arc::downgrade(verdict));
        let period = patience / TICKS;
        spawn("index-watch", move || while Watch::turn(&own, period, &verdict) {});
        watch
    }

    /// One tick; false when there is nothing left to watch.
    fn turn(own: &Weak<Watch>, period: Duration, verdict: &Weak<Verdict>) -> bool {
        let (Some(watch), Some(verdict)) = (own.upgrade(), verdict.upgrade()) else { return false };
        let (calls, _) = watch
            .changed
            .wait_timeout_while(lock(&watch.calls), period, |calls| !calls.stop)
            .unwrap_or_else(PoisonError::into_inner);
        if calls.stop {
            return false;
        }
        drop(calls);
        let Some(what) = watch.tick() else { return true };
        let _ = verdict.condemn(&format!("{what} hung"));
        false
    }

    /// Time goes on by a tick. Names a call that gave no sign of life for more than the whole patience.
    fn tick(&self) -> Option<&'static str> {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        let calls = lock(&self.calls);
        let hung =
            calls.open.values().find(|(_, sign)| now - sign.load(Ordering::Relaxed) > u64::from(TICKS));
        hung.map(|(what, _)| *what)
    }

    fn enter(&self, what: &'static str) -> Call<'_> {
        let sign = Arc::new(AtomicU64::new(self.now.load(Ordering::Relaxed)));
        let mut calls = lock(&self.calls);
        let id = calls.next;
        calls.next += 1;
        calls.open.insert(id, (what, Arc::clone(&sign)));
        Call { watch: self, id, sign }
    }

    fn stop(&self) {
        lock(&self.calls).stop = true;
        self.changed.notify_all();
    }
}

struct Call<'a> {
    watch: &'a Watch,
    id: u64,
    sign: Arc<AtomicU64>,
}

impl Call<'_> {
    fn alive(&self) {
        self.sign.store(self.watch.now.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        lock(&self.watch.calls).open.remove(&self.id);
    }
}

struct Guarded {
    /// Gone when closed.
    index: Mutex<Option<Arc<dyn Index>>>,
    verdict: Arc<Verdict>,
    watch: Arc<Watch>,
    closing: AtomicBool,
    patience: Patience,
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded")
            .field("dir", &self.verdict.dir)
            .field("why", &self.verdict.why)
            .finish_non_exhaustive()
    }
}

impl Guarded {
    fn ask<T>(
        &self,
        what: &'static str,
        call: impl FnOnce(&dyn Index, &Call<'_>) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        if let Some(refusal) = self.verdict.refusal() {
            return Err(refusal);
        }
        let index = lock(&self.index).clone().ok_or(IndexError::Closed)?;
        let watched = self.watch.enter(what);
        let answer = catch_unwind(AssertUnwindSafe(|| call(&*index, &watched)));
        drop(watched);
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(e)) if self.closing.load(Ordering::Acquire) && e == IndexError::Closed => Err(e),
            Ok(Err(e)) => Err(self.verdict.condemn(&format!("{what}: {e}"))),
            Err(panic) => Err(self.verdict.condemn(&format!("{what}: {}", text_of(&*panic)))),
        }
    }

    /// Makes the closed index durable, whatever it thinks of flushing: only so may it be called clean afterwards.
    fn sync(&self) -> io::Result<()> {
        fn tree(vfs: &dyn Vfs, dir: &str) -> io::Result<()> {
            for name in vfs.list(dir)? {
                let path = format!("{dir}/{name}");
                if vfs.list(&path).is_ok() {
                    tree(vfs, &path)?;
                } else {
                    vfs.open(&path, Open::Read)?.sync_all()?;
                }
            }
            vfs.sync_dir(dir)
        }
        tree(&*self.verdict.vfs, &self.verdict.dir)
    }

    /// As [`Guarded::ask`], for calls that call back: each row shows that the index is alive, and a panic of the
    /// caller's own function is the caller's, not the index's.
    fn walk(
        &self,
        what: &'static str,
        each: Each<'_>,
        call: impl FnOnce(&dyn Index, Each<'_>) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let mut callers: Option<Box<dyn Any + Send>> = None;
        let answer = self.ask(what, |index, watched| {
            call(index, &mut |key, value| {
                if callers.is_none() {
                    watched.alive();
                    callers = catch_unwind(AssertUnwindSafe(|| each(key, value))).err();
                }
            })
        });
        if let Some(panic) = callers {
            resume_unwind(panic);
        }
        answer
    }
}

impl Index for Guarded {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.ask("get", |index, _| index.get(key))
    }

    fn scan(&self, prefix: &[u8], each: Each<'_>) -> Result<(), IndexError> {
        self.walk("scan", each, |index, each| index.scan(prefix, each))
    }

    fn range(&self, from: &[u8], to: &[u8], each: Each<'_>) -> Result<(), IndexError> {
        self.walk("range", each, |index, each| index.range(from, to, each))
    }

    fn page(&self, from: &[u8], to: &[u8], octets: usize) -> Result<Vec<Pair>, IndexError> {
        self.ask("page", |index, _| index.page(from, to, octets))
    }

    fn apply(&self, writes: Writes) -> Result<(), IndexError> {
        self.ask("apply", |index, _| index.apply(writes))
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.ask("flush", |index, _| index.flush())
    }

    fn close(&self) -> Result<(), IndexError> {
        self.closing.store(true, Ordering::Release);
        self.watch.stop();
        let Some(index) = lock(&self.index).take() else { return Err(IndexError::Closed) };
        let (answer, answered) = mpsc::channel();
        spawn("index-close", move || {
            let closed = catch_unwind(AssertUnwindSafe(|| index.close()));
            // Letting go of it joins its threads, so that belongs to what may panic or hang.
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(index)));
            let _ = answer.send((closed, dropped));
        });
        match answered.recv_timeout(self.patience.open) {
            Ok((Ok(Ok(())), Ok(()))) => match self.verdict.refusal() {
                Some(refusal) => Err(refusal),
                None => self.sync().map_err(|e| self.verdict.record(&format!("closing: {e}"))),
            },
            Ok((Ok(Err(e)), _)) => Err(self.verdict.record(&format!("closing: {e}"))),
            Ok((Err(panic), _) | (_, Err(panic))) => {
                Err(self.verdict.record(&format!("closing: {}", text_of(&*panic))))
            }
            Err(_) => Err(self.verdict.record("closing hung")),
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Not closed: its owner ended by an error, or was dropped. What could be written is, within the same limits.
        let _ = self.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that may panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) {
    // Without threads nothing here works; the callers then see their channel closed, or no watch.
    let _ = thread::Builder::new().name(name.into()).spawn(run);
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    format!("panicked: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::model::{Fate, Fault, ModelHost};
    use crate::vfs::sim::SimDisk;
    use crate::vfs::{RealVfs, write_full};

    struct Bench {
        _dir: tempfile::TempDir,
        vfs: Arc<dyn Vfs>,
        model: Arc<ModelHost>,
        guard: Guard,
        told: mpsc::Receiver<String>,
    }

    fn bench(open: Duration, call: Duration) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let vfs: Arc<dyn Vfs> = Arc::new(RealVfs::new(dir.path()));
        let model = Arc::new(ModelHost::new(Arc::clone(&vfs)));
        let (tell, told) = mpsc::channel();
        let guard = Guard::new(
            Arc::clone(&model) as Arc<dyn IndexHost>,
            Arc::clone(&vfs),
            Patience { open, call },
            Arc::new(move |why: &str| tell.send(why.to_owned()).unwrap()),
        );
        Bench { _dir: dir, vfs, model, guard, told }
    }

    const LONG: Duration = Duration::from_secs(600);

    fn one(key: &str, value: &str) -> Writes {
        let mut writes = Writes::new();
        writes.put(key, value);
        writes
    }

    fn rows(index: &dyn Index) -> Vec<String> {
        let mut rows = Vec::new();
        index.scan(b"", &mut |key, _| rows.push(String::from_utf8(key.to_vec()).unwrap())).unwrap();
        rows
    }

    #[test]
    fn it_passes_on_what_works() {
        let b = bench(LONG, LONG);
        let index = b.guard.open("index").unwrap();
        let mut writes = one("b1", "x");
        writes.put("b2", "y");
        writes.put("c", "z");
        writes.delete("b1");
        assert_eq!((writes.len(), writes.octets()), (4, 10));
        index.apply(writes).unwrap();
        assert_eq!(index.get(b"b2").unwrap().unwrap(), b"y");
        assert_eq!(index.get(b"b1").unwrap(), None);
        assert_eq!(rows(&*index), ["b2", "c"]);
        index.flush().unwrap();
        index.close().unwrap();
        assert_eq!(index.get(b"b2"), Err(IndexError::Closed));
        assert_eq!(index.close(), Err(IndexError::Closed));
        let again = b.guard.open("index").unwrap();
        assert_eq!(rows(&*again), ["b2", "c"]);
        assert_eq!(state::condemned(&*b.vfs, "index"), None);
        assert!(b.told.try_recv().is_err());
    }

    #[test]
    fn an_error_or_a_panic_condemns_it_once_and_for_all() {
        for (fault, text) in [(Fault::Error, "an error"), (Fault::Panic, "panicked: a panic")] {
            let b = bench(LONG, LONG);
            let index = b.guard.open("index").unwrap();
            index.apply(one("k", "v")).unwrap();
            b.model.fail_in(1, fault);
            assert!(index.get(b"k").is_ok());
            let Err(IndexError::Condemned(why)) = index.get(b"k") else { panic!("{fault:?} went unnoticed") };
            assert!(why.contains(text), "{why}");
            // The model would answer again after a panic; the guard does not ask.
            assert_eq!(index.get(b"k"), Err(IndexError::Condemned(Arc::clone(&why))));
            assert_eq!(index.apply(one("k", "w")), Err(IndexError::Condemned(Arc::clone(&why))));
            assert_eq!(b.told.try_recv().unwrap(), *why);
            assert!(b.told.try_recv().is_err(), "told twice");
            assert_eq!(state::condemned(&*b.vfs, "index").unwrap(), *why);
            assert!(index.close().is_err());
        }
    }

    #[test]
    fn a_hang_condemns_it() {
        let b = bench(LONG, Duration::from_millis(40));
        let index = b.guard.open("index").unwrap();
        b.model.fail_in(0, Fault::Hang);
        thread::scope(|scope| {
            let hung = scope.spawn(|| index.get(b"k"));
            assert_eq!(b.told.recv().unwrap(), "get hung");
            assert!(matches!(index.get(b"k"), Err(IndexError::Condemned(_))));
            b.model.release();
            hung.join().unwrap().unwrap();
        });
        assert!(state::condemned(&*b.vfs, "index").is_some());
    }

    #[test]
    fn a_hang_at_opening_condemns_it() {
        let b = bench(Duration::from_millis(40), LONG);
        b.model.fail_in(0, Fault::Hang);
        assert!(matches!(b.guard.open("index"), Err(IndexError::Condemned(_))));
        assert_eq!(b.told.recv().unwrap(), "opening hung");
        b.model.release();
    }

    #[test]
    fn a_failed_opening_is_the_callers_to_answer() {
        let b = bench(LONG, LONG);
        b.guard.open("index").unwrap().close().unwrap();
        let model = b.model.restart(Arc::clone(&b.vfs), Fate::Ruined);
        let guard = Guard { below: Arc::new(model), ..b.guard };
        assert!(matches!(guard.open("index"), Err(IndexError::Condemned(_))));
        assert!(b.told.try_recv().is_err());
        assert!(state::condemned(&*b.vfs, "index").unwrap().contains("ruined"));
    }

    #[test]
    fn a_slow_reader_is_not_a_hang() {
        let b = bench(LONG, LONG);
        let index = b.guard.guarded("index").unwrap();
        for key in ["a", "b", "c", "d"] {
            index.apply(one(key, "")).unwrap();
        }
        // Longer than the patience in all, each row within it: the rows are the signs of life.
        index.scan(b"", &mut |_, _| (0..TICKS).for_each(|_| assert_eq!(index.watch.tick(), None))).unwrap();
        let mut hung = None;
        index.scan(b"c", &mut |_, _| hung = (0..=TICKS).find_map(|_| index.watch.tick())).unwrap();
        assert_eq!(hung, Some("scan"));
        assert_eq!(index.watch.tick(), None);
    }

    #[test]
    fn a_readers_panic_is_its_own() {
        let b = bench(LONG, LONG);
        let index = b.guard.open("index").unwrap();
        index.apply(one("a", "")).unwrap();
        let panic = catch_unwind(AssertUnwindSafe(|| index.scan(b"", &mut |_, _| panic!("the reader's"))));
        assert_eq!(text_of(&*panic.unwrap_err()), "panicked: the reader's");
        assert_eq!(rows(&*index).len(), 1);
        assert!(b.told.try_recv().is_err());
    }

    #[test]
    fn what_is_closed_survives_a_power_cut() {
        for seed in 0..40 {
            let disk = SimDisk::new(seed);
            let vfs = disk.vfs();
            vfs.create_dir_all("index/blobs").unwrap();
            vfs.sync_dir("").unwrap();
            let model: Arc<dyn IndexHost> = Arc::new(ModelHost::new(Arc::clone(&vfs)));
            let guard = Guard::new(model, Arc::clone(&vfs), Patience::default(), Arc::new(|_: &str| {}));
            let index = guard.open("index").unwrap();
            // As sled does: written, never synced.
            for name in ["index/db", "index/blobs/7"] {
                write_full(&*vfs.open(name, Open::CreateNew).unwrap(), &[1; 5_000], 0).unwrap();
            }
            index.close().unwrap();
            disk.restart(true);
            assert_eq!(disk.vfs().read("index/db").unwrap(), [1; 5_000]);
            assert_eq!(disk.vfs().read("index/blobs/7").unwrap(), [1; 5_000]);
        }
    }

    #[test]
    fn the_model_can_be_put_back() {
        let b = bench(LONG, LONG);
        let index = b.model.open("index").unwrap();
        for key in ["a", "b", "c", "d"] {
            index.apply(one(key, "")).unwrap();
            if key == "b" {
                index.flush().unwrap();
            }
        }
        let model = b.model.restart(Arc::clone(&b.vfs), Fate::LostSuffix(1));
        assert!(index.get(b"a").is_err(), "the process that had it open is gone");
        let index = model.open("index").unwrap();
        assert_eq!(rows(&*index), ["a", "b", "c"]);
        let model = model.restart(Arc::clone(&b.vfs), Fate::LostSuffix(9));
        assert_eq!(rows(&*model.open("index").unwrap()), ["a", "b"]);
        let model = model.restart(Arc::clone(&b.vfs), Fate::Older(1));
        assert_eq!(rows(&*model.open("index").unwrap()), ["a"]);
        let index = model.open("index").unwrap();
        for key in ["b", "c", "d", "e", "f", "g"] {
            index.apply(one(key, "")).unwrap();
        }
        let model = model.restart(Arc::clone(&b.vfs), Fate::Scrambled(7));
        let index = model.open("index").unwrap();
        let after = rows(&*index);
        assert!(
            after.len() < 7
                && after.len() > 1
                && !after.windows(2).all(|w| w[0].as_bytes()[0] + 1 == w[1].as_bytes()[0]),
            "{after:?}"
        );
        index.close().unwrap();
        let model = model.restart(Arc::clone(&b.vfs), Fate::Scrambled(8));
        assert_eq!(rows(&*model.open("index").unwrap()), after, "one that was closed is kept");
        let model = model.restart(Arc::clone(&b.vfs), Fate::Older(1));
        b.vfs.rename("index", "elsewhere").unwrap();
        assert_eq!(rows(&*model.open("elsewhere").unwrap()), after);
        assert_eq!(rows(&*model.open("index").unwrap()), [""; 0]);
    }
}
