//! Both ends of a socket: what goes in comes out, in order, whatever the pace; and every way to end early.

use std::thread;

use super::*;

/// Remembers what it is given; fails when it is told to.
#[derive(Default)]
struct Notes {
    mailboxes: Vec<Place>,
    messages: Vec<(Item, Vec<u8>)>,
    lost: Vec<String>,
    fates: Vec<Vec<Fate>>,
    /// Tells fates only so many at a time.
    bundle: usize,
    gathered: Vec<Vec<Fate>>,
    full_at: Option<usize>,
}

impl Sink for Notes {
    fn mailbox(&mut self, place: &Place) -> Result<Opened, Error> {
        if place.name.is_empty() {
            return Err(Error::NoMailbox { name: String::new(), why: "no name".into() });
        }
        self.mailboxes.push(place.clone());
        Ok(Opened { spot: Spot(self.mailboxes.len() as u32 - 1), path: place.name.clone(), made: true })
    }
    fn known(&mut self, _: Spot, looks: &[Look]) -> Result<Vec<bool>, Error> {
        Ok(looks.iter().map(|look| look.size % 2 == 0).collect())
    }
    fn put(&mut self, item: &Item, octets: &mut dyn Read) -> Result<(), Error> {
        if self.full_at == Some(self.messages.len()) {
            return Err(Error::Full);
        }
        let mut message = Vec::new();
        octets.read_to_end(&mut message).map_err(Error::Lost)?;
        let n = self.messages.len();
        self.messages.push((item.clone(), message));
        self.gathered.push(vec![if n.is_multiple_of(3) { Fate::Duplicate } else { Fate::Placed }]);
        if self.gathered.len() >= self.bundle {
            self.settle()?;
        }
        Ok(())
    }
    fn lost(&mut self, what: &str, _: &str) -> Result<(), Error> {
        self.lost.push(what.into());
        Ok(())
    }
    fn fates(&mut self) -> Vec<Vec<Fate>> {
        std::mem::take(&mut self.fates)
    }
    fn settle(&mut self) -> Result<(), Error> {
        self.fates.append(&mut self.gathered);
        Ok(())
    }
}

/// The other end: what it was given, and how it ended.
type Other = thread::JoinHandle<(Notes, Result<(), Error>)>;

fn pair(notes: Notes) -> (FrameSink, Other) {
    let (here, there) = UnixStream::pair().unwrap();
    let other = thread::spawn(move || {
        let mut notes = notes;
        let result = receive(there, &mut notes);
        (notes, result)
    });
    (FrameSink::new(here).unwrap(), other)
}

fn item(n: u64) -> Item {
    let mut flags =
        FlagNames { system: wire::flag::SystemFlags::from_bits((n % 32) as u8), keywords: Vec::new() };
    flags.add_keyword(Keyword::parse(b"$k").unwrap());
    Item {
        to: vec![Spot(0)],
        flags,
        date: n.is_multiple_of(2).then_some(InternalDate { unix: n as i64, zone_minutes: -90 }),
        length: n % 700,
    }
}

fn body(n: u64) -> Vec<u8> {
    vec![n as u8; (n % 700) as usize]
}

#[test]
fn what_goes_in_comes_out() {
    for bundle in [1, 5, super::super::store_sink::UNTOLD] {
        let (mut sink, other) = pair(Notes { bundle, ..Notes::default() });
        let place =
            Place { name: "Ä/ß".into(), special_use: Some(wire::flag::SpecialUse::Sent), by_use: true };
        assert_eq!(sink.mailbox(&place).unwrap().spot, Spot(0));
        assert!(
            matches!(sink.mailbox(&Place::default()), Err(Error::NoMailbox { why, .. }) if why == "no name")
        );
        let look = |size| Look { size, unix: 1, id: u64::MAX };
        assert_eq!(sink.known(Spot(0), &[look(1), look(2)]).unwrap(), [false, true]);
        let mut fates = 0;
        for n in 0..5_000 {
            sink.put(&item(n), &mut body(n).as_slice()).unwrap();
            fates += sink.fates().len();
        }
        sink.lost("x", "y").unwrap();
        sink.finish().unwrap();
        fates += sink.fates().len();
        let (notes, result) = other.join().unwrap();
        result.unwrap();
        assert_eq!((fates, notes.messages.len(), notes.lost.len()), (5_000, 5_000, 1));
        assert_eq!(notes.mailboxes, [place]);
        for (n, (got, octets)) in (0..).zip(&notes.messages) {
            assert_eq!((got, octets), (&item(n), &body(n)));
        }
    }
}

#[test]
fn a_full_disk_is_told_with_what_came_before_it() {
    let (mut sink, other) = pair(Notes { bundle: 10, full_at: Some(3_000), ..Notes::default() });
    sink.mailbox(&Place { name: "a".into(), ..Place::default() }).unwrap();
    let mut fates = 0;
    let error = (0..100_000).find_map(|n| {
        let result = sink.put(&item(n), &mut body(n).as_slice());
        fates += sink.fates().len();
        result.err()
    });
    fates += sink.fates().len();
    assert!(matches!(error, Some(Error::Full)), "{error:?}");
    assert_eq!(fates, 3_000);
    assert!(matches!(other.join().unwrap().1, Err(Error::Full)));
}

#[test]
fn an_end_that_is_gone_is_noticed_on_both_sides() {
    let (mut sink, other) = pair(Notes { bundle: 1, ..Notes::default() });
    sink.mailbox(&Place { name: "a".into(), ..Place::default() }).unwrap();
    sink.put(&item(1), &mut body(1).as_slice()).unwrap();
    drop(sink);
    // Without its `end` nothing says that this was all.
    assert!(matches!(other.join().unwrap().1, Err(Error::Lost(_))));

    let (here, there) = UnixStream::pair().unwrap();
    let mut sink = FrameSink::new(here).unwrap();
    refuse(&there, &Error::Busy);
    drop(there);
    assert!(matches!(
        sink.mailbox(&Place { name: "a".into(), ..Place::default() }),
        Err(Error::Busy | Error::Lost(_))
    ));
}

#[test]
fn a_slow_sender_learns_fates_without_asking() {
    let (mut sink, _other) = pair(Notes { bundle: 1_000, ..Notes::default() });
    sink.mailbox(&Place { name: "a".into(), ..Place::default() }).unwrap();
    sink.put(&item(1), &mut body(1).as_slice()).unwrap();
    sink.settle().unwrap();
    assert_eq!(sink.fates().len(), 1);
}

#[test]
fn nonsense_ends_the_conversation_with_a_word() {
    for nonsense in
        [&b"hello\n"[..], b"{\"put\":{\"to\":[9],\"length\":1}}\nx", &[b'x'; limits::PORT_FRAME + 1]]
    {
        let (here, there) = UnixStream::pair().unwrap();
        let other = thread::spawn(move || {
            let mut writer = Picky;
            receive(there, &mut writer)
        });
        let mut stream = &here;
        let _ = stream.write_all(nonsense);
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        assert!(said.contains("\"stop\""), "{said}");
        assert!(other.join().unwrap().is_err());
    }
}

/// Has no mailbox at all.
struct Picky;

impl Sink for Picky {
    fn mailbox(&mut self, place: &Place) -> Result<Opened, Error> {
        Err(Error::NoMailbox { name: place.name.clone(), why: "none".into() })
    }
    fn put(&mut self, _: &Item, _: &mut dyn Read) -> Result<(), Error> {
        Err(Error::Talk("a mailbox was named that was not asked for".into()))
    }
    fn fates(&mut self) -> Vec<Vec<Fate>> {
        Vec::new()
    }
    fn settle(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
