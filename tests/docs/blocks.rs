//! Code blocks of a Markdown text, and whether an output shows what one says. Pure.

/// A block that a document is held to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// `sh`: run.
    Run(String),
    /// `sh elsewhere`: not run.
    Elsewhere(String),
    /// `text`: what comes out.
    Shown(String),
}

impl Block {
    /// The commands, where they are run.
    pub(crate) fn script(&self) -> Option<&str> {
        if let Self::Run(script) = self { Some(script) } else { None }
    }
}

/// The blocks in order; those in other languages left out.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let body: String = lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
        match language {
            "sh" => found.push(Block::Run(body)),
            "sh elsewhere" => found.push(Block::Elsewhere(body)),
            "text" => found.push(Block::Shown(body)),
            _ => {}
        }
    }
    found
}

/// Whether some line of the output holds the parts of `line` between `…`, in order.
pub(crate) fn shows(output: &str, line: &str) -> bool {
    let wanted = blanks(line);
    let parts: Vec<&str> = wanted.split('…').map(str::trim).collect();
    wanted.is_empty()
        || output.lines().map(blanks).any(|line| {
            let mut rest = line.as_str();
            parts.iter().all(|part| {
                let at = rest.find(part);
                rest = at.map_or("", |at| &rest[at + part.len()..]);
                at.is_some()
            })
        })
}

/// A line with each run of blanks as one.
fn blanks(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
