//! Fuzzes `wire::fuzz::smtp_command`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| wire::fuzz::smtp_command(octets));
