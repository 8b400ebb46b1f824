//! Damaged files: an open and a read of everything give an error that names the place, or
//! everything; never a wrong value. `OnDamage::KeepPrefix` keeps a prefix and works on.
//!
//! `IFMATCH_DAMAGES=n` tries so many places, `IFMATCH_REPAIR_STRIDE=n` cuts repairs short at each nth
//! disk call, `IFMATCH_SEED=n` repeats one.

mod a5;
mod kinds;
mod together;

use std::path::{Path, PathBuf};

use ifmatch::simulation::{Fault, FaultPlan, Simulation};
use ifmatch::{Error, OnDamage};

use crate::expected_commits::{Ledger, State, is_same};
use crate::prepared_stores::{Template, live, manifest_of, open};
use crate::store_files::{Files, Folder, Place};
use crate::{Case, Repeat, from_environment, seeds, thinned};

/// What was damaged, and from where on.
#[derive(Debug)]
struct Damaged {
    path: PathBuf,
    at: u64,
}

/// Damages one of these files at a random place, more often where something is stored.
fn damage(place: &dyn Place, files: &Files, rng: &mut fastrand::Rng) -> Damaged {
    let (path, bytes) = loop {
        let (path, bytes) = rng.choice(files).unwrap();
        let rare = path == Path::new("LOCK") || path == Path::new("WATERMARK");
        if !bytes.is_empty() && (!rare || rng.u8(0..4) == 0) {
            break (path.clone(), bytes.clone());
        }
    };
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    let at = match rng.u8(0..8) {
        0 => rng.usize(0..bytes.len()),
        1..3 => rng.usize(0..used.min(400)),
        3 => used.saturating_sub(1 + rng.usize(0..used.min(400))),
        _ => loop {
            let at = rng.usize(0..used);
            // Zeros in between are filler, mostly.
            if bytes[at] != 0 || rng.u8(0..16) == 0 {
                break at;
            }
        },
    };
    let mut bytes = bytes;
    match rng.u8(0..4) {
        0 => bytes.truncate(at),
        _ => bytes[at] ^= 1 << rng.u8(0..8),
    }
    place.write(&path, &bytes);
    Damaged { path, at: at as u64 }
}

/// Opens and reads a damaged store as it is; `true` when that gave `Corrupt`.
fn is_refused(place: &dyn Place, template: &Template, damaged: Option<&Damaged>) -> bool {
    let before = place.files();
    let mut opened = false;
    let outcome = open(place, OnDamage::Refuse).and_then(|writer| {
        opened = true;
        let state = writer.read()?;
        writer.close()?;
        Ok(state)
    });
    match outcome {
        Ok(state) => {
            assert!(is_same(template.last(), &state), "something is missing or wrong");
            false
        }
        Err(Error::Corrupt { file, offset, .. }) => {
            if let Some(damaged) = damaged {
                assert!(file.ends_with(&damaged.path), "{file:?} for {damaged:?}");
                assert!(offset <= damaged.at, "offset {offset} for {damaged:?}");
            }
            if !opened {
                check_untouched(&before, &place.files());
            }
            true
        }
        Err(error) => panic!("neither whole nor Corrupt: {error:?}"),
    }
}

/// A refused open changes nothing that matters: the lock, the marks and the index are its own.
fn check_untouched(before: &Files, after: &Files) {
    let matters = |path: &Path| path.starts_with("journal") || path == Path::new("MANIFEST");
    let of = |files: &Files| -> Files {
        files.iter().filter(|(path, _)| matters(path)).cloned().collect()
    };
    assert!(of(before) == of(after), "a refused open changed a file");
}

/// Repairs a store and proves that it holds a prefix and works; returns the revision kept.
fn repair(place: &dyn Place, template: &Template) -> u64 {
    let mut rng = fastrand::Rng::with_seed(9);
    let writer = open(place, OnDamage::KeepPrefix).expect("KeepPrefix opens");
    let damage = writer.store().damage().expect("what is damaged is reported").clone();
    let kept = damage.kept().0;
    let state = writer.read().expect("what is kept can be read");
    let prefix = template.states.iter().rfind(|(revision, _)| *revision <= kept).unwrap();
    assert!(is_same(&prefix.1, &state), "not the state at {kept}, which was said to be kept");
    // From the highest revision on, so that a revision given again is found.
    let mut ledger = Ledger::above(template.states.last().unwrap().0);
    ledger.start_from(state);
    for _ in 0..3 {
        writer.single(&mut rng, &mut ledger).expect("writing after a repair");
    }
    writer.close().expect("closing after a repair");
    for _ in 0..2 {
        let writer = open(place, OnDamage::Refuse).expect("a repaired store opens");
        assert!(writer.store().damage().is_none());
        ledger.settle(writer.read().unwrap());
        writer.single(&mut rng, &mut ledger).expect("writing after a repair");
        writer.close().unwrap();
    }
    kept
}

/// Repairs a store and keeps all that is whole of it: each item as it once was, and as it was last if
/// no commit is gone.
fn skip(place: &dyn Place, template: &Template) {
    let writer = open(place, OnDamage::SkipDamaged).expect("SkipDamaged opens");
    let state = writer.read().expect("what is kept can be read");
    for (key, version) in &state {
        let was = |(_, state): &(u64, State)| {
            state.get(key).is_some_and(|was| {
                is_same(
                    &State::from([(*key, was.clone())]),
                    &State::from([(*key, version.clone())]),
                )
            })
        };
        assert!(template.states.iter().any(was), "{key:?} never was like this");
    }
    let damage = writer.store().damage().cloned();
    if damage.as_ref().is_none_or(|damage| damage.gone().is_empty()) {
        assert!(is_same(template.last(), &state), "nothing is gone, and something is missing");
    }
    writer.store().verify().expect("nothing damaged is left");
    let mut rng = fastrand::Rng::with_seed(9);
    let mut ledger = Ledger::above(template.states.last().unwrap().0);
    ledger.start_from(state);
    writer.single(&mut rng, &mut ledger).expect("writing after a repair");
    writer.close().expect("closing after a repair");
    ledger.settle(open(place, OnDamage::Refuse).unwrap().read().unwrap());
}

/// Stores of one and of several segments, closed and killed.
fn templates(empty: &dyn Fn() -> Box<dyn Place>) -> Vec<Template> {
    let shapes = [(1, 20, false), (3, 19, false), (3, 13, true)];
    let shapes = shapes.into_iter().flat_map(|shape| [(shape, true), (shape, false)]);
    let live = |((runs, steps, large), closed)| live(&*empty(), runs, steps, large, closed);
    shapes.map(live).collect()
}

/// Prepares stores, and damages copies of them at random places.
fn damage_everywhere(what: &str, cases: u64, empty: &dyn Fn() -> Box<dyn Place>) {
    let templates = templates(empty);
    let (mut refused, mut kept_all) = (0, 0);
    for seed in seeds(0..cases) {
        let repeat = Repeat::new("damage", seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let template = rng.choice(&templates).unwrap();
        let place = template.place.copy(&mut rng);
        let damaged = damage(&*place, &template.files, &mut rng);
        let case = Case(format!("{damaged:?}"));
        skip(&*place.copy(&mut rng), template);
        if is_refused(&*place, template, Some(&damaged)) {
            refused += 1;
            let kept = repair(&*place, template);
            kept_all += u64::from(kept == template.states.last().unwrap().0);
        }
        drop((case, repeat));
    }
    println!("{cases} places in {what}, {refused} refused, {kept_all} of them lost nothing");
    let repeated = from_environment("IFMATCH_SEED").is_some();
    // Most places are dead or spare, so few cases prove nothing of this.
    let few = cases < 100;
    assert!(repeated || few || refused * 32 > cases, "damage that nobody notices tests nothing");
}

fn cases() -> u64 {
    from_environment("IFMATCH_DAMAGES").unwrap_or(thinned(60, 600))
}

#[test]
fn damage_anywhere_is_found_or_harmless() {
    damage_everywhere("simulated files", cases(), &|| Box::new(Simulation::new(5)));
}

#[test]
fn damage_anywhere_in_a_folder_is_found_or_harmless() {
    damage_everywhere("a folder", cases() / 4, &|| Box::new(Folder::new()));
}

/// The checkpoint says as well how far the journal must go.
#[test]
fn without_its_mark_a_damaged_frame_before_the_checkpoint_is_found() {
    let sim = Simulation::new(4);
    let mut rng = fastrand::Rng::with_seed(4);
    let mut ledger = Ledger::default();
    let writer = open(&sim, OnDamage::Refuse).unwrap();
    for _ in 0..10 {
        writer.single(&mut rng, &mut ledger).unwrap();
    }
    Simulation::checkpoint(writer.store()).unwrap();
    let place = sim.kill(&mut rng);
    drop(writer);
    let files = Place::files(&place);
    let (path, bytes) = files.iter().find(|(path, _)| path.starts_with("journal")).unwrap();
    let mut bytes = bytes.clone();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last] ^= 1;
    Place::write(&place, path, &bytes);
    place.remove(Path::new("WATERMARK"));
    let check = |read: Result<(), Error>| {
        let Err(Error::Corrupt { file, offset, .. }) = read else {
            panic!("a lost commit of the checkpoint is not missed");
        };
        assert!(file.ends_with(path), "{file:?}");
        assert!(offset > 0 && offset <= last as u64);
    };
    let without_index = {
        let mut place = place.kill(&mut rng);
        place.remove_index();
        place
    };
    check(open(&without_index, OnDamage::Refuse).map(drop));
    // The index knows the item, whose bytes are damaged.
    check(open(&place, OnDamage::Refuse).and_then(|writer| writer.read()).map(drop));
}

/// A store of several segments on a simulated disk.
fn several_segments() -> Template {
    live(&Simulation::new(3), 3, 13, true, true)
}

fn copy(template: &Template) -> Simulation {
    let sim = Simulation::new(3);
    template.files.iter().for_each(|(path, bytes)| Place::write(&sim, path, bytes));
    sim
}

#[test]
fn a_missing_manifest_is_refused_and_repaired_without_loss() {
    let template = several_segments();
    let sim = copy(&template);
    sim.remove(Path::new("MANIFEST"));
    assert!(is_refused(&sim, &template, None));
    assert_eq!(repair(&sim, &template), template.states.last().unwrap().0);
}

#[test]
fn a_missing_segment_is_refused_and_what_is_before_it_kept() {
    let template = several_segments();
    let segments: Vec<_> = template.files.iter().filter(|f| f.0.starts_with("journal")).collect();
    assert!(segments.len() > 2, "several segments");
    let mut last_kept = None;
    for (path, bytes) in segments {
        let sim = copy(&template);
        sim.remove(path);
        let missing = Damaged { path: path.clone(), at: bytes.len() as u64 };
        assert!(is_refused(&sim, &template, Some(&missing)));
        let kept = Some(repair(&sim, &template));
        assert!(last_kept < kept, "a later segment keeps more");
        last_kept = kept;
    }
}

#[test]
fn a_missing_journal_is_refused_and_can_be_left_behind() {
    let template = live(&Folder::new(), 1, 20, false, true);
    let place = Folder::holding(&template.files);
    std::fs::remove_dir_all(place.path().join("journal")).unwrap();
    assert!(is_refused(&place, &template, None));
    assert_eq!(repair(&place, &template), 0);
}

/// Programs that copy files may leave folders out that are empty.
#[test]
fn an_empty_store_opens_without_its_empty_folder() {
    let place = Folder::new();
    open(&place, OnDamage::Refuse).unwrap().close().unwrap();
    std::fs::remove_dir(place.path().join("journal")).unwrap();
    let writer = open(&place, OnDamage::Refuse).unwrap();
    let mut ledger = Ledger::default();
    writer.single(&mut fastrand::Rng::with_seed(1), &mut ledger).unwrap();
    writer.close().unwrap();
    ledger.settle(open(&place, OnDamage::Refuse).unwrap().read().unwrap());
}

#[test]
fn missing_marks_and_locks_are_made_anew() {
    for closed in [true, false] {
        let template = live(&Simulation::new(3), 2, 19, false, closed);
        for path in ["WATERMARK", "LOCK"] {
            let sim = copy(&template);
            sim.remove(Path::new(path));
            assert!(!is_refused(&sim, &template, None));
        }
    }
}

#[test]
fn an_older_manifest_loses_nothing() {
    let (mut refused, mut whole) = (0, 0);
    // With many segments, and with one that several runs wrote to.
    for template in [several_segments(), live(&Simulation::new(3), 3, 19, false, true)] {
        for manifest in &template.manifests {
            let with_older = || {
                let sim = copy(&template);
                Place::write(&sim, Path::new("MANIFEST"), manifest);
                sim
            };
            if is_refused(&with_older(), &template, None) {
                refused += 1;
                let last = template.states.last().unwrap().0;
                assert_eq!(repair(&with_older(), &template), last);
            } else {
                whole += 1;
                let writer = open(&with_older(), OnDamage::KeepPrefix).unwrap();
                assert!(is_same(template.last(), &writer.read().unwrap()), "cut too much");
            }
        }
    }
    assert!(refused > 0 && whole > 6, "both kinds of older copies");
}

#[test]
fn garbage_in_all_files_is_refused_and_can_be_left_behind() {
    let template = several_segments();
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let sim = copy(&template);
        for (path, bytes) in &template.files {
            let mut garbage = vec![0; rng.usize(0..=bytes.len())];
            rng.fill(&mut garbage);
            Place::write(&sim, path, &garbage);
        }
        assert!(is_refused(&sim, &template, None));
        assert_eq!(repair(&sim, &template), 0);
    }
}

/// Puts format version 2 into a file, with the checksum that belongs to it.
fn make_newer(path: &Path, bytes: &mut [u8]) {
    bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
    if path.starts_with("journal") {
        // The first of the header's two copies.
        let checksum = crc32fast::hash(&bytes[..2044]);
        bytes[2044..2048].copy_from_slice(&checksum.to_le_bytes());
    } else {
        let len = u32::from_le_bytes(bytes[20..24].try_into().unwrap()) as usize;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[..24]);
        hasher.update(&bytes[28..28 + len]);
        bytes[24..28].copy_from_slice(&hasher.finalize().to_le_bytes());
    }
}

#[test]
fn a_newer_format_is_left_untouched() {
    let template = several_segments();
    for on_damage in [OnDamage::Refuse, OnDamage::KeepPrefix] {
        // INDEX is derived: one that cannot be read is not believed. RESERVE only takes room.
        let has_format =
            |path: &Path| !["LOCK", "INDEX", "RESERVE"].iter().any(|name| path == Path::new(name));
        for (path, bytes) in template.files.iter().filter(|(path, _)| has_format(path)) {
            let sim = copy(&template);
            let mut newer = bytes.clone();
            make_newer(path, &mut newer);
            Place::write(&sim, path, &newer);
            let before = sim.files();
            let error = open(&sim, on_damage).map(drop).unwrap_err();
            assert!(
                matches!(&error, Error::Unsupported { path: p, found: 2, .. } if p.ends_with(path)),
                "{path:?}: {error:?}"
            );
            assert!(before == sim.files(), "an open that failed for {path:?} changed a file");
        }
    }
}

#[test]
fn a_repair_that_a_crash_cuts_short_is_never_taken_for_a_torn_tail() {
    let template = live(&Simulation::new(3), 2, 13, true, false);
    for seed in seeds(0..thinned(8, 30)) {
        let repeat = Repeat::new("damage", seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let damaged = copy(&template);
        damage(&damaged, &template.files, &mut rng);
        let before = manifest_of(&damaged.files());
        if !is_refused(&damaged.kill(&mut rng), &template, None) {
            continue;
        }
        // Some calls of each, others from seed to seed.
        let stride = from_environment("IFMATCH_REPAIR_STRIDE").unwrap_or(thinned(53, 9));
        for calls in (seed % stride..).step_by(stride as usize) {
            let sim = damaged.kill(&mut rng);
            sim.disk().inject(FaultPlan::after(calls, Fault::Eio).persistent());
            let cut = open(&sim, OnDamage::KeepPrefix).is_err();
            for _ in 0..3 {
                let image = sim.crash(&mut rng);
                match open(&image.kill(&mut rng), OnDamage::Refuse) {
                    Ok(_) => assert!(manifest_of(&image.files()) != before, "damage forgotten"),
                    Err(Error::Corrupt { .. }) => drop(repair(&image, &template)),
                    Err(error) => panic!("neither whole nor Corrupt: {error:?}"),
                }
            }
            if !cut {
                break;
            }
        }
        drop(repeat);
    }
}

#[test]
fn a_manifest_lost_after_a_repair_costs_nothing_more() {
    let template = several_segments();
    for seed in seeds(0..thinned(10, 60)) {
        let repeat = Repeat::new("damage", seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let sim = copy(&template);
        damage(&sim, &template.files, &mut rng);
        if is_refused(&sim, &template, None) {
            repair(&sim, &template);
            let writer = open(&sim, OnDamage::Refuse).unwrap();
            let state = writer.read().unwrap();
            writer.close().unwrap();
            sim.remove(Path::new("MANIFEST"));
            let writer = open(&sim, OnDamage::KeepPrefix).unwrap();
            assert!(is_same(&state, &writer.read().unwrap()), "lost with the manifest");
        }
        drop(repeat);
    }
}
