//! Fuzzes `wire::fuzz::smtp_reply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| wire::fuzz::smtp_reply(octets));
