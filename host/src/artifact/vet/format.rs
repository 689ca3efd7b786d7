//! What the bytes of a library say: container, machine, completeness, manifest. Parsing is the `object` crate's.

use std::path::Path;

use object::read::{Object, ObjectSection, ObjectSegment};
use object::{Architecture, BinaryFormat, Endianness, FileKind, ObjectKind};
use policy_plugin_api::abi::manifest::{MANIFEST_BYTES, MANIFEST_SYMBOL, Manifest, ManifestInfo, ROOT_SYMBOL};

use super::error::VetError;
use crate::core::text::chain;

/// Checks everything that can be known without running the library.
pub(super) fn examine(path: &Path, bytes: &[u8]) -> Result<ManifestInfo, VetError> {
    let not_a_library = |reason: String| VetError::NotALibrary { path: path.to_owned(), reason };
    let magic = match object::FileKind::parse(bytes) {
        Ok(FileKind::Archive | FileKind::MachOFat32 | FileKind::MachOFat64) | Err(_) => {
            return Err(not_a_library(describe(bytes)));
        }
        Ok(magic) => magic,
    };
    let file = object::File::parse(bytes)
        .map_err(|e| VetError::Truncated { path: path.to_owned(), reason: format!("{magic:?}: {}", chain(&e)) })?;
    check_machine(path, &file)?;
    match file.kind() {
        ObjectKind::Dynamic => {}
        ObjectKind::Relocatable => {
            return Err(not_a_library(format!("it is an object file (.o); {BUILD}{}", library_name())));
        }
        ObjectKind::Executable => return Err(not_a_library(format!("it is a program; {BUILD}{}", library_name()))),
        ObjectKind::Core => return Err(not_a_library("it is what a crashed program left (a core dump)".to_owned())),
        kind => return Err(not_a_library(format!("it is of kind {kind:?}; {BUILD}{}", library_name()))),
    }
    check_extents(path, &file, bytes.len() as u64)?;
    match manifest(path, &file) {
        Err(VetError::NoRootModule { .. }) if is_program(&file) => {
            Err(not_a_library(format!("it is a program; {BUILD}{}", library_name())))
        }
        Ok(_) if panics_abort(&file) => Err(VetError::PanicAborts { path: path.to_owned() }),
        manifest => manifest,
    }
}

/// What to do about a file that cargo or a linker made on the way to another.
const BUILD: &str = "a plugin is a shared library: crate-type = [\"cdylib\"] under [lib] in Cargo.toml, and of what \
                     `cargo build --release` leaves, the file target/release/";

/// What the file is instead, and what to do.
fn describe(bytes: &[u8]) -> String {
    let Some(what) = super::what_is(bytes) else { return describe_start(bytes) };
    match what {
        _ if what.contains("librar") && !what.contains("script") && !what.contains("Mach-O") => {
            format!("it is {what}; {BUILD}{}", library_name())
        }
        _ if what.contains("Mach-O") => format!("it is {what}; take out the part for this machine with lipo -thin"),
        _ if what.contains("LFS") => format!("it is {what}; run git lfs pull"),
        _ if what.ends_with("data") || what.ends_with("archive") => format!("it is {what}; unpack it first"),
        _ => format!("it is {what}"),
    }
}

/// A file name as cargo makes it.
fn library_name() -> String {
    format!("{}NAME{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// Whether a file that is laid out as a library is a program that can be placed anywhere (`DF_1_PIE`).
fn is_program(file: &object::File<'_>) -> bool {
    const DT_FLAGS_1: u64 = 0x6fff_fffb;
    const DF_1_PIE: u64 = 0x0800_0000;
    let Some(Ok(data)) = file.section_by_name(".dynamic").map(|section| section.data()) else { return false };
    let word = if file.is_64() { 8 } else { 4 };
    // The machine is this one: its own order of bytes.
    let number = |bytes: &[u8]| match bytes {
        [a, b, c, d] => u64::from(u32::from_ne_bytes([*a, *b, *c, *d])),
        bytes => bytes.try_into().map_or(0, u64::from_ne_bytes),
    };
    data.chunks_exact(2 * word).any(|entry| {
        let (tag, value) = entry.split_at(word);
        number(tag) == DT_FLAGS_1 && number(value) & DF_1_PIE != 0
    })
}

/// Whether a library is built with `panic = "abort"`. Rust's standard library is in every plugin; it asks the system's
/// unwinder for a backtrace in both builds, and for raising a panic only where panics unwind. A library that asks for
/// neither (it has an unwinder of its own, or its system has another one) is taken for good.
fn panics_abort(file: &object::File<'_>) -> bool {
    let imports = file.imports().unwrap_or_default();
    // Mach-O puts an underscore before every symbol.
    let asks_for = |name: &[u8]| {
        imports.iter().any(|import| import.name() == name || import.name().strip_prefix(b"_") == Some(name))
    };
    asks_for(b"_Unwind_Backtrace") && !asks_for(b"_Unwind_RaiseException")
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

/// Where files of a format are at home.
fn system(format: BinaryFormat) -> &'static str {
    match format {
        BinaryFormat::Elf => "Linux and the like (ELF)",
        BinaryFormat::Pe | BinaryFormat::Coff => "Windows (PE)",
        BinaryFormat::MachO => "macOS (Mach-O)",
        BinaryFormat::Wasm => "WebAssembly",
        BinaryFormat::Xcoff => "AIX (XCOFF)",
        _ => "another system",
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
        found: format!("{}, {:?}, {:?}-endian", system(file.format()), file.architecture(), file.endianness()),
        expected: format!("{}, {}, {native_endian:?}-endian", system(native_format()), std::env::consts::ARCH),
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
