//! Fuzzes `penfold::port::fuzz::mbox`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| penfold::port::fuzz::mbox(octets));
