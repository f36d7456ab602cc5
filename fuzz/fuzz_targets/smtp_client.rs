//! Fuzzes `wire::fuzz::smtp_client`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| wire::fuzz::smtp_client(octets));
