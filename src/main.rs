//! The binary: parses, runs, and alone chooses the exit status.

use std::process::{self, ExitCode};
use std::{panic, thread};

/// A proxy allocates and frees on every request from several threads, which is what mimalloc is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What Rust itself ends with where the main thread panics.
const PANICKED: i32 = 101;

fn main() -> ExitCode {
    end_on_panic();
    touchmark::cli::run(std::env::args_os()).into()
}

/// A panic of the main thread ends the process, once it has been told. It would unwind through parts that wait for their
/// threads, and one of those may be what failed: a process that neither serves nor ends is the worst of answers.
#[expect(clippy::disallowed_methods, reason = "this is main.rs")]
fn end_on_panic() {
    let tell = panic::take_hook();
    let main = thread::current().id();
    panic::set_hook(Box::new(move |panicked| {
        tell(panicked);
        if thread::current().id() == main {
            process::exit(PANICKED);
        }
    }));
}
