//! Damage in several places at once.

use std::path::{Path, PathBuf};

use ifmatch::simulation::Simulation;

use super::{cases, damage, is_refused, repair, skip, templates};
use crate::store_files::{Files, Place};
use crate::{Case, Repeat, from_environment, seeds};

/// Damages up to three places, and may lose MANIFEST and a segment; returns what was done.
/// WATERMARK is spared, as nothing else tells the loss of the last commits from the torn ones of a
/// crash.
fn damage_together(place: &dyn Place, rng: &mut fastrand::Rng) -> Vec<(PathBuf, Option<u64>)> {
    let mut done = Vec::new();
    let files = || -> Files {
        let files = place.files().into_iter();
        files.filter(|(path, _)| path != Path::new("WATERMARK")).collect()
    };
    if rng.bool() {
        place.remove(Path::new("MANIFEST"));
        done.push(("MANIFEST".into(), None));
    }
    if rng.u8(0..3) == 0 {
        let files = files();
        let segments: Vec<_> = files.iter().filter(|file| file.0.starts_with("journal")).collect();
        let (path, _) = rng.choice(segments).unwrap();
        place.remove(path);
        done.push((path.clone(), None));
    }
    for _ in 0..rng.u8(1..=3) {
        let files = files();
        if files.iter().any(|(_, bytes)| !bytes.is_empty()) {
            let damaged = damage(place, &files, rng);
            done.push((damaged.path, Some(damaged.at)));
        }
    }
    done
}

#[test]
fn several_damages_at_once_leave_a_prefix_or_nothing_wrong() {
    let templates = templates(&|| Box::new(Simulation::new(5)));
    let cases = cases() / 4;
    let (mut refused, mut kept_some) = (0, 0);
    for seed in seeds(0..cases) {
        let repeat = Repeat::new("damage::together", seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let template = rng.choice(&templates).unwrap();
        let place = template.place.copy(&mut rng);
        let case = Case(format!("{:?}", damage_together(&*place, &mut rng)));
        skip(&*place.copy(&mut rng), template);
        if is_refused(&*place, template, None) {
            refused += 1;
            kept_some += u64::from(repair(&*place, template) > 0);
        }
        drop((case, repeat));
    }
    println!("{cases} places in several files at once, {refused} refused, {kept_some} kept some");
    let repeated = from_environment("IFMATCH_SEED").is_some();
    assert!(repeated || kept_some * 4 > cases, "damage that takes all tests nothing");
}
