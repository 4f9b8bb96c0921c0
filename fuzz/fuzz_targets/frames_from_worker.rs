#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hirelings_tests::fuzz::frames_from_worker(data));
