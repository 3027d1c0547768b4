//! What a reader's machine looks like: a folder with the configuration, the binary on the path, a model server on port
//! 8000 and free ports 8080, 9091 and 9092. The ports are others in truth, since tests run side by side.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// A document's commands take seconds; what takes this long hangs.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two looks at whether they are through.
const STEP: Duration = Duration::from_millis(20);
/// Stands before each block's output, with the block's number.
const MARK: &str = "@@ block ";

/// A folder, ports and a model server.
#[derive(Debug)]
pub(crate) struct Machine {
    folder: PathBuf,
    /// Addresses in documents, and what they are here.
    addresses: [(&'static str, String); 4],
}

impl Machine {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("touchmark-docs-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(unique);
        fs::create_dir_all(folder.join("bin")).expect("a folder");
        symlink(env!("CARGO_BIN_EXE_touchmark"), folder.join("bin/touchmark")).expect("the binary on the path");
        let server = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addresses = [
            ("127.0.0.1:8000", server.local_addr().expect("an address").to_string()),
            ("127.0.0.1:8080", free()),
            ("127.0.0.1:9091", free()),
            ("127.0.0.1:9092", free()),
        ];
        thread::spawn(move || serve(&server));
        let machine = Self { folder, addresses };
        fs::create_dir(machine.folder.join("config")).expect("a folder");
        for file in ["quickstart.yaml", "touchmark.yaml"] {
            let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file)).expect(file);
            fs::write(machine.folder.join("config").join(file), machine.here(&text)).expect(file);
        }
        machine
    }

    /// A text with the addresses of this machine.
    pub(crate) fn here(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, (said, here)| text.replace(said, here))
    }

    /// Runs scripts in one shell, one after the other; fails with the first that fails. Gives what each printed.
    pub(crate) fn run(&self, scripts: &[&str]) -> Vec<String> {
        let marked = scripts.iter().enumerate().map(|(number, block)| {
            let block = self.here(block);
            format!("printf '\\n{MARK}{number}\\n'\n{block}")
        });
        let script = ["set -eu\n".to_owned()].into_iter().chain(marked).collect::<String>();
        let output = self.folder.join("output");
        let file = fs::File::create(&output).expect("a file for the output");
        let path = format!("{}:{}", self.folder.join("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).current_dir(&self.folder).env("PATH", path).process_group(0);
        // Where nothing else says so, these would be the defaults' ports.
        shell.env("TOUCHMARK_PROXY__LISTEN", &self.addresses[1].1).env("TOUCHMARK_ADMIN__LISTEN", &self.addresses[2].1);
        shell.env("TOUCHMARK_WITNESS__LISTEN", &self.addresses[3].1);
        let stderr = file.try_clone().expect("a second handle");
        let mut shell = Group(shell.stdin(Stdio::null()).stdout(file).stderr(stderr).spawn().expect("bash"));
        let passed = shell.wait();
        let text = fs::read_to_string(&output).expect("the output");
        assert!(passed, "a command failed, or took too long; see the end of\n{text}");
        text.split(MARK).skip(1).map(str::to_owned).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A shell and all that it started; ended together.
struct Group(Child);

impl Group {
    /// Whether it ended well, in time.
    fn wait(&mut self) -> bool {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.0.try_wait() {
                return status.success();
            }
            thread::sleep(STEP);
        }
        false
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

/// Whether commands with `curl` can be run.
pub(crate) fn has_curl() -> bool {
    let mut curl = Command::new("curl");
    curl.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn free() -> String {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    port.local_addr().expect("an address").to_string()
}

/// A model server that speaks V2 over REST and answers everything with the same decision.
fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        thread::spawn(move || while answer(&stream).is_some() {});
    }
}

/// Answers one request; `None` at the connection's end.
fn answer(mut stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    let body =
        r#"{"model_name":"fraud","id":"1","outputs":[{"name":"p","shape":[1],"datatype":"FP64","data":[0.25]}]}"#;
    let length = body.len();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").ok()
}
