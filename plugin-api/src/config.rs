//! Typed configuration: a policy's config is one Rust type, read from the `config` of `active.json`.
//!
//! Give the type `Deserialize` with `#[serde(deny_unknown_fields, default)]`, `JsonSchema` and `Default`. The host
//! shows the schema in `policy-host list`, and refuses a config that does not fit with the line and column at fault.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What can be a policy's configuration. Implemented for every type that has what it takes.
pub trait PolicyConfig: DeserializeOwned + JsonSchema {}
impl<T: DeserializeOwned + JsonSchema> PolicyConfig for T {}

/// The configuration of a policy that has no knobs: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Why a config was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// What is wrong, without the place.
    pub message: String,
    /// Line in the config text, from 1; 0 where unknown.
    pub line: u32,
    /// Column in the line, from 1; 0 where unknown.
    pub column: u32,
}

/// Reads a config. An empty text stands for `{}`.
///
/// # Errors
/// When the text is not JSON, or does not fit the type: with the place.
pub fn parse<C: PolicyConfig>(json: &str) -> Result<C, ConfigError> {
    let json = if json.trim().is_empty() { "{}" } else { json };
    serde_json::from_str(json).map_err(|e| {
        let full = e.to_string();
        let place = format!(" at line {} column {}", e.line(), e.column());
        ConfigError {
            message: full.strip_suffix(&place).unwrap_or(&full).to_owned(),
            line: u32::try_from(e.line()).unwrap_or(0),
            column: u32::try_from(e.column()).unwrap_or(0),
        }
    })
}

/// The JSON Schema of a config type, as text.
#[must_use]
pub fn schema<C: PolicyConfig>() -> String {
    schemars::schema_for!(C).as_value().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Knobs {
        wait_ms: u64,
    }

    #[test]
    fn a_config_is_read_or_refused_with_the_place() {
        assert_eq!(parse::<Knobs>("").unwrap(), Knobs::default());
        assert_eq!(parse::<Knobs>(r#"{"wait_ms": 7}"#).unwrap(), Knobs { wait_ms: 7 });
        let unknown = parse::<Knobs>("{\n  \"wait\": 7\n}").unwrap_err();
        assert_eq!((unknown.line, unknown.message.starts_with("unknown field `wait`")), (2, true), "{unknown:?}");
        let wrong = parse::<Knobs>(r#"{"wait_ms": "7"}"#).unwrap_err();
        assert_eq!((wrong.line, wrong.column), (1, 15), "{wrong:?}");
        assert_eq!(parse::<Knobs>("{").unwrap_err().line, 1);
    }

    #[test]
    fn the_schema_names_the_knobs() {
        let schema: serde_json::Value = serde_json::from_str(&schema::<Knobs>()).unwrap();
        assert_eq!(schema["properties"]["wait_ms"]["type"], "integer");
        assert_eq!(schema["additionalProperties"], false);
    }
}
