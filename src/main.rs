//! The binary: parses, runs, and alone chooses the exit status.

use std::process::ExitCode;

/// A proxy allocates and frees on every request from several threads, which is what mimalloc is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    touchmark::cli::run(std::env::args_os()).into()
}
