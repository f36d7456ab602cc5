//! Giving space back: a sealed main segment of which much is dead is rewritten in its place.
//!
//! The next generation (`NNNNNNNN.g2`, `.g3`...) holds the survivors octet for octet, under the ordinals that they always
//! had: locations, rows and digests stay as they are, and who reads at the moment keeps the file that he has open. Changes
//! are left out: the snapshots hold what they came to.

pub(crate) mod format;
pub(crate) mod rewrite;
