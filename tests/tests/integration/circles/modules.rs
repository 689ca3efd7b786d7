//! The modules of a crate, as its sources declare them: what each one defines, imports and mentions.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path of names, as written.
pub(super) type Names = Vec<String>;

/// One name that a `use` brings in.
pub(super) struct Import {
    /// `*` for all names.
    pub(super) alias: String,
    pub(super) path: Names,
    /// `pub use`, with any visibility.
    pub(super) is_public: bool,
}

#[derive(Default)]
pub(super) struct Module {
    pub(super) file: String,
    pub(super) parent: Option<usize>,
    pub(super) children: BTreeMap<String, usize>,
    /// Modules of the same name, for other platforms.
    pub(super) twins: Vec<usize>,
    pub(super) defines: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    /// Paths and single names in its code.
    pub(super) mentions: BTreeSet<Names>,
}

/// All modules of a crate. The first is the root.
#[derive(Default)]
pub(super) struct Modules {
    pub(super) all: Vec<Module>,
    /// Macros that `crate::name` finds, and the modules that define them.
    pub(super) exported_macros: BTreeMap<String, usize>,
}

impl Modules {
    /// Reads the crate at `root` and every file that its modules name.
    pub(super) fn read(root: &str, sources: &BTreeMap<String, String>) -> Self {
        let mut reader = Reader { sources, modules: Self::default() };
        reader.file(root, parent_directory(root), None);
        reader.modules
    }
}

fn parent_directory(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

struct Reader<'a> {
    sources: &'a BTreeMap<String, String>,
    modules: Modules,
}

/// Where the reader is.
#[derive(Clone, Copy)]
struct Place<'a> {
    module: usize,
    /// Where the files of the module's children are.
    directory: &'a str,
    /// Among the items of the module, not inside one of them.
    is_top: bool,
}

/// What was read of an item so far.
#[derive(Default)]
struct Head {
    is_public: bool,
    is_exported_macro: bool,
    path: Option<String>,
}

impl Reader<'_> {
    fn file(&mut self, file: &str, directory: &str, parent: Option<usize>) -> usize {
        let tokens: TokenStream = self.sources[file].parse().unwrap_or_else(|e| panic!("{file}: {e}"));
        let module = self.add(file, parent);
        self.walk(tokens, Place { module, directory, is_top: true });
        module
    }

    fn add(&mut self, file: &str, parent: Option<usize>) -> usize {
        self.modules.all.push(Module { file: file.to_owned(), parent, ..Module::default() });
        self.modules.all.len() - 1
    }

    fn walk(&mut self, tokens: TokenStream, place: Place<'_>) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut head = Head::default();
        let mut at = 0;
        while at < tokens.len() {
            at = match text(&tokens, at).as_str() {
                "#" => self.attribute(&tokens, at, place, &mut head),
                "pub" => {
                    head.is_public = true;
                    at + 1 + usize::from(group(&tokens, at + 1, Delimiter::Parenthesis).is_some())
                }
                "use" if text(&tokens, at + 1) != "<" => {
                    let end = (at..tokens.len()).find(|&i| text(&tokens, i) == ";").unwrap_or(tokens.len());
                    self.import(&tokens[at + 1..end], &[], take(&mut head).is_public, place.module);
                    end + 1
                }
                "mod" => {
                    self.child(&tokens, at, place, take(&mut head));
                    at + 3
                }
                word if place.is_top && ITEMS.contains(&word) && text(&tokens, at.wrapping_sub(1)) != "*" => {
                    self.item(&tokens, at, place, take(&mut head));
                    at + 1
                }
                _ => self.mention(&tokens, at, place),
            };
        }
    }

    /// Reads `#[…]`. With `cfg(test)` the item behind it is skipped, or the rest of the file.
    fn attribute(&mut self, tokens: &[TokenTree], at: usize, place: Place<'_>, head: &mut Head) -> usize {
        let is_inner = text(tokens, at + 1) == "!";
        let at = at + 1 + usize::from(is_inner);
        let Some(content) = group(tokens, at, Delimiter::Bracket) else { return at };
        let words: Vec<TokenTree> = content.clone().into_iter().collect();
        match text(&words, 0).as_str() {
            "cfg" if is_for_tests(&words) && is_inner => return tokens.len(),
            "cfg" if is_for_tests(&words) => {
                let ends = |i: &usize| text(tokens, *i) == ";" || group(tokens, *i, Delimiter::Brace).is_some();
                *head = Head::default();
                return (at..tokens.len()).find(ends).map_or(tokens.len(), |end| end + 1);
            }
            "path" => head.path = Some(text(&words, 2).trim_matches('"').to_owned()),
            "macro_export" => head.is_exported_macro = true,
            _ => self.walk(content, Place { is_top: false, ..place }),
        }
        at + 1
    }

    /// Reads the tree of a `use` behind `prefix`.
    fn import(&mut self, tokens: &[TokenTree], prefix: &[String], is_public: bool, module: usize) {
        for tree in tokens.split(|t| matches!(t, TokenTree::Punct(p) if p.as_char() == ',')) {
            let mut path = prefix.to_vec();
            let mut alias = None;
            for at in 0..tree.len() {
                match &tree[at] {
                    TokenTree::Ident(_) if text(tree, at.wrapping_sub(1)) == "as" => alias = Some(text(tree, at)),
                    TokenTree::Ident(name) if name != "as" => path.push(name.to_string()),
                    TokenTree::Punct(p) if p.as_char() == '*' => alias = Some("*".to_owned()),
                    TokenTree::Group(inner) => {
                        let inner: Vec<TokenTree> = inner.stream().into_iter().collect();
                        self.import(&inner, &path, is_public, module);
                        path.clear();
                    }
                    _ => {}
                }
            }
            // `{self}` names what is before the brace.
            if path.len() > 1 && path.last().is_some_and(|name| name == "self") {
                path.pop();
            }
            if let Some(last) = path.last() {
                let alias = alias.unwrap_or_else(|| last.clone());
                self.modules.all[module].imports.push(Import { alias, path, is_public });
            }
        }
    }

    /// Reads `mod name;` or `mod name { … }`.
    fn child(&mut self, tokens: &[TokenTree], at: usize, place: Place<'_>, head: Head) {
        let name = text(tokens, at + 1);
        let below = join(place.directory, &name);
        let child = if let Some(content) = group(tokens, at + 2, Delimiter::Brace) {
            let file = self.modules.all[place.module].file.clone();
            let child = self.add(&file, Some(place.module));
            self.walk(content, Place { module: child, directory: &below, is_top: true });
            child
        } else if let Some(path) = head.path {
            let file = join(parent_directory(&self.modules.all[place.module].file), &path);
            self.file(&file, parent_directory(&file), Some(place.module))
        } else {
            let candidates = [format!("{below}.rs"), format!("{below}/mod.rs")];
            let file = candidates.iter().find(|file| self.sources.contains_key(*file));
            let file = file.unwrap_or_else(|| panic!("none of {candidates:?} is there"));
            self.file(file, &below, Some(place.module))
        };
        let first = *self.modules.all[place.module].children.entry(name).or_insert(child);
        if first != child {
            self.modules.all[first].twins.push(child);
        }
    }

    /// Reads the name of an item, if it has one.
    fn item(&mut self, tokens: &[TokenTree], at: usize, place: Place<'_>, head: Head) {
        let skipped = |i: &usize| ["!", "mut", "unsafe", "async", "extern"].contains(&text(tokens, *i).as_str());
        let Some(at) = (at + 1..tokens.len()).find(|i| !skipped(i)) else { return };
        let TokenTree::Ident(name) = &tokens[at] else { return };
        if !ITEMS.contains(&name.to_string().as_str()) {
            self.modules.all[place.module].defines.insert(name.to_string());
            if head.is_exported_macro {
                self.modules.exported_macros.insert(name.to_string(), place.module);
            }
        }
    }

    /// Reads a path, or whatever else is next, and returns where it ends.
    fn mention(&mut self, tokens: &[TokenTree], at: usize, place: Place<'_>) -> usize {
        match &tokens[at] {
            TokenTree::Group(inner) => self.walk(inner.stream(), Place { is_top: false, ..place }),
            TokenTree::Ident(first) => {
                let before = |n: usize| text(tokens, at.wrapping_sub(n));
                let is_range = before(1) == "." && before(2) == ".";
                let mut path = vec![first.to_string()];
                let mut end = at + 1;
                while text(tokens, end) == ":" && text(tokens, end + 1) == ":" {
                    let Some(TokenTree::Ident(name)) = tokens.get(end + 2) else { break };
                    path.push(name.to_string());
                    end += 3;
                }
                if is_range || ![".", "'", "$", ":"].contains(&before(1).as_str()) || is_type_of(tokens, at) {
                    self.modules.all[place.module].mentions.insert(path);
                }
                return end;
            }
            _ => {}
        }
        at + 1
    }
}

/// Words before the name of an item.
const ITEMS: [&str; 10] = ["struct", "enum", "union", "trait", "fn", "type", "const", "static", "macro_rules", "macro"];

/// A name behind one colon, as in `field: Type`.
fn is_type_of(tokens: &[TokenTree], at: usize) -> bool {
    text(tokens, at.wrapping_sub(1)) == ":" && text(tokens, at.wrapping_sub(2)) != ":"
}

/// `cfg(test)`, and with other conditions, as long as none is turned round.
fn is_for_tests(words: &[TokenTree]) -> bool {
    let conditions = words.iter().map(ToString::to_string).collect::<String>();
    let mut names = conditions.split(|c: char| !c.is_alphanumeric() && c != '_');
    names.clone().any(|name| name == "test") && !names.any(|name| name == "not")
}

/// A token as text; nothing beyond the ends.
fn text(tokens: &[TokenTree], at: usize) -> String {
    match tokens.get(at) {
        None | Some(TokenTree::Group(_)) => String::new(),
        Some(token) => token.to_string(),
    }
}

/// What is between such delimiters, if they are there.
fn group(tokens: &[TokenTree], at: usize, delimiter: Delimiter) -> Option<TokenStream> {
    match tokens.get(at) {
        Some(TokenTree::Group(group)) if group.delimiter() == delimiter => Some(group.stream()),
        _ => None,
    }
}
