//! A root zone of the test's own, served and signed by Knot.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::super::run;
use super::until;

/// A running Knot, killed when dropped.
pub struct Knot {
    child: Child,
    directory: tempfile::TempDir,
    pub at: SocketAddr,
    /// The key that proves its zone, as a resolver reads it.
    pub anchor: PathBuf,
}

impl Knot {
    /// Serves the root zone with these records. Waits until it is signed.
    pub fn start(root: &Path, records: &str) -> Knot {
        let directory = tempfile::tempdir().unwrap();
        let (dir, at) = (directory.path(), free());
        let config = dir.join("knot.conf");
        std::fs::write(
            &config,
            format!(
                "server:\n  rundir: {dir}\n  listen: {ip}@{port}\n  user: root:root\n\
                 log:\n- target: stderr\n  any: info\ndatabase:\n  storage: {dir}\n  journal-db-max-size: 10M\n\
                 policy:\n- id: test\n  algorithm: ecdsap256sha256\n  single-type-signing: on\n\
                 zone:\n- domain: .\n  storage: {dir}\n  file: zone\n  dnssec-signing: on\n  dnssec-policy: test\n  \
                 zonefile-sync: -1\n",
                dir = dir.display(),
                ip = at.ip(),
                port = at.port()
            ),
        )
        .unwrap();
        let head = ". 300 IN SOA ns.test. hostmaster.test. 1 3600 600 86400 60\n. 300 IN NS ns.test.\n\
                    ns.test. 300 IN A 127.0.0.1\n";
        std::fs::write(dir.join("zone"), format!("{head}{records}")).unwrap();
        let output = dir.join("output");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(root.join("usr/sbin/knotd"))
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.stderr(std::fs::File::create(&output).unwrap());
        let mut child = command.spawn().unwrap();
        until("Knot has signed its zone", || {
            let said = std::fs::read_to_string(&output).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "{said}");
            (said.contains("server started") && said.contains("successfully signed")).then_some(())
        });
        let mut keymgr = Command::new(root.join("usr/sbin/keymgr"));
        let done = run(keymgr.arg("-c").arg(&config).args([".", "dnskey"]));
        let key = String::from_utf8(done.stdout).unwrap();
        let anchor = dir.join("anchor.keys");
        std::fs::write(&anchor, key.replacen(". DNSKEY", ". 300 IN DNSKEY", 1)).unwrap();
        Knot { child, directory, at, anchor }
    }

    /// What it has logged. A test that fails prints it.
    fn said(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("output")).unwrap()
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("Knot said:\n{}", self.said());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free for UDP and TCP.
fn free() -> SocketAddr {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        if TcpListener::bind(udp.local_addr().unwrap()).is_ok() {
            return udp.local_addr().unwrap();
        }
    }
}
