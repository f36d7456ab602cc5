//! The parts that a busy server spends its time in, one at a time: `cargo bench --bench parts`.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use penfold::flow::dkim::{Key, Reading, Signers, State};
use wire::dot::Stuffer;
use wire::flag::{SystemFlag, SystemFlags};
use wire::ids::{SeqNum, Uid};
use wire::imap::response::Fetch;

fn main() {
    divan::main();
}

/// A plain message of about `size` octets.
fn text(size: usize) -> Vec<u8> {
    let mut m =
        b"From: A <a@example.net>\r\nTo: B <b@example.net>\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\
        Message-ID: <1@example.net>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
            .to_vec();
    while m.len() < size {
        m.extend_from_slice(b"The quick brown fox jumps over the lazy dog and does not look back at it.\r\n");
    }
    m
}

#[divan::bench(args = [10_240, 1_000_000])]
fn derive_a_digest(b: Bencher, size: usize) {
    let m = text(size);
    b.counter(BytesCount::new(m.len())).bench(|| penfold::mime::digest_of(black_box(&m)));
}

#[divan::bench]
fn stuff_a_megabyte(b: Bencher) {
    let m = text(1_000_000);
    let mut out = Vec::with_capacity(m.len() + 1_000);
    b.counter(BytesCount::new(m.len())).bench_local(|| {
        out.clear();
        Stuffer::new().push(black_box(&m), &mut out);
        out.len()
    });
}

/// A message as the queue sends it: body hashed, then signed with RSA and with Ed25519.
#[divan::bench]
fn sign_10_kilobytes(b: Bencher) {
    let m = text(10_240);
    let keys = Key::pair("example.net", &[], State::Active, 0).unwrap_or_default();
    let keys = Signers::of(keys);
    b.counter(ItemsCount::new(1u32)).bench(|| {
        let mut reading = Reading::default();
        reading.push(black_box(&m));
        reading.finish().map(|(header, body)| keys.sign(&header, &body, 1_795_900_000))
    });
}

/// What a large message's hash costs.
#[divan::bench]
fn hash_a_megabyte_for_dkim(b: Bencher) {
    let m = text(1_000_000);
    b.counter(BytesCount::new(m.len())).bench(|| {
        let mut reading = Reading::default();
        reading.push(black_box(&m));
        reading.finish()
    });
}

#[divan::bench]
fn write_100_000_fetch_lines(b: Bencher) {
    let flags = SystemFlags::NONE.with(SystemFlag::Seen);
    let mut out = Vec::with_capacity(8 << 20);
    b.counter(ItemsCount::new(100_000u32)).bench_local(|| {
        out.clear();
        for n in 1..=100_000 {
            let (Some(seq), Some(uid)) = (SeqNum::new(n), Uid::new(n + 7)) else { continue };
            let mut fetch = Fetch::begin(seq, &mut out);
            fetch.uid(uid, &mut out);
            fetch.flags(flags, false, ["$Forwarded"], &mut out);
            fetch.end(&mut out);
        }
        out.len()
    });
}
