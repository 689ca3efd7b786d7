//! `schema`: the JSON Schemas, for editors and scripts.

use clap::{Args, ValueEnum};
use policy_host::receipt::{Listed, Receipt};
use serde_json::{Value, json};

use crate::facts::print_json;
use crate::failure::Failure;

/// Prints JSON Schemas. Those of the policies' configs are in `list --json`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policy-host schema active > active.schema.json")]
pub(crate) struct Schema {
    /// Which one; without it, all of them in one object.
    #[arg(value_enum)]
    which: Option<Which>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// active.json.
    Active,
    /// receipt.json, and what `status --json` prints.
    Receipt,
    /// What `list --json` prints.
    List,
}

impl Schema {
    pub(crate) fn execute(&self) -> Result<(), Failure> {
        let of = |which| -> Value {
            match which {
                Which::Active => policy_host::activation::schema(),
                Which::Receipt => schemars::schema_for!(Receipt).to_value(),
                Which::List => schemars::schema_for!(Vec<Listed>).to_value(),
            }
        };
        match self.which {
            Some(which) => print_json(&of(which)),
            None => print_json(&json!({
                "active": of(Which::Active), "receipt": of(Which::Receipt), "list": of(Which::List),
            })),
        }
        Ok(())
    }
}
