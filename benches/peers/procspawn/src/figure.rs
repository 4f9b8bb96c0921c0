//! The lines of JSON. None of the texts needs escapes.

use std::fmt;

/// A figure of a case.
pub(crate) struct Figure {
    case: String,
    value: f64,
    unit: &'static str,
    limit: Option<f64>,
    note: String,
}

impl Figure {
    pub(crate) fn new(case: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Figure { case: case.into(), value, unit, limit: None, note: String::new() }
    }

    /// What it is divided by.
    pub(crate) fn against(self, limit: f64) -> Self {
        Figure { limit: Some(limit), ..self }
    }

    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Figure { note: note.into(), ..self }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figure { case, value, unit, limit, note } = self;
        write!(f, r#"{{"case":"{case}","value":{value:.4},"unit":"{unit}""#)?;
        if let Some(limit) = limit {
            write!(f, r#","limit":{limit:.4},"ratio":{:.4}"#, value / limit)?;
        }
        if !note.is_empty() {
            write!(f, r#","note":"{note}""#)?;
        }
        write!(f, "}}")
    }
}

/// The line of a case that cannot be done.
pub(crate) fn cannot(case: &str, why: &str) -> String {
    format!(r#"{{"case":"{case}","cannot":"{why}"}}"#)
}
