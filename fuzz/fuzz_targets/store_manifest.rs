//! Fuzzes `store::fuzz::store_manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| store::fuzz::store_manifest(octets));
