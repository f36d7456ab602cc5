//! Signing one message (RFC 6376 s.5): which fields, in what form, and the `DKIM-Signature` field that comes of it.

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use data_encoding::BASE64;

use super::canon::{Fields, Hash, relaxed_field, sum};
use super::keys::{Algorithm, Signer};

/// What every program shows. Signed once more than they are there (RFC 6376 s.8.15), so that none can be added.
const ALWAYS: &[&str] = &["from", "to", "cc", "subject", "reply-to"];
/// What decides how a message is read: signed once more than it is there, if it is there. A list may add what is not.
const WHERE_THERE: &[&str] = &[
    "date",
    "message-id",
    "sender",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
];
/// Signed as often as they are there (RFC 6376 s.5.4.1; RFC 8058 s.4 wants the last two of the lists').
const AS_OFTEN: &[&str] = &[
    "content-id",
    "content-description",
    "content-disposition",
    "content-language",
    "auto-submitted",
    "autocrypt",
    "tls-required",
    "resent-date",
    "resent-from",
    "resent-sender",
    "resent-to",
    "resent-cc",
    "resent-message-id",
    "list-id",
    "list-help",
    "list-subscribe",
    "list-post",
    "list-owner",
    "list-archive",
    "list-unsubscribe",
    "list-unsubscribe-post",
];
/// Fields of one name that are signed at most, but for From: a message with more of them is nobody's usual mail.
const OF_ONE_NAME: usize = 16;
/// Columns of a line of the signature.
const COLUMNS: usize = 72;

/// A key in memory, ready to sign.
pub(super) struct Loaded {
    pub(super) domain: String,
    pub(super) selector: String,
    pub(super) algorithm: Algorithm,
    pub(super) signer: Signer,
}

/// What is signed of a message, whoever signs it.
pub(super) struct Signable {
    /// Names for `h=`.
    names: Vec<&'static str>,
    /// The fields as they are hashed.
    octets: Vec<u8>,
    /// `bh=`.
    body: String,
}

impl Signable {
    pub(super) fn of(fields: &Fields<'_>, body: &Hash) -> Signable {
        let mut signable =
            Signable { names: Vec::with_capacity(24), octets: Vec::new(), body: BASE64.encode(body) };
        for &name in ALWAYS {
            signable.sign(fields, name);
            signable.names.push(name);
        }
        for &name in WHERE_THERE {
            if signable.sign(fields, name) > 0 {
                signable.names.push(name);
            }
        }
        for &name in AS_OFTEN {
            signable.sign(fields, name);
        }
        signable
    }

    /// Takes in the fields of a name. How many there are.
    fn sign(&mut self, fields: &Fields<'_>, name: &'static str) -> usize {
        let most = if name == "from" { usize::MAX } else { OF_ONE_NAME };
        let mut count = 0;
        for field in fields.named(name).take(most) {
            relaxed_field(field, &mut self.octets);
            self.names.push(name);
            count += 1;
        }
        count
    }

    /// The whole field that signs it, `DKIM-Signature: ...` with its CRLF. Nothing if the library refuses.
    pub(super) fn field(&self, key: &Loaded, now: i64) -> Option<String> {
        let mut field = format!(
            "DKIM-Signature: v=1; a={}; c=relaxed/relaxed;\r\n\td={}; s={};\r\n\tt={now};\r\n\th=",
            key.algorithm.name(),
            key.domain,
            key.selector,
        );
        let mut column = 8 + 2;
        for (n, name) in self.names.iter().enumerate() {
            if n > 0 {
                field.push(':');
            }
            if column + name.len() > COLUMNS {
                field.push_str("\r\n\t ");
                column = 8 + 1;
            }
            field.push_str(name);
            column += name.len() + 1;
        }
        field.push_str(&format!(";\r\n\tbh={};\r\n\tb=", self.body));
        let mut own = Vec::with_capacity(field.len());
        relaxed_field(field.as_bytes(), &mut own);
        // RFC 6376 s.3.7: the last field is hashed without the end of its line.
        own.truncate(own.len() - 2);
        let signature = self.signature(&own, &key.signer)?;
        for (n, piece) in signature.as_bytes().chunks(COLUMNS - 10).enumerate() {
            if n > 0 {
                field.push_str("\r\n\t");
            }
            field.push_str(std::str::from_utf8(piece).ok()?);
        }
        field.push_str("\r\n");
        Some(field)
    }

    fn signature(&self, own: &[u8], signer: &Signer) -> Option<String> {
        match signer {
            Signer::Rsa(pair) => {
                let message = [&self.octets, own].concat();
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, &mut signature).ok()?;
                Some(BASE64.encode(&signature))
            }
            // RFC 8463 s.3: the hash is what is signed.
            Signer::Ed25519(pair) => {
                let mut context = Context::new(&SHA256);
                context.update(&self.octets);
                context.update(own);
                Some(BASE64.encode(pair.sign(&sum(context)).as_ref()))
            }
        }
    }
}
