//! What the bytes of a library say: container, machine, completeness, manifest. Parsing is the `object` crate's.

use std::path::Path;

use object::read::{Object, ObjectSection, ObjectSegment};
use object::{Architecture, BinaryFormat, Endianness, ObjectKind};
use policy_plugin_api::abi::manifest::{MANIFEST_BYTES, MANIFEST_SYMBOL, Manifest, ManifestInfo, ROOT_SYMBOL};

use super::VetError;
use crate::text::chain;

/// Checks everything that can be known without running the library.
pub(super) fn examine(path: &Path, bytes: &[u8]) -> Result<ManifestInfo, VetError> {
    let magic = object::FileKind::parse(bytes)
        .map_err(|_| VetError::NotALibrary { path: path.to_owned(), reason: describe_start(bytes) })?;
    let file = object::File::parse(bytes)
        .map_err(|e| VetError::Truncated { path: path.to_owned(), reason: format!("{magic:?}: {}", chain(&e)) })?;
    check_machine(path, &file)?;
    if file.kind() != ObjectKind::Dynamic {
        let reason = format!("it is of kind {:?}", file.kind());
        return Err(VetError::NotALibrary { path: path.to_owned(), reason });
    }
    check_extents(path, &file, bytes.len() as u64)?;
    manifest(path, &file)
}

fn describe_start(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(24)];
    match std::str::from_utf8(start) {
        Ok(text) if !text.contains('\0') => format!("it begins with {text:?}"),
        _ => format!("it begins with {start:02x?}"),
    }
}

fn native_format() -> BinaryFormat {
    match () {
        () if cfg!(target_os = "windows") => BinaryFormat::Pe,
        () if cfg!(target_vendor = "apple") => BinaryFormat::MachO,
        () => BinaryFormat::Elf,
    }
}

fn native_architecture() -> Option<Architecture> {
    Some(match std::env::consts::ARCH {
        "x86_64" => Architecture::X86_64,
        "x86" => Architecture::I386,
        "aarch64" => Architecture::Aarch64,
        "arm" => Architecture::Arm,
        "riscv64" => Architecture::Riscv64,
        "powerpc64" => Architecture::PowerPc64,
        "s390x" => Architecture::S390x,
        "loongarch64" => Architecture::LoongArch64,
        // Unknown to this list: left to the loader.
        _ => return None,
    })
}

fn check_machine(path: &Path, file: &object::File<'_>) -> Result<(), VetError> {
    let native_endian = if cfg!(target_endian = "big") { Endianness::Big } else { Endianness::Little };
    let architecture_fits = native_architecture().is_none_or(|native| native == file.architecture());
    if file.format() == native_format() && architecture_fits && file.endianness() == native_endian {
        return Ok(());
    }
    Err(VetError::WrongArchitecture {
        path: path.to_owned(),
        found: format!("{:?} {:?} {:?}-endian", file.format(), file.architecture(), file.endianness()),
        expected: format!("{:?} {} {native_endian:?}-endian", native_format(), std::env::consts::ARCH),
    })
}

/// A segment past the end of the file would raise SIGBUS once it is mapped.
fn check_extents(path: &Path, file: &object::File<'_>, length: u64) -> Result<(), VetError> {
    for segment in file.segments() {
        let (offset, size) = segment.file_range();
        if offset.checked_add(size).is_none_or(|end| end > length) {
            let reason = format!("a segment of {size} bytes starts at {offset}, the file has {length} bytes");
            return Err(VetError::Truncated { path: path.to_owned(), reason });
        }
    }
    Ok(())
}

fn manifest(path: &Path, file: &object::File<'_>) -> Result<ManifestInfo, VetError> {
    let missing = |reason: String| VetError::NoRootModule { path: path.to_owned(), reason };
    let exports = file.exports().map_err(|e| missing(format!("its symbols cannot be read: {}", chain(&e))))?;
    // Mach-O puts an underscore before every symbol.
    let find = |name: &str| {
        exports.iter().find(|e| {
            let symbol = e.name();
            symbol == name.as_bytes() || symbol.strip_prefix(b"_") == Some(name.as_bytes())
        })
    };
    if find(ROOT_SYMBOL).is_none() {
        return Err(missing(format!("no symbol {ROOT_SYMBOL}")));
    }
    let symbol = find(MANIFEST_SYMBOL).ok_or_else(|| missing(format!("no symbol {MANIFEST_SYMBOL}")))?;
    file.sections()
        .find_map(|s| s.data_range(symbol.address(), MANIFEST_BYTES as u64).ok().flatten())
        .and_then(Manifest::parse)
        .ok_or_else(|| missing(format!("{MANIFEST_SYMBOL} holds no manifest")))
}
