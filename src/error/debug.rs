//! `Debug` of the errors. A `main` that returns an error prints that, so `{:?}` writes the sentence of `Display`; `{:#?}`
//! writes the fields.

use super::{
    BuildError, CodecError, Crash, EnqueueError, JobError, OutOfMemory, ProtocolError, ReadyError, StartFailure,
    Timeout, WorkerPanic,
};
use std::fmt::{Debug, Display, Formatter, Result};

macro_rules! sentence_or_fields {
    ($($error:ident { $($field:ident),* })*) => {$(
        impl Debug for $error {
            fn fmt(&self, f: &mut Formatter<'_>) -> Result {
                if !f.alternate() {
                    return Display::fmt(self, f);
                }
                f.debug_struct(stringify!($error))$(.field(stringify!($field), &self.$field))*.finish()
            }
        }
    )*};
}

sentence_or_fields! {
    WorkerPanic { message, location, backtrace, pid, stderr, attempts, who }
    Crash { pid, cause, status, stderr, attempts, who }
    OutOfMemory { resident, limit, pid, stderr, attempts, who }
    Timeout { state, limit, pid, stderr, attempts, who }
    StartFailure { program, site, status, stderr, reason, attempts }
    CodecError { type_name, message, attempts }
    ProtocolError { pid, reason, attempts, who }
    BuildError { kind, message, source }
    ReadyError { message, failure }
}

/// The handler's own error writes its own `Debug`, since nothing else is known of its type here; a text, such as a
/// `String`, is written without its quotes.
impl<E: Debug> Debug for JobError<E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if !f.alternate() {
            return match self {
                JobError::Failed(error) => f.write_str(&unquoted(format!("{error:?}"))),
                known => known.write_known(f),
            };
        }
        let mut named = |name, error: &dyn Debug| f.debug_tuple(name).field(error).finish();
        match self {
            JobError::Failed(error) => named("Failed", error),
            JobError::Panicked(panic) => named("Panicked", panic),
            JobError::Crashed(crash) => named("Crashed", crash),
            JobError::TimedOut(timeout) => named("TimedOut", timeout),
            JobError::OutOfMemory(memory) => named("OutOfMemory", memory),
            JobError::Aborted => f.write_str("Aborted"),
            JobError::Closed => f.write_str("Closed"),
            JobError::Expired => f.write_str("Expired"),
            JobError::NoWorker(failure) => named("NoWorker", failure),
            JobError::Encode(error) => named("Encode", error),
            JobError::Decode(error) => named("Decode", error),
            JobError::Protocol(error) => named("Protocol", error),
        }
    }
}

/// The text whose `Debug` this is, or what it is where it is no text's.
fn unquoted(debug: String) -> String {
    let plain = || {
        let mut chars = debug.strip_prefix('"')?.strip_suffix('"')?.chars();
        let mut text = String::new();
        while let Some(char) = chars.next() {
            text.push(match char {
                '"' => return None,
                '\\' => match chars.next()? {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    '0' => '\0',
                    'u' => {
                        let digits: String = chars.by_ref().take_while(|&char| char != '}').collect();
                        char::from_u32(u32::from_str_radix(digits.strip_prefix('{')?, 16).ok()?)?
                    }
                    other => other,
                },
                other => other,
            });
        }
        Some(text)
    };
    plain().unwrap_or(debug)
}

impl<T: Debug> Debug for EnqueueError<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if !f.alternate() {
            return Display::fmt(self, f);
        }
        f.debug_struct("EnqueueError").field("kind", &self.kind).field("rejected", &self.rejected).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::unquoted;
    use crate::error::*;
    use crate::id::JobId;
    use crate::supervisor::Begun;
    use std::io;

    fn who() -> Box<Who> {
        let work = Work { job: JobId(42), label: Some("page 7".into()), attempt: 2, attempts: 3, begun: Begun::Yes };
        Box::new(Who { pid: 4711, pool: "thumbs".into(), site: None, work: Some(work) })
    }

    fn crash() -> Crash {
        let status = Some(ExitStatus::from_raw(11));
        Crash { pid: 4711, cause: CrashCause::Exited, status, stderr: "oh".into(), attempts: 2, who: who() }
    }

    /// Every error that the crate's callers can be given, with the name of a field or a variant of it.
    fn all() -> Vec<(Box<dyn Error>, &'static str)> {
        let start = || StartFailure {
            program: "prog".into(),
            site: None,
            status: None,
            stderr: "no licence".into(),
            reason: "exited with status 3".into(),
            attempts: 0,
            begun: Begun::No,
        };
        let panic = WorkerPanic {
            message: "oh".into(),
            location: Some("src/main.rs:7:9".into()),
            backtrace: None,
            pid: 4711,
            stderr: "about to".into(),
            attempts: 2,
            who: who(),
        };
        let memory = OutOfMemory {
            resident: (1 << 30) + 13_526_630,
            limit: 1 << 30,
            pid: 4711,
            stderr: String::new(),
            attempts: 2,
            who: who(),
        };
        let timeout = Timeout {
            state: WorkerState::Working,
            limit: Duration::from_secs(10),
            pid: 4711,
            stderr: String::new(),
            attempts: 2,
            who: who(),
        };
        let protocol = ProtocolError { pid: 4711, reason: "it spoke of job 2".into(), attempts: 2, who: who() };
        let codec = CodecError::here("some::Type", "the answer", "decoded", "it ends too early", Begun::Yes, 1);
        let enqueue = EnqueueError { kind: EnqueueErrorKind::Full, rejected: 7, message: "the backlog is full".into() };
        let ready =
            ReadyError { message: "the workers were not ready within 1s".into(), failure: Some(Box::new(start())) };
        let io = BuildError::io("a thread could not be started", io::Error::other("too many"));
        vec![
            (Box::new(panic.clone()), "location: Some("),
            (Box::new(crash()), "status: Some("),
            (Box::new(memory.clone()), "resident: 1087268454"),
            (Box::new(timeout.clone()), "state: Working"),
            (Box::new(start()), "program: \"prog\""),
            (Box::new(codec.clone()), "type_name: \"some::Type\""),
            (Box::new(protocol.clone()), "reason: \"it spoke"),
            (Box::new(enqueue), "rejected: 7"),
            (Box::new(ready), "failure: Some("),
            (Box::new(io), "kind: Spawn"),
            (Box::new(JobError::Failed("nothing to do".to_owned())), "Failed("),
            (Box::new(JobError::<String>::Panicked(panic)), "Panicked("),
            (Box::new(JobError::<String>::Crashed(crash())), "Crashed("),
            (Box::new(JobError::<String>::TimedOut(timeout)), "TimedOut("),
            (Box::new(JobError::<String>::OutOfMemory(memory)), "OutOfMemory("),
            (Box::new(JobError::<String>::Aborted), "Aborted"),
            (Box::new(JobError::<String>::Closed), "Closed"),
            (Box::new(JobError::<String>::NoWorker(start())), "NoWorker("),
            (Box::new(JobError::<String>::Encode(codec.clone())), "Encode("),
            (Box::new(JobError::<String>::Decode(codec)), "Decode("),
            (Box::new(JobError::<String>::Protocol(protocol)), "Protocol("),
        ]
    }

    #[test]
    fn debug_is_the_sentence_and_its_long_form_the_fields() {
        for (error, field) in all() {
            let sentence = error.to_string();
            assert_eq!(format!("{error:?}"), sentence);
            let fields = format!("{error:#?}");
            assert!(fields.contains(field) && fields != sentence, "{field}: {fields}");
        }
    }

    #[test]
    fn the_handlers_own_error_is_its_own_debug_and_a_text_has_no_quotes() {
        let of = |text: &str| format!("{:?}", JobError::Failed(text.to_owned()));
        for text in ["", "7 is too large", "\"quoted\" and \\ and\n\t\r\0\u{7f}\u{200b}ü", "it's"] {
            assert_eq!(of(text), text);
        }
        assert_eq!(format!("{:?}", JobError::Failed(Some("7"))), "Some(\"7\")");
        assert_eq!(unquoted("\"a\", \"b\"".into()), "\"a\", \"b\"");
        assert_eq!(unquoted("\"".into()), "\"");
    }

    #[test]
    fn the_sentences() {
        let sentences: Vec<_> = all().into_iter().take(7).map(|(error, _)| error.to_string()).collect();
        let expected = [
            "worker process 4711 of \"thumbs\" panicked while it did job 42 (page 7) (attempt 2 of 3) at \
             src/main.rs:7:9: oh",
            "worker process 4711 of \"thumbs\" was killed by SIGSEGV while it did job 42 (page 7) (attempt 2 of \
             3)\n  | oh",
            "worker process 4711 of \"thumbs\" held 1036.9 MiB, over its limit of 1024 MiB, while it did job 42 \
             (page 7) (attempt 2 of 3), and was killed",
            "worker process 4711 of \"thumbs\" was working for more than 10s on job 42 (page 7) (attempt 2 of 3), \
             and was killed",
            "no worker would start: prog exited with status 3\n  | no licence",
            "the answer could not be decoded as some::Type: it ends too early",
            "worker process 4711 of \"thumbs\" broke the protocol while it did job 42 (page 7) (attempt 2 of 3): \
             it spoke of job 2",
        ];
        assert_eq!(sentences, expected);
    }

    #[test]
    fn a_round_figure_of_memory_is_one() {
        let message = |bytes: u64| Mebibytes(bytes).to_string();
        assert_eq!([message(1 << 30), message(192 << 20), message(3 << 19)], ["1024 MiB", "192 MiB", "1.5 MiB"]);
        // To a tenth, these were as large as their limit.
        assert_eq!([message((1 << 30) + 1), message(4096)], ["1073741825 bytes", "4096 bytes"]);
    }

    #[test]
    fn what_broke_the_protocol_is_said_once() {
        assert_eq!(what_it_did("it spoke of job 2"), "it spoke of job 2");
        assert_eq!(what_it_did("wrote nonsense"), "it wrote nonsense");
    }
}
