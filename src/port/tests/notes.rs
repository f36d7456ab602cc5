//! A sink that remembers what it is given, for tests.

use std::io::Read;

use super::{Error, Fate, Item, Opened, Place, Sink, Spot};

/// What came: mailboxes, and messages with the names of theirs.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) places: Vec<Place>,
    pub(super) messages: Vec<(Vec<String>, Item, Vec<u8>)>,
    fates: Vec<Vec<Fate>>,
}

impl Notes {
    /// The messages as texts: mailboxes, flags and keywords, date, octets; sorted.
    pub(super) fn told(&self) -> Vec<String> {
        let mut told: Vec<String> =
            self.messages.iter().map(|(to, item, octets)| tell(to, item, octets)).collect();
        told.sort();
        told
    }
}

/// A message as text.
pub(super) fn tell(to: &[String], item: &Item, octets: &[u8]) -> String {
    let mut words: Vec<String> = item.flags.system.iter().map(|f| f.name().to_owned()).collect();
    let mut keywords: Vec<String> = item.flags.keywords.iter().map(ToString::to_string).collect();
    keywords.sort();
    words.append(&mut keywords);
    let date = item.date.map(|d| format!("{} {}", d.unix, d.zone_minutes)).unwrap_or_default();
    format!("{}|{}|{date}|{}", to.join(","), words.join(" "), octets.escape_ascii())
}

impl Sink for Notes {
    fn mailbox(&mut self, place: &Place) -> Result<Opened, Error> {
        let at = self.places.iter().position(|p| p.name == place.name).unwrap_or_else(|| {
            self.places.push(place.clone());
            self.places.len() - 1
        });
        Ok(Opened { spot: Spot(u32::try_from(at).unwrap()), path: place.name.clone(), made: false })
    }
    fn put(&mut self, item: &Item, octets: &mut dyn Read) -> Result<(), Error> {
        let mut message = Vec::new();
        octets.read_to_end(&mut message).unwrap();
        let to = item.to.iter().map(|spot| self.places[spot.0 as usize].name.clone()).collect();
        self.messages.push((to, item.clone(), message));
        self.fates.push(vec![Fate::Placed; item.to.len()]);
        Ok(())
    }
    fn fates(&mut self) -> Vec<Vec<Fate>> {
        std::mem::take(&mut self.fates)
    }
    fn settle(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
