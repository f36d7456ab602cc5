//! `penfold demo`: starts a server for this computer alone, and prints what a mail program and a curious person need.

use std::process::ExitCode;

use serde::Serialize;

use super::args::DemoArgs;
use super::print::{self, Failure};
use super::serve;
use crate::admin::{self, CertificateStatus, Kind, Password};
use crate::config::{Level, Log};
use crate::run::{self, Listener, Protocol, demo};
use crate::{net, observe};

/// Runs the demo until a signal ends it.
pub(super) fn demo(args: &DemoArgs) -> Result<ExitCode, Failure> {
    // On a terminal the table is what matters; a test wants to know what went on.
    let level = if args.output.json { Level::Info } else { Level::Warn };
    observe::start(&Log { level, ..Log::default() });
    let place = demo::Place::make(args.dir.as_deref())?;
    let config = demo::config(place.path(), args.port_base);
    let runtime = serve::runtime()?;
    let ended = runtime.block_on(async {
        let condemned = serve::condemned(false, config.data_dir.clone());
        let mut server = run::Server::open(config, run::Hangup::Ends, condemned).await?;
        let accounts = demo::furnish(&server.admin(), server.store()).await?;
        demo::world(server.store()).into_iter().for_each(|account| server.keep_world_in(account));
        let running = server.serve()?;
        demo::write_files(place.path(), running.listeners())?;
        let ready = Ready::new(&running, accounts, place.path().display().to_string());
        if args.output.json {
            print::json(&ready);
        } else {
            print::out(&page(&ready, &running.certificate(), place.is_fresh()));
        }
        running.until_stopped().await;
        Ok(())
    });
    runtime.shutdown_background();
    match ended {
        Ok(()) | Err(run::Error::Interrupted) => Ok(ExitCode::SUCCESS),
        Err(run::Error::Bind(error @ net::BindError::InUse { .. })) => Err(Failure::new(
            Kind::Failed,
            first_clause(&error.to_string()),
            "another demo may be running: stop it, or choose other ports with --port-base (0: whatever is free)",
        )),
        Err(run::Error::Admin(error @ admin::Error::Full)) => Err(Failure::new(
            Kind::Failed,
            format!("{}: {error}", place.path().display()),
            "name a directory on a larger file system with --dir, or set TMPDIR: 600 MB should be free",
        )),
        Err(error) => Err(error.into()),
    }
}

/// What is in use, without the advice for a real server.
fn first_clause(text: &str) -> String {
    text.split_once(", ").map_or(text, |(first, _)| first).to_owned()
}

/// The line that scripts read once everything listens.
#[derive(Debug, Serialize)]
struct Ready {
    host: &'static str,
    ports: Ports,
    accounts: Vec<Account>,
    certificate: String,
    data: String,
    pid: u32,
}

#[derive(Debug, Serialize)]
struct Ports {
    smtp: u16,
    submissions: u16,
    submission: u16,
    imap: u16,
    imaps: u16,
    pop3: u16,
    pop3s: u16,
}

#[derive(Debug, Serialize)]
struct Account {
    address: String,
    password: Password,
}

impl Ready {
    fn new(running: &run::Running, accounts: Vec<(String, Password)>, data: String) -> Ready {
        let port = |protocol: Protocol| port(running.listeners(), protocol);
        Ready {
            host: "127.0.0.1",
            ports: Ports {
                smtp: port(Protocol::Smtp),
                submissions: port(Protocol::Submissions),
                submission: port(Protocol::Submission),
                imap: port(Protocol::Imap),
                imaps: port(Protocol::Imaps),
                pop3: port(Protocol::Pop3),
                pop3s: port(Protocol::Pop3s),
            },
            accounts: accounts.into_iter().map(|(address, password)| Account { address, password }).collect(),
            certificate: running.certificate().file,
            data,
            pid: std::process::id(),
        }
    }
}

fn port(listeners: &[Listener], protocol: Protocol) -> u16 {
    listeners.iter().find(|l| l.protocol == protocol).map_or(0, |l| l.address.port())
}

fn page(ready: &Ready, certificate: &CertificateStatus, fresh: bool) -> String {
    let ports = &ready.ports;
    let data = &ready.data;
    let look = quoted(&format!("{data}/config.toml"));
    let accounts = print::table(
        &["  account", "password"],
        ready.accounts.iter().map(|a| vec![format!("  {}", a.address), a.password.reveal().to_owned()]),
    );
    let row = |what: &str, port: u16, security: &str, note: &str| {
        vec![format!("  {what}"), port.to_string(), security.into(), note.into()]
    };
    let settings = print::table(
        &["  server", ">port", "security", "for"],
        [
            row("IMAP", ports.imaps, "SSL/TLS", "reading mail"),
            row("IMAP", ports.imap, "STARTTLS or none", ""),
            row("POP3", ports.pop3s, "SSL/TLS", "fetching mail"),
            row("POP3", ports.pop3, "STARTTLS or none", ""),
            row("SMTP", ports.submissions, "SSL/TLS", "sending mail, with a password"),
            row("SMTP", ports.submission, "STARTTLS or none", ""),
            row("SMTP", ports.smtp, "STARTTLS or none", "mail from other servers, without one"),
        ],
    );
    let world = format!("{}@{}", demo::WORLD, demo::DOMAIN);
    let file = &certificate.file;
    let stays = if fresh { "goes when the demo ends" } else { "stays" };
    format!(
        "Penfold demo: a whole mail server that only this computer can reach.\n\n\
         {accounts}\n\
         For Thunderbird: server 127.0.0.1, user name the whole address, normal password.\n\
         What you send to other places lands in {world}: nothing leaves this computer.\n\n\
         {settings}\n\
         It will ask about the certificate once. It should be this one (SHA-256):\n  {}\n  in {file}\n\n\
         Send a message, and read it:\n  {}\n  {}\n\n\
         Data is in {data} and {stays}.\n\
         Look inside: penfold status --config {look}\n\
         Ctrl-C ends the demo.\n",
        certificate.fingerprint,
        send_line(ready),
        read_line(ready),
    )
}

/// A command that sends alice a message, as another mail server would. What follows the port is what curl calls itself
/// in EHLO: else it takes the file's name.
fn send_line(ready: &Ready) -> String {
    format!(
        "curl --crlf smtp://{host}:{port}/{domain} --mail-from {from} --mail-rcpt {to} --upload-file {file}",
        host = ready.host,
        port = ready.ports.smtp,
        domain = demo::STRANGER.rsplit('@').next().unwrap_or_default(),
        from = demo::STRANGER,
        to = ready.accounts.first().map_or("", |a| a.address.as_str()),
        file = quoted(&format!("{}/{}", ready.data, demo::LETTER)),
    )
}

/// A command that shows alice's newest message.
fn read_line(ready: &Ready) -> String {
    let Some(account) = ready.accounts.first() else { return String::new() };
    format!(
        "curl 'imap://{host}:{port}/INBOX;MAILINDEX=*' --user '{}:{}'",
        account.address,
        account.password.reveal(),
        host = ready.host,
        port = ready.ports.imap,
    )
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@,".contains(c);
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Ready {
        let ports = Ports {
            smtp: 1025,
            submissions: 1465,
            submission: 1587,
            imap: 1143,
            imaps: 1993,
            pop3: 1110,
            pop3s: 1995,
        };
        let account = |name: &str, password: &str| Account {
            address: format!("{name}@demo.test"),
            password: Password::new(password.into()),
        };
        Ready {
            host: "127.0.0.1",
            ports,
            accounts: vec![account("alice", "abc"), account("bob", "def")],
            certificate: "/tmp/d/tls/cert.pem".into(),
            data: "/tmp/d".into(),
            pid: 7,
        }
    }

    #[test]
    fn the_ready_line_has_the_fields_that_tests_rely_on() {
        assert_eq!(
            serde_json::to_string(&example()).unwrap(),
            r#"{"host":"127.0.0.1","ports":{"smtp":1025,"submissions":1465,"submission":1587,"imap":1143,"imaps":1993,"#
                .to_owned()
                + r#""pop3":1110,"pop3s":1995},"accounts":[{"address":"alice@demo.test","password":"abc"},"#
                + r#"{"address":"bob@demo.test","password":"def"}],"certificate":"/tmp/d/tls/cert.pem","#
                + r#""data":"/tmp/d","pid":7}"#
        );
    }

    #[test]
    fn the_page_has_two_commands_to_paste_and_every_port() {
        let certificate = CertificateStatus {
            names: vec!["localhost".into()],
            expires: String::new(),
            fingerprint: "AB:CD".into(),
            self_signed: true,
            file: "/tmp/d/tls/cert.pem".into(),
        };
        let page = page(&example(), &certificate, true);
        let commands: Vec<&str> = page.lines().filter(|line| line.starts_with("  curl ")).collect();
        assert!(matches!(commands[..], [send, read] if send.contains("smtp://127.0.0.1:1025")
            && read.contains("imap://127.0.0.1:1143") && read.contains("'alice@demo.test:abc'")));
        assert_eq!(page.matches("curl ").count(), 2, "scripts look for these lines:\n{page}");
        for needle in ["1025", "1465", "1587", "1143", "1993", "1110", "1995", "AB:CD", "abc", "def"] {
            assert!(page.contains(needle), "{needle} is missing:\n{page}");
        }
    }

    #[test]
    fn lines_to_paste_survive_odd_directories() {
        assert_eq!(quoted("/tmp/penfold-demo-1/letter.eml"), "/tmp/penfold-demo-1/letter.eml");
        assert_eq!(quoted("/tmp/my mail/x"), "'/tmp/my mail/x'");
        assert_eq!(quoted("/tmp/it's"), r"'/tmp/it'\''s'");
    }
}
