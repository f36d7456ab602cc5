//! Looking for the octets of what is on the pile, and giving it away: each message once for each mailbox.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::sync::Arc;

use wire::flag::Keyword;

use super::books::Books;
use super::content::{self, Content, Spot, Why};
use super::gather::Gathered;
use super::pile::{Known, Pile, Stray};
use super::shelf::Shelf;
use super::{Folder, Lost, Pace, People, Person, Salvage, Salvaged, Tally};
use crate::id::{AccountId, Location, MailboxId};
use crate::record::Delivery;
use crate::state::block::Row;
use crate::vfs::File;

/// Messages between two tellings of progress.
const TELL: u64 = 500;

pub(crate) fn give(to: &mut Salvage<'_>, shelf: &mut Shelf, from: Gathered) -> io::Result<Tally> {
    let (people, logins, paths) = people(&from.pile);
    to.sink.people(&people)?;
    let mut give = Give {
        to,
        shelf,
        logins,
        tally: Tally::default(),
        contents: HashSet::new(),
        sums: HashSet::new(),
        from,
    };
    give.mailboxes(&paths)?;
    give.strays()?;
    give.books()?;
    give.orphans()?;
    Ok(give.tally)
}

type Names = (People, BTreeMap<AccountId, String>, BTreeMap<MailboxId, String>);

/// Names for everybody and everything: their own, or ones of ours where those are lost.
fn people(pile: &Pile) -> Names {
    let mut people = People {
        domains: pile.domains.iter().cloned().collect(),
        accounts: Vec::new(),
        aliases: pile.aliases.iter().map(|(a, to)| (a.clone(), to.clone())).collect(),
    };
    let (mut logins, mut paths) = (BTreeMap::new(), BTreeMap::new());
    let mut taken = BTreeSet::new();
    for (&id, account) in pile.accounts.iter().filter(|(_, account)| !account.gone) {
        let own = account.login.clone().or_else(|| account.addresses.first().cloned());
        let mut login = own.unwrap_or_else(|| format!("account-{id}"));
        while !taken.insert(login.clone()) {
            login = format!("account-{id}-{login}");
        }
        let mut names: BTreeMap<String, _> = BTreeMap::new();
        let its = |m: &super::pile::Mailbox| m.account == Some(id) && !m.gone;
        for (&mailbox, known) in pile.mailboxes.iter().filter(|(_, m)| its(m)) {
            let own = known.path.clone().or_else(|| known.hint.clone());
            let mut path = own.unwrap_or_else(|| format!("mailbox-{mailbox}"));
            while names.contains_key(&path) {
                path.push_str(" (another)");
            }
            names.insert(path.clone(), known.special_use);
            paths.insert(mailbox, path);
        }
        people.accounts.push(Person {
            id,
            login: login.clone(),
            known: account.login.is_some(),
            password: account.password.clone(),
            addresses: account.addresses.iter().cloned().collect(),
            quota: account.quota,
            subscriptions: account.subscriptions.iter().cloned().collect(),
            mailboxes: names.into_iter().collect(),
        });
        logins.insert(id, login);
    }
    (people, logins, paths)
}

/// What is to be given away.
struct Parcel<'a> {
    account: Option<AccountId>,
    folder: Folder<'a>,
    row: &'a Row,
    keywords: &'a [Keyword],
}

struct Give<'a, 'b> {
    to: &'a mut Salvage<'b>,
    shelf: &'a mut Shelf,
    from: Gathered,
    logins: BTreeMap<AccountId, String>,
    tally: Tally,
    /// What each account has been given: by place, and by octets.
    contents: HashSet<(AccountId, Location)>,
    sums: HashSet<(Option<AccountId>, u128)>,
}

impl Give<'_, '_> {
    fn mailboxes(&mut self, paths: &BTreeMap<MailboxId, String>) -> io::Result<()> {
        let rows = std::mem::take(&mut self.from.pile.rows);
        let mut words: (Option<MailboxId>, Vec<Keyword>) = (None, Vec::new());
        let mut gone: Vec<(MailboxId, Known)> = Vec::new();
        for ((id, _), known) in rows {
            let account = self.from.pile.mailboxes.get(&id).and_then(|m| m.account);
            match (self.from.pile.is_gone(id, &known), paths.get(&id)) {
                (None, _) => {}
                (Some(false), Some(path)) => {
                    if words.0 != Some(id) {
                        words = (Some(id), self.from.pile.words(id));
                    }
                    let (row, keywords) = (&known.row, words.1.as_slice());
                    let parcel = Parcel { account, folder: Folder::Mailbox(path), row, keywords };
                    self.message(&parcel, path)?;
                }
                _ => gone.push((id, known)),
            }
        }
        for (id, known) in gone {
            if let Some(account) = self.from.pile.mailboxes.get(&id).and_then(|m| m.account) {
                self.from.pile.stray(id, account, known.row, None);
            }
        }
        Ok(())
    }

    /// A message that is in a mailbox: given, or said to be lost.
    fn message(&mut self, parcel: &Parcel<'_>, path: &str) -> io::Result<()> {
        let content = parcel.account.ok_or(Why("nobody knows whose it is".into()));
        let content = content.and_then(|account| self.content(account, parcel.row, None));
        let lost = |why: String, give: &Self| Lost {
            account: parcel.account.and_then(|id| give.logins.get(&id).cloned()),
            mailbox: path.to_owned(),
            uid: parcel.row.uid.get(),
            size: parcel.row.size,
            why,
        };
        let content = match content {
            Ok(content) => content,
            Err(Why(why)) => {
                self.tally.lost += 1;
                let lost = lost(why, self);
                return self.to.sink.lost(&lost);
            }
        };
        let checked = content.check()?;
        if checked.spoilt > 0 {
            let why = format!("{} of its {} octets are damaged", checked.spoilt, content.len());
            let lost = lost(why, self);
            self.to.sink.lost(&lost)?;
        }
        self.hand_over(parcel, &content, checked.spoilt, checked.sum)
    }

    fn hand_over(
        &mut self,
        parcel: &Parcel<'_>,
        content: &Content,
        spoilt: u64,
        sum: u128,
    ) -> io::Result<()> {
        let account = parcel.account.filter(|id| self.logins.contains_key(id));
        let folder = if spoilt > 0 { Folder::Damaged } else { parcel.folder };
        match folder {
            Folder::Mailbox(_) => self.tally.messages += 1,
            Folder::Recovered => self.tally.recovered += 1,
            Folder::Damaged => self.tally.damaged += 1,
        }
        if let Some(id) = parcel.account {
            self.contents.insert((id, parcel.row.content));
        }
        self.sums.insert((parcel.account, sum));
        self.tally.octets += content.len();
        let set = parcel.row.keywords;
        let bit = |n: usize| n < 128 && set >> n & 1 == 1;
        let salvaged = Salvaged {
            account: account.and_then(|id| self.logins.get(&id)).map(String::as_str),
            folder,
            uid: Some(parcel.row.uid.get()),
            flags: parcel.row.flags,
            keywords: (0..).zip(parcel.keywords).filter(|&(n, _)| bit(n)).map(|(_, k)| k.clone()).collect(),
            date: Some(parcel.row.date),
            content,
        };
        self.to.sink.message(&salvaged)?;
        let done = self.tally.messages + self.tally.recovered + self.tally.damaged;
        if done.is_multiple_of(TELL) {
            (self.to.progress)(Pace::Giving { messages: done });
        }
        Ok(())
    }

    /// A message's octets: where its row says, or where its records were found.
    fn content(&mut self, account: AccountId, row: &Row, stray: Option<&Stray>) -> Result<Content, Why> {
        if let Some(spot) = stray.and_then(|stray| stray.spot.as_ref()) {
            return self.at_spot(account, row, spot);
        }
        let found = content::delivery_at(self.shelf, row.content)
            .and_then(|delivery| self.open(account, row, delivery, None));
        match self.from.spots.get(&row.content).cloned() {
            Some(spot) if found.is_err() => self.at_spot(account, row, &spot),
            _ => found,
        }
    }

    fn at_spot(&mut self, account: AccountId, row: &Row, spot: &Spot) -> Result<Content, Why> {
        let file = self.shelf.file(&spot.path)?;
        let delivery = content::delivery_in(&file, spot.delivery)?;
        self.open(account, row, delivery, spot.body.map(|at| (&file, at)))
    }

    fn open(
        &mut self,
        account: AccountId,
        row: &Row,
        delivery: Delivery,
        near: Option<(&Arc<dyn File>, u64)>,
    ) -> Result<Content, Why> {
        // Whatever led here: nobody gets what is another's.
        if delivery.account != account || delivery.size != row.size {
            return Err(Why("another message lies in its place".into()));
        }
        self.from.named.insert(delivery.body.segment);
        content::open(self.shelf, (&delivery).into(), near)
    }

    /// Messages that were expunged, or of which nobody knows where they were.
    fn strays(&mut self) -> io::Result<()> {
        let mut unreadable = 0;
        for stray in std::mem::take(&mut self.from.pile.strays) {
            let (id, row) = (stray.account, &stray.row);
            if stray.spot.is_none() && self.contents.contains(&(id, row.content)) {
                continue;
            }
            let read = self.content(id, row, Some(&stray));
            let Ok(content) = read else {
                unreadable += 1;
                continue;
            };
            let checked = content.check()?;
            if self.sums.contains(&(Some(id), checked.sum)) {
                continue;
            }
            let keywords = &stray.keywords;
            let parcel = Parcel { account: Some(id), folder: Folder::Recovered, row, keywords };
            self.hand_over(&parcel, &content, checked.spoilt, checked.sum)?;
        }
        if unreadable > 0 {
            self.to.note(format!("{unreadable} messages that were expunged cannot be read"))?;
        }
        Ok(())
    }

    /// What is in no mailbox.
    fn books(&mut self) -> io::Result<()> {
        let Gathered { ledger, named, whole, .. } = &mut self.from;
        let mut books = Books::new(self.shelf, ledger, named, *whole);
        let taken = self.to.sink.books(&mut books)?;
        self.tally.waiting = taken.waiting;
        self.tally.waiting_lost = taken.lost;
        self.tally.octets += taken.octets;
        self.tally.whole = *whole;
        Ok(())
    }

    /// Side segments that nothing names.
    fn orphans(&mut self) -> io::Result<()> {
        let settled = |give: &Self, n: u32| {
            give.from.named.contains(&n)
                || give.from.settled.contains(&n)
                || give.from.pile.sides.get(&n) == Some(&None)
        };
        for (number, path) in self.shelf.sides.clone() {
            if settled(self, number) {
                continue;
            }
            let content = match content::orphan(self.shelf, number, &path) {
                Ok(content) => content,
                Err(Why(why)) => {
                    self.to.note(format!("{path}: {why}"))?;
                    continue;
                }
            };
            let checked = content.check()?;
            if !self.sums.insert((None, checked.sum)) {
                continue;
            }
            self.tally.octets += content.len();
            let spoilt = checked.spoilt > 0;
            *(if spoilt { &mut self.tally.damaged } else { &mut self.tally.recovered }) += 1;
            let folder = if spoilt { Folder::Damaged } else { Folder::Recovered };
            self.to.sink.message(&Salvaged {
                account: None,
                folder,
                uid: None,
                flags: Default::default(),
                keywords: Vec::new(),
                date: None,
                content: &content,
            })?;
        }
        Ok(())
    }
}
