//! Fuzzes `wire::fuzz::imap_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| wire::fuzz::imap_frame(octets));
