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

use super::raw::{HostLinkRef, RawEvent, RawFault, RawField, value};

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
    let told = format!("a thread that the plugin started panicked: {message} (at {place})");
    let fields = [field("message", value::DEBUG, 0, &told), field("thread", value::STR, 0, thread)];
    let (policy, generation) = CALLER.try_with(Cell::get).unwrap_or_default();
    host.log()(&RawEvent {
        level,
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
pub(super) fn drop_panicked(fault: &RawFault) {
    if let Some(host) = HOST.get() {
        host.drop_panicked()(fault);
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
        let fields: Vec<RawField<'_>> =
            values.0.iter().map(|one| field(one.name, one.kind, one.bits, &one.text)).collect();
        let metadata = event.metadata();
        let (policy, generation) = CALLER.try_with(Cell::get).unwrap_or_default();
        host.log()(&RawEvent {
            level: level_number(metadata.level()),
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

/// The value of one field.
struct Recorded {
    name: &'static str,
    kind: u32,
    bits: u64,
    text: String,
}

#[derive(Default)]
struct Values(Vec<Recorded>);

impl Values {
    fn number(&mut self, field: &Field, kind: u32, bits: u64) {
        self.0.push(Recorded { name: field.name(), kind, bits, text: String::new() });
    }

    fn text(&mut self, field: &Field, kind: u32, text: String) {
        self.0.push(Recorded { name: field.name(), kind, bits: 0, text });
    }
}

impl Visit for Values {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.number(field, value::F64, value.to_bits());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value::I64, value.cast_unsigned());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value::U64, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field, value::BOOL, value.into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value::STR, value.to_owned());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.text(field, value::DEBUG, text);
    }
}

fn field<'a>(name: &'a str, kind: u32, bits: u64, text: &'a str) -> RawField<'a> {
    RawField { name: RStr::from_str(name), kind, bits, text: RStr::from_str(text) }
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
