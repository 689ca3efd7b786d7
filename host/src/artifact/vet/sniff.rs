//! What bytes are that are not what they should be: a name that tells the operator which file was taken by mistake.

use std::borrow::Cow;

/// What a file is that begins with these bytes, where they tell: an article and a noun. Text that could be anything, and
/// JSON, have no name here.
#[must_use]
pub fn what_is(bytes: &[u8]) -> Option<&'static str> {
    archive(bytes)
        .or_else(|| packed(bytes))
        .or_else(|| program(bytes))
        .or_else(|| wide_text(bytes))
        .or_else(|| text(bytes))
}

/// The UTF-8 text of a file, without the byte order mark that some editors put before it.
///
/// # Errors
/// What the bytes are instead, as the end of a sentence: `is gzip data, not text in UTF-8`.
pub fn text_of(bytes: &[u8]) -> Result<&str, Cow<'static, str>> {
    let text = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes);
    match (std::str::from_utf8(text), binary(bytes)) {
        (_, Some(what)) => Err(format!("is {what}, not text in UTF-8").into()),
        (Ok(text), None) => Ok(text),
        (Err(e), None) => {
            let at = e.valid_up_to() + bytes.len() - text.len();
            Err(format!("is not text in UTF-8: byte {at} and what follows is no character").into())
        }
    }
}

/// As [`what_is`], for what is no text in UTF-8 at all.
#[must_use]
pub fn binary(bytes: &[u8]) -> Option<&'static str> {
    archive(bytes).or_else(|| packed(bytes)).or_else(|| program(bytes)).or_else(|| wide_text(bytes))
}

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// How an `ar` archive begins: what linkers make programs of, not what is loaded.
fn archive(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'!', b'<', b't', b'h', b'i', b'n', b'>', b'\n', ..] => {
            Some("a thin static library (an ar archive whose members are files elsewhere)")
        }
        [b'!', b'<', b'a', b'r', b'c', b'h', b'>', b'\n', rest @ ..] => match has_rust_metadata(rest) {
            true => Some("a Rust library for linking into other crates (.rlib)"),
            false => Some("a static library (an ar archive)"),
        },
        _ => None,
    }
}

/// Whether rustc's own member is among the first ones: it comes first, or behind the tables of symbols and long names.
fn has_rust_metadata(mut members: &[u8]) -> bool {
    for _ in 0..4 {
        // A header of 60 bytes: the name first, the size at byte 48, in decimal; members begin at even places.
        let Some((header, rest)) = members.split_at_checked(60) else { return false };
        if header.starts_with(b"lib.rmeta") {
            return true;
        }
        let size = std::str::from_utf8(&header[48..58]).ok().and_then(|text| text.trim().parse::<usize>().ok());
        let Some(next) = size.and_then(|size| rest.get(size.next_multiple_of(2)..)) else { return false };
        members = next;
    }
    false
}

/// Beginnings that say what follows.
const PACKED: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "gzip data"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"\xfd7zXZ\0", "xz data"),
    (b"\x04\x22\x4d\x18", "lz4 data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\0asm", "a WebAssembly module"),
    (b"BC\xc0\xde", "LLVM bitcode"),
    (b"%PDF-", "a PDF file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"PAR1", "a Parquet file"),
    (b"\x89PNG", "a PNG picture"),
];

fn packed(bytes: &[u8]) -> Option<&'static str> {
    let known = PACKED.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, what)| *what);
    let known =
        known.or_else(|| (bytes.starts_with(b"BZh") && bytes.get(4..10) == Some(b"1AY&SY")).then_some("bzip2 data"));
    known.or_else(|| (bytes.get(257..262) == Some(b"ustar")).then_some("a tar archive"))
}

fn program(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x7f, b'E', b'L', b'F', ..] => Some("a library or program (ELF)"),
        [b'M', b'Z', _, _, ..] if bytes.contains(&0) => Some("a Windows library or program (PE)"),
        [0xfe, 0xed, 0xfa, 0xce | 0xcf, ..] | [0xce | 0xcf, 0xfa, 0xed, 0xfe, ..] => {
            Some("a macOS library or program (Mach-O)")
        }
        [0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, n, ..] if *n < 20 => Some("a universal macOS library or program (Mach-O)"),
        _ => None,
    }
}

fn wide_text(bytes: &[u8]) -> Option<&'static str> {
    let is_plain = |b: &u8| (0x20..0x7f).contains(b) || matches!(b, b'\t' | b'\r' | b'\n');
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32 text"),
        [0xff, 0xfe, ..] => Some("UTF-16 text (little-endian)"),
        [0xfe, 0xff, ..] => Some("UTF-16 text (big-endian)"),
        [a, 0, b, 0, ..] if is_plain(a) && is_plain(b) => Some("UTF-16 text (little-endian)"),
        [0, a, 0, b, ..] if is_plain(a) && is_plain(b) => Some("UTF-16 text (big-endian)"),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> Option<&'static str> {
    let start = &bytes[..bytes.len().min(512)];
    let start = String::from_utf8_lossy(start.strip_prefix(UTF8_MARK).unwrap_or(start));
    let start = start.trim_start();
    let begins = |word: &str| start.get(..word.len()).is_some_and(|s| s.eq_ignore_ascii_case(word));
    match () {
        () if begins("version https://git-lfs") => Some("a Git LFS pointer (the file itself was not fetched)"),
        () if begins("#!") => Some("a script"),
        () if begins("<!doctype html") || begins("<html") => Some("an HTML page"),
        () if begins("/* GNU ld script") || begins("INPUT") || begins("GROUP") || begins("OUTPUT_FORMAT") => {
            Some("a linker script (text that names the library to link)")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive_of(members: &[(&str, usize)]) -> Vec<u8> {
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, size) in members {
            bytes.extend(format!("{name:<16}{:<32}{size:<10}`\n", 0).bytes());
            bytes.extend(vec![b'x'; size.next_multiple_of(2)]);
        }
        bytes
    }

    #[test]
    fn bytes_have_names() {
        let tar = [[0; 257].as_slice(), b"ustar"].concat();
        let table: &[(&[u8], Option<&str>)] = &[
            (&archive_of(&[("/", 5), ("lib.rmeta/", 4), ("a.o/", 1)]), Some(".rlib")),
            (&archive_of(&[("/", 5), ("a.o/", 3), ("b.o/", 1)]), Some("static library (an ar")),
            (b"!<arch>\nfoo.o/          ", Some("static library (an ar")),
            (b"!<thin>\n/               ", Some("thin static")),
            (b"\x1f\x8b\x08\0", Some("gzip")),
            (b"PK\x03\x04", Some("zip")),
            (b"\0asm\x01\0\0\0", Some("WebAssembly")),
            (b"\x7fELF\x02\x01\x01", Some("ELF")),
            (b"MZ\x90\0\x03", Some("Windows")),
            (b"\xcf\xfa\xed\xfe\x07", Some("macOS")),
            (b"\xca\xfe\xba\xbe\0\0\0\x02", Some("universal")),
            (&tar, Some("tar")),
            (b"\xff\xfe{\0", Some("UTF-16 text (little")),
            (b"\xfe\xff\0{", Some("UTF-16 text (big")),
            (b"{\0\"\0p\0", Some("UTF-16 text (little")),
            (b"\0{\0\"", Some("UTF-16 text (big")),
            (b"\xff\xfe\0\0{\0\0\0", Some("UTF-32")),
            (b"#!/bin/sh\n", Some("script")),
            (b"\n<!DOCTYPE HTML>", Some("HTML")),
            (b"/* GNU ld script\n*/\nGROUP ( libc.so.6 )", Some("linker script")),
            (b"INPUT(libncurses.so.6)", Some("linker script")),
            (b"version https://git-lfs.github.com/spec/v1\n", Some("Git LFS")),
            (b"{\"policy\":\"bias\"}", None),
            (b"MZ, a text that begins so", None),
            (b"BZh91AY&SY", Some("bzip2")),
            (b"BZhello", None),
            (b"", None),
            (b"\x7f", None),
        ];
        for (bytes, expected) in table {
            let found = what_is(bytes);
            let fits = expected.map_or(found.is_none(), |part| found.is_some_and(|what| what.contains(part)));
            assert!(fits, "{:?}: {found:?}, expected {expected:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn text_is_text_and_what_is_not_is_named() {
        assert_eq!(text_of(b"{}"), Ok("{}"));
        assert_eq!(text_of(b"\xef\xbb\xbf{}"), Ok("{}"), "a byte order mark is no part of the text");
        assert_eq!(text_of(b"#!/bin/sh"), Ok("#!/bin/sh"), "text of another kind is text");
        assert_eq!(text_of(b"\x1f\x8b\x08").unwrap_err(), "is gzip data, not text in UTF-8");
        assert_eq!(text_of(b"{\0}\0").unwrap_err(), "is UTF-16 text (little-endian), not text in UTF-8");
        assert_eq!(text_of(b"abc\xff").unwrap_err(), "is not text in UTF-8: byte 3 and what follows is no character");
        assert_eq!(
            text_of(b"\xef\xbb\xbfabc\xff").unwrap_err(),
            "is not text in UTF-8: byte 6 and what follows is no character"
        );
    }
}
