//! Many entries in the order of their keys, a page at a time, so that few are in memory however many there are.

use super::{Index, IndexError, Pair};

/// Octets of a page.
const PAGE: usize = 256 << 10;

/// Entries whose keys begin alike. Between two pages the index may be asked anything else.
#[derive(Debug)]
pub struct Pages {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Pages {
    /// Of every key that begins so (with something other than `0xff` in it).
    pub fn of(prefix: &[u8]) -> Pages {
        let mut to = prefix.to_vec();
        while to.pop_if(|last| *last == u8::MAX).is_some() {}
        if let Some(last) = to.last_mut() {
            *last += 1;
        }
        Pages { from: prefix.to_vec(), to }
    }

    /// The next entries; `None` when there are no more.
    pub fn next(&mut self, index: &dyn Index) -> Result<Option<Vec<Pair>>, IndexError> {
        let page = index.page(&self.from, &self.to, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(None) };
        // The least key above it.
        self.from = [&last[..], &[0]].concat();
        Ok(Some(page))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::model::ModelHost;
    use crate::index::{IndexHost as _, Writes};
    use crate::vfs::sim::SimDisk;

    #[test]
    fn every_entry_comes_once_and_no_other() {
        let index = ModelHost::new(SimDisk::new(1).vfs()).open("index").unwrap();
        let mut writes = Writes::new();
        let keys =
            |id: u32| (0..400u32).map(move |n| [b"b", &id.to_be_bytes()[..], &n.to_be_bytes()].concat());
        for id in [254, 255, 256] {
            keys(id).for_each(|key| writes.put(key, vec![7; 1000]));
        }
        writes.put(*b"a", *b"x");
        writes.put(*b"c", *b"x");
        index.apply(writes).unwrap();
        let walk = |prefix: &[u8]| {
            let (mut pages, mut found, mut count) = (Pages::of(prefix), Vec::new(), 0);
            while let Some(page) = pages.next(&*index).unwrap() {
                count += 1;
                assert!(page.len() <= 1 + PAGE / 1000, "{}", page.len());
                found.extend(page.into_iter().map(|(key, _)| key));
            }
            (found, count)
        };
        for id in [254, 255, 256] {
            let (found, pages) = walk(&[b"b", &u32::to_be_bytes(id)[..]].concat());
            assert!(found.into_iter().eq(keys(id)) && pages > 1, "{id}");
        }
        assert_eq!(walk(b"b").0.len(), 1200);
        assert_eq!(walk(b"d"), (vec![], 0));
    }
}
