//! Threads that run foreign code: started, counted, given up and ended in one place.
//!
//! What may come a hundred times a second (constructing, ending what is retired) yields to rounds; what comes with a new
//! file runs like any other thread, or a busy machine would never get to it.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::core::limits::{IDLE_WORKERS, MAX_THREADS, PLUGIN_STACK_BYTES};
use crate::core::sync::AtomicU8;

/// How much less than rounds such a thread may claim, in units of `nice`: it runs where a core is idle, and takes a
/// small share where none is.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// How a thread competes with rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Like any other thread.
    Ordinary,
    /// It yields to rounds.
    Low,
}

static ALIVE: AtomicUsize = AtomicUsize::new(0);
static STUCK: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread may be thrown away.
    static DISPOSABLE: Cell<bool> = const { Cell::new(false) };
}

/// Threads that were written off and have not returned, over all hosts of the process.
pub(crate) fn stuck() -> usize {
    STUCK.load(Ordering::Relaxed)
}

/// A thread, seen from outside. It may be written off: nobody waits for it any more, and it counts as stuck until it ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seat(Arc<AtomicU8>);

const WORKING: u8 = 0;
const WRITTEN_OFF: u8 = 1;
const ENDED: u8 = 2;

impl Seat {
    /// Gives the thread up. A thread counts once, however often it is given up, and not at all once it has ended.
    pub(crate) fn write_off(&self) {
        if self.0.compare_exchange(WORKING, WRITTEN_OFF, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            STUCK.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether it was given up.
    pub(crate) fn is_written_off(&self) -> bool {
        self.0.load(Ordering::Acquire) == WRITTEN_OFF
    }

    fn end(&self) {
        if self.0.swap(ENDED, Ordering::AcqRel) == WRITTEN_OFF {
            STUCK.fetch_sub(1, Ordering::Relaxed);
        }
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ends a seat when its thread ends, by a panic too.
struct Seated(Seat);

impl Drop for Seated {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Starts a thread that may be thrown away, under the subscriber of the starter: the embedder's may be the caller's alone,
/// and events of plugins belong there too. `work` is given the thread's own seat.
///
/// # Errors
/// When the system has no thread, or [`MAX_THREADS`] are alive already.
pub(crate) fn spawn(name: &str, priority: Priority, work: impl FnOnce(&Seat) + Send + 'static) -> io::Result<Seat> {
    if ALIVE.fetch_add(1, Ordering::Relaxed) >= MAX_THREADS {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
        return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("{MAX_THREADS} threads run already")));
    }
    let seat = Seat::default();
    let seated = Seated(seat.clone());
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    // Not started, it ends its seat as it is dropped.
    Builder::new().name(name.chars().take(15).collect()).stack_size(PLUGIN_STACK_BYTES).spawn(move || {
        DISPOSABLE.set(true);
        if priority == Priority::Low {
            step_back();
        }
        let seat = seated.0.clone();
        tracing::dispatcher::with_default(&dispatch, || work(&seat));
    })?;
    Ok(seat)
}

/// Says of this thread that it may be thrown away: of one that was not started by [`spawn`].
pub(crate) fn mark_disposable() {
    DISPOSABLE.set(true);
}

/// Starts a thread of the host's own, which runs no foreign code: what is retired on it ends elsewhere.
///
/// # Errors
/// When the system has no thread.
pub(crate) fn spawn_own(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    Builder::new().name(name.to_owned()).spawn(move || tracing::dispatcher::with_default(&dispatch, work))?;
    Ok(())
}

/// Lowers the priority of this thread, where the system has priorities of threads.
fn step_back() {
    // Refused, it is merely a thread like any other.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
}

/// What is over, and whose end runs foreign code: the only way to end plugin instances. It ends where this value is dropped
/// if that thread may be thrown away, and else on a thread of its own.
pub(crate) struct Retired(Option<Box<dyn FnOnce() + Send>>);

/// Ends that found no thread, for the next attempt.
static UNENDED: Mutex<Vec<Retired>> = Mutex::new(Vec::new());

impl Retired {
    /// `end` runs the foreign code.
    pub(crate) fn new(end: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(end)))
    }

    /// Tries again to end what found no thread.
    pub(crate) fn retry() {
        let unended = std::mem::take(&mut *lock(&UNENDED));
        drop(unended);
    }
}

impl Drop for Retired {
    fn drop(&mut self) {
        let Some(end) = self.0.take() else { return };
        if DISPOSABLE.get() {
            return end();
        }
        // Handed over through a shared place, because a thread that does not start drops its work here.
        let shared = Arc::new(Mutex::new(Some(end)));
        let there = Arc::clone(&shared);
        let spawned = spawn("policy-retire", Priority::Low, move |_| {
            let end = lock(&there).take();
            if let Some(end) = end {
                end();
            }
        });
        if spawned.is_err() {
            let end = lock(&shared).take();
            lock(&UNENDED).push(Self(end));
        }
    }
}

impl fmt::Debug for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retired").finish_non_exhaustive()
    }
}

/// Threads that wait for their next work, because a new thread may have to wait for a time slice on a busy machine, and
/// a stack that comes and goes costs every core.
pub(crate) struct Workers {
    name: &'static str,
    priority: Priority,
    idle: Arc<Idle>,
}

type Idle = Mutex<Vec<mpsc::Sender<Task>>>;

/// Work, with the way back to the worker that carries it out.
struct Task {
    work: Box<dyn FnOnce(&Seat) + Send>,
    back: mpsc::Sender<Task>,
}

/// Work that a worker was given, seen by whoever gave it.
#[derive(Clone, Debug)]
pub(crate) struct Job(Arc<Mutex<Stage>>);

#[derive(Debug)]
enum Stage {
    Queued,
    Running {
        since: Instant,
        seat: Seat,
    },
    /// Given up, or done.
    Over,
}

impl Job {
    /// Whether it has run for longer than `limit`: counted from when it began, so that a busy machine is nobody's fault.
    pub(crate) fn is_overdue(&self, now: Instant, limit: Duration) -> bool {
        matches!(*lock(&self.0), Stage::Running { since, .. } if now.saturating_duration_since(since) >= limit)
    }

    /// Gives it up: work that has not begun never will, and a thread that is in it is written off.
    pub(crate) fn give_up(&self) {
        if let Stage::Running { seat, .. } = std::mem::replace(&mut *lock(&self.0), Stage::Over) {
            seat.write_off();
        }
    }

    fn begin(&self, seat: &Seat) -> bool {
        let mut stage = lock(&self.0);
        let begins = matches!(*stage, Stage::Queued);
        if begins {
            *stage = Stage::Running { since: Instant::now(), seat: seat.clone() };
        }
        begins
    }
}

impl Workers {
    pub(crate) fn new(name: &'static str, priority: Priority) -> Self {
        Self { name, priority, idle: Arc::default() }
    }

    /// Carries out `work` on an idle worker, or on a new one.
    ///
    /// # Errors
    /// As [`spawn`].
    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) -> io::Result<Job> {
        let job = Job(Arc::new(Mutex::new(Stage::Queued)));
        let ours = job.clone();
        // The worker may have been started under another subscriber.
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let mut work: Box<dyn FnOnce(&Seat) + Send> = Box::new(move |seat| {
            if ours.begin(seat) {
                tracing::dispatcher::with_default(&dispatch, work);
                *lock(&ours.0) = Stage::Over;
            }
        });
        while let Some(worker) = lock(&self.idle).pop() {
            match worker.send(Task { work, back: worker.clone() }) {
                Ok(()) => return Ok(job),
                Err(mpsc::SendError(task)) => work = task.work,
            }
        }
        let (back, tasks) = mpsc::channel();
        let idle = Arc::downgrade(&self.idle);
        spawn(self.name, self.priority, move |seat| attend(&tasks, &idle, seat))?;
        let sent = back.send(Task { work, back: back.clone() });
        sent.map_err(|_| io::Error::other("the thread ended at once"))?;
        Ok(job)
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("name", &self.name).field("idle", &lock(&self.idle).len()).finish()
    }
}

/// Ends when nobody can send any more: the host is gone, enough others are idle, or it was written off.
fn attend(tasks: &mpsc::Receiver<Task>, idle: &Weak<Idle>, seat: &Seat) {
    while let Ok(Task { work, back }) = tasks.recv() {
        work(seat);
        if seat.is_written_off() {
            return;
        }
        if let Some(idle) = idle.upgrade() {
            let mut idle = lock(&idle);
            if idle.len() < IDLE_WORKERS {
                idle.push(back);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_until(what: &str, is: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(30);
        while !is() {
            assert!(Instant::now() < until, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn work_that_was_given_up_before_it_began_never_begins() {
        let workers = Workers::new("test", Priority::Ordinary);
        let (hold, held) = mpsc::channel::<()>();
        let (ran, runs) = mpsc::channel();
        let first = workers.run(move || assert!(held.recv().is_err())).unwrap();
        wait_until("the first begins", || first.is_overdue(Instant::now(), Duration::ZERO));
        // As a worker finds it that was given two tasks.
        let second = Job(Arc::new(Mutex::new(Stage::Queued)));
        second.give_up();
        assert!(!second.begin(&Seat::default()), "what was given up does not begin");
        assert!(!first.is_overdue(Instant::now(), Duration::from_secs(3600)));
        drop(hold);
        workers.run(move || ran.send(()).unwrap()).unwrap();
        runs.recv_timeout(Duration::from_secs(30)).unwrap();
    }

    #[test]
    fn a_thread_counts_as_stuck_once_and_until_it_ends() {
        let (hold, held) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel::<()>();
        let seat = spawn("test", Priority::Low, move |_| {
            assert!(held.recv().is_err());
            drop(ended);
        })
        .unwrap();
        let other = seat.clone();
        (0..3).for_each(|_| other.write_off());
        assert!(seat.is_written_off());
        drop(hold);
        assert!(end.recv_timeout(Duration::from_secs(30)).is_err_and(|e| e == mpsc::RecvTimeoutError::Disconnected));
        wait_until("it ends", || !seat.is_written_off());
        seat.write_off();
        assert!(!seat.is_written_off(), "a thread that has ended is not stuck");
    }

    #[test]
    fn what_is_retired_ends_on_a_thread_that_may_be_thrown_away() {
        let (ended, end) = mpsc::channel();
        let tell = move || ended.send((DISPOSABLE.get(), std::thread::current().id())).unwrap();
        drop(Retired::new(tell.clone()));
        let (disposable, thread) = end.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(disposable && thread != std::thread::current().id());
        // On such a thread it ends at once.
        let (same, is_same) = mpsc::channel();
        spawn("test", Priority::Ordinary, move |_| {
            drop(Retired::new(tell));
            same.send(std::thread::current().id()).unwrap();
        })
        .unwrap();
        let here = is_same.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(end.recv_timeout(Duration::from_secs(30)).unwrap(), (true, here));
    }
}
