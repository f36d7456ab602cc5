//! Fuzzes `penfold::port::fuzz::tar`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| penfold::port::fuzz::tar(octets));
