//! What a crate's sources look like: enough to see that one was saved.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// More files than a policy crate has: beyond, changes are not seen.
const MAX_FILES: usize = 10_000;

/// Names, lengths and times of the files of a crate, without what is hidden and what builds write: `target`, `Cargo.lock`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sources(Vec<(PathBuf, u64, Option<SystemTime>)>);

impl Sources {
    pub(super) fn of(directory: &Path) -> Self {
        let (mut files, mut left) = (Vec::new(), vec![directory.to_owned()]);
        while let Some(next) = left.pop() {
            // What cannot be read is seen when cargo builds.
            for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
                let (name, path) = (entry.file_name(), entry.path());
                let Ok(metadata) = entry.metadata() else { continue };
                let is_built = name == "target" || path.join("CACHEDIR.TAG").is_file();
                let is_hidden = name.to_string_lossy().starts_with('.');
                if is_hidden || name == "Cargo.lock" || (metadata.is_dir() && is_built) {
                    continue;
                }
                match metadata.is_dir() {
                    true => left.push(path),
                    false if files.len() < MAX_FILES => files.push((path, metadata.len(), metadata.modified().ok())),
                    false => {}
                }
            }
        }
        files.sort();
        Self(files)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_save_is_seen_and_a_build_is_not() {
        let crate_directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| crate_directory.path().join(name);
        let look = || Sources::of(crate_directory.path());
        fs::create_dir_all(at("src")).expect("created");
        fs::write(at("src/lib.rs"), "1").expect("written");
        let before = look();
        fs::create_dir_all(at("target/debug")).expect("created");
        fs::write(at("target/debug/lib.so"), "built").expect("written");
        fs::write(at("Cargo.lock"), "by the first build").expect("written");
        fs::write(at("src/.lib.rs.swp"), "an editor's").expect("written");
        assert_eq!(look(), before);
        fs::write(at("src/lib.rs"), "22").expect("written");
        let longer = look();
        assert_ne!(longer, before);
        fs::write(at("src/more.rs"), "").expect("written");
        assert_ne!(look(), longer);
    }
}
