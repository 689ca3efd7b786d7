//! `tracing` across the boundary. A plugin has statics of its own, so its events would go nowhere: the export macro
//! installs a subscriber in the plugin that hands events to the host, and the host emits them under its own dispatcher
//! with the plugin's level, target and fields, plus `policy` and `generation`. Spans do not cross.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, OnceLock, PoisonError};

use abi_stable::std_types::{RSlice, RStr};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_core::field::{FieldSet, Value};
use tracing_core::{Kind, callsite::Callsite, identify_callsite, subscriber::Interest};

use super::guarded::guarded;
use super::raw::{HostLink, HostLinkRef, RawEvent, RawField, RawValue};
use super::text::{shown, shown_within};

// ---------------------------------------------------------------------------------------------- the plugin's side

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

// ------------------------------------------------------------------------------------------------ the host's side

/// At most this many places in plugins get a callsite of their own in the host; events of further ones are emitted at a
/// common callsite. Callsites live as long as the process, as those of the host's own code do.
pub const MAX_CALLSITES: usize = 8_192;
/// At most this many fields of an event cross, `policy` and `generation` among them.
pub const MAX_FIELDS: usize = 32;
/// Longest name of a target, a file or a field, in bytes; longer ones are cut.
const MAX_NAME_BYTES: usize = 256;

/// What the host offers to every plugin.
pub(super) fn host_link() -> HostLinkRef {
    use abi_stable::prefix_type::PrefixTypeTrait;
    static LINK: OnceLock<HostLinkRef> = OnceLock::new();
    *LINK.get_or_init(|| {
        HostLink { log_enabled: host_log_enabled, log: host_log, drop_panicked: host_drop_panicked }.leak_into_prefix()
    })
}

thread_local! {
    static DROP_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The message of the last destructor that panicked on this thread, once. `None` on a thread that is ending, where
/// messages are logged instead.
pub(super) fn take_drop_panic() -> Option<String> {
    DROP_PANIC.try_with(RefCell::take).unwrap_or_default()
}

// A panic that leaves one of the three functions below would abort the process. So each of them catches what its work
// raises, and none uses a thread-local value in a way that panics on a thread that is ending: a plugin's object may be
// dropped there, by the destructor of somebody's thread-local value.

extern "C" fn host_drop_panicked(message: RStr<'_>) {
    let _ = guarded(|| {
        let message = shown(message.as_bytes());
        if DROP_PANIC.try_with(|last| last.replace(Some(message.clone()))).is_err() {
            tracing::error!("a destructor in a plugin panicked on a thread that is ending: {message}");
        }
    });
}

extern "C" fn host_log_enabled(level: u32) -> bool {
    // Reads an atomic number.
    level_of(level) <= tracing::level_filters::LevelFilter::current()
}

extern "C" fn host_log(event: &RawEvent<'_>) {
    // A subscriber of the embedder may panic, with a payload that panics again when it is dropped.
    let _ = guarded(|| emit(event));
}

fn level_of(level: u32) -> Level {
    match level {
        1 => Level::ERROR,
        2 => Level::WARN,
        3 => Level::INFO,
        4 => Level::DEBUG,
        _ => Level::TRACE,
    }
}

/// What makes two events come from the same place.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    level: u32,
    target: String,
    file: String,
    line: u32,
    fields: Vec<String>,
}

struct PluginCallsite {
    metadata: OnceLock<Metadata<'static>>,
}

impl Callsite for PluginCallsite {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.metadata.get().expect("set before the callsite is known to anybody")
    }
}

fn callsite_of(event: &RawEvent<'_>) -> Option<&'static Metadata<'static>> {
    static PLACES: OnceLock<Mutex<HashMap<Place, &'static PluginCallsite>>> = OnceLock::new();
    let place = Place {
        level: event.level,
        target: named(&event.target),
        file: named(&event.file),
        line: event.line,
        fields: event.fields.iter().take(MAX_FIELDS - 2).map(|f| named(&f.name)).collect(),
    };
    let mut places = PLACES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = places.get(&place) {
        return known.metadata.get();
    }
    if places.len() >= MAX_CALLSITES {
        return None;
    }
    let callsite: &'static PluginCallsite = Box::leak(Box::new(PluginCallsite { metadata: OnceLock::new() }));
    let mut names: Vec<&'static str> = vec!["policy", "generation"];
    names.extend(place.fields.iter().map(|n| &*String::leak(n.clone())));
    let fields = FieldSet::new(Vec::leak(names), identify_callsite!(callsite));
    let target = String::leak(place.target.clone());
    let file = (!place.file.is_empty()).then(|| &*String::leak(place.file.clone()));
    let module = (!event.module_path.is_empty()).then(|| &*String::leak(named(&event.module_path)));
    let line = (event.line > 0).then_some(event.line);
    let metadata =
        Metadata::new("plugin event", target, level_of(event.level), file, line, module, fields, Kind::EVENT);
    callsite.metadata.set(metadata).ok()?;
    tracing_core::callsite::register(callsite);
    places.insert(place, callsite);
    callsite.metadata.get()
}

/// A name of a target, a file or a field, which is kept for the life of the process.
fn named(name: &RStr<'_>) -> String {
    shown_within(name.as_bytes(), MAX_NAME_BYTES)
}

fn emit(event: &RawEvent<'_>) {
    let Some(metadata) = callsite_of(event) else {
        let text: String = event.fields.iter().take(MAX_FIELDS).fold(String::new(), |mut t, f| {
            let _ = match &f.value {
                RawValue::Str(v) | RawValue::Debug(v) => write!(t, "{}={} ", named(&f.name), shown(v.as_bytes())),
                other => write!(t, "{}={other:?} ", named(&f.name)),
            };
            t
        });
        let (policy, target) = (named(&event.policy), named(&event.target));
        let text = shown(text);
        tracing::warn!(policy, generation = event.generation, plugin_target = target, level = event.level, "{text}");
        return;
    };
    tracing::dispatcher::get_default(|dispatch| {
        if !dispatch.enabled(metadata) {
            return;
        }
        let names: Vec<Field> = metadata.fields().iter().collect();
        // Text is cut and escaped here: no subscriber of the host's need know where it came from.
        let debugs: Vec<Option<Formatted>> = event
            .fields
            .iter()
            .take(MAX_FIELDS)
            .map(|f| if let RawValue::Debug(t) = &f.value { Some(Formatted(shown(t.as_bytes()))) } else { None })
            .collect();
        let mut values: Vec<Option<&dyn Value>> = Vec::with_capacity(MAX_FIELDS);
        let policy = named(&event.policy);
        values.push(Some(&policy));
        values.push(Some(&event.generation));
        let texts: Vec<Option<String>> = event
            .fields
            .iter()
            .take(MAX_FIELDS)
            .map(|f| if let RawValue::Str(t) = &f.value { Some(shown(t.as_bytes())) } else { None })
            .collect();
        let debugs: Vec<Option<tracing::field::DebugValue<&Formatted>>> =
            debugs.iter().map(|s| s.as_ref().map(tracing::field::debug)).collect();
        for (i, field) in event.fields.iter().take(MAX_FIELDS - 2).enumerate() {
            values.push(match &field.value {
                RawValue::Str(_) => texts[i].as_ref().map(|t| t as &dyn Value),
                RawValue::Debug(_) => debugs[i].as_ref().map(|d| d as &dyn Value),
                RawValue::I64(v) => Some(v),
                RawValue::U64(v) => Some(v),
                RawValue::F64(v) => Some(v),
                RawValue::Bool(v) => Some(v),
            });
        }
        // `value_set` takes arrays only: pad with absent values.
        let padded: [(&Field, Option<&dyn Value>); MAX_FIELDS] =
            std::array::from_fn(|i| (names.get(i).unwrap_or(&names[0]), values.get(i).copied().flatten()));
        let set = metadata.fields().value_set(&padded);
        dispatch.event(&Event::new(metadata, &set));
    });
}

/// A value that was formatted on the other side: prints as it came.
struct Formatted(String);

impl Debug for Formatted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
