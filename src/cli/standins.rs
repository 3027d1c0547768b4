//! What other modules will give.

use anyhow::Result;

/// `crate::demo`
pub(super) fn demo(_out: &mut dyn std::io::Write) -> Result<()> {
    anyhow::bail!("demo is not wired yet")
}
