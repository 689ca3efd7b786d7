//! Lines and the status line: a live one on a terminal, plain lines otherwise. Log lines go above it.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use policy_sim::progress::{Progress, ProgressSnapshot};

use crate::facts;

/// What draws to the terminal; everything that prints while it is there goes through it.
fn screen() -> &'static MultiProgress {
    static SCREEN: OnceLock<MultiProgress> = OnceLock::new();
    SCREEN.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)))
}

/// Prints a line of facts to standard output, above the status line.
pub(crate) fn line(text: &str) {
    screen().suspend(|| facts::line(text));
}

/// The writer of log lines.
pub(crate) struct LogWriter;

impl LogWriter {
    pub(crate) fn new() -> Self {
        Self
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        screen().suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The status line: how a run is doing.
pub(crate) struct StatusLine {
    bar: ProgressBar,
    live: bool,
    every: Duration,
    last_plain: std::time::Instant,
}

impl StatusLine {
    /// A line over `tasks` tasks. Without a terminal, a plain line every `every`.
    pub(crate) fn new(tasks: u64, every: Duration) -> Self {
        let bar = screen().add(ProgressBar::new(tasks));
        let style = ProgressStyle::with_template("{bar:24.cyan/blue} {percent:>3}% {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, live: io::stderr().is_terminal(), every, last_plain: std::time::Instant::now() }
    }

    pub(crate) fn show(&mut self, policy: &str, generation: u64, now: ProgressSnapshot) {
        let busy = now.alive_vcores.saturating_sub(now.free_vcores);
        let text = format!(
            "{policy} (generation {generation})  {}/{} vcores busy, {} pending, {} done, round {}, {} by the fallback",
            busy, now.alive_vcores, now.pending, now.completed, now.rounds, now.fallback_rounds
        );
        if self.live {
            self.bar.set_position(now.completed);
            self.bar.set_message(text);
        } else if self.last_plain.elapsed() >= self.every {
            self.last_plain = std::time::Instant::now();
            line(&format!("         … {text}"));
        }
    }

    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// The bar over many runs in virtual time; nothing without a terminal.
pub(crate) struct Bar {
    bar: ProgressBar,
    runs: usize,
    runs_done: AtomicUsize,
    tasks_done: AtomicU64,
    running: Mutex<Vec<Weak<Progress>>>,
}

impl Bar {
    /// A bar over `tasks` tasks in `runs` runs.
    pub(crate) fn new(tasks: u64, runs: usize) -> Self {
        let bar = screen().add(ProgressBar::new(tasks));
        let style = ProgressStyle::with_template("{bar:24.cyan/blue} {percent:>3}% {msg} {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let (runs_done, tasks_done, running) = (AtomicUsize::new(0), AtomicU64::new(0), Mutex::default());
        Self { bar, runs, runs_done, tasks_done, running }
    }

    /// A run begins.
    pub(crate) fn begin(&self) -> Arc<Progress> {
        let progress = Arc::new(Progress::new());
        self.running.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&progress));
        progress
    }

    /// A run has ended, its tasks done or not.
    pub(crate) fn end(&self, tasks: u64) {
        self.runs_done.fetch_add(1, Ordering::Relaxed);
        self.tasks_done.fetch_add(tasks, Ordering::Relaxed);
    }

    /// Draws until `is_over`.
    pub(crate) fn follow(&self, is_over: impl Fn() -> bool) {
        while !is_over() {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.retain(|run| run.strong_count() > 0);
            let under_way: u64 = running.iter().filter_map(Weak::upgrade).map(|p| p.snapshot().completed).sum();
            drop(running);
            self.bar.set_position(self.tasks_done.load(Ordering::Relaxed) + under_way);
            self.bar.set_message(format!("run {} of {}", self.runs_done.load(Ordering::Relaxed) + 1, self.runs));
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
