//! Facts: what a command prints on standard output. Everything goes through here.
//!
//! - **Plugins' own prints stay out.** Before any plugin is loaded, the facts get a descriptor of their own, and file
//!   descriptor 1 is made another standard error: what code in the process prints (`println!`, `printf`) goes there. On
//!   Windows a plugin's prints go where the facts go.
//! - **A line is one line.** What a plugin, a file name or a workload brought along is escaped
//!   ([`policy_host::text::shown`]).
//! - **Lost output is a failure.** The first write that fails is reported at once, and [`are_lost`] says so at the end. A
//!   reader that has gone (`policy-host list | head -1`) is none: the rest is dropped.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use policy_host::text;

use crate::failure::Failure;

/// Longest line that is printed, in bytes: a table's row may be longer than a message.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Where facts go.
enum Facts {
    /// Nothing was set up yet: standard output itself.
    Standard,
    /// A descriptor of their own.
    Own(File),
    /// The reader has gone.
    Closed,
    /// A write failed: what follows would be torn.
    Lost,
}

static FACTS: Mutex<Facts> = Mutex::new(Facts::Standard);

/// Gives the facts a descriptor of their own. Call it before any plugin is loaded.
pub(crate) fn set_apart() -> Result<(), Failure> {
    #[cfg(unix)]
    {
        let own = own_descriptor().map_err(|e| Failure::because("no-descriptor", "standard output", &e))?;
        *FACTS.lock().unwrap_or_else(PoisonError::into_inner) = Facts::Own(own);
    }
    Ok(())
}

#[cfg(unix)]
fn own_descriptor() -> io::Result<File> {
    // Above the standard three, and not for child processes.
    let own = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok(File::from(own))
}

/// Whether facts were lost. Each has been reported.
pub(crate) fn are_lost() -> bool {
    matches!(*FACTS.lock().unwrap_or_else(PoisonError::into_inner), Facts::Lost)
}

/// Prints one line.
pub(crate) fn line(text: &str) {
    write(text::shown_within(text, MAX_LINE_BYTES) + "\n");
}

/// Prints a value as JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(json) => write(text::json(json) + "\n"),
        Err(e) => lost(&mut FACTS.lock().unwrap_or_else(PoisonError::into_inner), &e),
    }
}

/// Each line in one write, and nothing kept back: a reader sees it at once, and what is lost is known at once.
fn write(text: String) {
    let mut facts = FACTS.lock().unwrap_or_else(PoisonError::into_inner);
    let written = match &mut *facts {
        Facts::Standard => io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()),
        Facts::Own(file) => file.write_all(text.as_bytes()),
        Facts::Closed | Facts::Lost => Ok(()),
    };
    match written {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => *facts = Facts::Closed,
        Err(e) => lost(&mut facts, &e),
    }
}

fn lost(facts: &mut Facts, error: &dyn std::error::Error) {
    *facts = Facts::Lost;
    Failure::because("output-lost", "standard output cannot be written", error).print();
}

/// Where a file that the operator names really is: `/dev/stdout` is the facts' own descriptor, since file descriptor 1
/// is none of ours.
pub(crate) fn resolve(path: &Path) -> PathBuf {
    #[cfg(unix)]
    if let Facts::Own(file) = &*FACTS.lock().unwrap_or_else(PoisonError::into_inner)
        && is_stdout(path)
    {
        return format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)).into();
    }
    path.to_owned()
}

/// Whether a path is a name of file descriptor 1, be it over links.
#[cfg(unix)]
fn is_stdout(path: &Path) -> bool {
    let mut path = path.to_owned();
    for _ in 0..8 {
        let Ok(target) = std::fs::read_link(&path) else { break };
        if is_name_of_stdout(&path) {
            return true;
        }
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    is_name_of_stdout(&path)
}

#[cfg(unix)]
fn is_name_of_stdout(path: &Path) -> bool {
    let own = format!("/proc/{}/fd/1", std::process::id());
    ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", &own].iter().any(|name| path == Path::new(name))
}

/// Prints a line of facts.
#[macro_export]
macro_rules! say {
    () => { $crate::facts::line("") };
    ($($arg:tt)*) => { $crate::facts::line(&format!($($arg)*)) };
}
