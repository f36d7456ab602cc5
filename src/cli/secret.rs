//! Where a password comes from: made, typed twice without being shown, or read from standard input. Never from an
//! argument. And whether a person means it, before something is destroyed.

use std::io::{self, BufRead, IsTerminal, Read};

use dialoguer::Input;

use super::args::{PasswordFrom, TheirPassword};
use super::print::{self, Failure};
use crate::admin::{Kind, Password, policy};
use crate::password;

/// Octets read from standard input at most; what is longer is no password.
const LINE: u64 = 4_096;

/// A password, and whether it was made here, so that it must be shown.
pub(super) fn obtain(from: PasswordFrom, whose: &str) -> Result<(Password, bool), Failure> {
    let obtained = if from.password_stdin {
        (first_line(io::stdin().lock())?, false)
    } else if from.prompt {
        (prompt(whose)?, false)
    } else {
        let made = password::generate().map_err(|e| Failure::plain(Kind::Failed, e.to_string()))?;
        (Password::new(made.expose().clone()), true)
    };
    policy::check(&obtained.0)?;
    Ok(obtained)
}

/// The password of an account on another server: typed once, or read; never made, and of any form.
pub(super) fn theirs(from: TheirPassword, whose: &str) -> Result<Password, Failure> {
    if from.password_stdin {
        return first_line(io::stdin().lock());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Kind::Usage,
            "--prompt needs a terminal to ask on",
            "use --password-stdin in a script",
        ));
    }
    dialoguer::Password::new()
        .with_prompt(format!("Password of {whose}"))
        .interact()
        .map(Password::new)
        .map_err(|e| Failure::plain(Kind::Failed, format!("no password was typed: {e}")))
}

fn first_line(input: impl Read) -> Result<Password, Failure> {
    let wrong = |why: &str| Failure::new(Kind::Usage, why, "echo the password into it, as one line of text");
    let mut line = zeroize::Zeroizing::new(Vec::new());
    io::BufReader::new(input.take(LINE))
        .read_until(b'\n', &mut line)
        .map_err(|e| Failure::plain(Kind::Failed, format!("standard input cannot be read: {e}")))?;
    let mut end = line.len();
    while end > 0 && matches!(line[end - 1], b'\r' | b'\n') {
        end -= 1;
    }
    if end == 0 {
        return Err(wrong("standard input has no password in its first line"));
    }
    let text = std::str::from_utf8(&line[..end]).map_err(|_| wrong("the password is not UTF-8 text"))?;
    Ok(Password::new(text.to_owned()))
}

fn prompt(whose: &str) -> Result<Password, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Kind::Usage,
            "--prompt needs a terminal to ask on",
            "use --password-stdin in a script, or leave both away to have a password made",
        ));
    }
    dialoguer::Password::new()
        .with_prompt(format!("New password for {whose}"))
        .with_confirmation("Once more", "These two differ. Again, please.")
        .interact()
        .map(Password::new)
        .map_err(|e| Failure::plain(Kind::Failed, format!("no password was typed: {e}")))
}

/// Asks for the name of what will be destroyed, unless `--yes` was given.
pub(super) fn confirm(yes: bool, name: &str, loss: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Kind::Usage,
            format!("{loss} There is no terminal to ask whether you mean it"),
            "add --yes if you do",
        ));
    }
    print::err(&format!("{loss}\n"));
    let typed: String = Input::new()
        .with_prompt(format!("Type {name} to go on"))
        .allow_empty(true)
        .interact_text()
        .map_err(|e| Failure::plain(Kind::Failed, format!("nothing was typed: {e}")))?;
    if typed.trim().eq_ignore_ascii_case(name) {
        return Ok(());
    }
    Err(Failure::plain(Kind::Failed, "that is another name: nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password() {
        for (input, password) in [
            ("secret word\nand more", "secret word"),
            ("secret\r\n", "secret"),
            (" kept ", " kept "),
            ("no line end", "no line end"),
        ] {
            assert_eq!(first_line(input.as_bytes()).unwrap().reveal(), password);
        }
        for input in [&b""[..], b"\n", b"\r\nx", b"\xff\xfe\n"] {
            assert_eq!(first_line(input).unwrap_err().kind, Kind::Usage);
        }
    }

    #[test]
    fn nothing_endless_is_read() {
        assert_eq!(first_line(io::repeat(b'x')).unwrap().reveal().len(), 4_096);
    }
}
