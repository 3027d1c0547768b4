//! Colour and weight on a terminal, and nothing anywhere else.
//!
//! The eight ANSI colours alone, since they follow the reader's own theme. <https://no-color.org> is heeded.

use std::fmt;
use std::io::{self, IsTerminal as _};

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    colour: bool,
}

/// A text and the codes before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Painted<'a> {
    codes: &'static str,
    text: &'a str,
}

impl Style {
    pub(super) const PLAIN: Self = Self { colour: false };
    #[cfg(test)]
    pub(super) const COLOURED: Self = Self { colour: true };

    /// Coloured where standard output is a terminal whose owner does not mind.
    pub(super) fn of_stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if io::stdout().is_terminal() && !set("NO_COLOR") && !dumb { Self { colour: true } } else { Self::PLAIN }
    }

    /// A heading.
    pub(super) fn head(self, text: &str) -> Painted<'_> {
        self.paint("1", text)
    }

    /// What the reader should look at.
    pub(super) fn value(self, text: &str) -> Painted<'_> {
        self.paint("36", text)
    }

    /// What explains and may be passed over.
    pub(super) fn dim(self, text: &str) -> Painted<'_> {
        self.paint("2", text)
    }

    /// A good end.
    pub(super) fn good(self, text: &str) -> Painted<'_> {
        self.paint("32", text)
    }

    /// What wants looking at.
    pub(super) fn warn(self, text: &str) -> Painted<'_> {
        self.paint("33", text)
    }

    fn paint<'a>(self, codes: &'static str, text: &'a str) -> Painted<'a> {
        Painted { codes: if self.colour { codes } else { "" }, text }
    }
}

impl fmt::Display for Painted<'_> {
    /// Padding counts the text alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.codes.is_empty() {
            return f.pad(self.text);
        }
        write!(f, "\u{1b}[{}m", self.codes)?;
        f.pad(self.text)?;
        f.write_str("\u{1b}[0m")
    }
}
