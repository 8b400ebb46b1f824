//! Makes checksums right again, so that what was changed is read as if somebody had written it.

use std::path::Path;

/// Where frames begin in a segment.
const SEGMENT_HEADER_BYTES: usize = 4_096;
/// The header is there twice.
const HEADER_COPY_BYTES: usize = 2_048;
const FRAME_HEADER_BYTES: usize = 24;
const SLOT_HEADER_BYTES: usize = 28;

/// Corrects every checksum of a file, as docs/format.md has them.
pub fn correct(path: &Path, bytes: &mut [u8]) {
    match path.file_name().and_then(|name| name.to_str()) {
        Some("MANIFEST") => [0, 1 << 18].into_iter().for_each(|at| slot(bytes, at)),
        Some("WATERMARK") => [0, 1 << 12].into_iter().for_each(|at| slot(bytes, at)),
        Some(name) if name.ends_with(".seg") => segment(bytes),
        _ => {}
    }
}

fn slot(bytes: &mut [u8], at: usize) {
    let Some(slot) = bytes.get_mut(at..).filter(|slot| slot.len() >= SLOT_HEADER_BYTES) else {
        return;
    };
    let payload_bytes = number(slot, 20) as usize;
    let Some(payload) = slot[SLOT_HEADER_BYTES..].get(..payload_bytes) else { return };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&slot[..24]);
    hasher.update(payload);
    slot[24..28].copy_from_slice(&hasher.finalize().to_le_bytes());
}

fn segment(bytes: &mut [u8]) {
    if bytes.len() < SEGMENT_HEADER_BYTES {
        return;
    }
    let end = HEADER_COPY_BYTES - 4;
    let seed = crc32fast::hash(&bytes[..end]);
    bytes[end..HEADER_COPY_BYTES].copy_from_slice(&seed.to_le_bytes());
    let mut offset = SEGMENT_HEADER_BYTES;
    let mut rest = &mut bytes[SEGMENT_HEADER_BYTES..];
    while rest.len() > FRAME_HEADER_BYTES {
        let frame_bytes = FRAME_HEADER_BYTES + number(rest, 0) as usize;
        if frame_bytes == FRAME_HEADER_BYTES || frame_bytes > rest.len() {
            return;
        }
        let (frame, behind) = rest.split_at_mut(frame_bytes);
        let body = crc32fast::hash(&frame[FRAME_HEADER_BYTES..]);
        frame[16..20].copy_from_slice(&body.to_le_bytes());
        let mut hasher = crc32fast::Hasher::new_with_initial(seed);
        hasher.update(&(offset as u64).to_le_bytes());
        hasher.update(&frame[..4]);
        hasher.update(&frame[8..24]);
        frame[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
        offset += frame_bytes;
        rest = behind;
    }
}

/// The little-endian number of four bytes at this offset, which is within the bytes.
fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}
