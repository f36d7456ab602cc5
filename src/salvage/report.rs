//! `REPORT.txt`: what came of a salvage, for whoever has to live with it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use store::salvage::{Lost, Tally};

use super::waiting::{self, Waiting};

/// Being written. The details come as they are found; what counts is put before them at the end.
#[derive(Debug)]
pub struct Report {
    directory: PathBuf,
    lost: BufWriter<File>,
    /// Something was written there.
    details: bool,
    notes: Vec<String>,
    /// Messages by account and folder.
    counts: BTreeMap<(String, String), u64>,
}

const NAME: &str = "REPORT.txt";
const DETAILS: &str = "REPORT.lost";

impl Report {
    /// Begins one in a directory.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn new(directory: &Path) -> io::Result<Report> {
        let lost = BufWriter::new(File::create_new(directory.join(DETAILS))?);
        let directory = directory.to_owned();
        Ok(Report { directory, lost, details: false, notes: Vec::new(), counts: BTreeMap::new() })
    }

    /// A message was written.
    pub(super) fn count(&mut self, account: &str, folder: &str) {
        *self.counts.entry((account.to_owned(), folder.to_owned())).or_default() += 1;
    }

    /// A message cannot be had, or not as it was.
    pub(super) fn lost(&mut self, lost: &Lost) -> io::Result<()> {
        self.details = true;
        let account = lost.account.as_deref().unwrap_or("(nobody knows whose)");
        let (mailbox, uid, size, why) = (&lost.mailbox, lost.uid, lost.size, &lost.why);
        writeln!(self.lost, "  {account}, {mailbox}, UID {uid} ({size} octets): {why}")
    }

    /// A message that waited to be sent cannot be had, or not as it was.
    pub(super) fn waiting(&mut self, message: &Waiting) -> io::Result<()> {
        self.details = true;
        writeln!(self.lost, "  {}:", waiting::NAME)?;
        message.describe().lines().try_for_each(|line| writeln!(self.lost, "  {line}"))
    }

    /// Something was found amiss.
    pub(super) fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    /// Writes it.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn finish(mut self, from: &Path, tally: &Tally) -> io::Result<PathBuf> {
        self.lost.flush()?;
        let path = self.directory.join(NAME);
        let mut out = BufWriter::new(File::create_new(&path)?);
        writeln!(out, "What penfold {} salvaged from {}\n", env!("CARGO_PKG_VERSION"), from.display())?;
        let Tally { messages, recovered, damaged, lost, octets, bad_sectors, .. } = tally;
        writeln!(out, "{messages} messages in their mailboxes, {octets} octets in all")?;
        writeln!(
            out,
            "{recovered} messages that were expunged, or of which nobody knows where they were (Recovered)"
        )?;
        writeln!(out, "{damaged} messages of which some octets are damaged (Damaged)")?;
        writeln!(out, "{lost} messages that are lost; {bad_sectors} sectors that the disk does not give")?;
        let Tally { waiting, waiting_lost, whole, .. } = tally;
        let most = if *whole { "" } else { "at most " };
        writeln!(
            out,
            "{most}{waiting} messages that waited to be sent to other hosts, and {waiting_lost} more that cannot be read"
        )?;
        if !whole && waiting + waiting_lost > 0 {
            writeln!(
                out,
                "  (the log is damaged: some of them may have been sent, and others may be missing)"
            )?;
        }
        writeln!(out)?;
        for ((account, folder), count) in &self.counts {
            writeln!(out, "  {account}, {folder}: {count}")?;
        }
        if self.details {
            writeln!(out, "\nLost or damaged:")?;
            let mut details = File::open(self.directory.join(DETAILS))?;
            io::copy(&mut details, &mut out)?;
        }
        if !self.notes.is_empty() {
            writeln!(out, "\nWhat was found:")?;
            self.notes.iter().try_for_each(|note| writeln!(out, "  {note}"))?;
        }
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::remove_file(self.directory.join(DETAILS))?;
        Ok(path)
    }
}
