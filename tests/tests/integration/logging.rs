//! What a plugin logs arrives at the host's subscriber, with target, level, fields, policy and generation.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::prelude::*;

use crate::hosted::Hosted;

#[derive(Clone, Debug)]
struct Seen {
    level: Level,
    target: String,
    fields: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Seen>>>);

struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().into(), format!("debug {value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), format!("str {value}"));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), format!("i64 {value}"));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), format!("u64 {value}"));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), format!("f64 {value}"));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), format!("bool {value}"));
    }
}

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        let metadata = event.metadata();
        let seen = Seen { level: *metadata.level(), target: metadata.target().into(), fields: fields.0 };
        self.0.lock().unwrap().push(seen);
    }
}

#[tokio::test]
async fn events_of_a_plugin_arrive_whole() {
    let recorder = Recorder::default();
    let _guard = tracing_subscriber::registry().with(recorder.clone()).set_default();
    let mut hosted = Hosted::start();
    let generation = hosted.bring_up("fixture_logger", r#"{ "policy": "logger" }"#, "logger").await;
    hosted.bind(1).await;
    let seen = recorder.0.lock().unwrap().clone();
    let ours: Vec<&Seen> = seen
        .iter()
        .filter(|s| s.target == "fixture_logger" && s.fields.get("place").is_some_and(|p| p == "str bind"))
        .filter(|s| s.fields["generation"] == format!("u64 {generation}"))
        .collect();
    let at = |level: Level| {
        let found = ours.iter().find(|s| s.level == level);
        found.unwrap_or_else(|| panic!("no {level} event in {seen:#?}")).fields.clone()
    };
    for level in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE] {
        assert_eq!(at(level)["policy"], "str logger", "{level}");
    }
    assert_eq!(at(Level::ERROR)["text"], "str plain");
    assert_eq!(at(Level::ERROR)["message"], "debug an error from bind");
    assert_eq!(at(Level::WARN)["signed"], "i64 -7");
    assert_eq!(at(Level::INFO)["float"], "f64 0.5");
    assert_eq!(at(Level::INFO)["yes"], "bool true");
    assert_eq!(at(Level::DEBUG)["debug"], "debug [1, 2]");
    assert_eq!(at(Level::DEBUG)["display"], "debug shown");
    assert_eq!(at(Level::TRACE)["unsigned"], format!("u64 {}", u64::MAX));
}
