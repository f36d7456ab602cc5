//! LOGIN: user name and password, each asked for in turn. Never standardised; Outlook and many devices have
//! nothing else. The challenges are the two that every client knows; some clients compare them.

use std::borrow::Cow;

use super::{Credentials, Progress, field};
use crate::secret::Secret;

/// `Username:` in base64.
pub const USERNAME: &str = "VXNlcm5hbWU6";
/// `Password:` in base64.
pub const PASSWORD: &str = "UGFzc3dvcmQ6";

/// What has been said so far.
#[derive(Debug, Default)]
pub struct Login {
    user: Option<String>,
}

impl Login {
    /// The client's next message, decoded.
    pub fn accept(&mut self, message: &[u8]) -> Progress {
        let text = match field(message) {
            Ok(text) => text,
            Err(e) => return Progress::Failed(e),
        };
        match self.user.take() {
            None => {
                self.user = Some(text.to_owned());
                Progress::Challenge(Cow::Borrowed(PASSWORD))
            }
            Some(user) => {
                Progress::Done(Credentials { authorization: None, user, password: Secret::from(text) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::SaslError;
    use data_encoding::BASE64;

    #[test]
    fn the_challenges_are_the_known_ones() {
        assert_eq!(BASE64.encode(b"Username:"), USERNAME);
        assert_eq!(BASE64.encode(b"Password:"), PASSWORD);
    }

    #[test]
    fn a_name_that_is_not_text_is_malformed() {
        assert!(matches!(Login::default().accept(b"\xff"), Progress::Failed(SaslError::Malformed)));
    }
}
