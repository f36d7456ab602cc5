//! Fuzzes `penfold::flow::secure::fuzz::policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| penfold::flow::secure::fuzz::policy(octets));
