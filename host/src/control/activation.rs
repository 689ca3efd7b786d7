//! `active.json`: what an operator asks for. Read, checked and located here; carried out by the control task.

use std::path::Path;
use std::time::Duration;

use policy_kit::Composite;
use policy_plugin_api::FromConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::artifact::vet::{read_text, text_of};
use crate::core::built_in::BuiltIn;
pub use crate::core::composition::ACTIVE_FILE;
use crate::core::composition::{Composition, Kind, Wanted, Weighted};
use crate::core::guard::Guard;
use crate::core::info::LaneKind;
use crate::core::limits::{
    MAX_ACTIVE_FILE_BYTES, MAX_FILTERS, MAX_GUARD_COUNT, MAX_GUARD_WINDOW, MAX_ROUND_DEADLINE, MAX_SCORES, MAX_SHADOWS,
    MAX_WEIGHT,
};
use crate::core::text::json_reason;

/// The shape of `active.json`, for its JSON Schema.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "active.json", description = "Which policy answers the rounds of this host, and how.")]
struct ActiveFile<'a> {
    /// The policy's name: of a library in the plugin directory, or of a built-in.
    policy: String,
    /// The policy's configuration; `policy-host list --json` shows its schema.
    #[serde(default, borrow)]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    config: Option<&'a RawValue>,
    /// Filters that narrow what the policy may do; all of them must agree.
    #[serde(default, borrow)]
    filters: Vec<FilterEntry<'a>>,
    /// What `composite` rates executors by; required with that policy, and refused with any other.
    #[serde(default, borrow)]
    scores: Vec<ScoreEntry<'a>>,
    /// The built-in that binds a round when the policy cannot; `round-robin` unless the host was started with another.
    #[serde(default)]
    fallback: Option<BuiltIn>,
    /// Where the policy runs.
    #[serde(default)]
    lane: Option<LaneKind>,
    /// How long a round may take, in milliseconds, from when the policy's thread picks it up.
    #[serde(default)]
    #[schemars(range(min = 1, max = 60_000))]
    deadline_ms: Option<u64>,
    /// What takes the policy out of service, besides an illegal answer, an error, a panic or a crash: those do at once.
    #[serde(default)]
    guard: Option<GuardEntry>,
    /// Candidates that see the same rounds without effect; what they would have done is in the receipt.
    #[serde(default, borrow)]
    shadow: Vec<ShadowEntry<'a>>,
}

/// How many faults of a kind take the policy out of service.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GuardEntry {
    /// The missed deadline with this number within `window_s` takes the policy out of service; 1 for the first. 3 by
    /// default.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000))]
    misses: Option<u32>,
    /// The same for restarts of the policy's process. Accepted for a lane that runs policies in processes of their own;
    /// this host has none, so it has no effect. 3 by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000))]
    restarts: Option<u32>,
    /// How long a missed deadline or a restart counts, in seconds. 60 by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = 86_400))]
    window_s: Option<u64>,
}

/// A filter of `active.json`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FilterEntry<'a> {
    /// The filter's name.
    policy: String,
    /// The filter's configuration.
    #[serde(default, borrow)]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    config: Option<&'a RawValue>,
}

/// A score of `active.json`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScoreEntry<'a> {
    /// The score's name.
    policy: String,
    /// How much it counts against the other scores; 0 switches it off.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1_000))]
    weight: u32,
    /// The score's configuration.
    #[serde(default, borrow)]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    config: Option<&'a RawValue>,
}

fn one() -> u32 {
    1
}

/// A shadow of `active.json`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ShadowEntry<'a> {
    /// The candidate's name.
    policy: String,
    /// Its configuration.
    #[serde(default, borrow)]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    config: Option<&'a RawValue>,
    /// What the candidate `composite` rates executors by; required with that policy, and refused with any other.
    #[serde(default, borrow)]
    scores: Vec<ScoreEntry<'a>>,
}

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// The text that it was read from.
    pub source: std::sync::Arc<str>,
    /// The policy with its filters, scores and shadows.
    pub composition: Composition<Wanted>,
    /// Binds a round when the policy cannot; `None` for the host's default.
    pub fallback: Option<BuiltIn>,
    /// Where the policy runs; `None` for the host's default.
    pub lane: Option<LaneKind>,
    /// The deadline of a round in milliseconds; `None` for the host's default.
    pub deadline_ms: Option<u64>,
    /// What takes the policy out of service.
    pub guard: Guard,
}

/// Why an `active.json` was refused: what was active stays active.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivationError {
    /// Not JSON, an unknown key, or a wrong type.
    #[error("{ACTIVE_FILE}:{line}:{column}: {message}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// Not UTF-8.
    #[error("{ACTIVE_FILE}: {what}")]
    NotText {
        /// What it is instead.
        what: String,
    },
    /// A value that makes no sense.
    #[error("{ACTIVE_FILE}: {message}")]
    Value {
        /// Which, why, and what is allowed.
        message: String,
    },
    /// A policy, filter or score that nobody provides.
    #[error("{ACTIVE_FILE}: no {kind} is called {name}; there are: {known}")]
    Unknown {
        /// What it should be.
        kind: Kind,
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// A config that breaks the policy's schema.
    #[error("{ACTIVE_FILE}:{line}:{column}: config of {name}: {message}")]
    Config {
        /// The policy or filter.
        name: String,
        /// Line in `active.json`, from 1.
        line: u32,
        /// Column, from 1.
        column: u32,
        /// What is wrong.
        message: String,
    },
}

impl ActivationError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } | Self::NotText { .. } => "active-file-syntax",
            Self::Value { .. } => "active-file-value",
            Self::Unknown { .. } => "unknown-policy",
            Self::Config { .. } => "invalid-config",
        }
    }
}

impl Activation {
    /// Reads an `active.json`.
    ///
    /// # Errors
    /// With line and column, where the text has them.
    pub fn parse(bytes: &[u8]) -> Result<Self, ActivationError> {
        let text = text_of(bytes).map_err(|what| ActivationError::NotText { what: what.into_owned() })?;
        let file: ActiveFile<'_> = serde_json::from_str(text).map_err(|e| ActivationError::Syntax {
            line: e.line(),
            column: e.column(),
            message: json_reason(&e),
        })?;
        let value = |message: String| Err(ActivationError::Value { message });
        if file.filters.len() > MAX_FILTERS {
            return value(format!("{} filters, the limit is {MAX_FILTERS}", file.filters.len()));
        }
        if file.shadow.len() > MAX_SHADOWS {
            return value(format!("{} shadow candidates, the limit is {MAX_SHADOWS}", file.shadow.len()));
        }
        if let Err(message) = check_scores(&file.policy, &file.scores) {
            return value(message);
        }
        if let Some(message) = file.shadow.iter().find_map(|s| check_scores(&s.policy, &s.scores).err()) {
            return value(format!("shadow: {message}"));
        }
        let most = MAX_ROUND_DEADLINE.as_millis() as u64;
        if let Some(ms) = file.deadline_ms.filter(|ms| !(1..=most).contains(ms)) {
            return value(format!("deadline_ms is {ms}, allowed are 1 to {most}"));
        }
        let guard = match check_guard(&file.guard.unwrap_or_default()) {
            Ok(guard) => guard,
            Err(message) => return value(message),
        };
        let scores = |entries: &[ScoreEntry<'_>]| {
            let score = |s: &ScoreEntry<'_>| Weighted { weight: s.weight, part: wanted(text, &s.policy, s.config) };
            entries.iter().map(score).collect::<Vec<_>>()
        };
        let shadow = |s: &ShadowEntry<'_>| Composition {
            scores: scores(&s.scores),
            ..Composition::of(wanted(text, &s.policy, s.config))
        };
        Ok(Self {
            source: text.into(),
            composition: Composition {
                policy: wanted(text, &file.policy, file.config),
                filters: file.filters.iter().map(|f| wanted(text, &f.policy, f.config)).collect(),
                scores: scores(&file.scores),
                shadows: file.shadow.iter().map(shadow).collect(),
            },
            fallback: file.fallback,
            lane: file.lane,
            deadline_ms: file.deadline_ms,
            guard,
        })
    }
}

fn check_guard(entry: &GuardEntry) -> Result<Guard, String> {
    let within = |key: &str, asked: Option<u64>, default: u64, most: u64| match asked.unwrap_or(default) {
        value if (1..=most).contains(&value) => Ok(value),
        value => Err(format!("guard: {key} is {value}, allowed are 1 to {most}")),
    };
    let default = Guard::default();
    let count = |key: &str, asked: Option<u32>, default: u32| {
        let counted = within(key, asked.map(u64::from), default.into(), MAX_GUARD_COUNT.into())?;
        Ok::<_, String>(u32::try_from(counted).unwrap_or(MAX_GUARD_COUNT))
    };
    Ok(Guard {
        misses: count("misses", entry.misses, default.misses)?,
        restarts: count("restarts", entry.restarts, default.restarts)?,
        window: Duration::from_secs(within(
            "window_s",
            entry.window_s,
            default.window.as_secs(),
            MAX_GUARD_WINDOW.as_secs(),
        )?),
    })
}

fn check_scores(policy: &str, scores: &[ScoreEntry<'_>]) -> Result<(), String> {
    match scores {
        [] if policy == Composite::NAME => Err(format!("{policy} needs \"scores\" to rate executors by")),
        [] => Ok(()),
        [..] if policy != Composite::NAME => {
            Err(format!("\"scores\" belong to the policy {}; {policy} does not ask them", Composite::NAME))
        }
        [..] if scores.len() > MAX_SCORES => Err(format!("{} scores, the limit is {MAX_SCORES}", scores.len())),
        [..] => match scores.iter().find(|s| s.weight > MAX_WEIGHT) {
            Some(s) => Err(format!("weight of {} is {}, allowed are 0 to {MAX_WEIGHT}", s.policy, s.weight)),
            None if scores.iter().all(|s| s.weight == 0) => Err("every score has weight 0".to_owned()),
            None => Ok(()),
        },
    }
}

fn wanted(text: &str, name: &str, config: Option<&RawValue>) -> Wanted {
    let config = config.map_or("", RawValue::get);
    // The raw value borrows from the text: the distance of the two is its place.
    let offset = config.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
    let before = if config.is_empty() { "" } else { text.get(..offset).unwrap_or("") };
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
    Wanted { name: name.to_owned(), config: config.to_owned(), place: (line as u32, column as u32) }
}

/// The JSON Schema of `active.json`.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(ActiveFile<'static>).to_value()
}

/// Whether the `active.json` of a directory asks for filters: then nothing may be bound before they are in force. A file
/// that cannot be understood asks for them if it seems to name some, or if the last good one, whose text `last_good` is, had some.
pub(crate) fn filters_are_due(plugins: &Path, last_good: Option<&str>) -> bool {
    let Ok(bytes) = read_text(&plugins.join(ACTIVE_FILE), MAX_ACTIVE_FILE_BYTES) else {
        return plugins.join(ACTIVE_FILE).exists() && last_good.is_some_and(asks_for_filters);
    };
    match Activation::parse(&bytes) {
        Ok(activation) => !activation.composition.filters.is_empty(),
        Err(_) => {
            let seems_so = bytes.windows(FILTERS_KEY.len()).any(|word| word == FILTERS_KEY);
            seems_so || last_good.is_some_and(asks_for_filters)
        }
    }
}

const FILTERS_KEY: &[u8] = b"\"filters\"";

fn asks_for_filters(active_json: &str) -> bool {
    Activation::parse(active_json.as_bytes()).is_ok_and(|activation| !activation.composition.filters.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_file_and_the_largest() {
        let smallest = Activation::parse(br#"{"policy":"bias"}"#).unwrap();
        assert_eq!(
            (smallest.composition.policy.name.as_str(), smallest.composition.policy.config.as_str()),
            ("bias", "")
        );
        assert_eq!((smallest.fallback, smallest.lane, smallest.deadline_ms), (None, None, None));
        let text = br#"{
  "policy": "data-locality",
  "config": { "wait_ms": 300 },
  "filters": [ { "policy": "tenant-quota", "config": { "quotas": { "team-a": 8 } } } ],
  "fallback": "bias",
  "lane": "inline",
  "deadline_ms": 50,
  "shadow": []
}"#;
        let largest = Activation::parse(text).unwrap();
        assert_eq!(largest.composition.policy.config, r#"{ "wait_ms": 300 }"#);
        assert_eq!(largest.composition.policy.place, (3, 13));
        assert_eq!(largest.composition.policy.locate(1, 3), (3, 15));
        assert_eq!(largest.composition.policy.locate(2, 3), (4, 3));
        assert_eq!(largest.composition.filters[0].place, (4, 54));
        assert_eq!((largest.fallback, largest.lane), (Some(BuiltIn::Bias), Some(LaneKind::Inline)));
    }

    #[test]
    fn the_guard_is_what_the_file_says_and_else_the_default() {
        let guard = |text: &str| Activation::parse(text.as_bytes()).unwrap().guard;
        let of = |misses, restarts, s| Guard { misses, restarts, window: Duration::from_secs(s) };
        for (text, expected) in [
            (r#"{"policy":"x"}"#, of(3, 3, 60)),
            (r#"{"policy":"x","guard":{}}"#, of(3, 3, 60)),
            (r#"{"policy":"x","guard":{"misses":1}}"#, of(1, 3, 60)),
            (r#"{"policy":"x","guard":{"misses":5,"restarts":2,"window_s":600}}"#, of(5, 2, 600)),
        ] {
            assert_eq!(guard(text), expected, "{text}");
        }
    }

    #[test]
    fn a_broken_file_is_refused_with_its_place() {
        for (text, code, part) in [
            ("", "active-file-syntax", "active.json:1:0: EOF"),
            ("{\n \"polcy\": \"x\"}", "active-file-syntax", "active.json:2:8: unknown field `polcy`"),
            ("{\"policy\": 7}", "active-file-syntax", "active.json:1:12: invalid type"),
            ("{\"policy\": \"x\", \"lane\": \"fast\"}", "active-file-syntax", "unknown variant `fast`"),
            ("{\"policy\": \"x\", \"fallback\": \"mine\"}", "active-file-syntax", "unknown variant `mine`"),
            ("{\"policy\": \"x\", \"deadline_ms\": 0}", "active-file-value", "allowed are 1 to 60000"),
            (
                r#"{"policy": "x", "guard": {"misses": 0}}"#,
                "active-file-value",
                "guard: misses is 0, allowed are 1 to 1000",
            ),
            (r#"{"policy": "x", "guard": {"restarts": 1001}}"#, "active-file-value", "guard: restarts is 1001"),
            (r#"{"policy": "x", "guard": {"window_s": 86401}}"#, "active-file-value", "allowed are 1 to 86400"),
            (r#"{"policy": "x", "guard": {"miss": 1}}"#, "active-file-syntax", "1:32: unknown field `miss`"),
            (r#"{"policy": "x", "guard": 3}"#, "active-file-syntax", "invalid type"),
            (r#"{"policy": "composite"}"#, "active-file-value", "needs \"scores\""),
            (r#"{"policy": "x", "scores": [{"policy":"y"}]}"#, "active-file-value", "belong to the policy composite"),
            (
                r#"{"policy": "composite", "scores": [{"policy":"y", "weight": 0}]}"#,
                "active-file-value",
                "every score has weight 0",
            ),
            (
                r#"{"policy": "composite", "scores": [{"policy":"y", "weight": 1001}]}"#,
                "active-file-value",
                "allowed are 0 to 1000",
            ),
            (r#"{"policy": "composite", "scores": [{"policy":"y", "weight": -1}]}"#, "active-file-syntax", "u32"),
            (r#"{"policy": "x", "shadow": [{"policy":"composite"}]}"#, "active-file-value", "shadow: composite needs"),
            (
                r#"{"policy": "x", "shadow": [{"policy":"y", "scores": [{"policy":"z"}]}]}"#,
                "active-file-value",
                "shadow: \"scores\" belong to the policy composite",
            ),
        ] {
            let error = Activation::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.code(), code, "{text}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        for (bytes, part) in [
            (&b"\xff"[..], "active.json: is not text in UTF-8: byte 0"),
            (b"\xff\xfe{\0}\0", "active.json: is UTF-16 text (little-endian)"),
            (b"{\0}\0", "active.json: is UTF-16 text (little-endian)"),
            (b"\x1f\x8b\x08", "active.json: is gzip data"),
        ] {
            let error = Activation::parse(bytes).unwrap_err();
            assert_eq!(error.code(), "active-file-syntax");
            assert!(error.to_string().contains(part), "{error}");
        }
        // A byte order mark is no part of the text, and moves no place.
        let marked = Activation::parse("\u{feff}{\"policy\":\"x\",\n \"config\": {}}".as_bytes()).unwrap();
        assert_eq!((marked.composition.policy.config.as_str(), marked.composition.policy.place), ("{}", (2, 12)));
    }

    #[test]
    fn the_schema_names_the_keys() {
        let schema = schema();
        for key in ["policy", "config", "filters", "scores", "fallback", "lane", "deadline_ms", "guard"] {
            assert!(schema["properties"][key].is_object(), "{key}: {schema}");
        }
        assert_eq!(schema["required"], serde_json::json!(["policy"]));
        assert_eq!(schema["additionalProperties"], false);
    }

    #[test]
    fn filters_are_due_where_the_file_asks_for_them_or_may() {
        let directory = tempfile::tempdir().unwrap();
        let with = Some(r#"{ "policy": "a", "filters": [{ "policy": "f" }] }"#);
        let without = Some(r#"{ "policy": "a" }"#);
        let due = |last_good| filters_are_due(directory.path(), last_good);
        assert!(!due(with), "no active.json: what the host starts with is meant");
        for (text, of_itself, after_with) in [
            (r#"{ "policy": "a" }"#, false, false),
            (r#"{ "policy": "a", "filters": [] }"#, false, false),
            (r#"{ "policy": "a", "filters": [{ "policy": "f" }] }"#, true, true),
            (r#"{ "policy": "a", "filters": [{ "policy": "f" }"#, true, true),
            ("not JSON", false, true),
            ("", false, true),
        ] {
            std::fs::write(directory.path().join(ACTIVE_FILE), text).unwrap();
            assert_eq!((due(None), due(without), due(with)), (of_itself, of_itself, after_with), "{text}");
        }
    }
}
