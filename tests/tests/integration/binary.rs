//! The command under test: run it to its end, or beside the test.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use serde_json::Value;

use crate::hosted::PATIENCE;
use crate::sandbox::Sandbox;

/// `policy-host`.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_policy-host-under-test"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs `policy-host` to its end: (exit code, standard output, standard error).
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command().args(arguments).output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let code = status.code().unwrap_or_else(|| panic!("killed: {status}"));
    (code, text(stdout), text(stderr))
}

/// Runs `policy-host` from within the sandbox: (exit code, standard output, standard error).
pub(crate) fn within(sandbox: &Sandbox, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        command().current_dir(sandbox.root()).args(arguments).output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let code = status.code().unwrap_or_else(|| panic!("killed: {status}"));
    (code, text(stdout), text(stderr))
}

/// Runs `policy-host` with `--plugins` of the sandbox.
pub(crate) fn over(sandbox: &Sandbox, arguments: &[&str]) -> (i32, String, String) {
    let plugins = sandbox.plugins();
    let mut all = arguments.to_vec();
    all.extend(["--plugins", plugins.to_str().unwrap()]);
    run(&all)
}

/// A `policy-host run` beside the test.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
    summary: std::path::PathBuf,
}

impl Running {
    /// Starts `run` over a sandbox with an endless workload, and waits until it watches.
    pub(crate) fn start(sandbox: &Sandbox, more: &[&str]) -> Self {
        Self::start_as(sandbox, more, |_| ())
    }

    /// As [`Running::start`], with a last word about the process: its environment, where its standard error goes.
    pub(crate) fn start_as(sandbox: &Sandbox, more: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = command();
        prepare(&mut command);
        Self::start_with(command, sandbox, &sandbox.plugins(), &sandbox.root().join("summary.json"), more)
    }

    /// As [`Running::start`], from within the sandbox and with relative paths, as an operator types them.
    pub(crate) fn start_within(sandbox: &Sandbox, plugins: &str, more: &[&str]) -> Self {
        let mut command = command();
        command.current_dir(sandbox.root());
        Self::start_with(command, sandbox, Path::new(plugins), Path::new("summary.json"), more)
    }

    fn start_with(mut command: Command, sandbox: &Sandbox, plugins: &Path, summary: &Path, more: &[&str]) -> Self {
        // A busy machine must not look like a slow policy.
        command
            .args(["run", "--deadline-ms", "60000"])
            .arg("--plugins")
            .arg(plugins)
            .arg("--summary")
            .arg(summary)
            .args(more);
        if !more.contains(&"--workload") {
            command.args(["--workload", "synthetic:jobs=200000,rate=20,tasks=4,stages=1,duration=20ms,seed=1"]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        let mut running = Self { child, lines, seen: Vec::new(), summary: sandbox.root().join("summary.json") };
        running.wait_for("watching");
        running
    }

    /// Waits for a line with this text, among those not waited for before.
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no {part:?}; lines so far: {:#?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended before {part:?}: {:#?}", self.seen),
            }
        }
    }

    /// Whether a line with this text was seen.
    pub(crate) fn saw(&self, part: &str) -> bool {
        self.seen.iter().any(|line| line.contains(part))
    }

    /// Waits for lines with each of these texts, in any order.
    pub(crate) fn wait_for_all(&mut self, parts: &[&str]) {
        let mut missing = parts.to_vec();
        while !missing.is_empty() {
            let line = self.wait_for("");
            missing.retain(|part| !line.contains(part));
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// The lines so far.
    pub(crate) fn lines(&self) -> &[String] {
        &self.seen
    }

    /// Ends the run politely; returns its exit code and summary.
    pub(crate) fn stop(&mut self) -> (i32, Value) {
        self.signal(rustix::process::Signal::INT);
        self.finish()
    }

    /// Waits for the end of the run; returns its exit code and summary.
    pub(crate) fn finish(&mut self) -> (i32, Value) {
        // Lines until the pipe closes, so that it never blocks on a full one.
        while let Ok(line) = self.lines.recv_timeout(PATIENCE * 4) {
            self.seen.push(line);
        }
        let status = self.child.wait().expect("it can be waited for");
        let code = status.code().unwrap_or_else(|| panic!("killed: {status}; {:#?}", self.seen));
        (code, read_json(&self.summary))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}: {text}", path.display()))
}
