//! What a host has taken, and a disk that is full when it is to be written down.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use store::vfs::{File, Lock, Open, Space, Vfs};
use store::{Book, CommitError, RealVfs, Store};

use super::*;
use crate::flow::queue::settle::{Came, Via, settle_taken};
use crate::net::{Stop, Stopper};

/// A disk that can be full: no file grows then.
#[derive(Debug)]
struct Disk {
    real: RealVfs,
    full: Arc<Full>,
}

#[derive(Debug, Default)]
struct Full {
    is: AtomicBool,
    refused: AtomicUsize,
}

#[derive(Debug)]
struct Opened(Arc<dyn File>, Arc<Full>);

impl Vfs for Disk {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(Opened(self.real.open(path, how)?, self.full.clone())))
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.real.list(dir)
    }
    fn exists(&self, path: &str) -> io::Result<bool> {
        self.real.exists(path)
    }
    fn len(&self, path: &str) -> io::Result<u64> {
        self.real.len(path)
    }
    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        self.real.create_dir_all(dir)
    }
    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.real.remove_file(path)
    }
    fn remove_dir_all(&self, dir: &str) -> io::Result<()> {
        self.real.remove_dir_all(dir)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.real.rename(from, to)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.real.sync_dir(dir)
    }
    fn free_space(&self) -> io::Result<Space> {
        self.real.free_space()
    }
    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        self.real.lock(path)
    }
    fn real_path(&self) -> Option<&std::path::Path> {
        self.real.real_path()
    }
}

impl File for Opened {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.0.write_at(slices, offset)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn preallocate(&self, len: u64) -> io::Result<()> {
        if self.1.is.load(Ordering::SeqCst) {
            self.1.refused.fetch_add(1, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.preallocate(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
}

/// Writes to the log until there is no room in it.
async fn fill(store: &Store) {
    for n in 0..100_000_u32 {
        let (key, value) = (n.to_be_bytes().to_vec(), vec![b'x'; 3_000]);
        match store.commit(Batch::of(Intent::Write { book: Book::Policies, key, value })).await {
            Ok(_) => {}
            Err(error) => return assert_eq!(error, CommitError::Full),
        }
    }
    panic!("it is never full");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_is_not_sent_again_while_the_disk_is_full() {
    let mut home = Home::new().await;
    home.send(Some(ALICE), &["x@far.test"], "From: alice@home.test\n\nhello\n").await.unwrap();
    home.house.store.close().unwrap();
    let full = Arc::new(Full::default());
    let disk = Disk { real: RealVfs::new(home._dir.path()), full: full.clone() };
    let store = small_store::open_on(home._dir.path(), Arc::new(disk), 0);
    home.house.queue = Queue::open(&store, Settings::default()).unwrap();
    home.house.store = store;
    full.is.store(true, Ordering::SeqCst);
    fill(&home.house.store).await;

    let to = home.house.queue.destination("far.test");
    let taken = Came::Taken { said: "250 ok".into(), reports: false };
    let trying = |stop: Stop| {
        let mut lease = home.house.queue.lease(&to).unwrap();
        let came =
            lease.recipients.iter().map(|(n, _)| (*n, taken.clone(), Arc::new(Via::default()))).collect();
        let house = home.house.clone();
        tokio::spawn(async move {
            let done = settle_taken(&house, &mut lease, came, &stop).await;
            if done.is_err() {
                lease.give_back();
            }
            done
        })
    };
    let refused = async |times: usize| {
        while full.refused.load(Ordering::SeqCst) < times {
            tokio::task::yield_now().await;
        }
    };
    // The stop ends the wait, and the message is there.
    let stopper = Stopper::new();
    let before = full.refused.load(Ordering::SeqCst);
    let settling = trying(stopper.handle());
    refused(before + 1).await;
    assert_eq!(home.house.queue.count(), (0, 1), "nobody else may try it");
    stopper.stop();
    assert!(settling.await.unwrap().is_err());
    assert_eq!(home.house.queue.count(), (1, 0));

    // Room ends it, too.
    let before = full.refused.load(Ordering::SeqCst);
    let settling = trying(Stop::never());
    refused(before + 1).await;
    assert_eq!(home.house.queue.count(), (0, 1));
    full.is.store(false, Ordering::SeqCst);
    settling.await.unwrap().unwrap();
    assert_eq!(home.house.queue.count(), (0, 0));
    assert!(line::messages(&home.house.store, None, 10).unwrap().is_empty());
}
