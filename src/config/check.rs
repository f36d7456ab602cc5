//! What values mean: checked after the file has been read, with the place of what is wrong.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{Config, Error, Wrong};

impl Config {
    /// Checks what `text` (read from `path`) says, and makes its paths absolute.
    pub(super) fn check(&mut self, text: &str, path: &Path) -> Result<(), Error> {
        let wrong = |key: &str, problem: String| {
            let wrong = match place_of(text, key) {
                Some(offset) => Wrong::at(text, path, offset, format!("{key}: {problem}")),
                None => Wrong {
                    path: path.to_owned(),
                    place: None,
                    line: String::new(),
                    problem: format!("{key}: {problem}"),
                },
            };
            Err(Error::Wrong(Box::new(wrong)))
        };
        for (key, file) in [("data_dir", &self.data_dir), ("control", &self.control)] {
            if file.as_os_str().is_empty() {
                return wrong(key, "found \"\", expected a path".into());
            }
        }
        let base = path.parent().unwrap_or(Path::new("."));
        let files = [&mut self.tls.certificate, &mut self.tls.key];
        for file in [&mut self.data_dir, &mut self.control].into_iter().chain(files.into_iter().flatten()) {
            *file = base.join(&*file);
        }
        for name in self.hostname.iter_mut().chain(&mut self.tls.names) {
            *name = name.trim_end_matches('.').to_ascii_lowercase();
        }

        match &self.hostname {
            Some(name) => {
                if let Err(problem) = host_name(name) {
                    return wrong("hostname", problem);
                }
            }
            None => {
                if let Err(problem) = host_name(&system_name()) {
                    return wrong(
                        "hostname",
                        format!("not set, and the system's own name will not do: {problem}"),
                    );
                }
            }
        }
        for name in &self.tls.names {
            if let Err(problem) = host_name(name) {
                return wrong("tls.names", problem);
            }
        }
        match (&self.tls.certificate, &self.tls.key) {
            (Some(_), None) => {
                return wrong("tls.certificate", "given without tls.key, its private key".into());
            }
            (None, Some(_)) => return wrong("tls.key", "given without tls.certificate".into()),
            _ => {}
        }
        for (key, file) in [("tls.certificate", &self.tls.certificate), ("tls.key", &self.tls.key)] {
            if let Some(file) = file
                && let Err(error) = std::fs::File::open(file)
            {
                return wrong(
                    key,
                    format!("found {}, expected a file that can be read: {error}", file.display()),
                );
            }
        }
        let limits = &self.limits;
        for (key, found, least, most) in [
            ("limits.connections", limits.connections as u64, 1, 1_000_000),
            ("limits.connections_per_address", limits.connections_per_address as u64, 1, 1_000_000),
            ("limits.failed_logins", u64::from(limits.failed_logins), 1, 1_000_000),
            // RFC 5321 s.4.5.3.1.7 and s.4.5.3.1.8: what each server must take.
            ("limits.message_size", limits.message_size, 65_536, wire::limits::MESSAGE),
            ("limits.recipients", limits.recipients as u64, 100, 100_000),
        ] {
            if !(least..=most).contains(&found) {
                return wrong(key, format!("found {found}, expected at least {least} and at most {most}"));
            }
        }
        let mut taken = BTreeMap::new();
        for (key, addresses) in self.listen.all() {
            for address in addresses {
                if address.0.port() == 0 {
                    continue;
                }
                if let Some(other) = taken.insert(address, key) {
                    return wrong(key, format!("found {address}, which {other} has already"));
                }
            }
        }
        Ok(())
    }

    /// The name of this host: as configured, else the system's own.
    #[must_use]
    pub fn hostname(&self) -> String {
        self.hostname.clone().unwrap_or_else(system_name)
    }
}

fn system_name() -> String {
    let name = ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok());
    name.unwrap_or_default().trim().to_ascii_lowercase()
}

/// A host's fully qualified name (RFC 1035 s.2.3.1, RFC 5321 s.4.1.2 without address literals).
fn host_name(name: &str) -> Result<(), String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let qualified = name.contains('.') && name.split('.').all(label);
    let number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|octet| octet.is_ascii_digit()));
    if qualified && !number && name.len() <= 253 {
        return Ok(());
    }
    Err(format!("found \"{name}\", expected a fully qualified host name such as \"mail.example.org\""))
}

/// Where the value of a key stands in the text.
fn place_of(text: &str, key: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let (first, second) = match key.split_once('.') {
        Some((first, second)) => (first, Some(second)),
        None => (key, None),
    };
    let value = root.get_ref().get(first)?;
    let value = match (second, value.get_ref()) {
        (None, _) => value,
        (Some(second), DeValue::Table(table)) => table.get(second)?,
        (Some(_), _) => return None,
    };
    Some(value.span().start)
}
