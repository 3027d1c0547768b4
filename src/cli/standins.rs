//! What other modules will give.

use anyhow::Result;

use crate::config::{Config, Source};

/// `crate::app::serve`
pub(super) fn serve(_config: Config, _source: Source) -> Result<()> {
    anyhow::bail!("serve is not wired yet")
}

/// `crate::app::demo`
pub(super) fn demo(_out: &mut dyn std::io::Write) -> Result<()> {
    anyhow::bail!("demo is not wired yet")
}
