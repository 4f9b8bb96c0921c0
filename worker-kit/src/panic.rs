//! What a panic in the handler says, kept for the pool.

use crate::link::Link;
use crate::memory;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Once, Weak};
use std::{any::Any, env, panic};

const BACKTRACE: &str = "RUST_BACKTRACE";

/// A panic as it is sent to the pool.
#[derive(Debug)]
pub(crate) struct PanicNote {
    pub(crate) message: String,
    pub(crate) location: Option<String>,
    pub(crate) backtrace: Option<Backtrace>,
}

thread_local! {
    /// The pool that this thread runs handlers for, if it does: only its panics are the pool's business.
    static SERVES: RefCell<Option<Weak<Link>>> = const { RefCell::new(None) };
    static LAST: RefCell<Option<PanicNote>> = const { RefCell::new(None) };
}

/// From now on this thread's panics are kept; the hook that was set before still runs.
///
/// Where panics abort, nothing is unwound and the hook is the last chance to tell the pool.
pub(crate) fn keep_notes(link: &Arc<Link>) {
    static ONCE: Once = Once::new();
    SERVES.set(Some(Arc::downgrade(link)));
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let serves = SERVES.with_borrow(Clone::clone);
            if let Some(link) = serves {
                let note = note_of(info);
                if cfg!(panic = "abort") {
                    if let Some(link) = link.upgrade() {
                        link.send_terminal(note.message, note.location, note.backtrace);
                    }
                } else {
                    LAST.set(Some(note));
                }
                // With this variable set, the hook of the standard library prints a backtrace of its own.
                if memory::is_scarce() && env::var_os(BACKTRACE).is_some_and(|set| set != "0") {
                    return print_without_backtrace(info);
                }
            }
            before(info);
        }));
    });
}

/// The note of the panic that was just caught with `payload`.
pub(crate) fn take_note(payload: &(dyn Any + Send)) -> PanicNote {
    let message = message_of(payload);
    // The last one may be another, which a handler has caught: what is resumed has no note.
    let note = LAST.take().filter(|note| note.message == message);
    let mut note = note.unwrap_or(PanicNote { message, location: None, backtrace: None });
    // Its frames are looked up from here on.
    note.backtrace.take_if(|_| memory::is_scarce());
    note
}

#[allow(clippy::print_stderr)]
fn print_without_backtrace(info: &PanicHookInfo<'_>) {
    eprintln!("{info}\n(without a backtrace: too little is left of the memory that this process may have)");
}

fn note_of(info: &PanicHookInfo<'_>) -> PanicNote {
    // Frames are captured now, and looked up only if the panic reaches the pool: a handler may catch its own.
    let wanted = env::var_os(BACKTRACE).is_none_or(|set| set != "0") && !memory::is_scarce();
    PanicNote {
        message: message_of(info.payload()),
        location: info.location().map(ToString::to_string),
        backtrace: wanted.then(Backtrace::force_capture),
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}
