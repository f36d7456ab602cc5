//! SHA-256 and what is made of it, written for shortness: tests need it where the crate has none. FIPS 180-4, RFC 2104,
//! RFC 8018.

use std::cell::RefCell;
use std::num::NonZeroU32;

use crate::sasl::client::Hashes;

/// The hashes.
#[derive(Clone, Copy, Debug)]
pub struct PlainHashes;

impl Hashes for PlainHashes {
    fn sha256(&self, octets: &[u8]) -> [u8; 32] {
        sha256(&[octets])
    }

    fn hmac_sha256(&self, key: &[u8], octets: &[u8]) -> [u8; 32] {
        hmac(key, &[octets])
    }

    fn pbkdf2_sha256(&self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> [u8; 32] {
        thread_local! {
            /// A dialogue is replayed at each cut with the same salt, and this is slow.
            static LAST: RefCell<(Vec<u8>, u32, [u8; 32])> = RefCell::default();
        }
        let input = [password, b"\0", salt].concat();
        let known = |last: &(Vec<u8>, u32, [u8; 32])| {
            (last.0 == input && last.1 == iterations.get()).then_some(last.2)
        };
        if let Some(known) = LAST.with_borrow(known) {
            return known;
        }
        let mut u = hmac(password, &[salt, &[0, 0, 0, 1]]);
        let mut all = u;
        for _ in 1..iterations.get() {
            u = hmac(password, &[&u]);
            all.iter_mut().zip(u).for_each(|(a, b)| *a ^= b);
        }
        LAST.set((input, iterations.get(), all));
        all
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = [0; 64];
    match key.len() {
        0..=64 => block[..key.len()].copy_from_slice(key),
        _ => block[..32].copy_from_slice(&sha256(&[key])),
    }
    let (inner, outer) = (block.map(|b| b ^ 0x36), block.map(|b| b ^ 0x5c));
    let mut all = vec![&inner[..]];
    all.extend_from_slice(parts);
    sha256(&[&outer, &sha256(&all)])
}

/// The first 32 bits behind the point of the square roots, or cube roots, of the first primes.
fn roots(n: usize, cube: bool) -> impl Iterator<Item = u32> {
    let primes = (2u128..).filter(|n| (2..*n).all(|d| !n.is_multiple_of(d)));
    primes.take(n).map(move |prime| {
        let (power, shift) = if cube { (3, 96) } else { (2, 64) };
        let mut root = 0u128;
        for bit in (0..36).rev() {
            let next = root | 1 << bit;
            if next.pow(power) <= prime << shift {
                root = next;
            }
        }
        (root & 0xffff_ffff) as u32
    })
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    static TABLES: std::sync::OnceLock<([u32; 8], [u32; 64])> = std::sync::OnceLock::new();
    let (start, k) = TABLES.get_or_init(|| {
        let (mut start, mut k) = ([0; 8], [0; 64]);
        start.iter_mut().zip(roots(8, false)).for_each(|(to, from)| *to = from);
        k.iter_mut().zip(roots(64, true)).for_each(|(to, from)| *to = from);
        (start, k)
    });
    let mut state = *start;
    let mut message = parts.concat();
    let bits = message.len() as u64 * 8;
    message.push(0x80);
    while message.len() % 64 != 56 {
        message.push(0);
    }
    message.extend_from_slice(&bits.to_be_bytes());
    for block in message.chunks_exact(64) {
        compress(&mut state, block, k);
    }
    let mut digest = [0; 32];
    digest.chunks_exact_mut(4).zip(state).for_each(|(to, word)| to.copy_from_slice(&word.to_be_bytes()));
    digest
}

fn compress(state: &mut [u32; 8], block: &[u8], k: &[u32; 64]) {
    let mut w = [0u32; 64];
    for (to, from) in w.iter_mut().zip(block.chunks_exact(4)) {
        *to = from.iter().fold(0, |n, &b| n << 8 | u32::from(b));
    }
    for i in 16..64 {
        let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ w[i - 15] >> 3;
        let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (w, k) in w.into_iter().zip(k) {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let t1 = h.wrapping_add(s1).wrapping_add(e & f ^ !e & g).wrapping_add(*k).wrapping_add(w);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t2 = s0.wrapping_add(a & b ^ a & c ^ b & c);
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
    }
    state.iter_mut().zip([a, b, c, d, e, f, g, h]).for_each(|(s, x)| *s = s.wrapping_add(x));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let hex = |octets: [u8; 32]| data_encoding::HEXLOWER.encode(&octets);
        for (text, digest) in [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ] {
            assert_eq!(hex(PlainHashes.sha256(text.as_bytes())), digest, "{text:?}");
        }
        // RFC 4231 s.4.3.
        let mac = PlainHashes.hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
