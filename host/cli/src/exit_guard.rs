//! UNSAFE ROOM 3: an end of the process that is not this command's own is never a success.
//!
//! A plugin that calls `exit(0)`, or a library of it that does, would end a command in the middle of its work as if all
//! were well. The C library runs registered functions when anything in the process calls `exit`; the one registered here
//! turns such an end into exit code 1 and says so. What ends the process without that (`_exit`, `quick_exit`, a signal,
//! a kill) cannot be seen from within.
#![allow(unsafe_code, reason = "registering a function for the end of the process, and ending it there")]

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// The command is at work: an end of the process now is an error.
const AT_WORK: i32 = -1;
/// The command never began, or unwinds from a panic of its own: any end is as it should be.
const UNGUARDED: i32 = -2;

/// [`AT_WORK`], [`UNGUARDED`], or the exit code that the command has chosen.
static STATE: AtomicI32 = AtomicI32::new(UNGUARDED);
/// The process that the guard is for: a fork of it, made by a plugin, ends as it likes.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Guards the process until [`ExitGuard::release`], or until it is dropped by a panic.
#[derive(Debug)]
pub(crate) struct ExitGuard(());

impl ExitGuard {
    /// From here on the process ends well only if the command says so. Call it once.
    pub(crate) fn arm() -> Self {
        PROCESS.store(std::process::id(), Ordering::Relaxed);
        STATE.store(AT_WORK, Ordering::Release);
        #[cfg(unix)]
        {
            // SAFETY: `at_exit` is a function without arguments that never unwinds, and its code is never unloaded.
            let _ = unsafe { libc::atexit(at_exit) };
        }
        Self(())
    }

    /// The command is over, with this exit code. A plugin's thread that still runs cannot turn a failure into a success.
    pub(crate) fn release(self, code: u8) {
        STATE.store(i32::from(code), Ordering::Release);
        std::mem::forget(self);
    }
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        STATE.store(UNGUARDED, Ordering::Release);
    }
}

/// Runs when anything has called `exit`, on the thread that did; other threads run on meanwhile.
#[cfg(unix)]
extern "C" fn at_exit() {
    if PROCESS.load(Ordering::Relaxed) != std::process::id() {
        return;
    }
    let code = match STATE.load(Ordering::Acquire) {
        UNGUARDED | 0 => return,
        AT_WORK => {
            complain();
            1
        }
        code => code,
    };
    // SAFETY: `_exit` takes any number, touches no memory of ours and does not return.
    unsafe { libc::_exit(code) }
}

/// Says what happened, without any lock that a thread may hold in the middle of its work.
#[cfg(unix)]
fn complain() {
    let libraries = policy_host::load::try_mapped_files().unwrap_or_default();
    let libraries = if libraries.is_empty() { String::from("none") } else { libraries.join(", ") };
    let text = format!(
        "error[ended-by-plugin]: something called exit() on thread {} while the command was still at work; libraries in \
         the process: {libraries}",
        thread_name()
    );
    let text = policy_host::text::shown(text) + "\n";
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}

#[cfg(target_os = "linux")]
fn thread_name() -> String {
    // From the system: the thread's own record in Rust is dropped by now.
    rustix::thread::name().map_or_else(|_| "?".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(all(unix, not(target_os = "linux")))]
fn thread_name() -> String {
    "?".to_owned()
}
