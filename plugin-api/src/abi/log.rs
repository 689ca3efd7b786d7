//! `tracing` across the boundary, the plugin's side. A plugin has statics of its own, so its events would go nowhere: the
//! export macro installs a subscriber in the plugin that hands events to the host. Spans do not cross.

use std::cell::Cell;
use std::fmt::{Debug, Write as _};
use std::sync::OnceLock;

use abi_stable::std_types::{RSlice, RStr};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_core::subscriber::Interest;

use super::raw::{HostLinkRef, RawEvent, RawField, RawValue};

static HOST: OnceLock<HostLinkRef> = OnceLock::new();

thread_local! {
    /// The policy and generation on whose behalf this thread runs plugin code.
    static CALLER: Cell<(&'static str, u64)> = const { Cell::new(("", 0)) };
}

/// Installs the forwarder, once a library; whether this was the first time.
pub(super) fn install(host: HostLinkRef) -> bool {
    let first = HOST.set(host).is_ok();
    if first {
        // A plugin that installed a subscriber of its own keeps it.
        let _ = tracing::subscriber::set_global_default(Forwarder);
    }
    first
}

/// Runs `call` on behalf of an instance. Like everything here that an `extern "C"` function may run, it works on a thread
/// that is ending, too: there `LocalKey::with` and `set` would panic.
pub(super) fn on_behalf_of<T>(policy: &'static str, generation: u64, call: impl FnOnce() -> T) -> T {
    let before = CALLER.try_with(|caller| caller.replace((policy, generation)));
    let result = call();
    if let Ok(before) = before {
        let _ = CALLER.try_with(|caller| caller.set(before));
    }
    result
}

/// Logs a panic that no call returns: of a thread that the plugin started itself. `false` when nobody listens to errors.
/// Goes to the host directly, because a panic inside a subscriber must not be handed to that subscriber.
pub(super) fn thread_panicked(thread: &str, message: &str, place: &str) -> bool {
    let Some(host) = HOST.get() else { return false };
    let level = level_number(&Level::ERROR);
    if !host.log_enabled()(level) {
        return false;
    }
    let text = |name: &'static str, value| RawField { name: RStr::from_str(name), value };
    let told = format!("a thread that the plugin started panicked: {message} (at {place})");
    let fields = [
        text("message", RawValue::Debug(RStr::from_str(&told))),
        text("thread", RawValue::Str(RStr::from_str(thread))),
    ];
    let (policy, generation) = CALLER.try_with(Cell::get).unwrap_or_default();
    host.log()(&RawEvent {
        level,
        callsite: 0,
        target: RStr::from_str(module_path!()),
        module_path: RStr::from_str(module_path!()),
        file: RStr::from_str(file!()),
        line: line!(),
        fields: RSlice::from_slice(&fields),
        policy: RStr::from_str(policy),
        generation,
    });
    true
}

/// Reports the panic of a destructor.
pub(super) fn drop_panicked(message: String) {
    if let Some(host) = HOST.get() {
        host.drop_panicked()(RStr::from_str(&message));
    }
}

struct Forwarder;

impl Subscriber for Forwarder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && HOST.get().is_some_and(|h| h.log_enabled()(level_number(metadata.level())))
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Not cached: the host's level may change at any time.
        if metadata.is_event() { Interest::sometimes() } else { Interest::never() }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(host) = HOST.get() else { return };
        let mut values = Values::default();
        event.record(&mut values);
        let fields: Vec<RawField<'_>> = values
            .0
            .iter()
            .map(|(name, value)| RawField { name: RStr::from_str(name), value: value.as_raw() })
            .collect();
        let metadata = event.metadata();
        let (policy, generation) = CALLER.try_with(Cell::get).unwrap_or_default();
        host.log()(&RawEvent {
            level: level_number(metadata.level()),
            callsite: std::ptr::from_ref(metadata).addr() as u64,
            target: RStr::from_str(metadata.target()),
            module_path: RStr::from_str(metadata.module_path().unwrap_or("")),
            file: RStr::from_str(metadata.file().unwrap_or("")),
            line: metadata.line().unwrap_or(0),
            fields: RSlice::from_slice(&fields),
            policy: RStr::from_str(policy),
            generation,
        });
    }
}

enum Owned {
    Text(String),
    Debug(String),
    I64(i64),
    U64(u64),
    F64(f64),
    Bool(bool),
}

impl Owned {
    fn as_raw(&self) -> RawValue<'_> {
        match self {
            Self::Text(v) => RawValue::Str(RStr::from_str(v)),
            Self::Debug(v) => RawValue::Debug(RStr::from_str(v)),
            Self::I64(v) => RawValue::I64(*v),
            Self::U64(v) => RawValue::U64(*v),
            Self::F64(v) => RawValue::F64(*v),
            Self::Bool(v) => RawValue::Bool(*v),
        }
    }
}

#[derive(Default)]
struct Values(Vec<(&'static str, Owned)>);

impl Visit for Values {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((field.name(), Owned::F64(value)));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.push((field.name(), Owned::I64(value)));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((field.name(), Owned::U64(value)));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.push((field.name(), Owned::Bool(value)));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), Owned::Text(value.to_owned())));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.0.push((field.name(), Owned::Debug(text)));
    }
}

fn level_number(level: &Level) -> u32 {
    match *level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}
