//! A mailbox's rows as a two-level spine of shared blocks.
//!
//! A table holds parts, a part holds up to 64 blocks of up to 32 rows. A change copies one block, its part's list and
//! the table's list, some kilooctets at 100,000 messages, whatever readers hold. Two versions are compared by which
//! blocks they share: that is how the applier finds what to write.

use std::sync::Arc;

use wire::ids::Uid;

use super::block::{BLOCK_ROWS, Block, Row};

/// Blocks in a part.
const PART_BLOCKS: usize = 64;
/// A block with fewer rows is merged with its neighbour where both fit.
const SPARSE: usize = BLOCK_ROWS / 4;

#[derive(Clone, Debug)]
struct BlockRef {
    first: u32,
    /// Rows before it within the part.
    before: u32,
    block: Arc<Block>,
}

#[derive(Debug)]
struct Part {
    blocks: Vec<BlockRef>,
    rows: u32,
    newest: u64,
}

#[derive(Clone, Debug)]
struct PartRef {
    first: u32,
    /// Rows before it within the table.
    before: u32,
    part: Arc<Part>,
}

/// Rows in the order of their UIDs.
#[derive(Clone, Debug, Default)]
pub struct Table {
    parts: Arc<Vec<PartRef>>,
    rows: u32,
}

/// What a row becomes.
#[derive(Clone, Copy, Debug)]
pub enum Edit {
    /// As it was.
    Keep,
    /// Another row with the same UID.
    Put(Row),
    /// Gone.
    Remove,
}

impl Part {
    fn new(blocks: Vec<Arc<Block>>) -> Part {
        let mut before = 0;
        let mut newest = 0;
        let blocks = blocks
            .into_iter()
            .map(|block| {
                let this = BlockRef { first: block.uid_at(0), before, block };
                before += this.block.len() as u32;
                newest = newest.max(this.block.newest());
                this
            })
            .collect();
        Part { blocks, rows: before, newest }
    }
    /// The block that `uid` is in, if it is anywhere here.
    fn block_of(&self, uid: u32) -> usize {
        self.blocks.partition_point(|b| b.first <= uid).saturating_sub(1)
    }
}

impl Table {
    /// A table of blocks in the order of UIDs.
    #[must_use]
    pub fn from_blocks(blocks: Vec<Arc<Block>>) -> Table {
        let mut parts = Vec::new();
        let mut blocks = blocks.into_iter().peekable();
        while blocks.peek().is_some() {
            parts.push(Arc::new(Part::new(blocks.by_ref().take(PART_BLOCKS).collect())));
        }
        Table::from_parts(parts)
    }

    /// A table of rows in the order of UIDs.
    #[must_use]
    pub fn of(rows: &[Row]) -> Table {
        Table::from_blocks(rows.chunks(BLOCK_ROWS).map(|rows| Arc::new(Block::pack(rows))).collect())
    }

    fn from_parts(parts: Vec<Arc<Part>>) -> Table {
        let mut before = 0;
        let parts = parts
            .into_iter()
            .map(|part| {
                let this = PartRef { first: part.blocks.first().map_or(0, |b| b.first), before, part };
                before += this.part.rows;
                this
            })
            .collect();
        Table { parts: Arc::new(parts), rows: before }
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.rows
    }
    fn part_of(&self, uid: u32) -> usize {
        self.parts.partition_point(|p| p.first <= uid).saturating_sub(1)
    }

    /// The first row with at least this UID: part, block, row.
    fn seek(&self, uid: u32) -> (usize, usize, usize) {
        let p = self.part_of(uid);
        let Some(part) = self.parts.get(p) else { return (p, 0, 0) };
        let b = part.part.block_of(uid);
        let row = part.part.blocks.get(b).map_or(0, |b| b.block.lower_bound(uid));
        (p, b, row)
    }

    /// The row of a UID.
    #[must_use]
    pub fn row(&self, uid: u32) -> Option<Row> {
        let (p, b, i) = self.seek(uid);
        self.parts.get(p)?.part.blocks.get(b)?.block.get(i).filter(|r| r.uid.get() == uid)
    }

    /// The position of a UID, from 0.
    #[must_use]
    pub fn position(&self, uid: u32) -> Option<u32> {
        let (p, b, i) = self.seek(uid);
        let part = self.parts.get(p)?;
        let block = part.part.blocks.get(b)?;
        (block.block.uid_at(i) == uid && uid > 0).then(|| part.before + block.before + i as u32)
    }

    /// The row at a position, from 0.
    #[must_use]
    pub fn at(&self, position: u32) -> Option<Row> {
        let part = self.parts.get(self.parts.partition_point(|p| p.before <= position).checked_sub(1)?)?;
        let within = position - part.before;
        let blocks = &part.part.blocks;
        let block = blocks.get(blocks.partition_point(|b| b.before <= within).checked_sub(1)?)?;
        block.block.get((within - block.before) as usize)
    }

    /// The last row's UID.
    #[must_use]
    pub fn last_uid(&self) -> Option<Uid> {
        let block = &self.parts.last()?.part.blocks.last()?.block;
        Uid::new(block.uid_at(block.len() - 1))
    }

    /// All blocks, in order.
    pub fn blocks(&self) -> impl Iterator<Item = &Arc<Block>> {
        self.parts.iter().flat_map(|p| p.part.blocks.iter()).map(|b| &b.block)
    }

    /// All rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        self.blocks().flat_map(|b| b.rows())
    }

    /// Rows with `from <= uid <= to`.
    pub fn rows_between(&self, from: u32, to: u32) -> impl Iterator<Item = Row> + '_ {
        let (p, b, i) = self.seek(from);
        let first = self.parts.get(p).into_iter().flat_map(move |part| part.part.blocks.iter().skip(b));
        let rest = self.parts.iter().skip(p + 1).flat_map(|part| part.part.blocks.iter());
        first
            .chain(rest)
            .take_while(move |b| b.first <= to)
            .enumerate()
            .flat_map(move |(n, b)| {
                (if n == 0 { i } else { 0 }..b.block.len()).filter_map(|i| b.block.get(i))
            })
            .take_while(move |r| r.uid.get() <= to)
    }

    /// Rows with a mod-sequence above `since`.
    pub fn rows_since(&self, since: u64) -> impl Iterator<Item = Row> + '_ {
        self.parts
            .iter()
            .filter(move |p| p.part.newest > since)
            .flat_map(|p| p.part.blocks.iter())
            .filter(move |b| b.block.newest() > since)
            .flat_map(|b| b.block.rows())
            .filter(move |r| r.modseq.0 > since)
    }

    /// Adds rows, in rising order and above all there are.
    pub fn append(&mut self, rows: &[Row]) {
        if rows.is_empty() {
            return;
        }
        debug_assert!(self.last_uid() < rows.first().map(|r| r.uid), "rows are added at the end");
        let mut parts: Vec<Arc<Part>> = self.parts.iter().map(|p| p.part.clone()).collect();
        let mut blocks: Vec<Arc<Block>> = match parts.last() {
            Some(p) if p.blocks.len() < PART_BLOCKS || p.blocks[PART_BLOCKS - 1].block.len() < BLOCK_ROWS => {
                parts.pop().map(|p| p.blocks.iter().map(|b| b.block.clone()).collect()).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let mut open: Vec<Row> = match blocks.last() {
            Some(b) if b.len() < BLOCK_ROWS => blocks.pop().map(|b| b.rows().collect()).unwrap_or_default(),
            _ => Vec::new(),
        };
        open.extend_from_slice(rows);
        blocks.extend(open.chunks(BLOCK_ROWS).map(|rows| Arc::new(Block::pack(rows))));
        for blocks in blocks.chunks(PART_BLOCKS) {
            parts.push(Arc::new(Part::new(blocks.to_vec())));
        }
        *self = Table::from_parts(parts);
    }

    /// Looks at the rows of the given runs (sorted, disjoint) and does what `edit` says; other rows stay. Blocks that
    /// nothing happens to are shared with the table as it was. Says how many blocks are new.
    pub fn edit(&mut self, runs: &[(u32, u32)], mut edit: impl FnMut(&Row) -> Edit) -> usize {
        let mut parts: Vec<Arc<Part>> = Vec::with_capacity(self.parts.len());
        let mut new_blocks = 0;
        let mut changed = false;
        for (n, p) in self.parts.iter().enumerate() {
            let last = self.parts.get(n + 1).map_or(u32::MAX, |next| next.first - 1);
            if !touches(runs, p.first, last) {
                parts.push(p.part.clone());
                continue;
            }
            match edit_part(&p.part, last, runs, &mut edit, &mut new_blocks) {
                Some(blocks) => {
                    changed = true;
                    if !blocks.is_empty() {
                        parts.push(Arc::new(Part::new(blocks)));
                    }
                }
                None => parts.push(p.part.clone()),
            }
        }
        if changed {
            *self = Table::from_parts(parts);
        }
        new_blocks
    }

    /// Blocks that one version has and the other has not, in the order of UIDs: `gone` is told the first UID of each
    /// that `self` no longer has, `new` each block that `old` did not have.
    pub fn diff(&self, old: &Table, mut gone: impl FnMut(u32), mut new: impl FnMut(&Arc<Block>)) {
        use std::collections::BTreeMap;
        if Arc::ptr_eq(&self.parts, &old.parts) {
            return;
        }
        let shared: std::collections::HashSet<*const Part> =
            old.parts.iter().map(|p| Arc::as_ptr(&p.part)).collect();
        let kept: std::collections::HashSet<*const Part> =
            self.parts.iter().map(|p| Arc::as_ptr(&p.part)).collect();
        let fresh = |parts: &Arc<Vec<PartRef>>, other: &std::collections::HashSet<*const Part>| {
            parts
                .iter()
                .filter(|p| !other.contains(&Arc::as_ptr(&p.part)))
                .flat_map(|p| p.part.blocks.iter().map(|b| (b.first, b.block.clone())).collect::<Vec<_>>())
                .collect::<BTreeMap<u32, Arc<Block>>>()
        };
        let was = fresh(&old.parts, &kept);
        let is = fresh(&self.parts, &shared);
        for first in was.keys() {
            if !is.contains_key(first) {
                gone(*first);
            }
        }
        for (first, block) in &is {
            if !was.get(first).is_some_and(|b| Arc::ptr_eq(b, block)) {
                new(block);
            }
        }
    }
}

/// Whether any run meets `from..=to`.
fn touches(runs: &[(u32, u32)], from: u32, to: u32) -> bool {
    runs.get(runs.partition_point(|&(_, end)| end < from)).is_some_and(|&(start, _)| start <= to)
}

/// The part's blocks after the edit, or `None` if nothing changed.
fn edit_part(
    part: &Part,
    last: u32,
    runs: &[(u32, u32)],
    edit: &mut impl FnMut(&Row) -> Edit,
    new_blocks: &mut usize,
) -> Option<Vec<Arc<Block>>> {
    let mut blocks: Vec<Arc<Block>> = Vec::with_capacity(part.blocks.len());
    let mut changed = false;
    for (n, b) in part.blocks.iter().enumerate() {
        let end = part.blocks.get(n + 1).map_or(last, |next| next.first - 1);
        let Some(rows) = touches(runs, b.first, end).then(|| edit_block(&b.block, runs, edit)).flatten()
        else {
            blocks.push(b.block.clone());
            continue;
        };
        changed = true;
        if rows.is_empty() {
            continue;
        }
        *new_blocks += 1;
        match blocks.last() {
            Some(before)
                if (rows.len() < SPARSE || before.len() < SPARSE)
                    && before.len() + rows.len() <= BLOCK_ROWS =>
            {
                let merged: Vec<Row> = before.rows().chain(rows).collect();
                blocks.pop();
                blocks.push(Arc::new(Block::pack(&merged)));
            }
            _ => blocks.push(Arc::new(Block::pack(&rows))),
        }
    }
    changed.then_some(blocks)
}

/// The block's rows after the edit, or `None` if nothing changed.
fn edit_block(block: &Block, runs: &[(u32, u32)], edit: &mut impl FnMut(&Row) -> Edit) -> Option<Vec<Row>> {
    let mut rows = Vec::with_capacity(block.len());
    let mut changed = false;
    for row in block.rows() {
        let uid = row.uid.get();
        match if touches(runs, uid, uid) { edit(&row) } else { Edit::Keep } {
            Edit::Keep => rows.push(row),
            Edit::Put(new) => {
                changed = true;
                rows.push(new);
            }
            Edit::Remove => changed = true,
        }
    }
    changed.then_some(rows)
}

#[cfg(test)]
mod tests {
    use super::super::block::tests::any_row;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use wire::ids::ModSeq;

    #[derive(Clone, Debug)]
    enum Op {
        Append(u32),
        Touch(u32, u32),
        Remove(u32, u32),
    }

    fn any_op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (1u32..3000).prop_map(Op::Append),
            (1u32..6000, 0u32..500).prop_map(|(a, n)| Op::Touch(a, a + n)),
            (1u32..6000, 0u32..900).prop_map(|(a, n)| Op::Remove(a, a + n)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_table_agrees_with_a_map(seed in any_row(), ops in prop::collection::vec(any_op(), 1..12)) {
            let mut table = Table::default();
            let mut model: BTreeMap<u32, Row> = BTreeMap::new();
            let mut kept: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
            let mut next = 1;
            for (n, op) in ops.into_iter().enumerate() {
                let before = table.clone();
                let modseq = ModSeq(n as u64 + 1);
                match op {
                    Op::Append(count) => {
                        let rows: Vec<Row> = (next..next + count).map(|u| Row { uid: Uid::new(u).unwrap(), modseq, ..seed }).collect();
                        next += count;
                        table.append(&rows);
                        model.extend(rows.iter().map(|r| (r.uid.get(), *r)));
                    }
                    Op::Touch(a, b) => {
                        table.edit(&[(a, b)], |r| Edit::Put(Row { modseq, ..*r }));
                        for (_, row) in model.range_mut(a..=b) { row.modseq = modseq; }
                    }
                    Op::Remove(a, b) => {
                        table.edit(&[(a, b)], |_| Edit::Remove);
                        model.retain(|u, _| !(a..=b).contains(u));
                    }
                }
                let mut removed = Vec::new();
                table.diff(&before, |first| removed.push(first), |block| { kept.insert(block.uid_at(0), block.octets().to_vec()); });
                for first in removed { kept.remove(&first); }
                prop_assert_eq!(table.rows().collect::<Vec<_>>(), model.values().copied().collect::<Vec<_>>());
                prop_assert_eq!(kept.values().flat_map(|o| Block::from_octets(o).unwrap().rows().collect::<Vec<_>>()).collect::<Vec<_>>(), table.rows().collect::<Vec<_>>());
                prop_assert_eq!(table.len() as usize, model.len());
                let again = Table::from_blocks(table.blocks().cloned().collect());
                prop_assert!(again.rows().eq(table.rows()));
                prop_assert_eq!(table.rows_since(n as u64).count(), model.values().filter(|r| r.modseq == modseq).count());
                for probe in [1, 31, 32, 33, 2047, 2048, 2049, next / 2, next] {
                    prop_assert_eq!(table.row(probe), model.get(&probe).copied());
                    prop_assert_eq!(table.position(probe), model.contains_key(&probe).then(|| model.range(..probe).count() as u32));
                    prop_assert_eq!(table.at(probe), model.values().nth(probe as usize).copied());
                    prop_assert_eq!(table.rows_between(probe, probe + 70).collect::<Vec<_>>(), model.range(probe..=probe + 70).map(|(_, r)| *r).collect::<Vec<_>>());
                }
                prop_assert_eq!(table.last_uid().map(Uid::get), model.keys().next_back().copied());
            }
        }
    }
}
