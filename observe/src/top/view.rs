//! What the view shows.

use crate::sampler::resident;
use crate::watch::{Seen, State};
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Row, Table, Widget};
use std::time::Duration;

/// Failures are shown in at most so many lines.
const FAILURES: usize = 4;

/// The figures in one line of text.
pub(super) fn figures(state: &State, now: Duration) -> String {
    let State { pool, enqueued, succeeded, failed, aborted, retries, backlog, .. } = state;
    let age = duration(now.saturating_sub(state.since));
    let busy = state.workers.values().filter(|seen| seen.job.is_some()).count();
    let mut line = format!("{pool}: {succeeded} of {enqueued} jobs succeeded, {failed} failed");
    for (count, what) in [(aborted, "aborted"), (retries, "tried again")] {
        if *count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    let (rate, workers) = (state.rate(now), state.workers.len());
    line.push_str(&format!("; {backlog} wait, {busy} of {workers} workers busy, {rate:.0} jobs/s, after {age}"));
    line
}

/// All of it, as wide as the terminal and never higher.
pub(super) fn render(state: &State, now: Duration, columns: u16, rows: u16) -> Buffer {
    // The last column stays free: some terminals go to the next line when it is written.
    let width = columns.saturating_sub(1).max(20);
    let most = usize::from(rows.saturating_sub(1)).max(3);
    let failures = state.failures.len().min(FAILURES).min(most.saturating_sub(4));
    let mut workers: Vec<&Seen> = state.workers.values().collect();
    workers.sort_by_key(|seen| seen.slot);
    let room = most - 2 - failures;
    // Where not all have room, those that are busy.
    let left_out = workers.len().saturating_sub(room);
    if left_out > 0 {
        workers.sort_by_key(|seen| (seen.job.is_none(), seen.slot));
        workers.truncate(room.saturating_sub(1));
        workers.sort_by_key(|seen| seen.slot);
    }
    let more = usize::from(left_out > 0);
    let height = 2 + workers.len() + more + failures;
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, u16::try_from(height).unwrap_or(u16::MAX)));
    headline(state, now, width).render(Rect::new(0, 0, width, 1), &mut buffer);

    let seconds = |seen: &Seen| duration(now.saturating_sub(seen.since));
    let memory = |seen: &Seen| resident(seen.pid).map_or_else(|| "-".to_owned(), bytes);
    let has_sites = state.workers.values().any(|seen| seen.site.is_some());
    let lines = workers.iter().map(|seen| {
        let job = match (&seen.label, seen.job) {
            (Some(label), _) => printable(label),
            (None, Some(job)) => format!("job {job}"),
            (None, None) => String::new(),
        };
        let (slot, pid, done) = (seen.slot.to_string(), seen.pid.to_string(), seen.done.to_string());
        let mut cells = vec![slot, pid, seen.state.to_owned(), seconds(seen), done, memory(seen), job];
        if has_sites {
            cells.insert(1, seen.site.as_deref().map(printable).unwrap_or_default());
        }
        Row::new(cells).style(colour(seen.state))
    });
    let mut widths = vec![
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    let mut head = vec!["worker", "process", "state", "for", "done", "memory", "job"];
    if has_sites {
        widths.insert(1, Constraint::Length(12));
        head.insert(1, "site");
    }
    let table = Table::new(lines, widths).header(Row::new(head).bold()).column_spacing(1);
    let of_table = u16::try_from(1 + workers.len()).unwrap_or(u16::MAX);
    table.render(Rect::new(0, 1, width, of_table), &mut buffer);
    let mut row = 1 + of_table;
    if left_out > 0 {
        let text = format!("and {} more", state.workers.len() - workers.len());
        Line::from(text.dim()).render(Rect::new(0, row, width, 1), &mut buffer);
        row += 1;
    }
    for (name, why) in state.failures.iter().rev().take(failures) {
        let line = Line::from(vec![short(name, usize::from(width) / 2).red(), Span::raw(": "), printable(why).into()]);
        line.render(Rect::new(0, row, width, 1), &mut buffer);
        row += 1;
    }
    buffer
}

fn headline(state: &State, now: Duration, width: u16) -> Line<'static> {
    let ended = state.succeeded + state.failed + state.aborted;
    let share = if state.enqueued > 0 { ended as f64 / state.enqueued as f64 } else { 0.0 };
    let length = usize::from(width / 6).min(24);
    let full = ((share * length as f64) as usize).min(length);
    let failed = Span::raw(format!("{} failed", state.failed));
    Line::from(vec![
        printable(&state.pool).bold(),
        Span::raw(" "),
        "━".repeat(full).green(),
        "━".repeat(length - full).dim(),
        Span::raw(format!(" {ended}/{}  ", state.enqueued)),
        if state.failed > 0 { failed.red() } else { failed },
        Span::raw(format!(
            "  {} wait  {:.0}/s  {}",
            state.backlog,
            state.rate(now),
            duration(now.saturating_sub(state.since))
        )),
    ])
}

fn colour(state: &str) -> Style {
    match state {
        "working" => Style::new(),
        "ready" => Style::new().dim(),
        "exiting" => Style::new().fg(Color::Red),
        _ => Style::new().fg(Color::Yellow),
    }
}

/// Without what would move the cursor or change colours.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

/// The same, of at most so many characters.
fn short(text: &str, most: usize) -> String {
    let mut text = printable(text);
    if let Some((at, _)) = text.char_indices().nth(most) {
        text.truncate(at);
        text.push('…');
    }
    text
}

fn duration(time: Duration) -> String {
    match time.as_secs() {
        0..100 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 100..6000 => format!("{}:{:02}", seconds / 60, seconds % 60),
        seconds => format!("{} h {:02}", seconds / 3600, seconds / 60 % 60),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} K", bytes >> 10),
        mib @ 1..10_000 => format!("{mib} M"),
        mib => format!("{} G", mib >> 10),
    }
}
