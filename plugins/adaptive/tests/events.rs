//! What `adaptive` logs. A test binary of its own: a subscriber for one thread misses an event whose place in the code another
//! thread, which has none, has reached at the same time (tracing keeps who is interested for all threads).

use std::io;
use std::sync::{Arc, Mutex};

use policy_adaptive::policy::{Adaptive, Behaviour};
use policy_plugin_api::FromConfig;
use policy_testkit::spec::{executor, job, round, stage};

/// What a subscriber prints.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_change_is_an_event_with_its_reason() {
    let config = r#"{"epoch_ms": 10, "min_dwell_epochs": 1, "smoothing": 1,
        "rules": [{"signal": "utilisation", "enter": 0.3, "leave": 0.5, "behaviour": "bias"}]}"#;
    let policy = Adaptive::from_config(policy_plugin_api::config::parse(config).unwrap()).unwrap();
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || writer.clone());
    tracing::subscriber::with_default(subscriber.finish(), || {
        for (number, busy) in (1..).zip([60, 20, 20, 80, 80]) {
            let e = executor("e", 100).free(100 - busy);
            round().number(number).executor(e).job(job("j").stage(stage(1))).build().answer(&policy);
        }
    });
    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let told = [
        r#"at_us=1030000 from="round-robin" to="bias" signal="utilisation" value=0.2 threshold=0.3"#,
        r#"at_us=1050000 from="bias" to="round-robin" signal="utilisation" value=0.8 threshold=0.5"#,
    ];
    assert_eq!(lines, told.map(|fields| format!(" INFO adaptive: another behaviour takes over {fields}\n")).concat());
    assert_eq!(policy.current(), Behaviour::RoundRobin);
}
