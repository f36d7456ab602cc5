//! How the way is secured: whatever TLS there is by itself, no less than what is promised, and a plain reason if that is
//! not to be had.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::house::{House, Plan, Serving};
use crate::mx::Mx;
use crate::nameserver::Zone;

const BOB: &str = "bob@far.test";
/// Nothing is tried twice but what the test waits for, and what does not get through comes back soon.
const SHORT: &str = "retry = [\"1s\"]\nnotice = \"3d\"\ngive_up = \"3s\"";

/// An authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a server has to show.
struct Shown {
    config: Arc<rustls::ServerConfig>,
    /// The digest of its public key, for TLSA 3 1 1.
    key: Vec<u8>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn vouch(&self, name: &str) -> Shown {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let digest = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            &rcgen::PublicKeyData::subject_public_key_info(&key),
        );
        Shown { config: Arc::new(config), key: digest.as_ref().to_vec() }
    }
}

fn send(server: &Serving) {
    server.submission().send("one", &[BOB]);
}

/// It is given up, with these words; and nobody got it.
#[track_caller]
fn comes_back(server: Serving, house: &House, mx: &Mx, words: &[&str]) {
    let [report] = &server.reports(1)[..] else { panic!() };
    report.says(BOB, "failed", "5.4.7", words);
    server.stop();
    assert!(mx.seen().mail.is_empty(), "{:?}", mx.seen());
    assert!(!mx.seen().lines.iter().any(|(_, line)| line.starts_with("MAIL")), "{:?}", mx.seen());
    house.is_empty();
}

/// It arrives once, over TLS or not.
#[track_caller]
fn arrives(server: Serving, house: &House, mx: &Mx, tls: bool) {
    let seen = server.wait(mx, |seen| !seen.mail.is_empty());
    assert_eq!((seen.mail.len(), seen.mail[0].tls), (1, tls), "{seen:?}");
    drop(seen);
    server.stop();
    assert_eq!(mx.seen().mail.len(), 1);
    house.is_empty();
}

#[test]
fn any_certificate_will_do_where_nothing_is_promised() {
    let house = Plan::new().domain("far.test", 1).make();
    let mx = Mx::with_tls(house.at(1), "", Authority::new().vouch("another.test").config);
    let server = house.serve();
    send(&server);
    arrives(server, &house, &mx, true);
}

#[test]
fn broken_tls_means_without_where_nothing_is_promised() {
    for step in
        ["STARTTLS 454 4.7.0 not now", "STARTTLS 500 what", "TLS this is no TLS", "TLS close", "TLS reset"]
    {
        let house = Plan::new().domain("far.test", 1).make();
        let mx = Mx::with_tls(house.at(1), step, Authority::new().vouch("mx.far.test").config);
        let server = house.serve();
        send(&server);
        arrives(server, &house, &mx, false);
    }
}

#[test]
fn a_further_host_with_broken_tls_gets_it_without() {
    let plan = Plan::new().host("a.far.test", 1).host("b.far.test", 2);
    let plan = plan.zone(|zone| zone.mx("far.test", 5, "a.far.test").mx("far.test", 10, "b.far.test"));
    let house = plan.outbound("retry = [\"1h\"]").make();
    let a = house.mx(1, "RCPT 450 4.2.1 grey");
    let b = Mx::with_tls(house.at(2), "TLS close", Authority::new().vouch("b.far.test").config);
    let server = house.serve();
    send(&server);
    arrives(server, &house, &b, false);
    assert_eq!(a.seen().connections, 1);
    let told = house.command(&["trace", BOB], "");
    assert!(told.contains("not encrypted: TLS failed (the other server closed the connection)"), "{told}");
}

/// A world in which the host's key is in DNS, with a digest.
fn with_dane(digest: &[u8]) -> House {
    let plan = Plan::new().outbound(SHORT).domain("far.test", 1);
    let port = plan.port();
    let name = format!("_{port}._tcp.mx.far.test");
    plan.zone(|zone: Zone| zone.tlsa(&name, [3, 1, 1], digest)).make()
}

#[test]
fn dane_lets_the_right_key_pass_and_no_other() {
    let shown = Authority::new().vouch("another.test");
    let house = with_dane(&shown.key);
    let mx = Mx::with_tls(house.at(1), "", shown.config);
    let server = house.serve();
    send(&server);
    arrives(server, &house, &mx, true);

    let house = with_dane(&[7; 32]);
    let mx = Mx::with_tls(house.at(1), "", Authority::new().vouch("mx.far.test").config);
    let server = house.serve();
    send(&server);
    comes_back(server, &house, &mx, &["TLSA records"]);
}

#[test]
fn dane_is_never_given_up_for_plain_text() {
    for step in [
        "EHLO 250-mx.test|250 PIPELINING",
        "STARTTLS 454 4.7.0 not now",
        "TLS this is no TLS",
        "TLS close",
        "TLS reset",
    ] {
        let house = with_dane(&[7; 32]);
        let mx = Mx::with_tls(house.at(1), step, Authority::new().vouch("mx.far.test").config);
        let server = house.serve();
        send(&server);
        comes_back(server, &house, &mx, &["TLS"]);
    }
}

/// A world with a web server that gives a policy, and an authority that everybody trusts.
fn with_policy(mode: &str, host: &str) -> (House, Authority) {
    let authority = Authority::new();
    let plan = Plan::new().domain("far.test", 1).host("mta-sts.far.test", 2);
    let listener = TcpListener::bind((plan.ip(2).as_str(), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let web = authority.vouch("mta-sts.far.test").config;
    let policy = format!("version: STSv1\r\nmode: {mode}\r\nmx: {host}\r\nmax_age: 86400\r\n");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{policy}",
        policy.len()
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(web.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            let mut asked = Vec::new();
            let mut octets = [0; 1024];
            while !asked.ends_with(b"\r\n\r\n") {
                match stream.read(&mut octets) {
                    Ok(n @ 1..) => asked.extend_from_slice(&octets[..n]),
                    _ => break,
                }
            }
            let _ = stream.write_all(answer.as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    let house = plan
        .zone(|zone| zone.txt("_mta-sts.far.test", &["v=STSv1; id=1;"]))
        .outbound(&format!("{SHORT}\nhttps_port = {port}\nauthorities = \"authorities.pem\""))
        .file("authorities.pem", &authority.0.pem())
        .make();
    (house, authority)
}

#[test]
fn mta_sts_lets_the_right_name_pass_and_no_other() {
    let (house, authority) = with_policy("enforce", "mx.far.test");
    let mx = Mx::with_tls(house.at(1), "", authority.vouch("mx.far.test").config);
    let server = house.serve();
    send(&server);
    arrives(server, &house, &mx, true);

    for shown in ["another.test", ""] {
        let (house, authority) = with_policy("enforce", "mx.far.test");
        let vouched =
            if shown.is_empty() { Authority::new().vouch("mx.far.test") } else { authority.vouch(shown) };
        let mx = Mx::with_tls(house.at(1), "", vouched.config);
        let server = house.serve();
        send(&server);
        comes_back(server, &house, &mx, &["TLS", "certificate"]);
    }
    let (house, authority) = with_policy("enforce", "other.far.test");
    let mx = Mx::with_tls(house.at(1), "", authority.vouch("mx.far.test").config);
    let server = house.serve();
    send(&server);
    comes_back(server, &house, &mx, &["MTA-STS"]);

    let (house, _) = with_policy("enforce", "mx.far.test");
    let mx = house.mx(1, "");
    let server = house.serve();
    send(&server);
    comes_back(server, &house, &mx, &["STARTTLS"]);
}

#[test]
fn a_policy_in_testing_stops_nothing() {
    let (house, _) = with_policy("testing", "other.far.test");
    let mx = house.mx(1, "");
    let server = house.serve();
    send(&server);
    arrives(server, &house, &mx, false);
}

#[test]
fn what_requires_tls_goes_only_where_it_is_certain() {
    // Signed DNS, and a certificate that an authority vouches for.
    let (house, authority) = with_policy("enforce", "mx.far.test");
    let script = "EHLO 250-mx.test|250-STARTTLS|250 REQUIRETLS";
    let mx = Mx::with_tls(house.at(1), script, authority.vouch("mx.far.test").config);
    let server = house.serve();
    let reply = server.submission().try_send("one", &[BOB], " REQUIRETLS", "", "It rains.\r\n").unwrap();
    // It is only offered inside TLS, and this connection has none.
    assert!(reply.starts_with("5"), "{reply}");
    server.stop();
    assert_eq!(mx.seen().connections, 0);
    house.is_empty();

    // Inside TLS it is, and the next host is asked for the same.
    let server = house.serve();
    let mut sender = server.submission_in_tls();
    let reply = sender.try_send("one", &[BOB], " REQUIRETLS", "", "It rains.\r\n").unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let seen = server.wait(&mx, |seen| !seen.mail.is_empty());
    assert!(seen.mail[0].tls && seen.mail[0].from.contains(" REQUIRETLS"), "{seen:?}");
    drop(seen);
    server.stop();
    house.is_empty();
    let told = house.command(&["trace", BOB], "");
    assert!(told.contains("delivered") && told.contains("certificate verified"), "{told}");
}

#[test]
fn what_requires_tls_comes_back_where_nobody_vouches_for_it() {
    // A good certificate, and no promise that mail goes on like that: the server does not know REQUIRETLS.
    let (house, authority) = with_policy("enforce", "mx.far.test");
    let mx = Mx::with_tls(house.at(1), "", authority.vouch("mx.far.test").config);
    comes_back_unvouched(&house, &mx, BOB, "may travel under TLS only");

    // Neither DNSSEC nor MTA-STS says that the host is the domain's.
    let authority = Authority::new();
    let plan = Plan::new().file("authorities.pem", &authority.0.pem());
    let ip = plan.ip(1);
    let house = plan
        .unsigned("loose.test", |zone| zone.mx("loose.test", 10, "mx.loose.test").ip("mx.loose.test", &ip))
        .outbound(&format!("{SHORT}\nauthorities = \"authorities.pem\""))
        .make();
    let script = "EHLO 250-mx.test|250-STARTTLS|250 REQUIRETLS";
    let mx = Mx::with_tls(house.at(1), script, authority.vouch("mx.loose.test").config);
    comes_back_unvouched(&house, &mx, "bob@loose.test", "MTA-STS");
}

#[test]
fn what_requires_tls_goes_to_the_next_host_where_that_vouches_for_it() {
    let authority = Authority::new();
    let plan =
        Plan::new().file("authorities.pem", &authority.0.pem()).host("a.far.test", 1).host("b.far.test", 2);
    let house = plan
        .zone(|zone| zone.mx("far.test", 5, "a.far.test").mx("far.test", 10, "b.far.test"))
        .outbound(&format!("{SHORT}\nauthorities = \"authorities.pem\""))
        .make();
    let a = Mx::with_tls(house.at(1), "", authority.vouch("a.far.test").config);
    let b = Mx::with_tls(
        house.at(2),
        "EHLO 250-mx.test|250-STARTTLS|250 REQUIRETLS",
        authority.vouch("b.far.test").config,
    );
    let server = house.serve();
    let mut sender = server.submission_in_tls();
    let reply = sender.try_send("two", &[BOB], " REQUIRETLS", "", "It rains.\r\n").unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let seen = server.wait(&b, |seen| !seen.mail.is_empty());
    assert!(seen.mail[0].tls && seen.mail[0].from.contains(" REQUIRETLS"), "{seen:?}");
    drop(seen);
    server.stop();
    assert!(!a.seen().lines.iter().any(|(_, line)| line.starts_with("MAIL")));
    house.is_empty();
}

#[track_caller]
fn comes_back_unvouched(house: &House, mx: &Mx, to: &str, words: &str) {
    let server = house.serve();
    let mut sender = server.submission_in_tls();
    let reply = sender.try_send("one", &[to], " REQUIRETLS", "", "It rains.\r\n").unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let [report] = &server.reports(1)[..] else { panic!() };
    report.says(to, "failed", "5.7.30", &[words]);
    server.stop();
    assert!(!mx.seen().lines.iter().any(|(_, line)| line.starts_with("MAIL")), "{:?}", mx.seen());
    house.is_empty();
}

#[test]
fn the_trace_says_why_mail_went_unencrypted() {
    let plain = "EHLO 250-mx.test|250 PIPELINING";
    for (step, words) in [
        (plain, "not encrypted: the server does not offer TLS"),
        ("STARTTLS 454 4.7.0 not now", "not encrypted: the server refuses TLS: 454 4.7.0 not now"),
        ("TLS close", "not encrypted: TLS failed (the other server closed the connection)"),
        ("TLS this is no TLS", "not encrypted: TLS failed ("),
    ] {
        let house = Plan::new().domain("far.test", 1).make();
        let mx = Mx::with_tls(house.at(1), step, Authority::new().vouch("mx.far.test").config);
        let server = house.serve();
        send(&server);
        arrives(server, &house, &mx, false);
        let told = house.command(&["trace", BOB], "");
        assert!(told.contains(words), "{step}: {told}");
    }
}
