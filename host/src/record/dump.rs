//! Dumps of the guard: the one round that took a generation out of service, in the format of recordings.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::codec::{Encoder, Totals};
use super::{Header, frame};
use crate::artifact::vet::{create_private, own_directory};
use crate::core::event::unix_ms;
use crate::core::limits::{MAX_DUMPS, MAX_DUMPS_BYTES};
use crate::core::taken::Dump;
use crate::state::directory::{DUMPS, write_atomically};
use crate::state::receipt::DumpReceipt;

/// What their names end in.
const SUFFIX: &str = ".rec";

/// Writes a dump, and removes the oldest ones where there would be too many.
pub(crate) fn write(state_dir: &Path, dump: &Dump) -> io::Result<DumpReceipt> {
    let taken = &dump.0;
    let (info, code) = (&taken.generation.info, taken.fault.as_ref().map_or("", |fault| fault.code));
    let mut about = serde_json::Map::new();
    about.insert("code".into(), code.into());
    let mut bytes = frame::header(&Header::new("dump", about))?;
    let mut encoder = Encoder::default();
    encoder.round(taken);
    encoder.end(Totals { rounds: 1, missed: 0, limit: false });
    let packed = frame::pack(&encoder.take()).ok_or_else(|| io::Error::other("the round is too large for a dump"))?;
    bytes.extend(packed);
    if bytes.len() as u64 > MAX_DUMPS_BYTES {
        return Err(io::Error::other(format!("the round takes {} bytes, the limit is {MAX_DUMPS_BYTES}", bytes.len())));
    }
    let directory = state_dir.join(DUMPS);
    create_private(state_dir)?;
    own_directory(&directory)?;
    make_room(&directory, bytes.len() as u64)?;
    let now = unix_ms(std::time::SystemTime::now());
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let policy: String = info.policy().chars().take(64).map(plain).collect();
    let path = directory.join(format!("{now:013}-{policy}-{}-{code}{SUFFIX}", info.generation));
    write_atomically(&path, &bytes)?;
    Ok(DumpReceipt {
        file: path.display().to_string(),
        policy: info.policy().to_owned(),
        generation: info.generation,
        sha256: info.sha256().to_owned(),
        code: code.to_owned(),
        at_unix_ms: now,
        bytes: bytes.len() as u64,
    })
}

/// Whether a name is one that [`write`] gives: time, policy, generation and code, with dashes between them.
fn is_dump(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let Some((time, rest)) = name.strip_suffix(SUFFIX).and_then(|stem| stem.split_once('-')) else { return false };
    let mut parts = rest.split('-').skip(1);
    time.len() == 13 && digits(time) && parts.by_ref().any(digits) && parts.next().is_some()
}

/// Removes the oldest dumps until another one of `bytes` is within the limits. Names begin with the time. Files that are
/// not dumps of a host stay, and do not count.
fn make_room(directory: &Path, bytes: u64) -> io::Result<()> {
    let mut dumps: Vec<(PathBuf, u64)> = Vec::new();
    for entry in fs::read_dir(directory)?.flatten() {
        let is_file = entry.file_type().is_ok_and(|t| t.is_file());
        if is_file && entry.file_name().to_str().is_some_and(is_dump) {
            dumps.push((entry.path(), entry.metadata().map_or(0, |m| m.len())));
        }
    }
    dumps.sort();
    let mut all: u64 = dumps.iter().map(|d| d.1).sum();
    let mut left = dumps.len();
    for (path, size) in dumps {
        if left < MAX_DUMPS && all + bytes <= MAX_DUMPS_BYTES {
            break;
        }
        fs::remove_file(path)?;
        (left, all) = (left - 1, all - size);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let directory = tempfile::tempdir().unwrap();
        let name = |at: usize| directory.path().join(format!("{at:013}-p-2-policy-panicked{SUFFIX}"));
        (0..MAX_DUMPS + 3).for_each(|at| fs::write(name(at), "x").unwrap());
        let others = ["notes.txt", "mine.rec", "0000000000001-p.rec", "0000000000001-p-panicked.rec", "1-p-2-code.rec"];
        others.iter().for_each(|other| fs::write(directory.path().join(other), "mine").unwrap());
        fs::create_dir(directory.path().join("0000000000000-q-2-policy-panicked.rec")).unwrap();
        make_room(directory.path(), 1).unwrap();
        let left: Vec<bool> = (0..MAX_DUMPS + 3).map(|at| name(at).exists()).collect();
        assert_eq!(left.iter().filter(|there| **there).count(), MAX_DUMPS - 1);
        assert!(!left[3] && left[4], "{left:?}");
        make_room(directory.path(), MAX_DUMPS_BYTES).unwrap();
        assert!((0..MAX_DUMPS + 3).all(|at| !name(at).exists()), "no room for two of that size");
        for other in others {
            assert!(directory.path().join(other).exists(), "{other} is not a dump and stays");
        }
    }
}
