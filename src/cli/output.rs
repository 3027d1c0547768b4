//! Where commands print: buffered standard output, tables, and errors.
//!
//! What entries hold was partly sent by clients. Before it reaches a terminal, control characters are written as
//! escapes, so that an entry cannot move the cursor or recolour its neighbours. JSON is passed on as it is.

use std::fmt::Write as _;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

/// Standard output, buffered.
#[derive(Debug)]
pub(super) struct Output {
    writer: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { writer: BufWriter::new(io::stdout().lock()) }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Whether the reader of our output is gone.
pub(super) fn is_closed(error: &io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe
}

/// Prints an error with its causes; each line of several stands alone.
#[expect(clippy::print_stderr, reason = "the command line speaks to people")]
pub(super) fn error(error: &anyhow::Error) {
    let message = format!("{error:#}");
    for line in message.lines() {
        eprintln!("error: {}", printable(line));
    }
}

/// Prints a remark that is no part of what was asked for.
#[expect(clippy::print_stderr, reason = "the command line speaks to people")]
pub(super) fn note(text: &str) {
    eprintln!("{}", printable(text));
}

/// Draws a line of progress over the one before; an empty one takes it away. Only where a terminal is.
#[expect(clippy::print_stderr, reason = "the command line speaks to people")]
pub(super) fn bar(line: &str) {
    eprint!("\r\u{1b}[K{line}");
}

/// The text with control characters as escapes.
pub(super) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, letter| {
        if letter.is_control() {
            let _infallible = write!(safe, "{}", letter.escape_default());
        } else {
            safe.push(letter);
        }
        safe
    })
}

/// Rows under a head, columns as wide as they need.
///
/// Rows are kept until [`Table::ROWS`] of them are there; their widths then stand for those that follow, so that a
/// long list begins to show at once and memory stays bounded.
#[derive(Debug)]
pub(super) struct Table {
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
    settled: bool,
}

impl Table {
    /// Rows that settle the widths.
    const ROWS: usize = 100;

    pub(super) fn new(head: &[&str]) -> Self {
        let head: Vec<String> = head.iter().map(|name| name.to_uppercase()).collect();
        Self { widths: vec![0; head.len()], rows: vec![head], settled: false }
    }

    pub(super) fn row(&mut self, cells: &[String], out: &mut dyn Write) -> io::Result<()> {
        let cells = cells.iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { printable(cell) });
        self.rows.push(cells.collect());
        if self.settled || self.rows.len() > Self::ROWS { self.flush(out) } else { Ok(()) }
    }

    /// Writes what is kept. A table without rows writes nothing.
    pub(super) fn end(mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.settled || self.rows.len() > 1 { self.flush(out) } else { Ok(()) }
    }

    /// Writes what is kept at once, and every row to come.
    pub(super) fn flush(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if !self.settled {
            for row in &self.rows {
                for (width, cell) in self.widths.iter_mut().zip(row) {
                    *width = (*width).max(cell.chars().count());
                }
            }
            self.settled = true;
        }
        for row in std::mem::take(&mut self.rows) {
            let mut line = String::new();
            for (width, cell) in self.widths.iter().zip(&row) {
                let _infallible = write!(line, "{cell:width$}  ");
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_and_disarms() {
        let mut out = Vec::new();
        let mut table = Table::new(&["id", "model"]);
        table.row(&["17".into(), "f\u{1b}[31m\u{9b}".into()], &mut out).unwrap();
        table.row(&["1234".into(), String::new()], &mut out).unwrap();
        table.end(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "ID    MODEL\n17    f\\u{1b}[31m\\u{9b}\n1234  -\n");
    }

    #[test]
    fn an_empty_table_is_nothing() {
        let mut out = Vec::new();
        Table::new(&["id"]).end(&mut out).unwrap();
        assert!(out.is_empty());
    }

    #[test]
    fn a_long_table_shows_before_its_end() {
        let mut out = Vec::new();
        let mut table = Table::new(&["id"]);
        for row in 0..Table::ROWS {
            table.row(&[row.to_string()], &mut out).unwrap();
        }
        assert!(out.starts_with(b"ID\n0\n1\n"));
    }
}
