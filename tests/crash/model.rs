//! What the clients know to be true, and what a server shows: the two are compared after every kill.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::load::{CLIENTS, KEEPER, SENDERS};
use crate::power::trace::Clock;
use crate::support::client::{Lines, message};

/// A message in a mailbox: the mailbox's name and the message's id.
pub type Key = (String, String);
/// Messages with their flags.
pub type State = BTreeMap<Key, BTreeSet<String>>;

/// What a command does to the messages of its client.
#[derive(Clone, Debug)]
pub enum Change {
    /// A message comes: by SMTP or APPEND, with these flags.
    Add(Key, BTreeSet<String>),
    /// STORE FLAGS: these and no others.
    Flags(Key, BTreeSet<String>),
    /// STORE +FLAGS.
    Mark(Key, String),
    /// COPY to a mailbox.
    Copy(Key, String),
    /// MOVE to a mailbox.
    Move(Key, String),
    /// EXPUNGE of all that is marked, or UID EXPUNGE of one that is.
    Expunge(Vec<Key>),
}

impl Change {
    fn apply(&self, state: &mut State) {
        match self {
            Change::Add(key, flags) | Change::Flags(key, flags) => {
                drop(state.insert(key.clone(), flags.clone()))
            }
            Change::Mark(key, flag) => drop(state.get_mut(key).unwrap().insert(flag.clone())),
            Change::Copy(key, to) => {
                let flags = state[key].clone();
                state.insert((to.clone(), key.1.clone()), flags);
            }
            Change::Move(key, to) => {
                let flags = state.remove(key).unwrap();
                state.insert((to.clone(), key.1.clone()), flags);
            }
            Change::Expunge(keys) => keys.iter().for_each(|key| drop(state.remove(key).unwrap())),
        }
    }

    /// Where a message of its own comes to be by it.
    fn places(&self) -> Option<Key> {
        match self {
            Change::Add(key, _) => Some(key.clone()),
            Change::Copy(key, to) => Some((to.clone(), key.1.clone())),
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Change::Add(..) => "add",
            Change::Flags(..) | Change::Mark(..) => "flags",
            Change::Copy(..) => "copy",
            Change::Move(..) => "move",
            Change::Expunge(..) => "expunge",
        }
    }
}

/// What the clients know. Each message belongs to one client, the only one that changes it.
pub struct Truth {
    /// Commands acknowledged, in all rounds.
    pub acknowledged: usize,
    /// Clients end after the command that is under way.
    pub enough: bool,
    /// Clients rest so long before each command.
    pub pace: Duration,
    sizes: BTreeMap<String, usize>,
    states: [State; CLIENTS],
    under_way: [Option<Change>; CLIENTS],
    recorded: Option<Recorded>,
}

/// When each client knew what, by the position in a recorder's trace.
struct Recorded {
    clock: Clock,
    /// What was true when the recording began.
    before: (Box<Truth>, Seen),
    begun: [u64; CLIENTS],
    commands: Vec<Command>,
    /// What a server showed, and where the trace was then.
    shown: Vec<(u64, [State; CLIENTS], Seen)>,
}

/// A command, when it was about to be sent, and when its answer had been read.
struct Command {
    client: usize,
    begun: u64,
    answered: Option<u64>,
    change: Change,
    /// UIDVALIDITY and UID, if the answer told them.
    uid: Option<(u32, u32)>,
}

impl Default for Truth {
    fn default() -> Truth {
        Truth {
            acknowledged: 0,
            enough: false,
            pace: Duration::ZERO,
            sizes: BTreeMap::new(),
            states: Default::default(),
            under_way: [const { None }; CLIENTS],
            recorded: None,
        }
    }
}

impl Truth {
    /// A client is about to send a command.
    pub fn begin(&mut self, client: usize, change: Change) {
        self.under_way[client] = Some(change);
        if let Some(recorded) = &mut self.recorded {
            recorded.begun[client] = recorded.clock.now();
        }
    }

    /// A message that is there, whoever brought it.
    pub fn has(&mut self, client: usize, key: Key, size: usize) {
        self.sizes.insert(key.1.clone(), size);
        self.states[client].insert(key, BTreeSet::new());
    }

    /// The same, with nothing recorded.
    pub fn copy(&self) -> Truth {
        Truth {
            acknowledged: self.acknowledged,
            enough: false,
            pace: self.pace,
            sizes: self.sizes.clone(),
            states: self.states.clone(),
            under_way: self.under_way.clone(),
            recorded: None,
        }
    }

    /// From now on it is kept when each client knew what.
    pub fn record(&mut self, clock: Clock, seen: &Seen) {
        let before = (Box::new(self.copy()), seen.clone());
        let (commands, shown) = (Vec::new(), Vec::new());
        self.recorded = Some(Recorded { clock, before, begun: [0; CLIENTS], commands, shown });
    }

    /// What was true, and what had been seen, when the trace came to a position.
    pub fn at(&self, position: u64) -> (Truth, Seen) {
        let recorded = self.recorded.as_ref().unwrap();
        let (mut truth, mut seen) = (recorded.before.0.copy(), recorded.before.1.clone());
        truth.sizes.clone_from(&self.sizes);
        let mut from = 0;
        if let Some((at, states, shown)) = recorded.shown.iter().rev().find(|(at, ..)| *at <= position) {
            (truth.states, truth.under_way) = (states.clone(), [const { None }; CLIENTS]);
            (from, seen) = (*at, shown.clone());
        }
        for command in recorded.commands.iter().filter(|c| c.begun >= from && c.begun <= position) {
            if command.answered.is_none_or(|at| at > position) {
                truth.under_way[command.client] = Some(command.change.clone());
                continue;
            }
            truth.acknowledged += 1;
            command.change.apply(&mut truth.states[command.client]);
            if let (Some(uid), Some(key)) = (command.uid, command.change.places()) {
                seen.told(key, uid);
            }
        }
        (truth, seen)
    }

    /// What a server shows is, for each client, what was true at some time between two positions: all that was
    /// acknowledged before the first, and nothing that was begun after the second.
    pub fn was_between(&self, from: u64, to: u64, mut shown: State) {
        let recorded = self.recorded.as_ref().unwrap();
        let (begin, _) = self.at(from);
        for client in 0..CLIENTS {
            let mut states = vec![begin.states[client].clone()];
            let later = |c: &&Command| c.begun <= to && c.answered.is_none_or(|at| at > from);
            for command in recorded.commands.iter().filter(|c| c.client == client).filter(later) {
                let mut next = states.last().unwrap().clone();
                command.change.apply(&mut next);
                states.push(next);
            }
            let keys: BTreeSet<Key> = states.iter().flat_map(State::keys).cloned().collect();
            let actual: State = keys.iter().filter_map(|key| shown.remove_entry(key)).collect();
            assert!(
                states.contains(&actual),
                "client {client}: {}\nafter {} more commands: {}",
                difference(&states[0], &actual),
                states.len() - 1,
                difference(states.last().unwrap(), &actual)
            );
        }
        assert!(shown.is_empty(), "nobody should have these: {shown:?}");
    }

    /// Nobody works any more. What is under way was not answered.
    pub fn stop_recording(&mut self) {
        let Some(recorded) = &mut self.recorded else { return };
        for (client, change) in self.under_way.iter().enumerate() {
            if let Some(change) = change.clone() {
                let begun = recorded.begun[client];
                recorded.commands.push(Command { client, begun, answered: None, change, uid: None });
            }
        }
    }

    /// A client is about to send a message of so many octets.
    pub fn sends(&mut self, id: &str, size: usize) {
        self.sizes.insert(id.to_owned(), size);
    }

    /// Its command was acknowledged, in these words.
    pub fn acknowledge(&mut self, client: usize, answer: &str) {
        let change = self.under_way[client].take().unwrap();
        change.apply(&mut self.states[client]);
        if let Some(recorded) = &mut self.recorded {
            let (begun, answered) = (recorded.begun[client], Some(recorded.clock.now()));
            let uid = told_uid(answer);
            recorded.commands.push(Command { client, begun, answered, change, uid });
        }
        self.acknowledged += 1;
    }

    /// What a client's messages are.
    pub fn state(&self, client: usize) -> &State {
        &self.states[client]
    }

    /// Commands that were sent and not acknowledged.
    pub fn under_way(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.under_way.iter().flatten().map(Change::name)
    }

    /// Compares with what a server shows. What was under way is settled by it, and what the senders sent becomes the
    /// keeper's.
    fn settle(&mut self, mut shown: State) {
        for client in 0..CLIENTS {
            let without = std::mem::take(&mut self.states[client]);
            let mut with = without.clone();
            let change = self.under_way[client].take();
            if let Some(change) = &change {
                change.apply(&mut with);
            }
            let keys: BTreeSet<&Key> = without.keys().chain(with.keys()).collect();
            let actual: State = keys.into_iter().filter_map(|key| shown.remove_entry(key)).collect();
            assert!(
                actual == without || actual == with,
                "client {client}: {}\nunder way: {change:?}",
                difference(&without, &actual)
            );
            self.states[client] = actual;
        }
        assert!(shown.is_empty(), "nobody should have these: {shown:?}");
        for sender in 0..SENDERS {
            let sent = std::mem::take(&mut self.states[sender]);
            self.states[KEEPER].extend(sent);
        }
    }
}

/// What `[APPENDUID validity uid]` or `[COPYUID validity from to]` tells of one message.
fn told_uid(answer: &str) -> Option<(u32, u32)> {
    let (_, code) = answer.split_once("[APPENDUID ").or_else(|| answer.split_once("[COPYUID "))?;
    let words: Vec<&str> = code.split_once(']')?.0.split(' ').collect();
    Some((words.first()?.parse().ok()?, words.last()?.parse().ok()?))
}

/// The first few of what should be and what is.
fn difference(should: &State, is: &State) -> String {
    let of = |a: &State, b: &State| -> Vec<String> {
        let differ = a.iter().filter(|(key, flags)| b.get(*key) != Some(flags));
        differ.take(5).map(|(key, flags)| format!("{key:?} {flags:?}")).collect()
    };
    format!("acknowledged {:?}, shown {:?}", of(should, is), of(is, should))
}

/// What servers have shown: UIDs and UIDVALIDITY must not change from start to start.
#[derive(Clone, Default)]
pub struct Seen {
    validity: BTreeMap<String, u32>,
    uids: BTreeMap<Key, u32>,
    /// The highest UID of each mailbox so far.
    highest: BTreeMap<String, u32>,
    /// The highest that somebody was told of meanwhile.
    told: BTreeMap<String, u32>,
    /// UIDVALIDITY of mailboxes before all was restored.
    before: BTreeMap<String, u32>,
}

impl Seen {
    /// The UID of a message that was there after the last start.
    pub fn uid(&self, key: &Key) -> u32 {
        self.uids[key]
    }

    /// All was restored: every mailbox has a new UIDVALIDITY, and everything else is as it was.
    pub fn begin_anew(&mut self) {
        self.before = std::mem::take(&mut self.validity);
        self.told.clear();
    }

    /// A client was told of a message's UIDVALIDITY and UID.
    fn told(&mut self, key: Key, (validity, uid): (u32, u32)) {
        let known = *self.validity.entry(key.0.clone()).or_insert(validity);
        assert_eq!(known, validity, "{key:?}");
        let told = self.told.entry(key.0.clone()).or_default();
        *told = uid.max(*told);
        self.uids.insert(key, uid);
    }

    /// Messages and mailboxes, in words.
    pub fn summary(&self) -> String {
        format!("{} messages in {} mailboxes", self.uids.len(), self.validity.len())
    }

    /// Reads every mailbox, octet for octet, and compares.
    pub fn look(&mut self, s: &mut Lines, truth: &mut Truth) {
        let shown = self.read(s, truth);
        truth.settle(shown);
        if let Some(recorded) = &mut truth.recorded {
            recorded.shown.push((recorded.clock.now(), truth.states.clone(), self.clone()));
        }
    }

    /// Reads every mailbox, octet for octet: what is in them.
    pub fn read(&mut self, s: &mut Lines, truth: &Truth) -> State {
        let (list, _) = s.imap("l", "LIST \"\" *").unwrap();
        let names: Vec<String> = list
            .iter()
            .filter_map(|line| Some(line.rsplit_once("\"/\" \"")?.1.trim_end_matches('"').to_owned()))
            .collect();
        assert!(names.len() > 10, "{list:?}");
        let mut shown = State::new();
        let mut uids = BTreeMap::new();
        for name in names {
            self.mailbox(s, &name, truth, &mut shown, &mut uids);
        }
        for (key, uid) in &uids {
            let highest = self.highest.entry(key.0.clone()).or_default();
            match self.uids.get(key) {
                Some(known) => assert_eq!(uid, known, "{key:?} has another UID than before"),
                None => assert!(uid > highest, "{key:?} has the UID {uid}, and {highest} was there already"),
            }
        }
        for (key, uid) in &uids {
            let highest = self.highest.entry(key.0.clone()).or_default();
            *highest = (*highest).max(*uid);
        }
        self.uids = uids;
        shown
    }

    fn mailbox(
        &mut self,
        s: &mut Lines,
        name: &str,
        truth: &Truth,
        shown: &mut State,
        uids: &mut BTreeMap<Key, u32>,
    ) {
        let (lines, done) = s.imap("e", &format!("EXAMINE \"{name}\"")).unwrap();
        assert!(done.starts_with("e OK"), "{done}");
        let code = |name: &str| -> u32 {
            let code = lines.iter().find_map(|line| line.split_once(name)).unwrap().1;
            code.split_once(']').unwrap().0.parse().unwrap()
        };
        let validity = code("[UIDVALIDITY ");
        let known = *self.validity.entry(name.to_owned()).or_insert(validity);
        assert_eq!(known, validity, "UIDVALIDITY of {name}");
        assert!(self.before.get(name).is_none_or(|old| *old < validity), "UIDVALIDITY of {name} comes again");
        let told = self.told.get(name).copied().unwrap_or_default();
        assert!(code("[UIDNEXT ") > told, "the UID {told} of {name} would come again");
        s.send(b"f UID FETCH 1:* (FLAGS BODY.PEEK[])\r\n").unwrap();
        loop {
            let line = s.line().unwrap();
            if line.starts_with("f ") {
                assert!(line.starts_with("f OK"), "{line}");
                return;
            }
            let Some(open) = line.rfind('{').filter(|_| line.ends_with('}')) else { continue };
            let octets = s.take(line[open + 1..line.len() - 1].parse().unwrap()).unwrap();
            let between = |from: &str, to: &str| line.split_once(from).unwrap().1.split_once(to).unwrap().0;
            let uid: u32 = between("UID ", " ").parse().unwrap();
            let flags = between("FLAGS (", ")").split_whitespace().filter(|flag| *flag != "\\Recent");
            let text = String::from_utf8_lossy(&octets);
            let id = text.split("Message-ID: <").nth(1).and_then(|r| r.split_once("@example.net>"));
            let Some((id, _)) = id else { continue }; // The demo's welcome.
            let size = *truth.sizes.get(id).unwrap_or_else(|| panic!("{id} was never sent"));
            let whole = message(id, size);
            let (has, wants) = (octets.len(), whole.len());
            assert!(octets.ends_with(&whole), "{id} is there but not whole: {has} of {wants} octets");
            let key = (name.to_owned(), id.to_owned());
            let twice = shown.insert(key.clone(), flags.map(str::to_owned).collect());
            assert!(twice.is_none(), "{key:?} is there more than once");
            uids.insert(key, uid);
        }
    }
}
