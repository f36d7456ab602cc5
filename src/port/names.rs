//! Mailbox names from elsewhere as ours: levels parted by `/`, INBOX in capitals, nothing in them that no name may have
//! (RFC 3501 s.5.1), and the usual names of mailboxes with a special use (RFC 6154).

use wire::flag::SpecialUse;
use wire::limits;

use super::Place;

/// The levels of a name.
pub(super) fn levels(name: &str, separator: &str) -> Vec<String> {
    if separator.is_empty() {
        vec![name.to_owned()]
    } else {
        name.split(separator).map(str::to_owned).collect()
    }
}

/// What other programs call the mailboxes that have a special use, in small letters, at the top level.
const USUAL: &[(SpecialUse, &[&str])] = &[
    (
        SpecialUse::Sent,
        &[
            "sent",
            "sent items",
            "sent mail",
            "sent messages",
            "gesendet",
            "gesendete objekte",
            "gesendete elemente",
        ],
    ),
    (SpecialUse::Drafts, &["drafts", "draft", "entwürfe"]),
    (
        SpecialUse::Trash,
        &["trash", "deleted items", "deleted messages", "bin", "papierkorb", "gelöschte elemente"],
    ),
    (SpecialUse::Junk, &["junk", "spam", "junk e-mail", "junk email", "bulk mail"]),
    (SpecialUse::Archive, &["archive", "archives", "archiv"]),
];

/// The special use that a top-level name has everywhere.
pub(super) fn usual_use(name: &str) -> Option<SpecialUse> {
    let small = name.to_lowercase();
    USUAL.iter().find(|(_, names)| names.contains(&small.as_str())).map(|(special, _)| *special)
}

/// Makes a name out of levels that may be anything. Whether it had to be mended.
pub(super) fn mend(levels: &[String]) -> (String, bool) {
    let mut mended = false;
    let mut sound: Vec<String> = Vec::with_capacity(levels.len());
    for level in levels {
        let plain: String = level
            .trim()
            .chars()
            .map(|c| if c.is_control() || c == '/' || c == '\u{fffd}' { '_' } else { c })
            .collect();
        let plain = if plain.is_empty() { "_".to_owned() } else { plain };
        mended |= plain != *level;
        sound.push(plain);
    }
    if sound.is_empty() {
        return ("INBOX".into(), true);
    }
    if sound.len() > limits::MAILBOX_DEPTH {
        let rest = sound.split_off(limits::MAILBOX_DEPTH - 1);
        sound.push(rest.join("_"));
        mended = true;
    }
    let mut name = sound.join("/");
    if name.len() > limits::MAILBOX_NAME {
        let mut end = limits::MAILBOX_NAME;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
        while name.ends_with('/') {
            name.pop();
        }
        mended = true;
    }
    (store::canonical(&name), mended)
}

/// Whether a mailbox here may be called so; why not.
///
/// # Errors
/// The reason, in words.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a mailbox has a name".into());
    }
    match mend(&levels(name, "/")) {
        (_, false) => Ok(()),
        (nearest, true) => Err(format!("no mailbox can be called so; {nearest:?} would be the nearest")),
    }
}

/// Where mail of a source's mailbox goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Placing {
    /// `--into`: everything goes below this mailbox.
    pub into: Option<String>,
}

impl Placing {
    /// The mailbox for a source's mailbox, and what it was called there if its name had to be mended.
    pub(super) fn place(
        &self,
        levels: &[String],
        special_use: Option<SpecialUse>,
    ) -> (Place, Option<String>) {
        let (name, mended) = mend(levels);
        let told = mended.then(|| levels.join("/"));
        if let Some(into) = &self.into {
            return (
                Place {
                    name: mend(
                        &[into.as_str(), name.as_str()].map(|n| super::names::levels(n, "/")).concat(),
                    )
                    .0,
                    special_use: None,
                    by_use: false,
                },
                told,
            );
        }
        let usual = if levels.len() == 1 { usual_use(&name) } else { None };
        match special_use.or(usual) {
            Some(special) => (
                Place { name: special.default_name().into(), special_use: Some(special), by_use: true },
                told,
            ),
            None => (Place { name, special_use: None, by_use: false }, told),
        }
    }

    /// The mailbox for a source that is one mailbox: `--into` itself, or the name it has.
    pub(super) fn only(&self, name: &str) -> (Place, Option<String>) {
        match &self.into {
            Some(into) => {
                let given = levels(into, "/");
                let (name, mended) = mend(&given);
                (Place { name, special_use: None, by_use: false }, mended.then(|| into.clone()))
            }
            None => self.place(&[name.to_owned()], None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_elsewhere() {
        let long = "x".repeat(1_500);
        for (levels, name, mended) in [
            (&["inbox"][..], "INBOX", false),
            (&["Inbox", "a"], "INBOX/a", false),
            (&["a/b", "c"], "a_b/c", true),
            (&["a", "", "b"], "a/_/b", true),
            (&["a\u{7}b\n"], "a_b", true),
            (&[" x "], "x", true),
            (&[], "INBOX", true),
            (&[&long], &long[..1_000], true),
        ] {
            let levels: Vec<String> = levels.iter().map(ToString::to_string).collect();
            assert_eq!(mend(&levels), (name.to_owned(), mended), "{levels:?}");
        }
        let deep: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        assert_eq!(mend(&deep).0.split('/').count(), limits::MAILBOX_DEPTH);
    }

    #[test]
    fn where_mailboxes_go() {
        let at = |into: Option<&str>, levels: &[&str]| {
            let levels: Vec<String> = levels.iter().map(ToString::to_string).collect();
            let placing = Placing { into: into.map(str::to_owned) };
            let (place, _) = placing.place(&levels, None);
            (place.name, place.by_use)
        };
        assert_eq!(at(None, &["Sent Items"]), ("Sent".into(), true));
        assert_eq!(at(None, &["Work", "Sent Items"]), ("Work/Sent Items".into(), false));
        assert_eq!(at(Some("Old"), &["Sent Items"]), ("Old/Sent Items".into(), false));
        assert_eq!(at(Some("Old/Mail"), &["INBOX"]), ("Old/Mail/INBOX".into(), false));
        let only = |into: Option<&str>| Placing { into: into.map(str::to_owned) }.only("inbox").0.name;
        assert_eq!((only(None), only(Some("Old"))), ("INBOX".into(), "Old".into()));
    }
}
