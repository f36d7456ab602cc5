//! What a server offers, read from its reply to EHLO (RFC 5321 s.4.1.1.1). Keywords that are not known are passed over.

use crate::abnf;

/// The service extensions of a server that matter to a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870: SIZE is offered. The most octets of a message; `None` where the server names no limit.
    pub size: Option<Option<u64>>,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 2034.
    pub enhanced_status_codes: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 4954: the mechanisms, in capitals.
    pub auth: Vec<String>,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 8689.
    pub require_tls: bool,
}

/// Mechanisms that are kept: more have no server a name for.
const MECHANISMS: usize = 32;

impl Extensions {
    /// Reads the lines of a reply to EHLO, the first of which names the server.
    #[must_use]
    pub fn parse(text: &str) -> Extensions {
        let mut offered = Extensions::default();
        text.split('\n').skip(1).for_each(|line| offered.add(line));
        offered
    }

    fn add(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let Some(keyword) = words.next() else { return };
        match keyword.to_ascii_uppercase().as_str() {
            "PIPELINING" => self.pipelining = true,
            // RFC 1870 s.3: zero, or nothing, names no limit.
            "SIZE" => {
                let limit = words.next().and_then(|n| abnf::number(n.as_bytes())).filter(|&n| n > 0);
                self.size = Some(limit);
            }
            "8BITMIME" => self.eight_bit_mime = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "CHUNKING" => self.chunking = true,
            "STARTTLS" => self.starttls = true,
            "AUTH" => self.mechanisms(words),
            "DSN" => self.dsn = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "REQUIRETLS" => self.require_tls = true,
            // `AUTH=PLAIN LOGIN`: what servers of last century told, and some still do beside the right form.
            old => {
                if let Some(first) = old.strip_prefix("AUTH=") {
                    self.mechanisms(std::iter::once(first).chain(words));
                }
            }
        }
    }

    fn mechanisms<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names.map(str::to_ascii_uppercase) {
            if self.auth.len() < MECHANISMS && !name.is_empty() && !self.auth.contains(&name) {
                self.auth.push(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered() {
        let text = "mx.example.org greets you\nPIPELINING\nSize 1000\n8bitmime\nENHANCEDSTATUSCODES\nCHUNKING\n\
                    STARTTLS\nAUTH PLAIN login\nAUTH=LOGIN CRAM-MD5\nDSN\nSMTPUTF8\nREQUIRETLS\nX-NEWS\n\n HELP";
        let all = Extensions {
            pipelining: true,
            size: Some(Some(1000)),
            eight_bit_mime: true,
            enhanced_status_codes: true,
            chunking: true,
            starttls: true,
            auth: ["PLAIN", "LOGIN", "CRAM-MD5"].map(str::to_owned).to_vec(),
            dsn: true,
            smtputf8: true,
            require_tls: true,
        };
        assert_eq!(Extensions::parse(text), all);
        assert_eq!(Extensions::parse("PIPELINING"), Extensions::default(), "the first line is a name");
        for (line, size) in [
            ("SIZE", Some(None)),
            ("SIZE 0", Some(None)),
            ("SIZE many", Some(None)),
            ("SIZE 7", Some(Some(7))),
            ("SIZE 99999999999999999999999", Some(None)),
            ("SIZES 7", None),
        ] {
            assert_eq!(Extensions::parse(&format!("x\n{line}")).size, size, "{line:?}");
        }
    }

    #[test]
    fn endless_mechanisms_are_not_kept() {
        let names: Vec<_> = (0..1000).map(|n| format!("M{n}")).collect();
        assert_eq!(Extensions::parse(&format!("x\nAUTH {}", names.join(" "))).auth.len(), MECHANISMS);
    }
}
