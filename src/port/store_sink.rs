//! Our store as a sink: many messages a commit, several commits under way, duplicates found by their octets.

use std::collections::VecDeque;
use std::hash::{Hasher, RandomState};
use std::io::Read;

use store::{
    AccountId, Batch, Commit, CommitError, Intent, MailboxId, Outcome, Prefix, Refused, SpoolError, Spooled,
    Store, Usage,
};
use wire::flag::FlagNames;

use super::seen::{Found, Seen, hasher};
use super::{Error, Fate, Item, Look, Opened, Place, Sink, Spot};

/// Messages of one commit.
const BATCH_MESSAGES: usize = 256;
/// Octets of one commit; the last message may go over.
const BATCH_OCTETS: u64 = 2 << 20;
/// Commits under way: while one is written, the next is gathered.
const UNDER_WAY: usize = 2;
/// Messages whose fate may not be told before more come.
pub(super) const UNTOLD: usize = BATCH_MESSAGES * (UNDER_WAY + 1);
/// Octets taken at once.
const STEP: usize = 64 * 1024;

/// A mailbox that messages come into.
#[derive(Debug)]
struct Target {
    /// `None` in a dry run, when it is not there.
    id: Option<MailboxId>,
    path: String,
    seen: Option<Seen>,
    /// Keywords that the mailbox has a name for, or will have.
    keywords: FlagNames,
}

/// A message in one of its mailboxes, while its commit is under way.
#[derive(Debug)]
enum Waiting {
    Known(Fate),
    /// The commit's outcome of this number says.
    Intent {
        number: usize,
        spot: Spot,
        hash: u64,
        /// So many keywords are left out.
        without: u32,
    },
}

#[derive(Debug, Default)]
struct Gathering {
    batch: Batch,
    octets: u64,
    /// What the account will hold more.
    more: Usage,
    messages: Vec<Vec<Waiting>>,
}

/// A commit that was not answered yet.
#[derive(Debug)]
struct UnderWay {
    commit: Commit,
    more: Usage,
    messages: Vec<Vec<Waiting>>,
}

/// Puts messages into an account's mailboxes. Blocks.
#[derive(Debug)]
pub struct StoreSink {
    store: Store,
    account: AccountId,
    dry: bool,
    targets: Vec<Target>,
    gathering: Gathering,
    under_way: VecDeque<UnderWay>,
    fates: Vec<Vec<Fate>>,
    random: RandomState,
}

impl StoreSink {
    /// For an account. A dry run looks at everything and changes nothing.
    #[must_use]
    pub fn new(store: Store, account: AccountId, dry: bool) -> StoreSink {
        StoreSink {
            store,
            account,
            dry,
            targets: Vec::new(),
            gathering: Gathering::default(),
            under_way: VecDeque::new(),
            fates: Vec::new(),
            random: RandomState::new(),
        }
    }

    /// The mailbox of a place, made if it is not there; whether it was made.
    fn find(&self, place: &Place) -> Result<(Option<MailboxId>, String, bool), Error> {
        let directory = self.store.directory();
        let by_use =
            place.special_use.filter(|_| place.by_use).and_then(|u| directory.special(self.account, u));
        if let Some(found) = by_use.or_else(|| directory.mailbox_at(self.account, &place.name)) {
            return Ok((Some(found.id), found.path.clone(), false));
        }
        let free = place.special_use.filter(|u| directory.special(self.account, *u).is_none());
        let path = store::canonical(&place.name);
        if self.dry {
            return Ok((None, path, true));
        }
        let make = Intent::CreateMailbox {
            account: self.account,
            path: path.clone(),
            special_use: free,
            subscribe: true,
        };
        let cannot = |why: String| Error::NoMailbox { name: place.name.clone(), why };
        match self.store.commit(Batch::of(make)).wait() {
            Ok(done) => match done.outcomes.first() {
                Some(Outcome::Created(id)) => Ok((Some(*id), path, true)),
                _ => Err(cannot("the store did not say which it is".into())),
            },
            Err(CommitError::Refused(Refused::AlreadyExists)) => {
                let directory = self.store.directory();
                let found = directory.mailbox_at(self.account, &path);
                found
                    .map(|m| (Some(m.id), m.path.clone(), false))
                    .ok_or_else(|| cannot("it comes and goes".into()))
            }
            Err(CommitError::Refused(why)) => Err(cannot(why.to_string())),
            Err(error) => Err(fatal(&error)),
        }
    }

    /// What is imported is shown by clients that show what is subscribed.
    fn subscribe(&self, path: &str) -> Result<(), Error> {
        let directory = self.store.directory();
        let has = directory.account(self.account).is_some_and(|a| a.subscriptions.contains(path));
        if has || self.dry {
            return Ok(());
        }
        let subscribe = Intent::Subscribe { account: self.account, path: path.to_owned(), on: true };
        match self.store.commit(Batch::of(subscribe)).wait() {
            Ok(_) => Ok(()),
            Err(CommitError::Refused(why)) => {
                Err(Error::NoMailbox { name: path.into(), why: why.to_string() })
            }
            Err(error) => Err(fatal(&error)),
        }
    }

    /// Takes a message's octets, with their hash; or why they are refused, once they have been read to their end.
    fn take(&self, item: &Item, octets: &mut dyn Read) -> Result<Result<(Spooled, u64), String>, Error> {
        let mut spool = self.store.spool();
        let mut hasher = hasher(&self.random);
        let mut piece = vec![0; STEP.min(usize::try_from(item.length).unwrap_or(STEP)).max(1)];
        let mut failed = None;
        let mut left = item.length;
        while left > 0 {
            let most = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = octets.read(&mut piece[..most]).map_err(Error::Lost)?;
            let Some(some @ [_, ..]) = piece.get(..read) else {
                return Err(Error::Lost(std::io::ErrorKind::UnexpectedEof.into()));
            };
            left -= read as u64;
            if failed.is_none() {
                hasher.write(some);
                failed = spool.push(some).err();
            }
        }
        let failed = match failed {
            None => match spool.finish() {
                Ok(body) => return Ok(Ok((body, hasher.finish()))),
                Err(error) => error,
            },
            Some(error) => error,
        };
        match failed {
            SpoolError::TooLarge => Ok(Err(too_large())),
            SpoolError::Full => Err(Error::Full),
            SpoolError::Io(error) => {
                tracing::error!(%error, "an imported message could not be stored");
                Err(Error::Broken)
            }
        }
    }

    /// Whether a mailbox has a message. Waits for what is being written when that may be it.
    fn is_there(&mut self, spot: Spot, hash: u64, body: &Spooled) -> Result<bool, Error> {
        let found = self.seen(spot)?.map_or(Found::New, |(seen, store)| seen.find(&store, hash, body));
        match found {
            Found::New => Ok(false),
            Found::There => Ok(true),
            // Nothing is written in a dry run: the hash has to do.
            Found::UnderWay if self.dry => Ok(true),
            Found::UnderWay => {
                self.settle()?;
                let found =
                    self.seen(spot)?.map_or(Found::New, |(seen, store)| seen.find(&store, hash, body));
                Ok(found == Found::There)
            }
        }
    }

    fn seen(&mut self, spot: Spot) -> Result<Option<(&mut Seen, Store)>, Error> {
        let (store, random) = (self.store.clone(), self.random.clone());
        let target = self.target(spot)?;
        let Some(id) = target.id else { return Ok(None) };
        if target.seen.is_none() {
            let seen = Seen::new(&store, id, random).map_err(|error| {
                tracing::error!(%error, "a mailbox could not be read");
                Error::NoMailbox { name: target.path.clone(), why: error.to_string() }
            })?;
            target.seen = Some(seen);
        }
        Ok(target.seen.as_mut().map(|seen| (seen, store)))
    }

    fn target(&mut self, spot: Spot) -> Result<&mut Target, Error> {
        let at = usize::try_from(spot.0).unwrap_or(usize::MAX);
        self.targets
            .get_mut(at)
            .ok_or_else(|| Error::Talk("a mailbox was named that was not asked for".into()))
    }

    /// The flags as the mailbox can have them: keywords that it has no room for are left out (RFC 3501 s.7.2.6 lets a
    /// mailbox have only so many); refusing the message would help nobody. Also how many those are.
    fn flags_there(&mut self, spot: Spot, flags: &FlagNames) -> Result<(FlagNames, u32), Error> {
        let store = self.store.clone();
        let target = self.target(spot)?;
        if target.keywords.keywords.is_empty()
            && !flags.keywords.is_empty()
            && let Some(view) = target.id.and_then(|id| store.view(id).ok())
        {
            target.keywords.keywords = view.keywords().to_vec();
        }
        let mut there = FlagNames { system: flags.system, keywords: Vec::new() };
        let mut without = 0;
        for keyword in &flags.keywords {
            if target.keywords.keywords.len() < wire::limits::KEYWORDS_PER_MAILBOX {
                target.keywords.add_keyword(keyword.clone());
            }
            if target.keywords.keywords.contains(keyword) {
                there.add_keyword(keyword.clone());
            } else {
                without += 1;
            }
        }
        Ok((there, without))
    }

    /// Sends what was gathered on its way.
    fn send(&mut self) -> Result<(), Error> {
        let Gathering { batch, more, messages, .. } = std::mem::take(&mut self.gathering);
        if batch.is_empty() {
            // Nothing is to be written; what is said of these comes behind what is being written.
            self.wait_for(0)?;
            return self.tell(messages, |_| Err(String::new()));
        }
        self.under_way.push_back(UnderWay { commit: self.store.commit(batch), more, messages });
        Ok(())
    }

    /// Waits until at most so many commits are under way.
    fn wait_for(&mut self, most: usize) -> Result<(), Error> {
        while self.under_way.len() > most
            && let Some(UnderWay { commit, messages, .. }) = self.under_way.pop_front()
        {
            match commit.wait() {
                Ok(done) => self.tell(messages, |number| match done.outcomes.get(number) {
                    Some(Outcome::Placed { uid, .. }) => Ok(*uid),
                    _ => Err("the store did not say where it is".to_owned()),
                })?,
                Err(CommitError::Refused(why)) => self.tell(messages, |_| Err(why.to_string()))?,
                Err(error) => return Err(fatal(&error)),
            }
        }
        Ok(())
    }

    fn tell(
        &mut self,
        messages: Vec<Vec<Waiting>>,
        outcome: impl Fn(usize) -> Result<wire::ids::Uid, String>,
    ) -> Result<(), Error> {
        for message in messages {
            let mut fates = Vec::with_capacity(message.len());
            for waiting in message {
                fates.push(match waiting {
                    Waiting::Known(fate) => fate,
                    Waiting::Intent { number, spot, hash, without } => {
                        let outcome = outcome(number);
                        if let Some(seen) = &mut self.target(spot)?.seen {
                            seen.came(hash, outcome.as_ref().ok().copied());
                        }
                        outcome.map_or_else(Fate::Refused, |_| placed(without))
                    }
                });
            }
            self.fates.push(fates);
        }
        Ok(())
    }

    /// Whether the account may hold so much more. A batch is taken whole or not at all, so one message too many must not
    /// come into it: near the quota what was gathered before is written first, and then what is held is known exactly.
    fn has_room(&mut self, more: Usage) -> Result<bool, Error> {
        let directory = self.store.directory();
        let quota = directory.account(self.account).map(|account| account.quota).unwrap_or_default();
        if quota.is_none() {
            return Ok(true);
        }
        let pending = self.under_way.iter().map(|u| u.more).chain([self.gathering.more]);
        let wanted = pending.fold(more, plus);
        if quota.allows(self.store.usage(self.account), wanted) {
            return Ok(true);
        }
        self.settle()?;
        Ok(quota.allows(self.store.usage(self.account), more))
    }

    /// Adds a message to what is gathered.
    fn gather(&mut self, item: &Item, body: Spooled, hash: u64) -> Result<(), Error> {
        let mut wanted: Vec<(Spot, Option<Fate>)> = Vec::with_capacity(item.to.len());
        for &spot in item.to.iter().take(wire::limits::PORT_COPIES) {
            let twice = wanted.iter().any(|(other, _)| *other == spot);
            let there = twice || self.is_there(spot, hash, &body)?;
            wanted.push((spot, there.then_some(Fate::Duplicate)));
        }
        let octets = body.len();
        let copies = wanted.iter().filter(|(_, fate)| fate.is_none()).count() as u64;
        let more = Usage { storage: octets.saturating_mul(copies), messages: copies };
        let room = copies == 0 || self.dry || self.has_room(more)?;
        let mut body = Some(body);
        let mut reference = None;
        let mut waiting = Vec::with_capacity(wanted.len());
        for (spot, fate) in wanted {
            let over = || (!room).then(|| Fate::Refused(Refused::OverQuota.to_string()));
            let mut fate = fate.or_else(over);
            let (flags, without) = match fate {
                None => self.flags_there(spot, &item.flags)?,
                Some(_) => Default::default(),
            };
            if self.dry {
                fate = fate.or(Some(placed(without)));
            }
            if !matches!(fate, Some(Fate::Duplicate | Fate::Refused(_)))
                && let Some((seen, _)) = self.seen(spot)?
            {
                seen.coming(hash);
            }
            if let Some(fate) = fate {
                waiting.push(Waiting::Known(fate));
                continue;
            }
            let Some(mailbox) = self.target(spot)?.id else {
                waiting.push(Waiting::Known(Fate::Refused("its mailbox is not there".into())));
                continue;
            };
            let batch = &mut self.gathering.batch;
            let body = match (reference, body.take()) {
                (Some(reference), _) => reference,
                (None, Some(body)) => batch.body(body),
                (None, None) => return Err(Error::Broken),
            };
            reference = Some(body);
            let number = batch.push(Intent::Append {
                mailbox,
                body,
                prefix: Prefix::default(),
                flags,
                date: item.date,
            });
            waiting.push(Waiting::Intent { number, spot, hash, without });
        }
        if reference.is_some() {
            self.gathering.octets += octets;
            self.gathering.more = plus(self.gathering.more, more);
        }
        self.gathering.messages.push(waiting);
        Ok(())
    }
}

impl Sink for StoreSink {
    fn mailbox(&mut self, place: &Place) -> Result<Opened, Error> {
        let (id, path, made) = self.find(place)?;
        self.subscribe(&path)?;
        if let Some(at) = self.targets.iter().position(|t| t.path == path) {
            return Ok(Opened { spot: Spot(u32::try_from(at).unwrap_or(u32::MAX)), path, made: false });
        }
        let spot = u32::try_from(self.targets.len())
            .map_err(|_| Error::NoMailbox { name: path.clone(), why: "there are too many".into() })?;
        self.targets.push(Target { id, path: path.clone(), seen: None, keywords: FlagNames::default() });
        Ok(Opened { spot: Spot(spot), path, made })
    }

    fn known(&mut self, spot: Spot, looks: &[Look]) -> Result<Vec<bool>, Error> {
        Ok(match self.seen(spot)? {
            Some((seen, store)) => seen.known(&store, looks),
            None => vec![false; looks.len()],
        })
    }

    fn put(&mut self, item: &Item, octets: &mut dyn Read) -> Result<(), Error> {
        match self.take(item, octets)? {
            Ok((body, hash)) => self.gather(item, body, hash)?,
            Err(why) => {
                let refused = item.to.iter().map(|_| Waiting::Known(Fate::Refused(why.clone()))).collect();
                self.gathering.messages.push(refused);
            }
        }
        if self.gathering.messages.len() >= BATCH_MESSAGES || self.gathering.octets >= BATCH_OCTETS {
            self.send()?;
            self.wait_for(UNDER_WAY)?;
        }
        Ok(())
    }

    fn fates(&mut self) -> Vec<Vec<Fate>> {
        std::mem::take(&mut self.fates)
    }

    fn settle(&mut self) -> Result<(), Error> {
        self.send()?;
        self.wait_for(0)
    }
}

fn placed(without: u32) -> Fate {
    if without == 0 { Fate::Placed } else { Fate::PlacedWithout(without) }
}

/// Why a message is refused that no message may be as large as.
pub(super) fn too_large() -> String {
    format!("it is larger than {} MB, which no message may be here", wire::limits::MESSAGE / 1_000_000)
}

fn plus(one: Usage, other: Usage) -> Usage {
    Usage {
        storage: one.storage.saturating_add(other.storage),
        messages: one.messages.saturating_add(other.messages),
    }
}

fn fatal(error: &CommitError) -> Error {
    match error {
        CommitError::Full => Error::Full,
        CommitError::Closed => Error::Stopping,
        _ => Error::Broken,
    }
}
