//! The client's side against the examples of the RFCs, and against the server's side.

use super::scram::Scram;
use super::*;
use crate::fuzz::PlainHashes;
use crate::sasl;

fn login(user: &str, password: &str) -> Login {
    Login {
        user: user.to_owned(),
        password: Secret::from(password),
        reveal: true,
        nonce: *b"any eighteen bytes",
        hashes: Box::new(PlainHashes),
    }
}

fn begun(login: Login, offered: &[&str]) -> Option<Begun> {
    let offered: Vec<_> = offered.iter().map(|&o| o.to_owned()).collect();
    Exchange::begin(login, &offered)
}

#[test]
fn the_best_that_may_be_used_is_taken() {
    for (offered, reveal, mechanism) in [
        (&["LOGIN", "PLAIN", "SCRAM-SHA-256"][..], true, Some("SCRAM-SHA-256")),
        (&["LOGIN", "PLAIN", "SCRAM-SHA-256"], false, Some("SCRAM-SHA-256")),
        (&["LOGIN", "PLAIN", "CRAM-MD5"], true, Some("PLAIN")),
        (&["LOGIN", "PLAIN"], false, None),
        (&["LOGIN"], true, Some("LOGIN")),
        (&["SCRAM-SHA-1", "GSSAPI"], true, None),
        (&[], true, None),
    ] {
        let begun = begun(Login { reveal, ..login("tim", "secret") }, offered);
        assert_eq!(begun.map(|b| b.mechanism), mechanism, "{offered:?}, reveal {reveal}");
    }
    for (user, password) in [("", "x"), ("x", ""), ("t\0im", "x"), ("tim", "x\0")] {
        assert!(begun(login(user, password), &["PLAIN"]).is_none());
    }
}

#[test]
fn plain_and_login_are_what_our_own_server_reads() {
    for mechanism in [sasl::Mechanism::Plain, sasl::Mechanism::Login] {
        let Begun { mut exchange, initial, .. } =
            begun(login("tim", "pass,word"), &[mechanism.name()]).expect("it is offered");
        let initial = initial.as_ref().map(|i| i.expose().as_slice());
        let (mut server, mut progress) = sasl::Exchange::begin(mechanism, initial);
        let credentials = loop {
            progress = match progress {
                sasl::Progress::Challenge(challenge) => {
                    let response = exchange.respond(&challenge).expect("a response");
                    server.respond(response.expose())
                }
                sasl::Progress::Done(credentials) => break credentials,
                sasl::Progress::Failed(e) => panic!("{e}"),
            }
        };
        assert_eq!((credentials.user.as_str(), credentials.password.expose().as_str()), ("tim", "pass,word"));
        assert!(exchange.may_succeed());
        assert_eq!(exchange.respond("").map(drop), Err(Broken::Malformed), "nothing is left to say");
    }
}

#[test]
fn nothing_secret_is_printed() {
    for mechanism in ["PLAIN", "LOGIN", "SCRAM-SHA-256"] {
        let text = format!("{:?}", begun(login("tim", "hunter2"), &[mechanism]));
        assert!(!text.contains("hunter2") && !text.contains("AHRpbQ"), "{text}");
    }
    assert!(!format!("{:?}", login("tim", "hunter2")).contains("hunter2"));
}

const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                           p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_LAST: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn begin(user: &str, password: &str) -> (Scram, String) {
    Scram::with_nonce(user, Secret::from(password), "rOprNGfwEbeRWgbNEkqO".to_owned(), Box::new(PlainHashes))
}

#[test]
fn the_example_of_rfc_7677() {
    let (mut scram, first) = begin("user", "pencil");
    assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    assert_eq!(scram.respond(SERVER_FIRST).as_deref(), Ok(CLIENT_LAST));
    assert!(!scram.is_proven());
    assert_eq!(scram.respond(SERVER_LAST).as_deref(), Ok(""));
    assert!(scram.is_proven());
}

#[test]
fn a_server_that_does_not_know_the_password_is_not_believed() {
    for (last, result) in [
        ("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", Err(Broken::NotProven)),
        ("v=", Err(Broken::NotProven)),
        ("v=6rri", Err(Broken::NotProven)),
        ("v=!", Err(Broken::Malformed)),
        ("", Err(Broken::Malformed)),
        ("e=other-error", Ok("")),
    ] {
        let (mut scram, _) = begin("user", "pencil");
        scram.respond(SERVER_FIRST).expect("well-formed");
        assert_eq!(scram.respond(last).as_deref(), result.as_ref().map(|s| *s), "{last:?}");
        assert!(!scram.is_proven());
        assert_eq!(scram.respond(SERVER_LAST), Err(Broken::Malformed), "there is one try");
    }
}

#[test]
fn names_are_escaped() {
    assert_eq!(begin("a=b,c", "x").1, "n,,n=a=3Db=2Cc,r=rOprNGfwEbeRWgbNEkqO");
}

#[test]
fn first_messages_that_are_none() {
    for bad in [
        "",
        "r=rOprNGfwEbeRWgbNEkqO",
        "r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096",
        "r=other,s=W22Z,i=4096",
        "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4095",
        "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=99999999",
        "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=-1",
        "r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096",
        "r=rOprNGfwEbeRWgbNEkqOx,s=W22,i=4096",
        "r=rOprNGfwEbeRWgbNEkqOx\r,s=W22Z,i=4096",
        "m=x,r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4096",
        "e=unknown-user",
    ] {
        assert_eq!(begin("user", "pencil").0.respond(bad), Err(Broken::Malformed), "{bad:?}");
    }
    assert!(begin("user", "pencil").0.respond("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4096,x=y").is_ok());
}
