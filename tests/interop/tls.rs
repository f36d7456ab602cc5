//! openssl s_client on each port: implicit TLS and STARTTLS, the certificate verified, TLS 1.2 and 1.3.

use std::process::Command;

use super::{demo, have, ok, run};

#[test]
fn openssl_verifies_every_port() {
    if !have("openssl", &["version"], "openssl") {
        return;
    }
    let demo = demo();
    let ca = demo.certificate().display().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        for (service, starttls) in [
            ("smtp", Some("smtp")),
            ("submission", Some("smtp")),
            ("imap", Some("imap")),
            ("pop3", Some("pop3")),
            ("submissions", None),
            ("imaps", None),
            ("pop3s", None),
        ] {
            let mut c = Command::new("openssl");
            c.args(["s_client", "-connect", &demo.addr(service).to_string(), "-servername", "localhost"]);
            c.args(["-CAfile", &ca, "-verify_return_error", "-verify_hostname", "localhost", version]);
            if let Some(p) = starttls {
                c.args(["-starttls", p]);
            }
            let got = ok(&mut c, &demo);
            assert!(got.contains("Verify return code: 0 (ok)"), "{service} {version}: {got}");
            let tickets =
                got.contains("Post-Handshake New Session Ticket") || got.contains("TLS session ticket:");
            assert!(service != "smtp" || !tickets, "no session tickets on port 25: {got}");
        }
    }
    let old = run(Command::new("openssl")
        .args(["s_client", "-connect", &demo.addr("imaps").to_string(), "-tls1_1"])
        .args(["-cipher", "ALL:@SECLEVEL=0"]));
    assert!(!old.status.success(), "TLS 1.1 is refused");
}
