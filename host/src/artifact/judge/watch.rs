//! The host's side: starts a child, gives it the order, hears what it says, and ends it with everything it has started.
//!
//! Only the child itself is waited for. What it has started may hold its streams open for as long as it likes: nothing here
//! waits for their end. One that leaves the child's process group (`setsid`) is out of reach, and not waited for either.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::heard::Heard;
use super::wire::Order;
use crate::core::limits::{JUDGE_STDERR_BYTES, MAX_VERDICT_BYTES};

/// Shortest and longest time between two looks at the child.
const LOOKS: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(10));

/// Runs the child to its end, or until the time is up; then it and its process group are gone.
pub(super) fn run(mut command: Command, order: &Order, time_limit: Duration) -> io::Result<Heard> {
    let deadline = Instant::now() + time_limit;
    let (mut channel, theirs) = UnixStream::pair()?;
    let (stderr, their_stderr) = UnixStream::pair()?;
    command
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        // What a plugin prints is nobody's business.
        .stdout(Stdio::null())
        .stderr(Stdio::from(OwnedFd::from(their_stderr)))
        .process_group(0);
    let child = command.spawn()?;
    // It holds our copies of the child's ends.
    drop(command);
    let mut group = Group { child, ended: None };
    stderr.set_nonblocking(true)?;
    channel.set_write_timeout(Some(time_limit))?;
    let mut line = serde_json::to_string(order)?;
    line.push('\n');
    // A child that ended before it took the order shows so below.
    let _ = channel.write_all(line.as_bytes());
    let mut heard = Heard::default();
    let mut nap = LOOKS.0;
    while Instant::now() < deadline {
        let exited = group.has_exited()?;
        let said = hear(&mut channel, &mut heard, &order.nonce, if exited { LOOKS.0 } else { nap })?;
        keep_tail(&stderr, &mut heard.stderr);
        if exited && !said {
            break;
        }
        nap = if said { LOOKS.0 } else { (nap * 2).min(LOOKS.1) };
    }
    heard.timed_out = !group.has_exited()?;
    keep_tail(&stderr, &mut heard.stderr);
    heard.status = group.end();
    Ok(heard)
}

/// Listens for at most `patience`; whether there was anything.
fn hear(channel: &mut UnixStream, heard: &mut Heard, nonce: &str, patience: Duration) -> io::Result<bool> {
    channel.set_read_timeout(Some(patience))?;
    let mut bytes = [0_u8; 16 * 1024];
    let room = usize::try_from(MAX_VERDICT_BYTES).unwrap_or(usize::MAX).saturating_sub(heard.bytes);
    match channel.read(&mut bytes) {
        // Nobody holds the other end any more, or it has said more than it may.
        Ok(0) => {
            std::thread::sleep(patience);
            Ok(false)
        }
        Ok(_) if room == 0 => {
            std::thread::sleep(patience);
            Ok(false)
        }
        Ok(length) => {
            heard.take(&bytes[..length.min(room)], nonce);
            Ok(true)
        }
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => Ok(false),
        // A child that ends with something unread in its channel: the same as its end.
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {
            std::thread::sleep(patience);
            Ok(false)
        }
        Err(e) => Err(e),
    }
}

/// Reads what is there, and keeps the end of it.
fn keep_tail(mut from: &UnixStream, tail: &mut Vec<u8>) {
    let mut bytes = [0_u8; 16 * 1024];
    // Bounded, should somebody write faster than this reads.
    for _ in 0..64 {
        let Ok(length @ 1..) = from.read(&mut bytes) else { return };
        tail.extend_from_slice(&bytes[..length]);
        tail.drain(..tail.len().saturating_sub(JUDGE_STDERR_BYTES));
    }
}

/// A child that leads a process group. Dropped, all of them are killed.
struct Group {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Group {
    /// Whether the child has ended. It is not reaped yet, so its number is still its group's and nobody else's.
    fn has_exited(&self) -> io::Result<bool> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(self.pid()), look) {
                Err(rustix::io::Errno::INTR) => {}
                // The embedder's process lets the system reap its children.
                Err(rustix::io::Errno::CHILD) => return Ok(true),
                looked => return Ok(looked?.is_some()),
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Kills whoever is left of the group, and reaps the child.
    fn end(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            self.ended = self.child.wait().ok();
        }
        self.ended
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}
