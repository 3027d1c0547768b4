//! `touchmark demo`: everything at once on this machine, without anything to install.

use std::io::Write;

use anyhow::Result;

use super::{Status, standins};

/// `touchmark demo`
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args, out: &mut dyn Write) -> Result<Status> {
    standins::demo(out)?;
    Ok(Status::Done)
}
