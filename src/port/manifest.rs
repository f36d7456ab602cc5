//! `penfold-export.json`: written last into an export, it names the mailboxes of its files. What a directory cannot be
//! called, a mailbox still can.

use serde::{Deserialize, Serialize};
use wire::flag::SpecialUse;

/// The file's name.
pub(super) const NAME: &str = "penfold-export.json";
/// The form written here.
const FORM: u32 = 1;

/// An export's table of contents.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Of this file.
    pub penfold_export: u32,
    /// `mbox` or `maildir`.
    pub format: String,
    /// Whose mail it was.
    pub account: String,
    /// What is where.
    pub mailboxes: Vec<Entry>,
}

/// One mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its name.
    pub name: String,
    /// The file, or the directory that has `cur`; from the export's own directory, which is `.`.
    pub path: String,
    /// Its special use as the attribute (`\Sent`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special_use: Option<String>,
    /// How many messages.
    pub messages: u64,
}

impl Manifest {
    pub(super) fn new(format: &str, account: &str) -> Manifest {
        Manifest {
            penfold_export: FORM,
            format: format.into(),
            account: account.into(),
            mailboxes: Vec::new(),
        }
    }

    /// Reads one; `None` if it is none, or of a later form.
    pub(super) fn read(text: &[u8]) -> Option<Manifest> {
        serde_json::from_slice::<Manifest>(text).ok().filter(|m| m.penfold_export == FORM)
    }

    /// The mailbox of a path.
    pub(super) fn at(&self, path: &str) -> Option<&Entry> {
        self.mailboxes.iter().find(|entry| entry.path == path)
    }
}

impl Entry {
    pub(super) fn place(&self) -> super::Place {
        let special_use = self.special_use.as_ref().and_then(|u| SpecialUse::parse(u.as_bytes()));
        super::Place { name: self.name.clone(), special_use, by_use: false }
    }
}
