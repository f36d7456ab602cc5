//! Other mail servers: Postfix, Exim and OpenSMTPD as Debian packs them, unpacked and not installed, each with its files in
//! a directory of the test.
//!
//! Each runs in namespaces of its own, with the files and users that its package would have brought laid over this host's.
//! All of its processes end with the first of them, and that one with the test.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::super::say;
use super::super::support::client::Lines;
use super::until;

/// Where peers listen: not where we do, or mail would seem to go in a circle.
pub const IP: [u8; 4] = [127, 0, 0, 2];
/// What they are called.
pub const NAME: &str = "mx.far.test";
/// Who gets what they take: a user of theirs alone.
const BOX: u32 = 61_001;
/// Whom Postfix does not know.
pub const NOBODY: &str = "nobody@far.test";
/// Users that the packages would make.
const USERS: [(&str, u32); 7] = [
    ("box", BOX),
    ("Debian-exim", EXIM),
    ("postfix", POSTFIX),
    ("opensmtpd", 61_004),
    ("opensmtpq", 61_005),
    ("dovecot", 61_006),
    ("dovenull", 61_007),
];
const EXIM: u32 = 61_002;
const POSTFIX: u32 = 61_003;

/// Where the packages are unpacked, if they are and can be used.
pub fn unpacked() -> Option<PathBuf> {
    let found = std::env::var_os("PENFOLD_PEERS").map(PathBuf::from);
    let missing = match &found {
        None => "other mail servers are not unpacked (PENFOLD_PEERS; .ci/run does it)",
        Some(_) if !rustix::process::getuid().is_root() => "other mail servers want to be started by root",
        Some(_) => return found,
    };
    assert!(
        std::env::var_os("PENFOLD_NO_SKIP").is_none_or(|v| v != "1"),
        "nothing may be skipped: {missing}"
    );
    say(&format!("SKIPPED: {missing}"));
    None
}

/// What a peer is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Postfix, which takes mail for far.test.
    Postfix,
    /// The same, without SMTPUTF8.
    PostfixAscii,
    /// Postfix that takes mail for everybody, from whoever logs in by one of these mechanisms; Dovecot looks at the password.
    PostfixRelay(&'static str),
    /// Exim.
    Exim,
    /// OpenSMTPD.
    OpenSmtpd,
}

/// The login that a relay takes.
pub const LOGIN: (&str, &str) = ("relay", "not-to-be-guessed");

/// A running peer, killed when dropped.
pub struct Peer {
    child: Child,
    directory: tempfile::TempDir,
    pub at: SocketAddr,
}

impl Peer {
    /// Starts one, and waits until it greets.
    pub fn start(root: &Path, kind: Kind) -> Peer {
        let directory = tempfile::tempdir().unwrap();
        // Its processes are of several users.
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let at = TcpListener::bind((Ipv4Addr::from(IP), 0)).unwrap().local_addr().unwrap();
        let made = Made { dir: directory.path(), at };
        made.certificate();
        made.users();
        let server = match kind {
            Kind::Postfix => made.postfix(None, true),
            Kind::PostfixAscii => made.postfix(None, false),
            Kind::PostfixRelay(mechanisms) => made.postfix(Some(mechanisms), true),
            Kind::Exim => made.exim(),
            Kind::OpenSmtpd => made.opensmtpd(),
        };
        let script = format!(
            "set -e\nmount -t overlay none -o lowerdir={}/usr:/usr /usr\nmount --bind {dir}/passwd /etc/passwd\n\
             mount --bind {dir}/group /etc/group\n{server}\nexit 1\n",
            root.display(),
            dir = made.dir.display()
        );
        let output = std::fs::File::create(directory.path().join("output")).unwrap();
        // The shell stays what all of its processes end with: a server that changes who it is forgets its parent's end.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]);
        command.args(["sh", "-c", &script]);
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let mut peer = Peer { child: command.spawn().unwrap(), directory, at };
        until(&format!("{kind:?} greets"), || {
            if let Some(status) = peer.child.try_wait().unwrap() {
                panic!("{kind:?} ended: {status}\n{}", peer.said());
            }
            Lines::plain(at).ok()?.smtp_reply().ok()
        });
        peer
    }

    /// Its certificate, in PEM.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    /// What it has logged. A test that fails prints it.
    pub fn said(&self) -> String {
        let read = |name: &str| std::fs::read(self.directory.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(
            &[read("output"), read("maillog"), read("log/mainlog"), read("log-dovecot")].concat(),
        )
        .into_owned()
    }

    /// The messages that it has delivered, once there are so many.
    pub fn mail(&self, n: usize) -> Vec<Vec<u8>> {
        let new = self.directory.path().join("mail/box/new");
        let found = || {
            let files: Vec<_> = std::fs::read_dir(&new).ok()?.map(|entry| entry.unwrap().path()).collect();
            (files.len() >= n).then_some(files)
        };
        let files = until("mail arrives", found);
        assert_eq!(files.len(), n);
        files.iter().map(|file| std::fs::read(file).unwrap()).collect()
    }

    /// How much it has delivered.
    pub fn delivered(&self) -> usize {
        std::fs::read_dir(self.directory.path().join("mail/box/new")).map_or(0, Iterator::count)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the other server said:\n{}", self.said());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is made for one before it starts.
struct Made<'a> {
    dir: &'a Path,
    at: SocketAddr,
}

impl Made<'_> {
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.join(name), text).unwrap();
    }

    fn directory(&self, name: &str, owner: u32) {
        let path = self.dir.join(name);
        std::fs::create_dir_all(&path).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
    }

    fn certificate(&self) {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        self.write("cert.pem", &made.cert.pem());
        self.write("key.pem", &made.signing_key.serialize_pem());
    }

    /// Those of this host, and those that the packages would make.
    fn users(&self) {
        let (mut passwd, mut group) =
            (std::fs::read_to_string("/etc/passwd").unwrap(), std::fs::read_to_string("/etc/group").unwrap());
        for (name, id) in USERS {
            passwd.push_str(&format!("{name}:x:{id}:{id}::{}/mail:/bin/sh\n", self.dir.display()));
            group.push_str(&format!("{name}:x:{id}:\n"));
        }
        group.push_str("postdrop:x:61008:\n");
        self.write("passwd", &passwd);
        self.write("group", &group);
        self.directory("mail", BOX);
    }

    fn postfix(&self, relay: Option<&str>, smtputf8: bool) -> String {
        let (dir, port) = (self.dir.display(), self.at.port());
        self.directory("data", POSTFIX);
        std::fs::create_dir_all(self.dir.join("queue/pid")).unwrap();
        for name in ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"]
            .into_iter()
            .chain(["maildrop", "private", "public", "saved", "trace"])
        {
            self.directory(&format!("queue/{name}"), POSTFIX);
        }
        let (before, who) = match relay {
            Some(mechanisms) => (
                self.dovecot(mechanisms),
                "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\n\
                 smtpd_tls_auth_only = yes\nsmtpd_relay_restrictions = permit_sasl_authenticated, reject\n\
                 smtpd_recipient_restrictions = permit_sasl_authenticated, reject\n\
                 virtual_mailbox_domains = static:all\n",
            ),
            None => (
                String::new(),
                "virtual_mailbox_domains = far.test\nsmtpd_recipient_restrictions =\n \
                 check_recipient_access inline:{ {nobody@far.test = 550 5.1.1 nobody of this name} },\n \
                 reject_unauth_destination\n",
            ),
        };
        self.write(
            "main.cf",
            &format!(
                "compatibility_level = 3.6\nqueue_directory = {dir}/queue\ndata_directory = {dir}/data\n\
                 maillog_file = {dir}/maillog\nmaillog_file_prefixes = {dir}\n\
                 myhostname = {NAME}\nmydestination =\nmynetworks =\nalias_maps =\nalias_database =\n\
                 virtual_mailbox_base = {dir}/mail\nvirtual_mailbox_maps = static:box/\nvirtual_minimum_uid = 1\n\
                 virtual_uid_maps = static:{BOX}\nvirtual_gid_maps = static:{BOX}\n\
                 smtpd_tls_security_level = may\nsmtpd_tls_loglevel = 1\nsmtpd_tls_received_header = yes\n\
                 smtpd_tls_chain_files = {dir}/key.pem, {dir}/cert.pem\nsmtputf8_enable = {}\n{who}",
                if smtputf8 { "yes" } else { "no" }
            ),
        );
        self.write(
            "master.cf",
            &format!(
                "{ip}:{port} inet n - n - - smtpd\nrewrite unix - - n - - trivial-rewrite\n\
                 cleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\nbounce unix - - n - 0 bounce\n\
                 defer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\ntlsmgr unix - - n 1000? 1 tlsmgr\n\
                 anvil unix - - n - 1 anvil\nproxymap unix - - n - - proxymap\nvirtual unix - n n - - virtual\n\
                 error unix - - n - - error\nretry unix - - n - - error\npostlog unix-dgram n - n - 1 postlogd\n",
                ip = self.at.ip()
            ),
        );
        format!("{before}/usr/lib/postfix/sbin/master -c {dir} -d")
    }

    /// Dovecot, which Postfix asks about logins, and nothing more of it.
    fn dovecot(&self, mechanisms: &str) -> String {
        let dir = self.dir.display();
        self.write(
            "dovecot.conf",
            &format!(
                "base_dir = {dir}/dovecot\nlog_path = {dir}/log-dovecot\nprotocols =\nssl = no\n\
                 auth_mechanisms = {mechanisms}\n\
                 passdb {{\n driver = static\n args = user={} password={}\n}}\nuserdb {{\n driver = static\n}}\n\
                 service auth {{\n unix_listener {dir}/queue/private/auth {{\n  mode = 0666\n }}\n}}\n",
                LOGIN.0, LOGIN.1
            ),
        );
        format!("/usr/sbin/dovecot -c {dir}/dovecot.conf\n")
    }

    fn exim(&self) -> String {
        let dir = self.dir.display();
        self.directory("spool", EXIM);
        self.directory("log", EXIM);
        // It delivers as itself: once it runs a process anew with a configuration of ours, it is root no more.
        self.directory("mail", EXIM);
        for name in ["cert.pem", "key.pem"] {
            chown(self.dir.join(name), Some(EXIM), Some(EXIM)).unwrap();
        }
        self.write(
            "exim.conf",
            &format!(
                "primary_hostname = {NAME}\nspool_directory = {dir}/spool\n\
                 log_file_path = {dir}/log/%slog\nkeep_environment =\nnever_users =\ntls_advertise_hosts = *\n\
                 tls_certificate = {dir}/cert.pem\ntls_privatekey = {dir}/key.pem\nacl_smtp_rcpt = rcpt\n\
                 begin acl\nrcpt:\n  accept domains = far.test\n  deny\n\
                 begin routers\nall:\n  driver = accept\n  domains = far.test\n  transport = box\n\
                 begin transports\nbox:\n  driver = appendfile\n  directory = {dir}/mail/box\n  maildir_format\n  \
                 create_directory\n"
            ),
        );
        let at = self.at;
        format!(
            "/usr/sbin/exim4 -C {dir}/exim.conf -bdf -oX '[{}]:{}' -oP {dir}/exim.pid",
            at.ip(),
            at.port()
        )
    }

    fn opensmtpd(&self) -> String {
        let dir = self.dir.display();
        std::fs::set_permissions(self.dir.join("key.pem"), PermissionsExt::from_mode(0o600)).unwrap();
        self.write(
            "smtpd.conf",
            &format!(
                "pki {NAME} cert \"{dir}/cert.pem\"\npki {NAME} key \"{dir}/key.pem\"\n\
                 table boxes {{ \"@\" = \"box\" }}\nlisten on {} port {} tls pki {NAME} hostname {NAME}\n\
                 action \"in\" maildir \"{dir}/mail/box\" virtual <boxes>\n\
                 match from any for domain \"far.test\" action \"in\"\n",
                self.at.ip(),
                self.at.port()
            ),
        );
        // Its directories have their names built in.
        format!(
            "mount -t tmpfs none /var/spool\nmkdir -m 711 /var/spool/smtpd\nmount -t tmpfs none /var/lib\n\
             mkdir -p /var/lib/opensmtpd/empty\nmount -t tmpfs none /run\n\
             /usr/sbin/smtpd -d -f {dir}/smtpd.conf"
        )
    }
}
