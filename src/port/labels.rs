//! Gmail's labels as Takeout writes them: which mailboxes, flags and keywords they stand for.
//!
//! `X-Gmail-Labels: Inbox,Opened,"a, b",Work/Travel`, with RFC 2047 encoded words for what is not ASCII. Gmail's own labels
//! come in the account's language; those of some languages are known here, others become mailboxes of their names.

use wire::flag::{FlagNames, Keyword, SpecialUse, SystemFlag};

use super::names;

/// What a label stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Inbox,
    Use(SpecialUse),
    Starred,
    Unread,
    Opened,
    Important,
    /// Nothing: it says how Gmail shows the message.
    Nothing,
}

const MEANINGS: &[(Meaning, &[&str])] = &[
    (
        Meaning::Inbox,
        &[
            "inbox",
            "posteingang",
            "boîte de réception",
            "recibidos",
            "posta in arrivo",
            "postvak in",
            "caixa de entrada",
        ],
    ),
    (
        Meaning::Use(SpecialUse::Sent),
        &[
            "sent",
            "gesendet",
            "messages envoyés",
            "envoyés",
            "enviados",
            "posta inviata",
            "inviati",
            "verzonden",
        ],
    ),
    (
        Meaning::Use(SpecialUse::Drafts),
        &["drafts", "draft", "entwürfe", "brouillons", "borradores", "bozze", "concepten", "rascunhos"],
    ),
    (
        Meaning::Use(SpecialUse::Trash),
        &["trash", "bin", "papierkorb", "corbeille", "papelera", "cestino", "prullenbak", "lixeira"],
    ),
    (Meaning::Use(SpecialUse::Junk), &["spam", "ungewenst"]),
    (
        Meaning::Use(SpecialUse::Archive),
        &[
            "archived",
            "archiviert",
            "archivés",
            "archivé",
            "archivado",
            "archiviati",
            "gearchiveerd",
            "arquivados",
        ],
    ),
    (
        Meaning::Starred,
        &["starred", "markiert", "suivis", "destacados", "speciali", "met ster", "com estrela"],
    ),
    (
        Meaning::Unread,
        &["unread", "ungelesen", "non lus", "no leídos", "non lette", "da leggere", "ongelezen", "não lidas"],
    ),
    (Meaning::Opened, &["opened", "geöffnet", "ouvert", "abierto", "aperto", "geopend", "abertos"]),
    (
        Meaning::Important,
        &["important", "wichtig", "importants", "importantes", "importanti", "belangrijk", "importante"],
    ),
    (Meaning::Nothing, &["all mail", "muted", "\\important", "alle nachrichten"]),
];

/// Where a message goes by its labels, and with which flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Labelled {
    /// Mailboxes: levels, and the special use.
    pub places: Vec<(Vec<String>, Option<SpecialUse>)>,
    /// Flags and keywords.
    pub flags: FlagNames,
}

/// Reads the field's value.
pub(super) fn read(value: &[u8]) -> Labelled {
    let text = crate::mime::words::header_text(value);
    let mut labelled = Labelled::default();
    let mut unread = false;
    for label in split(&text) {
        let small = label.to_lowercase();
        let meaning = MEANINGS.iter().find(|(_, names)| names.contains(&small.as_str())).map(|(m, _)| *m);
        let flags = &mut labelled.flags;
        match meaning {
            Some(Meaning::Inbox) => labelled.places.push((vec!["INBOX".into()], None)),
            // It is in no other mailbox, or else in those that its labels name.
            Some(Meaning::Opened | Meaning::Nothing | Meaning::Use(SpecialUse::Archive)) => {}
            Some(Meaning::Use(special)) => {
                labelled.places.push((vec![special.default_name().into()], Some(special)));
                if special == SpecialUse::Drafts {
                    flags.system = flags.system.with(SystemFlag::Draft);
                }
            }
            Some(Meaning::Starred) => flags.system = flags.system.with(SystemFlag::Flagged),
            Some(Meaning::Unread) => unread = true,
            Some(Meaning::Important) => flags.keywords.extend(Keyword::parse(b"$Important")),
            // The tabs of the inbox: kept as keywords, since a message has one of them beside its mailbox.
            None if small.starts_with("category ") => {
                let word: String = label.chars().map(|c| if c == ' ' { '-' } else { c }).collect();
                Keyword::parse(word.as_bytes()).into_iter().for_each(|k| flags.add_keyword(k));
            }
            None => labelled.places.push((names::levels(&label, "/"), None)),
        }
    }
    if !unread {
        labelled.flags.system = labelled.flags.system.with(SystemFlag::Seen);
    }
    labelled.places.dedup();
    if labelled.places.is_empty() {
        let archive = SpecialUse::Archive;
        labelled.places.push((vec![archive.default_name().into()], Some(archive)));
    }
    labelled.places.truncate(wire::limits::PORT_COPIES);
    labelled
}

/// The labels of a list: parted by commas, in quotes where a comma is part of one.
fn split(text: &str) -> Vec<String> {
    let mut labels = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => labels.push(String::new()),
            c => {
                if let Some(label) = labels.last_mut() {
                    label.push(c);
                }
            }
        }
    }
    labels.into_iter().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_mailboxes_flags_and_keywords() {
        for (value, places, flags, keywords) in [
            ("Inbox,Opened", "INBOX", "\\Seen", ""),
            ("Inbox,Unread", "INBOX", "", ""),
            ("Sent", "Sent", "\\Seen", ""),
            ("Drafts,Starred", "Drafts", "\\Flagged \\Seen \\Draft", ""),
            ("Archived,Important,Work/Travel", "Work/Travel", "\\Seen", "$Important"),
            ("Archived,Opened,Category Updates", "Archive", "\\Seen", "Category-Updates"),
            ("Spam,Unread", "Junk", "", ""),
            ("\"Bills, paid\",Inbox", "Bills, paid|INBOX", "\\Seen", ""),
            ("=?UTF-8?Q?Posteingang,Entw=C3=BCrfe,Ungelesen,Caf=C3=A9?=", "INBOX|Drafts|Café", "\\Draft", ""),
            ("=?UTF-8?Q?B=C3=BCcher=2F?= =?UTF-8?Q?Krimis,Ge=C3=B6ffnet?=", "Bücher/Krimis", "\\Seen", ""),
            ("", "Archive", "\\Seen", ""),
        ] {
            let labelled = read(value.as_bytes());
            let got: Vec<String> = labelled.places.iter().map(|(levels, _)| levels.join("/")).collect();
            assert_eq!(got.join("|"), places, "{value}");
            let got: Vec<&str> = labelled.flags.system.iter().map(SystemFlag::name).collect();
            assert_eq!(got.join(" "), flags, "{value}");
            let got: Vec<&str> = labelled.flags.keywords.iter().map(Keyword::as_str).collect();
            assert_eq!(got.join(" "), keywords, "{value}");
        }
    }
}
