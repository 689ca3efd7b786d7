//! Names with `*` in configs.

/// Whether `name` fits `pattern`, in which each `*` stands for any text, also none; everything else stands for itself.
/// Cost: O(length of the name) for each `*`.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').map_or(("", rest), |(middle, tail)| (middle, tail));
    for part in middle.split('*').filter(|p| !p.is_empty()) {
        // The leftmost place is the right one: it leaves most to what follows.
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name, fits) in [
            ("etl", "etl", true),
            ("etl", "etl-1", false),
            ("*", "", true),
            ("*", "anything", true),
            ("etl-*", "etl-7", true),
            ("etl-*", "an-etl-7", false),
            ("*-7", "etl-7", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "ac", false),
            ("a*a", "a", false),
            ("a**a", "aa", true),
            ("*b*b*", "ab", false),
            ("*b*b*", "abb", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
