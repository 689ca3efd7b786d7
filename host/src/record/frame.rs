//! Header and frames: bytes that are checked before they are believed.

use std::io::{self, Read, Write};

use xxhash_rust::xxh3::xxh3_64;

use super::{Header, MAGIC, VERSION};
use crate::core::limits::{MAX_FRAME_BYTES, MAX_RECORDING_HEADER_BYTES};
use crate::core::text::chain;

/// What a frame begins with.
const MARK: [u8; 4] = *b"FRAM";
/// Mark, length, packed length, check of these, checksum of the packed bytes.
pub(super) const FRAME_HEAD_BYTES: usize = 24;

/// The header as it stands in the file.
pub(super) fn header(header: &Header) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(header)?;
    let length = u32::try_from(text.len()).ok().filter(|&n| n <= MAX_RECORDING_HEADER_BYTES);
    let length = length.ok_or_else(|| io::Error::other("what the embedder says about the recording is too long"))?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(text);
    bytes.extend(xxh3_64(&bytes).to_le_bytes());
    Ok(bytes)
}

/// A frame as it stands in the file; `None` when the entries are too many for one.
pub(super) fn pack(entries: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(entries.len()).ok().filter(|&n| n <= MAX_FRAME_BYTES)?;
    let packed = lz4_flex::block::compress(entries);
    let mut bytes = Vec::with_capacity(FRAME_HEAD_BYTES + packed.len());
    bytes.write_all(&MARK).ok()?;
    bytes.extend(length.to_le_bytes());
    bytes.extend(u32::try_from(packed.len()).ok()?.to_le_bytes());
    bytes.extend((xxh3_64(&bytes) as u32).to_le_bytes());
    bytes.extend(xxh3_64(&packed).to_le_bytes());
    bytes.extend(packed);
    Some(bytes)
}

/// What stands where a frame should begin.
pub(super) enum Found {
    /// A frame: its entries, and how many bytes it takes in the file.
    Frame(Vec<u8>, u64),
    /// Nothing more.
    End,
    /// The beginning of one: the file was cut.
    Cut,
    /// Something else.
    Damaged(String),
}

/// Reads a frame.
pub(super) fn unpack(from: &mut impl Read) -> io::Result<Found> {
    let mut head = [0; FRAME_HEAD_BYTES];
    match read_up_to(from, &mut head)? {
        0 => return Ok(Found::End),
        FRAME_HEAD_BYTES => {}
        _ => return Ok(Found::Cut),
    }
    if head[..4] != MARK || xxh3_64(&head[..12]) as u32 != u32_at(&head, 12) {
        return Ok(Found::Damaged("no frame begins here".into()));
    }
    let (length, packed_length) = (u32_at(&head, 4), u32_at(&head, 8));
    if length > MAX_FRAME_BYTES || packed_length as usize > lz4_flex::block::get_maximum_output_size(length as usize) {
        return Ok(Found::Damaged(format!("a frame of {length} bytes, the limit is {MAX_FRAME_BYTES}")));
    }
    let mut packed = Vec::new();
    if from.take(u64::from(packed_length)).read_to_end(&mut packed)? < packed_length as usize {
        return Ok(Found::Cut);
    }
    if xxh3_64(&packed).to_le_bytes() != head[16..] {
        return Ok(Found::Damaged("the checksum of this frame is wrong".into()));
    }
    Ok(match lz4_flex::block::decompress(&packed, length as usize) {
        Ok(entries) if entries.len() == length as usize => {
            Found::Frame(entries, FRAME_HEAD_BYTES as u64 + u64::from(packed_length))
        }
        Ok(_) => Found::Damaged("this frame is shorter than it says".into()),
        Err(e) => Found::Damaged(chain(&e)),
    })
}

/// The number that stands at a place of a head.
pub(super) fn u32_at<const N: usize>(head: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

/// Fills `buffer` as far as there is something.
pub(super) fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
