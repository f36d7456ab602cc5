//! Lines of books in the index: `q`, the book's number, the line's key. `Q` says how many there are and what they add up to.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::sync::Arc;

use siphasher::sip::SipHasher24;

use crate::codec::{Put, Take};
use crate::id::Location;
use crate::index::{Index, IndexError, Writes};
use crate::state::book::{self, Content, Line, Lines, Tally};

use super::corrupt;

pub(crate) const LINE: u8 = b'q';
const TALLY: &[u8] = b"Q";

/// A line's key here.
pub(crate) fn key(name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(LINE);
    key.extend_from_slice(name);
    key
}

fn encode(line: &Line) -> Vec<u8> {
    let mut v = Vec::with_capacity(12 + line.value.len());
    encode_content(line.content, &mut v);
    v.extend_from_slice(&line.value);
    v
}

/// A content, or three zeros: no content has no octets.
pub(crate) fn encode_content(content: Option<Content>, to: &mut Vec<u8>) {
    let (at, size) = content.map_or((Location { segment: 0, ordinal: 0 }, 0), |c| (c.at, c.size));
    to.u32(at.segment);
    to.u32(at.ordinal);
    to.u32(size);
}

pub(crate) fn decode_content(take: &mut Take<'_>) -> Option<Option<Content>> {
    let at = Location { segment: take.u32()?, ordinal: take.u32()? };
    match take.u32()? {
        0 if (at.segment, at.ordinal) == (0, 0) => Some(None),
        0 => None,
        size => Some(Some(Content { at, size })),
    }
}

fn decode(value: &[u8]) -> Option<Line> {
    let mut take = Take::new(value);
    let content = decode_content(&mut take)?;
    Some(Line { content, value: value.get(12..)?.to_vec() })
}

/// A line as it lies here; `None` if the key is another's, or it is not what was written.
pub(crate) fn line(key: &[u8], value: &[u8]) -> Option<(Vec<u8>, Line)> {
    let (&LINE, name) = key.split_first()? else { return None };
    Some((name.to_vec(), decode(value).filter(|_| book::is_name(name))?))
}

/// What a line adds to a [`Tally`].
pub(crate) fn weight(key: &[u8], value: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write_u32(key.len() as u32);
    hasher.write(key);
    hasher.write(value);
    hasher.finish()
}

/// A line that was not there before.
pub(crate) fn put_line(to: &mut Writes, name: &[u8], line: &Line, tally: &mut Tally) {
    let (key, value) = (key(name), encode(line));
    tally.add(weight(&key, &value));
    to.put(key, value);
}

pub(crate) fn put_tally(to: &mut Writes, tally: Tally) {
    let mut value = Vec::with_capacity(16);
    value.u64(tally.lines);
    value.u64(tally.sum);
    to.put(TALLY.to_vec(), value);
}

/// What the lines of an index must add up to.
pub(crate) fn tally(index: &dyn Index) -> Result<Tally, IndexError> {
    let value = index.get(TALLY)?.ok_or_else(|| corrupt("the tally of books"))?;
    let mut take = Take::new(&value);
    match (take.u64(), take.u64()) {
        (Some(lines), Some(sum)) => Ok(Tally { lines, sum }),
        _ => Err(corrupt("the tally of books")),
    }
}

/// One line.
pub(crate) fn get_line(index: &dyn Index, name: &[u8]) -> Result<Option<Line>, IndexError> {
    let Some(value) = index.get(&key(name))? else { return Ok(None) };
    decode(&value).map(Some).ok_or_else(|| corrupt("a line of a book"))
}

/// What makes the index's books what they are now, and what they add up to then. Returns the octets of contents that are named no longer.
pub(crate) fn put_lines(
    to: &mut Writes,
    index: &dyn Index,
    lines: &Lines,
    tally: &mut Tally,
) -> Result<u64, IndexError> {
    let mut forgotten = 0;
    for (name, line) in &lines.changed {
        let key = key(name);
        let before = index.get(&key)?;
        if let Some(value) = &before {
            tally.take(weight(&key, value));
        }
        match line {
            Some(line) => put_line(to, name, line, tally),
            None => {
                let before = before.map(|value| decode(&value).ok_or_else(|| corrupt("a line of a book")));
                let content = before.transpose()?.and_then(|line| line.content);
                forgotten += content.map_or(0, |content| u64::from(content.size));
                to.delete(key);
            }
        }
    }
    if !lines.is_empty() {
        put_tally(to, *tally);
    }
    Ok(forgotten)
}

/// Lines with `from <= name < to`: those that memory has changed, and what the index has of the others, as many as
/// `most`.
pub(crate) fn lines_between(
    index: Option<&dyn Index>,
    memory: BTreeMap<Vec<u8>, Option<Arc<Line>>>,
    from: &[u8],
    to: &[u8],
    most: usize,
) -> Result<Vec<(Vec<u8>, Line)>, IndexError> {
    const PAGE: usize = 64 << 10;
    let mut found = Vec::new();
    let mut memory = memory.into_iter().peekable();
    let (mut at, end) = (key(from), key(to));
    loop {
        let page = index.map_or_else(|| Ok(Vec::new()), |index| index.page(&at, &end, PAGE))?;
        let last = page.last().map(|(key, _)| key.clone());
        for (key, value) in page {
            let (name, there) = line(&key, &value).ok_or_else(|| corrupt("a line of a book"))?;
            while let Some((before, line)) = memory.next_if(|(changed, _)| *changed < name) {
                found.extend(line.map(|line| (before, Line::clone(&line))));
            }
            match memory.next_if(|(changed, _)| *changed == name) {
                Some((name, line)) => found.extend(line.map(|line| (name, Line::clone(&line)))),
                None => found.push((name, there)),
            }
        }
        match last.filter(|_| found.len() < most) {
            Some(last) => at = [&last[..], &[0]].concat(),
            None => break,
        }
    }
    if found.len() < most {
        found.extend(memory.filter_map(|(name, line)| line.map(|line| (name, Line::clone(&line)))));
    }
    found.truncate(most);
    Ok(found)
}
