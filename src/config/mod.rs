//! What `config.toml` says: the host's facts, and nothing that changes while the server runs (domains, accounts and
//! aliases live in the store). Each key stands once, with its default and its words, in [`keys`].
//!
//! Reading it has no effects but looking at the files it names.

mod check;
mod keys;
mod network;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use keys::{Address, Config, Level, Limits, Listen, Log, LogFormat, Tls, example};
pub use network::Network;

/// Where it is looked for unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/penfold/config.toml";

/// Why a configuration cannot be used. The text names the file, the place, what was found and what is expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A key or value is wrong.
    #[error("{0}")]
    Wrong(Box<Wrong>),
}

/// A wrong key or value, and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The file.
    pub path: PathBuf,
    /// Line and column, from 1; `None` for a key that is not in the file (its default does not fit).
    pub place: Option<(usize, usize)>,
    /// The line itself.
    pub line: String,
    /// What was found and what is expected.
    pub problem: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((line, column)) = self.place else {
            return write!(f, "{}: {}", self.path.display(), self.problem);
        };
        writeln!(f, "{}, line {line}, column {column}: {}", self.path.display(), self.problem)?;
        let number = line.to_string();
        writeln!(f, "  {number} | {}", self.line)?;
        write!(f, "  {:w$} | {:c$}^", "", "", w = number.len(), c = column.saturating_sub(1))
    }
}

impl Config {
    /// Reads and checks a file. Relative paths in it are taken from its directory.
    pub fn load(path: &Path) -> Result<Config, Error> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let mut config = Config::parse(&text, path)?;
        config.check(&text, path)?;
        Ok(config)
    }

    /// Reads `text`; `path` is for error messages only. What the values mean is not looked at.
    pub fn parse(text: &str, path: &Path) -> Result<Config, Error> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            Error::Wrong(Box::new(Wrong::at(text, path, at, in_plain_words(error.message()))))
        })
    }
}

/// The reader's message, with a word for what it calls by its name in Rust.
fn in_plain_words(message: &str) -> String {
    match message.rsplit_once(", expected ") {
        // Of undelete_days.
        Some((found, "u16")) => format!("{found}, expected a whole number from 0 to {}", u16::MAX),
        Some((found, "usize" | "u64" | "u32")) => format!("{found}, expected a whole number"),
        Some((found, "a string")) => format!("{found}, expected text in quotes"),
        _ => message.to_owned(),
    }
}

impl Wrong {
    fn at(text: &str, path: &Path, offset: usize, problem: String) -> Wrong {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Wrong {
            path: path.to_owned(),
            place: Some((
                before.matches('\n').count() + 1,
                before.get(line_start..).unwrap_or_default().chars().count() + 1,
            )),
            line: text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default().to_owned(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        let path = Path::new("/etc/penfold/config.toml");
        let read = Config::parse(text, path).and_then(|mut config| {
            config.check(text, path)?;
            Ok(config)
        });
        read.unwrap_err().to_string()
    }

    #[test]
    fn the_example_file_is_what_the_code_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
        if std::env::var_os("PENFOLD_BLESS").is_some() {
            std::fs::write(&path, example()).unwrap();
        }
        let on_disk = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            on_disk == example(),
            "config.example.toml is old: run `PENFOLD_BLESS=1 cargo test config::`"
        );
    }

    #[test]
    fn the_example_says_the_defaults() {
        // As it stands, all keys are comments.
        assert_eq!(Config::parse(&example(), Path::new("x")).unwrap(), Config::default());
        // Uncommented, each key is read, and the ones that have a default show it.
        let keys: String = example()
            .lines()
            .filter_map(|line| match line.strip_prefix('#') {
                Some(key) if !key.is_empty() && !key.starts_with(' ') => Some(format!("{key}\n")),
                Some(_) => None,
                None => Some(format!("{line}\n")),
            })
            .collect();
        let mut read = Config::parse(&keys, Path::new("x")).unwrap();
        assert!(keys.matches(" = ").count() >= 22, "{keys}");
        assert!(read.hostname.is_some() && read.postmaster.is_some() && read.tls.key.is_some());
        (read.hostname, read.postmaster) = (None, None);
        (read.tls.certificate, read.tls.key, read.tls.names) = (None, None, Vec::new());
        assert_eq!(read, Config::default());
    }

    #[test]
    fn wrong_keys_and_values_are_named_with_their_place() {
        for (text, says) in [
            (
                "hostnam = \"a.example\"",
                &["line 1, column 1", "`hostnam`", "`hostname`", "1 | hostnam", "   | ^"][..],
            ),
            ("[listen]\n\nsmtp = \"x\"", &["line 3, column 8", "\"x\"", "sequence"]),
            (
                "[listen]\nsmtp = [\"0.0.0.0\"]",
                &["line 2, column 8", "\"0.0.0.0\"", "an address with its port"],
            ),
            ("[limits]\nconnections = -1", &["line 2, column 15", "-1", "integer"]),
            (
                "[limits]\nconnections = \"many\"",
                &["line 2, column 15", "\"many\"", "expected a whole number"],
            ),
            ("hostname = 5", &["line 1, column 12", "`5`", "expected text in quotes"]),
            ("hostname = \"a.example\"\ndata_dir = \"\"", &["line 2, column 12", "data_dir", "found \"\""]),
            ("[log]\nlevel = \"loud\"", &["line 2, column 9", "`loud`", "`info`"]),
            ("undelete_days = 70000", &["line 1, column 17", "70000", "from 0 to 65535"]),
            ("undelete_days = -1", &["-1", "from 0 to 65535"]),
            ("hostname = \"a.example\"\n[limits]\nmessage_size = 100000000", &["line 3", "at most 50000000"]),
            ("data_dir = ", &["line 1", "expected"]),
            ("[limit]\n", &["line 1", "`limit`", "`limits`"]),
            // What the values mean.
            ("hostname = \"mail\"", &["line 1, column 12", "\"mail\"", "mail.example.org"]),
            (
                "hostname = \"a.example\"\n[limits]\nconnections = 0",
                &["line 3, column 15", "found 0", "at least 1"],
            ),
            ("hostname = \"a.example\"\n[tls]\ncertificate = \"/x\"", &["line 3, column 15", "tls.key"]),
            (
                "hostname = \"a.example\"\n[tls]\ncertificate = \"/nowhere/x\"\nkey = \"/nowhere/y\"",
                &["line 3, column 15", "/nowhere/x", "No such file"],
            ),
            (
                "hostname = \"a.example\"\n[listen]\nimap = [\"[::]:993\"]",
                &["line 3, column 8", "[::]:993", "listen.imaps"],
            ),
        ] {
            let problem = problem(text);
            for part in says {
                assert!(problem.contains(part), "{text:?} gives {problem:?}, without {part:?}");
            }
        }
    }

    #[test]
    fn relative_paths_are_taken_from_the_files_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "hostname = \"Mail.Example.ORG\"\ndata_dir = \"data\"\n").unwrap();
        let config = Config::load(&path).unwrap();
        assert_eq!(config.data_dir, dir.path().join("data"));
        assert_eq!(config.hostname.as_deref(), Some("mail.example.org"));
        assert!(matches!(Config::load(&dir.path().join("none")), Err(Error::Read { .. })));
    }
}
