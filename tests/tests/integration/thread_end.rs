//! Objects of plugins that are dropped while their thread ends: whatever their destructors do then, it does not end the
//! process. An abort cannot be caught, so that each case runs in a process of its own.

use std::cell::RefCell;
use std::process::Command;
use std::sync::Arc;

use policy_host::foreign::{ForeignFilter, ForeignPolicy, ForeignScore};
use policy_host::load::{self, Loaded};
use policy_host::vet::{self, StagingDir};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::prelude::*;

use crate::sandbox::artifact;

const CASE: &str = "THREAD_END_CASE";

/// Runs the test of this name again, in a process that knows that it is to do the work.
fn in_a_process(test: &str) -> bool {
    if std::env::var_os(CASE).is_some() {
        return true;
    }
    let exe = std::env::current_exe().unwrap();
    let mut again = Command::new(exe);
    again.args(["--exact", &format!("thread_end::{test}"), "--nocapture"]).env(CASE, "1");
    let output = again.output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && out.contains("1 passed"), "{}\n{out}\n{err}", output.status);
    false
}

fn loaded(name: &str) -> Arc<Loaded> {
    let staging = tempfile::tempdir().unwrap();
    let vetted = vet::vet(&artifact(name), &StagingDir::under(staging.path())).unwrap();
    load::load(&vetted).unwrap()
}

thread_local! {
    static POLICY: RefCell<Option<ForeignPolicy>> = const { RefCell::new(None) };
    static FILTER: RefCell<Option<ForeignFilter>> = const { RefCell::new(None) };
    static SCORE: RefCell<Option<ForeignScore>> = const { RefCell::new(None) };
}

#[test]
fn a_destructor_that_panics_then_is_survived() {
    if !in_a_process("a_destructor_that_panics_then_is_survived") {
        return;
    }
    let library = loaded("fixture_hostile");
    let config = r#"{ "drop": "panic" }"#;
    let thread = std::thread::spawn(move || {
        let make = || library.module().create_policy("hostile", config, 1).unwrap();
        let filter = library.module().create_filter("hostile-filter", config, 1).unwrap();
        let score = library.module().create_score("hostile-score", config, 1).unwrap();
        POLICY.set(Some(make()));
        FILTER.set(Some(filter));
        SCORE.set(Some(score));
        // The last thread-local value that is touched is the first that is destroyed: what keeps this message.
        assert!(make().close().unwrap_err().to_string().contains("panics in its destructor"));
    });
    thread.join().unwrap();
}

#[test]
fn closing_a_policy_then_is_survived() {
    struct Closes(Option<ForeignPolicy>);
    impl Drop for Closes {
        fn drop(&mut self) {
            if let Some(policy) = self.0.take() {
                let _ = policy.close();
            }
        }
    }
    thread_local! {
        static CLOSES: RefCell<Closes> = const { RefCell::new(Closes(None)) };
    }
    if !in_a_process("closing_a_policy_then_is_survived") {
        return;
    }
    let library = loaded("fixture_hostile");
    let thread = std::thread::spawn(move || {
        let make = || library.module().create_policy("hostile", r#"{ "drop": "panic" }"#, 1).unwrap();
        CLOSES.with_borrow_mut(|closes| closes.0 = Some(make()));
        make().close().unwrap_err();
    });
    thread.join().unwrap();
}

/// A subscriber of an embedder that panics at each event, with a payload that panics when it is dropped.
struct Fragile;

struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the payload of a panic");
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Fragile {
    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        std::panic::panic_any(Payload);
    }
}

#[test]
fn a_subscriber_that_panics_at_a_plugins_event_is_survived() {
    if !in_a_process("a_subscriber_that_panics_at_a_plugins_event_is_survived") {
        return;
    }
    tracing_subscriber::registry().with(Fragile).init();
    let library = loaded("fixture_logger");
    let thread = std::thread::spawn(move || {
        let make = || library.module().create_policy("logger", "{}", 1).unwrap();
        POLICY.set(Some(make()));
        drop(make());
    });
    thread.join().unwrap();
}
