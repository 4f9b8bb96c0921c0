#![no_main]
// As in every program that std starts: a write that nobody reads is an error and no signal.
libfuzzer_sys::fuzz_target!(
    init: { unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) } },
    |data: &[u8]| hirelings_tests::fuzz::worker_side(data)
);
