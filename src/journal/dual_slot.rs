//! Two checksummed slots in one file: how MANIFEST and WATERMARK are replaced without a moment in
//! which neither version is whole.

/// The greatest revision, sequence or other count that is believed: one for each nanosecond of a
/// century. More is damage, whatever its checksum says, so that no addition overflows.
pub(crate) const MAX_STORED: u64 = 1 << 62;
/// Bytes before a slot's payload: magic, format version, sequence, payload length, checksum.
pub(crate) const SLOT_HEADER_BYTES: usize = 28;

/// What a slot's bytes turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Slot<'a> {
    Valid {
        sequence: u64,
        payload: &'a [u8],
    },
    /// Whole, but written by a newer version of this crate.
    Newer {
        format: u32,
    },
    Invalid,
}

/// Lays out a slot.
pub(crate) fn encode(magic: &[u8; 8], format: u32, sequence: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SLOT_HEADER_BYTES + payload.len());
    bytes.extend_from_slice(magic);
    bytes.extend_from_slice(&format.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    let checksum = checksum(&bytes).to_le_bytes();
    if let Some(field) = bytes.get_mut(24..SLOT_HEADER_BYTES) {
        field.copy_from_slice(&checksum);
    }
    bytes
}

/// Reads a slot; `bytes` may be longer than the slot.
pub(crate) fn decode<'a>(magic: &[u8; 8], supported: u32, bytes: &'a [u8]) -> Slot<'a> {
    fn parts<'a>(magic: &[u8; 8], bytes: &'a [u8]) -> Option<(u32, u64, &'a [u8])> {
        let (found, rest) = bytes.split_first_chunk::<8>()?;
        let (format, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (stored, rest) = rest.split_first_chunk::<4>()?;
        let len = u32::from_le_bytes(*len) as usize;
        let payload = rest.get(..len)?;
        let whole = bytes.get(..SLOT_HEADER_BYTES + len)?;
        let sequence = u64::from_le_bytes(*sequence);
        let whole = checksum(whole) == u32::from_le_bytes(*stored);
        let valid = found == magic && whole && sequence <= MAX_STORED;
        valid.then_some((u32::from_le_bytes(*format), sequence, payload))
    }
    match parts(magic, bytes) {
        None => Slot::Invalid,
        Some((format, ..)) if format > supported => Slot::Newer { format },
        Some((_, sequence, payload)) => Slot::Valid { sequence, payload },
    }
}

/// The checksum of a slot, over everything but the checksum's own field.
fn checksum(slot: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(slot.get(..24).unwrap_or_default());
    hasher.update(slot.get(SLOT_HEADER_BYTES..).unwrap_or_default());
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_slot_reads_back_and_any_flipped_bit_is_found() {
        let bytes = encode(b"MAGIC\0\0\0", 1, 7, b"payload");
        let mut longer = bytes.clone();
        longer.extend_from_slice(&[9; 100]);
        let valid = Slot::Valid { sequence: 7, payload: &b"payload"[..] };
        assert_eq!(decode(b"MAGIC\0\0\0", 1, &longer), valid);
        assert_eq!(decode(b"OTHER\0\0\0", 1, &longer), Slot::Invalid);
        let beyond = encode(b"MAGIC\0\0\0", 1, MAX_STORED + 1, b"payload");
        assert_eq!(decode(b"MAGIC\0\0\0", 1, &beyond), Slot::Invalid);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(b"MAGIC\0\0\0", 1, &flipped), Slot::Invalid, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(decode(b"MAGIC\0\0\0", 1, &bytes[..len]), Slot::Invalid, "cut at {len}");
        }
    }

    #[test]
    fn a_whole_slot_of_a_newer_format_is_told_from_damage() {
        let bytes = encode(b"MAGIC\0\0\0", 2, 7, b"");
        assert_eq!(decode(b"MAGIC\0\0\0", 1, &bytes), Slot::Newer { format: 2 });
    }
}
