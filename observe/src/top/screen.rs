//! The last lines of a terminal, drawn over and over.

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use std::io::{self, Write};
use std::time::Duration;

/// What is on the terminal.
pub(super) struct Screen {
    is_view: bool,
    /// How often there is a line, where there is no view.
    pub(super) every: Duration,
    /// The lines that were drawn last, and whether they are to be seen.
    lines: Vec<String>,
    shown: bool,
}

impl Screen {
    pub(super) fn new(is_view: bool, every: Duration) -> Self {
        Screen { is_view, every, lines: Vec::new(), shown: false }
    }

    /// Shows this in place of what was drawn before.
    pub(super) fn draw(&mut self, buffer: Buffer) {
        let mut out = self.up();
        self.lines = (0..buffer.area.height).map(|row| line(&buffer, row)).collect();
        self.put(&mut out);
    }

    /// Takes away what was drawn.
    pub(super) fn erase(&mut self) {
        let out = self.up();
        if !out.is_empty() {
            write(&(out + "\x1b[J"));
        }
        self.shown = false;
    }

    /// Shows what was drawn last once more.
    pub(super) fn draw_again(&mut self) {
        if self.is_view && !self.lines.is_empty() {
            self.put(&mut String::new());
        }
    }

    fn put(&mut self, out: &mut String) {
        for line in &self.lines {
            out.push_str(line);
            out.push_str("\x1b[K\n");
        }
        // What is left of a view that had more lines.
        out.push_str("\x1b[J");
        write(out);
        self.shown = true;
    }

    /// To the first line of what was drawn.
    fn up(&self) -> String {
        if self.shown && !self.lines.is_empty() { format!("\r\x1b[{}A", self.lines.len()) } else { String::new() }
    }
}

fn write(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// How many columns and rows the terminal has.
pub(super) fn size() -> (u16, u16) {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => (80, 24),
    }
}

/// One row of what was rendered, with its colours.
fn line(buffer: &Buffer, row: u16) -> String {
    let mut line = String::new();
    let mut style = String::new();
    let mut column = 0;
    while column < buffer.area.width {
        let Some(cell) = buffer.cell((column, row)) else { break };
        let now = codes(cell.fg, cell.modifier);
        if now != style {
            line.push_str(&format!("\x1b[0{now}m"));
            style = now;
        }
        line.push_str(cell.symbol());
        // A wide character takes the next cell as well.
        column += unicode_columns(cell.symbol());
    }
    let trimmed = line.trim_end().len();
    line.truncate(trimmed);
    if !style.is_empty() {
        line.push_str("\x1b[0m");
    }
    line
}

fn unicode_columns(symbol: &str) -> u16 {
    u16::try_from(ratatui::text::Span::raw(symbol).width()).unwrap_or(1).max(1)
}

fn codes(colour: Color, modifier: Modifier) -> String {
    let mut codes = String::new();
    if modifier.contains(Modifier::BOLD) {
        codes.push_str(";1");
    }
    if modifier.contains(Modifier::DIM) {
        codes.push_str(";2");
    }
    codes.push_str(match colour {
        Color::Red => ";31",
        Color::Green => ";32",
        Color::Yellow => ";33",
        Color::Blue => ";34",
        Color::Magenta => ";35",
        Color::Cyan => ";36",
        _ => "",
    });
    codes
}
