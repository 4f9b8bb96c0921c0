//! One measured figure beside what it is held against.

/// What a ratio should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

/// How much worse than its bar a ratio must be to fail a check: less is noise.
const GROSS: f64 = 2.0;

/// A figure of a case.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    case: String,
    value: f64,
    unit: &'static str,
    limit: Option<f64>,
    /// What `limit` is.
    against: &'static str,
    bar: Option<Bar>,
    note: String,
}

impl Figure {
    /// A figure without anything to hold it against.
    pub(crate) fn new(case: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Figure { case: case.into(), value, unit, limit: None, against: "", bar: None, note: String::new() }
    }

    /// What the same work came to over raw pipes.
    pub(crate) fn raw(self, limit: f64) -> Self {
        self.against("raw", limit)
    }

    /// What it is divided by.
    pub(crate) fn against(self, what: &'static str, limit: f64) -> Self {
        Figure { limit: Some(limit), against: what, ..self }
    }

    /// A figure that is held against a fixed number, since no raw pipe has its like.
    pub(crate) fn fixed(self, limit: f64) -> Self {
        self.against("allowed", limit).bar(Bar::AtMost(1.0))
    }

    pub(crate) fn bar(self, bar: Bar) -> Self {
        Figure { bar: Some(bar), ..self }
    }

    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Figure { note: note.into(), ..self }
    }

    fn ratio(&self) -> Option<f64> {
        self.limit.map(|limit| self.value / limit).filter(|ratio| ratio.is_finite())
    }

    /// Whether the ratio is so much worse than its bar that noise cannot be the reason.
    pub(crate) fn is_gross_loss(&self) -> bool {
        match (self.bar, self.ratio()) {
            (Some(Bar::AtMost(bar)), Some(ratio)) => ratio > bar * GROSS,
            (Some(Bar::AtLeast(bar)), Some(ratio)) => ratio < bar / GROSS,
            _ => false,
        }
    }

    fn is_missed(&self) -> bool {
        match (self.bar, self.ratio()) {
            (Some(Bar::AtMost(bar)), Some(ratio)) => ratio > bar,
            (Some(Bar::AtLeast(bar)), Some(ratio)) => ratio < bar,
            _ => false,
        }
    }

    pub(crate) fn heading() -> String {
        format!("{:<18} {:>10} {:<9} {:>20} {:>7}  bar", "case", "value", "unit", "against", "ratio")
    }

    /// The figure for people.
    pub(crate) fn line(&self) -> String {
        let limit = self.limit.map(|limit| format!("{} {}", self.against, short(limit))).unwrap_or_default();
        let ratio = self.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let bar = match self.bar {
            Some(Bar::AtMost(bar)) => format!("<= {bar}"),
            Some(Bar::AtLeast(bar)) => format!(">= {bar}"),
            None => String::new(),
        };
        let verdict = match (self.bar, self.is_gross_loss(), self.is_missed()) {
            (None, ..) => "",
            (_, true, _) => "LOST",
            (_, _, true) => "missed",
            _ => "met",
        };
        let (case, value, unit, note) = (&self.case, short(self.value), self.unit, &self.note);
        let line = format!("{case:<18} {value:>10} {unit:<9} {limit:>20} {ratio:>7}  {bar:<7} {verdict:<7} {note}");
        line.trim_end().to_owned()
    }

    /// The figure for programs.
    pub(crate) fn json(&self) -> String {
        let number = |number: Option<f64>| number.map_or("null".into(), |number| format!("{number:.4}"));
        format!(
            r#"{{"case":"{}","value":{:.4},"unit":"{}","limit":{},"ratio":{}}}"#,
            self.case,
            self.value,
            self.unit,
            number(self.limit),
            number(self.ratio()),
        )
    }
}

/// Three digits or so.
fn short(number: f64) -> String {
    match number.abs() {
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}
