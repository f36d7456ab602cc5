//! What a life asks of its store: deliveries small and large, flags, copies, moves, names, passwords, at random, mostly
//! sensible, sometimes not.

use crate::world::{Account, Mailbox, Op, World};
use std::sync::Arc;
use store::vfs::sim::Rng;
use store::{AccountId, BackTo, Batch, BodyRef, Book, FlagChange, Intent, InternalDate, Prefix, Quota};
use wire::flag::{FlagNames, Keyword, SpecialUse, SystemFlag};
use wire::ids::{ModSeq, Runs};

const KEYWORDS: [&str; 5] = ["$Forwarded", "$Junk", "todo", "Later", "x-seen-by-cat"];
const NAMES: [&str; 6] = ["Lists", "Lists/rust", "Lists/rust/dev", "Work", "Work/2026", "INBOX/kept"];

pub struct Work {
    rng: Rng,
    counter: u64,
    books: BookWork,
}

/// The reference that the life replaces by the batch's own.
fn some_body() -> BodyRef {
    Batch::new().body(Vec::new())
}

impl Work {
    pub fn new(rng: Rng) -> Work {
        Work { rng, counter: 0, books: BookWork::new() }
    }

    /// A batch for a world as it is now; `None` if nothing can be asked of it.
    pub fn op(&mut self, world: &World) -> Option<Op> {
        if self.rng.chance(12) {
            return Some(self.books(world));
        }
        let account = self.account(world)?;
        let id = account.id?;
        let mailbox = self.mailbox(account)?;
        Some(match self.rng.below(100) {
            0..=33 => self.delivery(world, 1_500),
            34..=41 => self.delivery(world, 20_000),
            42..=57 => one(self.flags(mailbox)?),
            58..=64 => one(self.expunge(mailbox)?),
            65..=70 => one(self.copy(account, mailbox)?),
            71..=75 => self.tidy(account, mailbox)?,
            76..=83 => one(self.create(id)),
            84..=86 => one(Intent::RenameMailbox { mailbox: mailbox.id?, to: self.name() }),
            87..=89 => one(Intent::DeleteMailbox { mailbox: mailbox.id? }),
            90..=94 => self.undelete(world)?,
            95 => one(Intent::Subscribe { account: id, path: self.name(), on: self.rng.chance(50) }),
            _ => one(self.administer(world, id)),
        })
    }

    fn account<'w>(&mut self, world: &'w World) -> Option<&'w Account> {
        let known: Vec<&Account> = world.accounts.values().filter(|a| a.id.is_some()).collect();
        known.get(self.rng.index(known.len())).copied()
    }

    /// Often the first ones, so that some mailboxes fill.
    fn mailbox<'w>(&mut self, account: &'w Account) -> Option<&'w Mailbox> {
        let known: Vec<&Mailbox> = account.mailboxes.values().filter(|m| m.id.is_some()).collect();
        if self.rng.chance(50) {
            let inbox = account.mailboxes.get("INBOX").filter(|m| m.id.is_some());
            return inbox.or(known.first().copied());
        }
        known.get(self.rng.index(known.len())).copied()
    }

    fn name(&mut self) -> String {
        NAMES[self.rng.index(NAMES.len())].to_owned()
    }

    fn octets(&mut self, up_to: usize) -> Vec<u8> {
        self.counter += 1;
        let mut octets = format!("Message-ID: <{}@demo.test>\r\n\r\n", self.counter).into_bytes();
        let len = self.rng.index(up_to);
        octets.extend((0..len / 8).flat_map(|_| self.rng.draw().to_le_bytes()));
        octets
    }

    fn flag_names(&mut self) -> FlagNames {
        let mut names = FlagNames::default();
        for flag in SystemFlag::ALL {
            if self.rng.chance(25) {
                names.system = names.system.with(flag);
            }
        }
        for keyword in KEYWORDS {
            if self.rng.chance(15) {
                names.add_keyword(Keyword::parse(keyword.as_bytes()).expect("an atom"));
            }
        }
        names
    }

    /// One body, or two, to one mailbox or several of any account, each with its own prefix.
    fn delivery(&mut self, world: &World, up_to: usize) -> Op {
        let mut op = Op::default();
        for _ in 0..1 + self.rng.below(5) / 4 {
            op.bodies.push(Arc::new(self.octets(up_to)));
        }
        for n in 0..op.bodies.len() + self.rng.index(3) {
            let Some(mailbox) = self.account(world).and_then(|a| self.mailbox(a)).and_then(|m| m.id) else {
                continue;
            };
            let at = n.min(op.bodies.len() - 1);
            let prefix = Prefix {
                octets: format!("Return-Path: <{n}@demo.test>\r\n").into_bytes(),
                replaces: if self.rng.chance(20) {
                    self.rng.below(op.bodies[at].len() as u64) as u32
                } else {
                    0
                },
            };
            let date = self.rng.chance(60).then(|| InternalDate {
                unix: 1_700_000_000 + self.rng.below(1 << 20).cast_signed(),
                zone_minutes: 60 * (self.rng.below(20) as i16 - 10),
            });
            let flags = self.flag_names();
            op.intents.push(Intent::Append { mailbox, body: some_body(), prefix, flags, date });
            op.places.push(at);
        }
        op.accepted = self.rng.chance(50);
        op
    }

    /// Messages on their way out, sometimes one that also arrives here, and what becomes of them.
    fn books(&mut self, world: &World) -> Op {
        if self.rng.chance(50) {
            return self.books.change(&mut self.rng, world);
        }
        let up_to = if self.rng.chance(25) { 20_000 } else { 1_500 };
        let body = self.octets(up_to);
        let mut op = self.books.keep(&mut self.rng, world, body);
        let mailbox = self.account(world).and_then(|account| self.mailbox(account)).and_then(|m| m.id);
        if let Some(mailbox) = mailbox.filter(|_| self.rng.chance(40)) {
            let (prefix, flags) = (Prefix::default(), self.flag_names());
            let append = Intent::Append { mailbox, body: some_body(), prefix, flags, date: None };
            let at = self.rng.index(op.intents.len() + 1);
            op.intents.insert(at, append);
            op.places.push(0);
        }
        op
    }

    /// UIDs there, with some that are not.
    fn uids(&mut self, mailbox: &Mailbox) -> Runs {
        let percent = 10 + self.rng.below(90);
        let mut uids: Runs = mailbox.rows.keys().copied().filter(|_| self.rng.chance(percent)).collect();
        if self.rng.chance(30) {
            uids.insert(mailbox.uid_next + self.rng.below(3) as u32);
        }
        uids
    }

    fn flags(&mut self, mailbox: &Mailbox) -> Option<Intent> {
        let names = self.flag_names();
        let change = match self.rng.below(3) {
            0 => FlagChange::Add(names),
            1 => FlagChange::Remove(names),
            _ => FlagChange::Set(names),
        };
        let some = mailbox.rows.values().filter_map(|m| m.modseq).nth(self.rng.index(5));
        let unchanged_since = some.filter(|_| self.rng.chance(30)).map(ModSeq);
        Some(Intent::Flags { mailbox: mailbox.id?, uids: self.uids(mailbox), change, unchanged_since })
    }

    fn expunge(&mut self, mailbox: &Mailbox) -> Option<Intent> {
        Some(Intent::Expunge {
            mailbox: mailbox.id?,
            uids: self.uids(mailbox),
            only_deleted: self.rng.chance(50),
        })
    }

    fn copy(&mut self, account: &Account, from: &Mailbox) -> Option<Intent> {
        let to = self.mailbox(account)?.id?;
        let (uids, from) = (self.uids(from), from.id?);
        Some(if from != to && self.rng.chance(50) {
            Intent::Move { from, uids, to }
        } else {
            Intent::Copy { from, uids, to }
        })
    }

    /// Brings back what one commit took away, or some of it, or of two.
    fn undelete(&mut self, world: &World) -> Option<Op> {
        let mut op = Op::default();
        for _ in 0..1 + self.rng.below(4) / 3 {
            let entry = world.kept.get(self.rng.index(world.kept.len()))?;
            let some = if self.rng.chance(60) { 100 } else { 50 };
            let uids = entry.rows.keys().copied().filter(|_| self.rng.chance(some)).collect();
            let account = self.account(world)?;
            let to = match self.rng.below(6) {
                0 => BackTo::Mailbox(self.mailbox(account)?.id?),
                1 => BackTo::Path { account: account.id?, path: self.name() },
                _ => BackTo::Home,
            };
            op.intents.push(Intent::Undelete { from: entry.id?, uids, to });
        }
        Some(op)
    }

    /// What old clients do for a move: copy, mark, expunge; here in one batch.
    fn tidy(&mut self, account: &Account, from: &Mailbox) -> Option<Op> {
        let (uids, mailbox, to) = (self.uids(from), from.id?, self.mailbox(account)?.id?);
        let mut deleted = FlagNames::default();
        deleted.system = deleted.system.with(SystemFlag::Deleted);
        let intents = vec![
            Intent::Copy { from: mailbox, uids: uids.clone(), to },
            Intent::Flags {
                mailbox,
                uids: uids.clone(),
                change: FlagChange::Add(deleted),
                unchanged_since: None,
            },
            Intent::Expunge { mailbox, uids, only_deleted: true },
        ];
        Some(Op { intents, ..Op::default() })
    }

    fn create(&mut self, account: AccountId) -> Intent {
        let special_use = self.rng.chance(10).then(|| SpecialUse::ALL[self.rng.index(5)]);
        Intent::CreateMailbox { account, path: self.name(), special_use, subscribe: self.rng.chance(50) }
    }

    /// Often none, else one that some accounts will meet.
    fn quota(&mut self) -> Quota {
        let storage = self.rng.chance(60).then(|| self.rng.below(100_000));
        Quota { storage, messages: self.rng.chance(40).then(|| self.rng.below(60)) }
    }

    fn administer(&mut self, world: &World, account: AccountId) -> Intent {
        self.counter += 1;
        let n = self.counter;
        let address = |n: u64| format!("a{}@demo.test", n % 7);
        match self.rng.below(14) {
            12 | 13 => Intent::SetQuota { account, quota: self.quota() },
            0..=3 => Intent::SetPassword { account, password: format!("$argon2id${n}") },
            4 => Intent::AddAddress { account, address: address(n) },
            5 | 6 => Intent::AddAlias { address: address(n), to: vec!["alice@demo.test".into()] },
            7 => Intent::RemoveAlias { address: address(n) },
            8 if world.accounts.len() > 1 => Intent::RemoveAccount { account },
            9 => Intent::AddDomain { name: format!("d{}.test", n % 4) },
            _ => Intent::AddAccount {
                login: format!("user{}", n % 4),
                password: "$argon2id$new".into(),
                addresses: vec![address(n)],
            },
        }
    }
}

fn one(intent: Intent) -> Op {
    Op { intents: vec![intent], ..Op::default() }
}

/// Batches about books, mostly sensible.
struct BookWork {
    /// Messages that wait are few, so that keys come again.
    keys: u64,
}

impl BookWork {
    fn new() -> BookWork {
        BookWork { keys: 24 }
    }

    /// A key that no line has, or mostly so.
    fn new_key(&self, rng: &mut Rng, world: &World) -> Vec<u8> {
        let mut key = Vec::new();
        for _ in 0..4 {
            key = (rng.below(self.keys) as u16).to_be_bytes().to_vec();
            if !world.books.contains_key(&(Book::Queue, key.clone())) {
                break;
            }
        }
        key
    }

    /// What a message is kept by: the message, and a line for a recipient.
    fn keep(&self, rng: &mut Rng, world: &World, body: Vec<u8>) -> Op {
        let key = self.new_key(rng, world);
        let replaces = if rng.chance(20) { rng.below(body.len() as u64) as u32 } else { 0 };
        let prefix = Prefix { octets: b"Received: by demo.test\r\n".to_vec(), replaces };
        let mut op = Op { bodies: vec![Arc::new(body)], places: vec![0], ..Op::default() };
        let body = some_body();
        // Another one may have gone by this key in the same commit.
        if rng.chance(10) {
            op.intents.push(Intent::Strike { book: Book::Queue, key: key.clone() });
        }
        op.intents.push(Intent::Keep {
            book: Book::Queue,
            key: key.clone(),
            body,
            prefix,
            value: value(rng),
        });
        if rng.chance(60) {
            op.intents.push(Intent::Write { book: Book::Recipients, key, value: value(rng) });
        }
        op
    }

    /// What becomes of lines.
    fn change(&self, rng: &mut Rng, world: &World) -> Op {
        let mut op = Op::default();
        for _ in 0..1 + rng.below(3) {
            let there = world.books.keys().nth(rng.index(world.books.len() + 1)).cloned();
            let any = || (Book::Policies, b"example.net".to_vec());
            let (book, key) = there.unwrap_or_else(any);
            match rng.below(10) {
                0..=3 => op.intents.push(Intent::Write { book, key, value: value(rng) }),
                4 => {
                    let book = Book::ALL[rng.index(Book::ALL.len())];
                    let key = vec![rng.below(4) as u8; rng.index(5)];
                    op.intents.push(Intent::Write { book, key, value: value(rng) });
                }
                _ => op.intents.push(Intent::Strike { book, key }),
            }
        }
        op
    }
}

fn value(rng: &mut Rng) -> Vec<u8> {
    let most = if rng.chance(5) { 3_500 } else { 60 };
    vec![rng.below(256) as u8; rng.index(most + 1)]
}
