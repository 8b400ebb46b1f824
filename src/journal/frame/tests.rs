#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

fn entry(value: &[u8]) -> Entry<'_> {
    Entry {
        kind: EntryKind::Replaced as u8,
        incarnation: 0,
        ordinal: 1,
        parent: Some([3; 16]),
        previous: 8,
        modified_ms: 1_700_000_000_000,
        ahead_ms: 0,
        expires_ms: None,
        collection: "products",
        key: b"01AC0",
        index_changes: &[],
        value,
    }
}

const PLACE: Position = Position { offset: 4_096, seed: 77 };

fn frame(revision: u64) -> (Vec<u8>, Position) {
    let mut builder = FrameBuilder::commit(2);
    builder.push(&entry(b"one"));
    builder.push(&entry(b"two"));
    builder.complete();
    let (bytes, end) = builder.finish(revision, 5, PLACE);
    (bytes.to_vec(), end)
}

fn header_of(frame: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
    frame[..FRAME_HEADER_BYTES].try_into().unwrap()
}

#[test]
fn a_frame_reads_back_as_it_was_written() {
    let (bytes, end) = frame(9);
    let header = FrameHeader::decode(&header_of(&bytes), PLACE).unwrap();
    assert_eq!((header.revision, header.content_check), (9, 5));
    assert_eq!(end, Position { offset: 4_096 + bytes.len() as u64, ..PLACE });
    assert_eq!(header.body_bytes as usize, bytes.len() - FRAME_HEADER_BYTES);
    let body = &bytes[FRAME_HEADER_BYTES..];
    assert_eq!(header.body_checksum, crc32fast::hash(body));
    let Some(Body::Commit(entries)) = Body::decode(body) else { panic!("not a commit") };
    let placed: Vec<_> = entries.map(Option::unwrap).collect();
    assert_eq!(placed.len(), 2);
    for (placed, value) in placed.iter().zip([b"one", b"two"]) {
        assert_eq!(placed.entry, entry(value));
        let record = &bytes[placed.at as usize..][..placed.record.len()];
        assert_eq!(record, placed.record);
        assert_eq!(Entry::decode(record).unwrap(), (entry(value), record.len()));
    }
}

#[test]
fn an_entry_is_encoded_as_all_of_it_by_bincode() {
    let long = [7; 70_000];
    let most = u64::MAX;
    for (incarnation, number, value) in [
        (0, 0, &[][..]),
        (250, 250, &long[..250]),
        (251, 251, &long[..251]),
        (252, 0xffff, &[][..]),
        (252, 0x1_0000, &[][..]),
        (252, 0xffff_ffff, &[][..]),
        (252, 0x1_0000_0000, &[][..]),
        (u16::MAX, most, &long),
    ] {
        let entry = Entry {
            incarnation,
            ordinal: incarnation,
            parent: (number > 0).then_some([3; 16]),
            previous: number,
            modified_ms: number,
            ahead_ms: number,
            expires_ms: (number > 0).then_some(number),
            index_changes: value,
            ..entry(value)
        };
        let mut builder = FrameBuilder::commit(1);
        let record = builder.push(&entry);
        let expected = bincode::encode_to_vec(entry, config::standard()).unwrap();
        assert_eq!(builder.bytes[record.at as usize..], expected);
    }
}

#[test]
fn a_frame_whose_revision_leaves_none_above_it_is_refused() {
    let decode = |revision| FrameHeader::decode(&header_of(&frame(revision).0), PLACE);
    assert!(decode(MAX_STORED).is_some() && decode(MAX_STORED + 1).is_none());
}

#[test]
fn a_frame_of_another_place_or_segment_is_refused() {
    let header = header_of(&frame(9).0);
    assert!(FrameHeader::decode(&header, Position { seed: 78, ..PLACE }).is_none());
    assert!(FrameHeader::decode(&header, Position { offset: 4_097, ..PLACE }).is_none());
}

#[test]
fn every_flipped_bit_of_a_header_is_found() {
    let (bytes, _) = frame(9);
    for bit in 0..FRAME_HEADER_BYTES * 8 {
        let mut header = header_of(&bytes);
        header[bit / 8] ^= 1 << (bit % 8);
        assert!(FrameHeader::decode(&header, PLACE).is_none(), "bit {bit}");
    }
}

#[test]
fn zeros_are_no_frame() {
    for seed in [0, 1, u32::MAX] {
        let place = Position { seed, ..PLACE };
        assert!(FrameHeader::decode(&[0; FRAME_HEADER_BYTES], place).is_none());
    }
}

#[test]
fn a_body_with_too_few_or_too_many_entries_is_refused() {
    let (bytes, _) = frame(9);
    let body = &bytes[FRAME_HEADER_BYTES..];
    for count in [0, 1, 3] {
        let mut changed = body.to_vec();
        changed[1] = count;
        let Some(Body::Commit(mut entries)) = Body::decode(&changed) else { continue };
        assert!(entries.any(|placed| placed.is_none()), "count {count} was taken");
    }
    assert!(Body::decode(&[]).is_none());
    assert!(Body::decode(&[2]).is_none());
    assert!(Body::decode(&[1, 0]).is_none());
}

#[test]
fn a_commit_of_one_small_item_costs_few_bytes_beside_names_and_value() {
    let mut builder = FrameBuilder::commit(1);
    builder.push(&entry(&[1; 256]));
    let overhead = builder.len() - 256 - "products".len() - "01AC0".len();
    assert!(overhead <= 64, "a frame spends {overhead} bytes in addition to names and value");
}
