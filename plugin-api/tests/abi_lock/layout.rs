//! The layout of everything that crosses, as text: what `abi.lock` pins.
//!
//! One entry a type, sorted by package, module and name, so that a change shows as a small difference. Left out on
//! purpose: source lines, addresses and type ids, which differ from build to build; the patch level of packages, which
//! the layout check does not look at; and types of the standard library, which their names describe.

use std::collections::{HashMap, HashSet};
use std::fmt::{Result, Write};

use abi_stable::StableAbi;
use abi_stable::std_types::utypeid::UTypeId;
use abi_stable::type_layout::{TLData, TLFields, TLFunction, TypeLayout};

use policy_plugin_api::abi::PluginModuleRef;

/// The layout of every type that can be reached from the root module. The same in every build profile and checkout; for
/// one pointer width.
#[must_use]
pub(crate) fn layout() -> String {
    let (mut types, mut seen) = (Vec::new(), HashSet::new());
    collect(<PluginModuleRef as StableAbi>::LAYOUT, &mut seen, &mut types);
    let names = Names::of(&types);
    let mut entries: Vec<String> =
        types.into_iter().filter(|l| l.package() != "std" || names.is_ambiguous(l)).map(|l| names.entry(l)).collect();
    entries.sort_unstable();
    entries.concat()
}

fn collect(layout: &'static TypeLayout, seen: &mut HashSet<UTypeId>, types: &mut Vec<&'static TypeLayout>) {
    if !seen.insert(layout.get_utypeid()) {
        return;
    }
    types.push(layout);
    for nested in layout.shared_vars().type_layouts() {
        collect(nested(), seen, types);
    }
    if let Some(checks) = layout.extra_checks() {
        for nested in checks.nested_type_layouts().iter() {
            collect(nested, seen, types);
        }
    }
}

/// What types are called. The layouts of some generic types leave their parameters out of the name: where several have
/// one name, they are numbered in the order in which they are reached.
struct Names(HashMap<UTypeId, usize>);

impl Names {
    fn of(types: &[&'static TypeLayout]) -> Self {
        let mut times: HashMap<String, usize> = HashMap::new();
        for layout in types {
            *times.entry(plain_name(layout)).or_default() += 1;
        }
        let mut next: HashMap<String, usize> = HashMap::new();
        let ambiguous = types.iter().filter(|layout| times[&plain_name(layout)] > 1);
        let numbers = ambiguous.map(|layout| {
            let number = next.entry(plain_name(layout)).or_default();
            *number += 1;
            (layout.get_utypeid(), *number)
        });
        Self(numbers.collect())
    }

    fn is_ambiguous(&self, layout: &TypeLayout) -> bool {
        self.0.contains_key(&layout.get_utypeid())
    }

    fn name(&self, layout: &TypeLayout) -> String {
        let name = plain_name(layout);
        match self.0.get(&layout.get_utypeid()) {
            Some(number) => format!("{name}#{number}"),
            None => name,
        }
    }

    fn entry(&self, layout: &'static TypeLayout) -> String {
        let (package, version) = layout.item_info().package_and_version();
        let version = compatible_line(version);
        let mut text = format!("{package} {version} {}::{}\n", layout.mod_path(), self.name(layout));
        // Writing to a `String` cannot fail.
        let _ = self.describe(layout, &mut text);
        text
    }

    fn describe(&self, layout: &'static TypeLayout, text: &mut String) -> Result {
        writeln!(text, "    size {} align {} repr {:?}", layout.size(), layout.alignment(), layout.repr_attr())?;
        if layout.is_nonzero() {
            writeln!(text, "    never zero")?;
        }
        match layout.data() {
            TLData::Primitive(which) => writeln!(text, "    primitive {which:?}")?,
            TLData::Opaque => writeln!(text, "    opaque")?,
            TLData::Struct { fields } => self.put_fields("field", fields, text)?,
            TLData::Union { fields } => self.put_fields("union field", fields, text)?,
            TLData::Enum(of) => {
                for (name, count) in of.variant_names_iter().zip(of.field_count) {
                    writeln!(text, "    variant {name} of {count} fields")?;
                }
                self.put_fields("field", of.fields, text)?;
                writeln!(text, "    discriminants {:?}, {:?}", of.discriminants, of.exhaustiveness)?;
            }
            TLData::PrefixType(prefix) => {
                writeln!(text, "    prefix of {} fields", prefix.first_suffix_field)?;
                self.put_fields("field", prefix.fields, text)?;
            }
        }
        self.put_fields("phantom", layout.phantom_fields(), text)?;
        if let Some(checks) = layout.extra_checks() {
            writeln!(text, "    checks {}", one_line(&checks.to_string()))?;
        }
        let tag = one_line(&layout.tag().to_string());
        if tag != "null" {
            writeln!(text, "    tag {tag}")?;
        }
        Ok(())
    }

    fn put_fields(&self, what: &str, fields: TLFields, text: &mut String) -> Result {
        for field in fields {
            writeln!(text, "    {what} {}: {}", field.name(), self.name(field.layout()))?;
            for function in field.function_range() {
                writeln!(text, "        {}", self.signature(&function))?;
            }
        }
        Ok(())
    }

    fn signature(&self, function: &TLFunction) -> String {
        let qualifier = if function.fn_qualifs.is_unsafe() { "unsafe " } else { "" };
        let parameters: Vec<String> = function.param_type_layouts.iter().map(|layout| self.name(layout())).collect();
        let returned = function.return_type_layout().map_or_else(|| "()".to_owned(), |layout| self.name(layout()));
        let mut text = format!("{qualifier}fn({}) -> {returned}", parameters.join(", "));
        let lifetimes = function.paramret_lifetime_indices;
        if !lifetimes.is_empty() {
            // Writing to a `String` cannot fail.
            let _ = write!(text, " lifetimes {lifetimes:?}");
        }
        text
    }
}

fn plain_name(layout: &TypeLayout) -> String {
    one_line(&layout.full_type().to_string())
}

/// The part of a version that the layout check compares: up to the first number that is not zero.
fn compatible_line(version: &str) -> String {
    match version.strip_prefix("0.") {
        Some(rest) => format!("0.{}.x", rest.split('.').next().unwrap_or("")),
        None => format!("{}.x", version.split('.').next().unwrap_or("")),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
