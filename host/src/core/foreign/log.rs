//! `tracing` across the boundary, the host's side: emits the events of plugins under the host's own dispatcher, with the
//! plugin's level, target and fields, plus `policy` and `generation`; takes the messages of destructors that panicked.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{self, Debug, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock, PoisonError};

use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::RStr;
use policy_plugin_api::abi::API_MINOR;
use policy_plugin_api::abi::raw::{HostLink, HostLinkRef, RawEvent, RawFault, RawField, value};
use policy_plugin_api::abi::table::{self, RawTable};
use tracing::field::{DebugValue, Field, debug};
use tracing::{Event, Level, Metadata};
use tracing_core::field::{FieldSet, Value};
use tracing_core::{Kind, callsite::Callsite, identify_callsite, subscriber::Interest};

use super::PolicyFault;
use crate::core::text::{chain, shown, shown_within};

/// At most this many places in plugins get a callsite of their own in the host; events of further ones are emitted at a
/// common callsite. Callsites live as long as the process, as those of the host's own code do.
const MAX_CALLSITES: usize = 8_192;
/// At most this many fields of an event cross, `policy` and `generation` among them.
const MAX_FIELDS: usize = 32;
/// Longest name of a target, a file or a field, in bytes; longer ones are cut.
const MAX_NAME_BYTES: usize = 256;

/// What the host offers to every plugin.
pub(super) fn host_link() -> HostLinkRef {
    static LINK: OnceLock<HostLinkRef> = OnceLock::new();
    *LINK.get_or_init(|| {
        HostLink {
            api_minor: API_MINOR,
            log_enabled: host_log_enabled,
            log: host_log,
            drop_panicked: host_drop_panicked,
            table: host_table,
        }
        .leak_into_prefix()
    })
}

thread_local! {
    static DROP_PANIC: RefCell<Option<PolicyFault>> = const { RefCell::new(None) };
}

/// The panic of the last destructor that panicked on this thread, once. `None` on a thread that is ending, where they are
/// logged instead.
pub(super) fn take_drop_panic() -> Option<PolicyFault> {
    DROP_PANIC.try_with(RefCell::take).unwrap_or_default()
}

// A panic that leaves one of the three functions below would abort the process. So each of them catches what its work
// raises, and none uses a thread-local value in a way that panics on a thread that is ending: a plugin's object may be
// dropped there, by the destructor of somebody's thread-local value.

/// Runs `work`; what it raises ends here.
fn caught(work: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
        // A payload may panic when it is dropped; what that raises is leaked rather than risked again.
        if let Err(again) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
            std::mem::forget(again);
        }
    }
}

extern "C" fn host_drop_panicked(fault: &RawFault) {
    caught(|| {
        let fault = PolicyFault::from(fault);
        if DROP_PANIC.try_with(|last| last.replace(Some(fault.clone()))).is_err() {
            let told = chain(&fault);
            tracing::error!("on a thread that is ending, a destructor in a plugin {told}");
        }
    });
}

/// API 2.0 has no table for plugins.
extern "C" fn host_table(name: RStr<'_>) -> RawTable {
    table::find(&[], name)
}

extern "C" fn host_log_enabled(level: u32) -> bool {
    // Reads an atomic number.
    level_of(level) <= tracing::level_filters::LevelFilter::current()
}

extern "C" fn host_log(event: &RawEvent<'_>) {
    // A subscriber of the embedder may panic, with a payload that panics again when it is dropped.
    caught(|| emit(event));
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
    let values: Vec<Shown> = event.fields.iter().take(MAX_FIELDS - 2).map(Shown::of).collect();
    let policy = named(&event.policy);
    let Some(metadata) = callsite_of(event) else {
        let text = event.fields.iter().zip(&values).fold(String::new(), |mut text, (field, value)| {
            let _ = write!(text, "{}={value} ", named(&field.name));
            text
        });
        let (target, text) = (named(&event.target), shown(text));
        tracing::warn!(policy, generation = event.generation, plugin_target = target, level = event.level, "{text}");
        return;
    };
    tracing::dispatcher::get_default(|dispatch| {
        if !dispatch.enabled(metadata) {
            return;
        }
        let names: Vec<Field> = metadata.fields().iter().collect();
        let own: [&dyn Value; 2] = [&policy, &event.generation];
        let all: Vec<&dyn Value> = own.into_iter().chain(values.iter().map(Shown::as_value)).collect();
        // `value_set` takes arrays only: pad with absent values.
        let padded: [(&Field, Option<&dyn Value>); MAX_FIELDS] =
            std::array::from_fn(|i| (names.get(i).unwrap_or(&names[0]), all.get(i).copied()));
        let set = metadata.fields().value_set(&padded);
        dispatch.event(&Event::new(metadata, &set));
    });
}

/// The value of a field. Text is cut and escaped here: no subscriber of the host's need know where it came from.
enum Shown {
    Text(String),
    Debug(DebugValue<Formatted>),
    I64(i64),
    U64(u64),
    F64(f64),
    Bool(bool),
}

impl Shown {
    fn of(field: &RawField<'_>) -> Self {
        let text = || shown(field.text.as_bytes());
        match field.kind {
            value::STR => Self::Text(text()),
            value::DEBUG => Self::Debug(debug(Formatted(text()))),
            value::I64 => Self::I64(field.bits.cast_signed()),
            value::U64 => Self::U64(field.bits),
            value::F64 => Self::F64(f64::from_bits(field.bits)),
            value::BOOL => Self::Bool(field.bits != 0),
            kind => Self::Debug(debug(Formatted(format!("(of kind {kind}: {} {:?})", field.bits, text())))),
        }
    }

    fn as_value(&self) -> &dyn Value {
        match self {
            Self::Text(text) => text,
            Self::Debug(text) => text,
            Self::I64(number) => number,
            Self::U64(number) => number,
            Self::F64(number) => number,
            Self::Bool(is) => is,
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Debug(text) => write!(f, "{text:?}"),
            Self::I64(number) => write!(f, "{number}"),
            Self::U64(number) => write!(f, "{number}"),
            Self::F64(number) => write!(f, "{number}"),
            Self::Bool(is) => write!(f, "{is}"),
        }
    }
}

/// A value that was formatted on the other side: prints as it came.
struct Formatted(String);

impl Debug for Formatted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_later_version_is_shown_as_such() {
        let field = |kind, bits, text| RawField { name: RStr::from_str("n"), kind, bits, text: RStr::from_str(text) };
        let told = |kind, bits, text| Shown::of(&field(kind, bits, text)).to_string();
        assert_eq!(told(value::I64, u64::MAX, ""), "-1");
        assert_eq!(told(value::F64, 1.5f64.to_bits(), ""), "1.5");
        assert_eq!(told(value::BOOL, 1, ""), "true");
        assert_eq!(told(value::DEBUG, 0, "Some(3)"), "Some(3)");
        assert_eq!(told(99, 7, "new"), "(of kind 99: 7 \"new\")");
    }
}
