#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hirelings::fuzz::messages(data));
