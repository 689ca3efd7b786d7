//! The host's side where there are no Unix sockets: the order goes to the child's standard input, and what it says comes
//! from its standard output, between whatever a plugin prints there; the nonce tells it apart. There is no process group:
//! only the child itself is killed, and what it has started goes on.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::heard::Heard;
use super::wire::Order;
use crate::core::limits::{JUDGE_STDERR_BYTES, MAX_VERDICT_BYTES};

/// Shortest and longest time between two looks at the child.
const LOOKS: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(10));

/// Runs the child to its end, or until the time is up.
pub(super) fn run(mut command: Command, order: &Order, time_limit: Duration) -> io::Result<Heard> {
    let deadline = Instant::now() + time_limit;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (said, complained) = (drain(child.stdout.take()), drain(child.stderr.take()));
    // Held to the end: the child ends itself when it is closed.
    let mut stdin = child.stdin.take();
    let mut line = serde_json::to_string(order)?;
    line.push('\n');
    if let Some(stdin) = &mut stdin {
        let _ = stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush());
    }
    let mut heard = Heard::default();
    let mut nap = LOOKS.0;
    loop {
        let status = child.try_wait()?;
        let before = heard.bytes;
        listen(&said, &complained, &mut heard, &order.nonce);
        // Once more after its end: the threads that read may be behind. Nobody waits for the end of its streams.
        let settled = heard.verdict.is_some() || nap >= LOOKS.1;
        if status.is_some() && settled && heard.bytes == before {
            heard.status = status;
            break;
        }
        if Instant::now() >= deadline {
            heard.timed_out = status.is_none();
            let _ = child.kill();
            heard.status = child.wait().ok();
            break;
        }
        std::thread::sleep(nap);
        nap = (nap * 2).min(LOOKS.1);
    }
    Ok(heard)
}

fn listen(said: &Receiver<Vec<u8>>, complained: &Receiver<Vec<u8>>, heard: &mut Heard, nonce: &str) {
    loop {
        match said.try_recv() {
            Ok(bytes) if (heard.bytes as u64) < MAX_VERDICT_BYTES => heard.take(&bytes, nonce),
            Ok(_) => {}
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
        }
    }
    while let Ok(bytes) = complained.try_recv() {
        heard.stderr.extend(bytes);
        let over = heard.stderr.len().saturating_sub(JUDGE_STDERR_BYTES);
        heard.stderr.drain(..over);
    }
}

/// Reads a stream on a thread of its own, which ends with the stream or with the receiver.
fn drain(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::sync_channel(64);
    std::thread::spawn(move || {
        let Some(mut pipe) = pipe else { return };
        let mut bytes = [0_u8; 16 * 1024];
        while let Ok(length @ 1..) = pipe.read(&mut bytes) {
            if sender.send(bytes[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}
