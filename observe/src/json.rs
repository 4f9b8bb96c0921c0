//! JSON, as it is written here: by hand, since most of it is long runs of numbers.

use std::fmt::Display;
use std::io::{self, Write};

/// A text with its quotation marks. No `<` is in it, so that it may stand in a page.
pub(crate) fn text(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    if quoted.contains('<') { quoted.replace('<', "\\u003c") } else { quoted }
}

/// A list, each element as it displays.
pub(crate) fn list<T: Display>(out: &mut dyn Write, items: impl IntoIterator<Item = T>) -> io::Result<()> {
    out.write_all(b"[")?;
    for (n, item) in items.into_iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        write!(out, "{comma}{item}")?;
    }
    out.write_all(b"]")
}

/// A number, or `null`.
pub(crate) fn or_null<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}
