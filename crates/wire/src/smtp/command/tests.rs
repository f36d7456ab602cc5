//! Tables of command lines, and smtp-proto as an oracle.

use super::*;
use proptest::prelude::*;

fn shown(line: &[u8]) -> Result<String, CommandError> {
    Command::parse(line).1.map(|command| match command {
        Command::Hello { extended, name } => format!("{} {name}", if extended { "EHLO" } else { "HELO" }),
        Command::Mail(path, params) => format!("MAIL FROM:{path}{params}"),
        Command::Rcpt { path, params, .. } => format!("RCPT TO:{path}{params}"),
        Command::Bdat { size, last } => format!("BDAT {size}{}", if last { " LAST" } else { "" }),
        Command::Auth { mechanism, initial } => {
            let initial = initial.map(|i| format!(" {}", String::from_utf8_lossy(i.expose())));
            format!("AUTH {mechanism}{}", initial.unwrap_or_default())
        }
        Command::Data => "DATA".to_owned(),
        Command::Rset => "RSET".to_owned(),
        Command::Noop => "NOOP".to_owned(),
        Command::Quit => "QUIT".to_owned(),
        Command::StartTls => "STARTTLS".to_owned(),
        Command::Vrfy => "VRFY tim".to_owned(),
        Command::Expn => "EXPN list".to_owned(),
        Command::Help => "HELP".to_owned(),
    })
}

#[test]
fn good_lines() {
    for (line, command) in [
        ("EHLO mail.example.org", "EHLO mail.example.org"),
        ("ehlo [192.168.1.2]", "EHLO [192.168.1.2]"),
        ("HELO  my_pc \t", "HELO my_pc"),
        ("MAIL FROM:<>", "MAIL FROM:<>"),
        ("MAIL FROM:<a@x.org>", "MAIL FROM:<a@x.org>"),
        ("MAIL FROM: <a@x.org>", "MAIL FROM:<a@x.org>"),
        ("mail from:<a@X.ORG> size=12 BODY=8BITMIME", "MAIL FROM:<a@x.org> SIZE=12 BODY=8BITMIME"),
        ("MAIL FROM:<\"a> b\"@x.org> SIZE=1", "MAIL FROM:<\"a> b\"@x.org> SIZE=1"),
        ("MAIL FROM:<\"a\\\"> b\"@x.org>", "MAIL FROM:<\"a\\\"> b\"@x.org>"),
        ("MAIL FROM:<@r.org,@s.org:a@x.org>", "MAIL FROM:<a@x.org>"),
        ("RCPT TO:<b@x.org>", "RCPT TO:<b@x.org>"),
        ("RCPT TO: <Postmaster>", "RCPT TO:<Postmaster>"),
        ("RCPT TO:<b@x.org> notify=never", "RCPT TO:<b@x.org> NOTIFY=NEVER"),
        ("MAIL FROM:<j\u{f6}rg@x.org> SMTPUTF8", "MAIL FROM:<j\u{f6}rg@x.org> SMTPUTF8"),
        (
            "MAIL FROM:<\"j\u{f6}rg m\"@b\u{fc}cher.test> SIZE=1 smtputf8 BODY=8BITMIME",
            "MAIL FROM:<\"j\u{f6}rg m\"@xn--bcher-kva.test> SIZE=1 BODY=8BITMIME SMTPUTF8",
        ),
        ("MAIL FROM:<a@x.org> SMTPUTF8", "MAIL FROM:<a@x.org> SMTPUTF8"),
        ("MAIL FROM:<> SMTPUTF8", "MAIL FROM:<> SMTPUTF8"),
        ("RCPT TO:<j\u{f6}rg@b\u{fc}cher.test>", "RCPT TO:<j\u{f6}rg@xn--bcher-kva.test>"),
        ("DATA", "DATA"),
        ("data ", "DATA"),
        ("BDAT 0", "BDAT 0"),
        ("bdat 86 last", "BDAT 86 LAST"),
        ("BDAT 18446744073709551615", "BDAT 18446744073709551615"),
        ("RSET", "RSET"),
        ("NOOP whatever it is", "NOOP"),
        ("QUIT", "QUIT"),
        ("STARTTLS", "STARTTLS"),
        ("AUTH PLAIN AHRpbQBzZWNyZXQ=", "AUTH PLAIN AHRpbQBzZWNyZXQ="),
        ("auth login", "AUTH login"),
        ("AUTH PLAIN =", "AUTH PLAIN ="),
        ("VRFY tim", "VRFY tim"),
        ("EXPN list", "EXPN list"),
        ("VRFY j\u{f6}rg SMTPUTF8", "VRFY tim"),
        ("EXPN b\u{fc}cher", "EXPN list"),
        ("HELP", "HELP"),
        ("HELP MAIL", "HELP"),
    ] {
        assert_eq!(shown(line.as_bytes()).as_deref(), Ok(command), "{line:?}");
        assert_eq!(shown(command.as_bytes()).as_deref(), Ok(command), "what is printed parses");
    }
}

#[test]
fn bad_lines() {
    use CommandError::{Arguments, ChunkSize, Parameter, Recipient, Sender, Unknown};
    let long_name = format!("EHLO {}", "x".repeat(256));
    for (line, error) in [
        ("", Unknown),
        (" NOOP", Unknown),
        ("MAILFROM:<a@x.org>", Unknown),
        ("GET / HTTP/1.1", Unknown),
        ("NOOP\0", Unknown),
        ("\u{ff}\u{fe}", Unknown),
        ("EHLO", Arguments),
        ("EHLO m\u{fc}nchen.example", Arguments),
        ("EHLO a\0b", Arguments),
        (&long_name, Arguments),
        ("MAIL", Arguments),
        ("MAIL FROM", Arguments),
        ("MAIL FROM:", Arguments),
        ("MAIL TO:<a@x.org>", Arguments),
        ("MAIL FROM :<a@x.org>", Arguments),
        ("MAIL FROM:<a@x.org>SIZE=1", Arguments),
        ("MAIL FROM:<a@x.org>>", Arguments),
        ("MAIL FROM:a@x.org", Sender(AddrError::Brackets)),
        ("MAIL FROM:<a@x.org", Sender(AddrError::Brackets)),
        ("MAIL FROM:<a b@x.org>", Sender(AddrError::Brackets)),
        ("MAIL FROM:<\"a@x.org>", Sender(AddrError::LocalPart)),
        ("MAIL FROM:<a>", Sender(AddrError::Shape)),
        ("MAIL FROM:<a\0@x.org>", Sender(AddrError::LocalPart)),
        ("MAIL FROM:<\u{fc}@x.org>", Sender(AddrError::NonAscii)),
        ("MAIL FROM:<a@m\u{fc}nchen.example>", Sender(AddrError::NonAscii)),
        ("MAIL FROM:<a@x.org> SMTPUTF8=1", Parameter(ParamError::Syntax)),
        ("MAIL FROM:<\u{fc}@x.org> SMTPUTF8 SMTPUTF8", Parameter(ParamError::Syntax)),
        ("MAIL FROM:<\u{9b}@x.org> SMTPUTF8", Sender(AddrError::LocalPart)),
        ("RCPT TO:<\u{9b}@x.org>", Recipient(AddrError::LocalPart)),
        ("VRFY tim SMTPUTF8=1", Arguments),
        ("MAIL FROM:<a@x.org> BODY=BINARYMIME", Parameter(ParamError::Value)),
        ("MAIL FROM:<a@x.org> SIZE=x", Parameter(ParamError::Syntax)),
        ("RCPT TO:<>", Recipient(AddrError::Shape)),
        ("RCPT TO:<b@x.org> RET=FULL", Parameter(ParamError::Unknown)),
        ("RCPT TO:<b@x.org> NOTIFY=", Parameter(ParamError::Syntax)),
        ("DATA now", Arguments),
        ("BDAT", ChunkSize),
        ("BDAT -1", ChunkSize),
        ("BDAT 1 FIRST", ChunkSize),
        ("BDAT 18446744073709551616 LAST", ChunkSize),
        ("RSET x", Arguments),
        ("QUIT x", Arguments),
        ("STARTTLS x", Arguments),
        ("AUTH", Arguments),
        ("AUTH PLAIN a b", Arguments),
        ("VRFY", Arguments),
        ("EXPN", Arguments),
    ] {
        assert_eq!(shown(line.as_bytes()), Err(error), "{line:?}");
    }
    for (line, error) in [
        (&b"MAIL FROM:<\xfc@x.org>"[..], Sender(AddrError::NonAscii)),
        (b"MAIL FROM:<\xfc@x.org> SMTPUTF8", Sender(AddrError::Encoding)),
        (b"RCPT TO:<\xfc@x.org>", Recipient(AddrError::Encoding)),
        (b"RCPT TO:<a@x.org> ORCPT=utf-8;\xfc@x.org", Parameter(ParamError::Syntax)),
        (b"VRFY \xfc", Arguments),
    ] {
        assert_eq!(shown(line), Err(error), "{line:?}");
    }
}

#[test]
fn what_is_outside_ascii_is_told_of_a_recipient() {
    for (line, all) in [
        ("RCPT TO:<a@x.org> ORCPT=utf-8;j\\x{F6}rg@x.org", true),
        ("RCPT TO:<a@x.org> ORCPT=utf-8;j\u{f6}rg@x.org", false),
        ("RCPT TO:<j\u{f6}rg@x.org>", false),
        // Its domain is A-labels by then.
        ("RCPT TO:<a@b\u{fc}cher.test>", false),
    ] {
        let parsed = Command::parse(line.as_bytes()).1;
        assert!(matches!(parsed, Ok(Command::Rcpt { ascii, .. }) if ascii == all), "{line}: {parsed:?}");
    }
}

/// smtp-proto agrees where it follows the RFC; it unquotes local parts and drops brackets.
#[test]
fn smtp_proto_reads_the_same() {
    use smtp_proto::Request;
    for line in [
        "EHLO mail.example.org",
        "HELO mail.example.org",
        "MAIL FROM:<>",
        "MAIL FROM:<a@x.org>",
        "MAIL FROM:<a@x.org> SIZE=12",
        "RCPT TO:<b@x.org>",
        "MAIL FROM:<j\u{f6}rg@x.org> SMTPUTF8",
        "RCPT TO:<j\u{f6}rg@x.org>",
        "DATA",
        "BDAT 86 LAST",
        "BDAT 0",
        "RSET",
        "NOOP",
        "QUIT",
        "STARTTLS",
        "VRFY tim",
        "EXPN list",
        "HELP",
    ] {
        let bytes = format!("{line}\r\n").into_bytes();
        let theirs = Request::parse(&mut bytes.iter()).unwrap_or_else(|e| panic!("{line}: {e:?}"));
        let theirs = match theirs {
            Request::Ehlo { host } => format!("EHLO {host}"),
            Request::Helo { host } => format!("HELO {host}"),
            Request::Mail { from } if from.size > 0 => {
                format!("MAIL FROM:<{}> SIZE={}", from.address, from.size)
            }
            Request::Mail { from } if from.flags & smtp_proto::MAIL_SMTPUTF8 != 0 => {
                format!("MAIL FROM:<{}> SMTPUTF8", from.address)
            }
            Request::Mail { from } => format!("MAIL FROM:<{}>", from.address),
            Request::Rcpt { to } => format!("RCPT TO:<{}>", to.address),
            Request::Data => "DATA".to_owned(),
            Request::Bdat { chunk_size, is_last } => {
                format!("BDAT {chunk_size}{}", if is_last { " LAST" } else { "" })
            }
            Request::Rset => "RSET".to_owned(),
            Request::Noop { .. } => "NOOP".to_owned(),
            Request::Quit => "QUIT".to_owned(),
            Request::StartTls => "STARTTLS".to_owned(),
            Request::Vrfy { value } => format!("VRFY {value}"),
            Request::Expn { value } => format!("EXPN {value}"),
            Request::Help { .. } => "HELP".to_owned(),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(shown(line.as_bytes()), Ok(theirs), "{line}");
    }
}

proptest! {
    #[test]
    fn no_line_upsets_the_parser(line in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = Command::parse(&line);
    }

    #[test]
    fn what_parses_prints_and_parses_again(
        verb in "(MAIL FROM:|RCPT TO:|BDAT |AUTH |EHLO )",
        rest in "[<>@a.\":\\\\ =1LASTü]{0,16}( SMTPUTF8)?",
    ) {
        if let Ok(printed) = shown(format!("{verb}{rest}").as_bytes()) {
            prop_assert_eq!(shown(printed.as_bytes()), Ok(printed));
        }
    }

    #[test]
    fn smtp_proto_takes_the_paths_we_take(
        local in "[a-zäöü用0-9+_=-]{1,12}(\\.[a-zß0-9]{1,5})?",
        domain in "[a-z0-9]{1,8}(\\.[a-z]{2,5}){1,2}",
    ) {
        let line = format!("RCPT TO:<{local}@{domain}>\r\n");
        let theirs = smtp_proto::Request::parse(&mut line.as_bytes().iter());
        let agree = matches!(&theirs, Ok(smtp_proto::Request::Rcpt { to }) if to.address == format!("{local}@{domain}"));
        prop_assert!(agree, "{theirs:?}");
        prop_assert_eq!(shown(line.trim_end().as_bytes()), Ok(line.trim_end().to_owned()));
    }
}
