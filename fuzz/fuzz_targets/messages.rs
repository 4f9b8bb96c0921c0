#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hirelings_tests::fuzz::messages(data));
