//! What the store does by itself: it forgets what was expunged long ago, and gives space back.

use super::{Check, DAY, Life};
use std::sync::atomic::Ordering;
use store::Mode;

impl Life {
    /// Some steps of the compactor.
    pub(super) fn compact(&mut self) {
        if self.store().health().mode == Mode::LowSpace {
            // On a full disk what could be brought back makes room, the oldest first.
            self.world.forgettable = self.world.forgettable.max(self.clock.seconds() + DAY);
            self.world.at_once = true;
        }
        for _ in 0..1 + self.rng.below(6) {
            let more = self.store().step_compact();
            self.note(format!("compaction, more: {more}, {:?}", self.store().health().compacted_segments));
            if !more {
                break;
            }
        }
    }

    /// Some hours, or a day or two.
    pub(super) fn pass_days(&mut self) {
        let hours = self.rng.below(50);
        self.note(format!("{hours} hours pass"));
        self.clock.0.fetch_add(hours * 3_600_000, Ordering::Relaxed);
        self.may_forget();
    }

    /// ... and must, once it was given the time.
    pub(super) fn forgets(&mut self) -> Check<()> {
        // What it asked for earlier may still wait: the second look is of now.
        for _ in 0..2 {
            self.clock.0.fetch_add(61_000, Ordering::Relaxed);
            self.may_forget();
            while self.store().step_apply() {}
            while self.store().step_commit() {
                self.hear()?;
            }
        }
        if self.disk.is_off() || self.hurt || self.index_hurt || self.store().health().time_frozen {
            return Ok(());
        }
        self.check("after forgetting")?;
        let hour = self.over() / 3_600 * 3_600;
        match self.world.kept.iter().find(|kept| kept.time < Some(hour)) {
            Some(kept) => Err(format!("kept too long: {kept:?}, until {hour}")),
            None => Ok(()),
        }
    }
}
