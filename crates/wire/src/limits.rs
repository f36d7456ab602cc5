//! Every limit on what comes from outside, each with its reason. Parsers take them from here or as arguments;
//! `rate` in the server counts what needs counting over time.

use std::time::Duration;

/// Octets of an SMTP command line, CRLF included. RFC 5321 s.4.5.3.1.4 asks for 512; long AUTH lines
/// (RFC 4954 s.4) need 12,288.
pub const SMTP_COMMAND: usize = 12_288;
/// Octets of a POP3 command line. RFC 2449 s.4 asks for 255; AUTH needs more.
pub const POP3_COMMAND: usize = 12_288;
/// Octets of a whole IMAP command, collected literals included. RFC 7162 s.4 advises 8 KiB at least.
pub const IMAP_COMMAND: usize = 64 * 1024;
/// Octets of an IMAP literal that is collected in memory; a larger one must be streamed (APPEND) or is refused.
pub const IMAP_COLLECTED_LITERAL: usize = 64 * 1024;
/// Octets of a message: what SIZE and APPENDLIMIT tell.
pub const MESSAGE: u64 = 50_000_000;
/// Octets of a message as it is kept: one of that size and the trace headers that it got here, which must be importable
/// and restorable again.
pub const STORED_MESSAGE: u64 = MESSAGE + 64 * 1024;
/// Octets of a message's header section. Real ones stay under 64 KiB; filters and FETCH hold it in memory.
pub const HEADER: usize = 256 * 1024;
/// Recipients of one message. RFC 5321 s.4.5.3.1.8 asks for 100 at least.
pub const RECIPIENTS: usize = 1_000;
/// Octets of a local part. RFC 5321 s.4.5.3.1.1.
pub const LOCAL_PART: usize = 64;
/// Octets of a domain. RFC 5321 s.4.5.3.1.2, RFC 1035 s.2.3.4.
pub const DOMAIN: usize = 255;
/// Octets of a path. RFC 5321 s.4.5.3.1.3.
pub const PATH: usize = 256;
/// Octets of a line of a server's reply that are looked at. RFC 5321 s.4.5.3.1.5 allows 512; some servers say more.
pub const SMTP_REPLY_LINE: usize = 2_048;
/// Lines of a server's reply. EHLO has some twenty.
pub const SMTP_REPLY_LINES: usize = 100;
/// Octets that are kept of a server's reply: for the log, and for reports of delivery.
pub const SMTP_REPLY_TEXT: usize = 4_096;
/// Octets of what was the matter with a delivery that are kept with its recipient, and told in reports: a line of one of the
/// store's books holds it, escaped, with all else.
pub const TROUBLE: usize = 700;
/// Commands that a client of ours says before it waits for the replies: more could fill both sides' buffers, and each
/// would wait for the other (RFC 2920 s.3.1).
pub const SMTP_PIPELINED: usize = 100;
/// Octets of the values of NOTIFY, ENVID and ORCPT, as sent. RFC 3461 s.5.4 (b), (a), (c).
pub const DSN_NOTIFY: usize = 28;
/// See `DSN_NOTIFY`.
pub const DSN_ENVID: usize = 100;
/// See `DSN_NOTIFY`.
pub const DSN_ORCPT: usize = 500;
/// Octets of a message that a report of its failure brings back whole: who gets the report has it already.
pub const DSN_ORIGINAL: u64 = 10 << 20;
/// Unknown or out-of-place commands before the connection is closed: a person types fewer, a scanner more.
pub const BAD_COMMANDS: u32 = 20;
/// `Received` headers after which a message is taken to be looping. RFC 5321 s.6.3 asks for 100 at least.
pub const RECEIVED_HEADERS: usize = 100;
/// Octets of a keyword. Long enough for every client seen, short enough for the log's rows.
pub const KEYWORD: usize = 100;
/// Keywords a mailbox can name: they are one 128-bit set a row.
pub const KEYWORDS_PER_MAILBOX: usize = 128;
/// Octets of a mailbox's whole name, in UTF-8.
pub const MAILBOX_NAME: usize = 1_000;
/// Levels of a mailbox's name.
pub const MAILBOX_DEPTH: usize = 32;
/// How deep SEARCH keys, parenthesised lists and the like may nest: parsing must not use up the stack.
pub const NESTING: usize = 50;
/// How deep MIME parts are looked into; what lies deeper is one opaque part.
pub const MIME_DEPTH: usize = 50;
/// MIME parts of one message that are described; what follows is left out of the structure.
pub const MIME_PARTS: usize = 1_000;
/// Octets of one base64 line of a SASL exchange. RFC 4954 s.4 and RFC 5034 s.4 ask for 12,288.
pub const SASL_RESPONSE: usize = 12_288;
/// Iterations of a SCRAM exchange with another server: fewer protect a password too little (RFC 7677 s.4), more keep
/// us busy for it.
pub const SCRAM_ITERATIONS: std::ops::RangeInclusive<u32> = 4_096..=1_000_000;
/// Failed logins on one connection before it is closed.
pub const LOGIN_FAILURES: u32 = 5;

/// Octets of a line of headers on the way of an import or export: a message's mailboxes, flags and keywords.
pub const PORT_FRAME: usize = 256 * 1024;
/// Messages sent in an import or export and not yet acknowledged. Half of it must be more than the receiver gathers
/// before it answers (three commits and a bundle of answers), or both would wait for each other.
pub const PORT_WINDOW: usize = 2_048;
/// Mailboxes that one imported message may be put into: Gmail's labels.
pub const PORT_COPIES: usize = 100;
/// Octets of a mbox's From_ line: an address and a date; what is longer is text.
pub const MBOX_FROM: usize = 1_000;
/// Wrong Content-Length fields after which a mbox's are not believed any more: each costs a look ahead.
pub const MBOX_WRONG_LENGTHS: u32 = 16;
/// Files of an archive, or of a directory that is imported: their names are held in memory.
pub const ARCHIVE_FILES: usize = 1_000_000;
/// Octets of a file's name in an archive.
pub const ARCHIVE_NAME: usize = 4_096;
/// Octets that all files of an archive may have for one octet of the archive: text packs to a tenth at best, and
/// deflate cannot do better than 1,032.
pub const ARCHIVE_RATIO: u64 = 200;
/// Octets of an archive's small files that are read whole: names of keywords, lists of mailboxes.
pub const ARCHIVE_SMALL: usize = 4 * 1024 * 1024;
/// How deep directories are looked into.
pub const DIRECTORY_DEPTH: usize = 40;
/// Octets of one line of another IMAP server's answer, literals apart.
pub const IMAP_ANSWER: usize = 1024 * 1024;
/// Mailboxes that another IMAP server may list.
pub const IMAP_MAILBOXES: usize = 10_000;

/// Answers that are remembered of nameservers.
pub const DNS_CACHE: u64 = 4_096;
/// How long an answer is remembered at most, whatever it says: nobody who made a mistake should wait for days.
pub const DNS_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// How long it is remembered that there is no answer.
pub const DNS_NEGATIVE_TTL: Duration = Duration::from_secs(60 * 60);
/// MX records of a domain that are looked at. The largest providers have fewer than ten.
pub const MX_RECORDS: usize = 100;
/// Hosts of a domain that one delivery tries. RFC 5321 s.5.1 asks for two at least.
pub const MX_HOSTS: usize = 10;
/// Aliases (CNAME records) that may follow each other.
pub const ALIASES: usize = 10;
/// Addresses of one family that are looked at of a host.
pub const ADDRESSES: usize = 50;
/// Addresses of one host that one delivery tries.
pub const HOST_ADDRESSES: usize = 8;
/// Hosts that a message is tried with in one round after one has put it off (a 4yz reply). RFC 5321 s.5.1 asks for two
/// addresses at least; what several hosts put off, all will.
pub const FURTHER_HOSTS: usize = 2;
/// Addresses that are dialled for that: most that do not answer take half a minute each.
pub const FURTHER_ADDRESSES: usize = 5;
/// Recipients put off by a host that are held in memory for the next one, by one courier.
pub const PUT_OFF: usize = 500;
/// Messages that still go over a connection after it has put off the first: that one is not to wait for all others.
pub const BEFORE_THE_NEXT: usize = 100;
/// Lines of the queue that are settled in one commit, or a few more.
pub const SETTLED_TOGETHER: usize = 500;
/// Reports in one commit, or a few more: each may bring a message back, and is in memory until then.
pub const REPORTS_TOGETHER: usize = 20;
/// Octets of why a message was sent unencrypted that are kept with its fate.
pub const WHY_PLAIN: usize = 120;
/// TLSA records of a host: two of each kind, while keys change, are a dozen.
pub const TLSA_RECORDS: usize = 50;
/// Octets of an MTA-STS policy. RFC 8461 s.3.3 asks for 64 KiB.
pub const STS_POLICY: usize = 64 * 1024;
/// How long fetching it may take. RFC 8461 s.3.3 asks for one minute.
pub const STS_FETCH: Duration = Duration::from_secs(60);
/// How long a policy may hold, in seconds: RFC 8461 s.3.2, about a year.
pub const STS_MAX_AGE: u32 = 31_557_600;
/// How long the policy of a domain is not fetched again after that has failed. RFC 8461 s.3.3 asks for five minutes.
pub const STS_AGAIN: Duration = Duration::from_secs(5 * 60);

/// For a connection to another mail server to be made; RFC 5321 s.4.5.3.2 leaves it open, others wait about as long.
pub const SMTP_CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// How long a message may be held before it goes out (RFC 4865), in seconds: a month.
pub const SMTP_HOLD: u32 = 30 * 24 * 3_600;
/// An SMTP client that says nothing. RFC 5321 s.4.5.3.2.7.
pub const SMTP_IDLE: Duration = Duration::from_secs(5 * 60);
/// What a server's greeting and its replies to most commands may take. RFC 5321 s.4.5.3.2.1 to s.4.5.3.2.3.
pub const SMTP_REPLY_WITHIN: Duration = Duration::from_secs(5 * 60);
/// What its reply to DATA may take. RFC 5321 s.4.5.3.2.4.
pub const SMTP_DATA_WITHIN: Duration = Duration::from_secs(2 * 60);
/// What its reply to a whole message may take. RFC 5321 s.4.5.3.2.6: a client that does not wait so long sends twice.
pub const SMTP_MESSAGE_WITHIN: Duration = Duration::from_secs(10 * 60);
/// What its reply to QUIT may take: nothing depends on it.
pub const SMTP_QUIT_WITHIN: Duration = Duration::from_secs(10);
/// An IMAP client that says nothing. RFC 3501 s.5.4: at least 30 minutes.
pub const IMAP_IDLE: Duration = Duration::from_secs(30 * 60);
/// How often an IDLE client hears from us; FairEmail falls back to polling when it is under 12 minutes.
pub const IMAP_KEEPALIVE: Duration = Duration::from_secs(20 * 60);
/// A POP3 client that says nothing. RFC 1939 s.3: at least 10 minutes.
pub const POP3_IDLE: Duration = Duration::from_secs(10 * 60);
/// What a message, a literal or a command that has begun may take to come in any case: a line that stutters, a client
/// that looks for its next piece. RFC 5321 s.4.5.3.2 has clients wait up to 10 minutes for a reply; it names no bound
/// for a whole message, and without one an octet every few minutes keeps a connection for ever.
pub const BODY_WITHIN: Duration = Duration::from_secs(10 * 60);
/// Beyond that time, octets a second that must have come on average: a mobile phone of 1995 (9,600 bit/s) is as fast.
pub const BODY_RATE: u64 = 1024;
/// From connection to login (IMAP, POP3, submission).
pub const LOGIN_WITHIN: Duration = Duration::from_secs(60);
