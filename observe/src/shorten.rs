//! Shortens the texts that are kept.

use std::sync::Arc;

/// At most so many bytes of a text, of its start or its end.
pub(crate) fn truncated(mut text: String, most: usize, start: bool) -> Box<str> {
    if text.len() > most {
        let at = if start { before(&text, most) } else { after(&text, text.len() - most) };
        if start {
            text.truncate(at);
            text.push('…');
        } else {
            text = format!("…{}", &text[at..]);
        }
    }
    text.into()
}

/// The last place up to `at` between two characters, and the first from it on: std's own are newer than the oldest Rust that
/// this crate is for.
fn before(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

fn after(text: &str, at: usize) -> usize {
    (at..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}

/// A label as it is kept.
pub(crate) fn short_label(label: &Arc<str>) -> Arc<str> {
    const MOST: usize = 200;
    if label.len() <= MOST { Arc::clone(label) } else { truncated((**label).to_owned(), MOST, true).into() }
}
