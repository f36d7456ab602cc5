//! Fuzzes `store::fuzz::store_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| store::fuzz::store_record(octets));
