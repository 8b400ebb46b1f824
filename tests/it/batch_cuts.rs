//! Batches under power cuts: of 1, 100 and 10 000 operations, and with values of 1 MiB, an image
//! holds all of a batch or nothing of it, and all of it once it was acknowledged.

use bytes::Bytes;
use ifmatch::simulation::{Fault, FaultPlan, Simulation};
use ifmatch::{Error, Options, Precondition, Revision, Store};

use crate::{Repeat, from_environment, seeds, thinned};

#[test]
fn a_batch_of_1_is_whole_or_absent_after_a_power_cut() {
    cut_everywhere(1, 300, thinned(3, 8), 1);
}

#[test]
fn a_batch_of_100_is_whole_or_absent_after_a_power_cut() {
    cut_everywhere(100, 300, thinned(3, 8), 1);
}

#[test]
fn a_batch_of_10_000_is_whole_or_absent_after_a_power_cut() {
    cut_everywhere(10_000, 20, 1, thinned(61, 1));
}

#[test]
fn a_batch_of_values_of_1_mib_is_whole_or_absent_after_a_power_cut() {
    cut_everywhere(1, 1 << 20, thinned(1, 2), thinned(3, 1));
    cut_everywhere(4, 1 << 20, 1, thinned(7, 1));
}

/// Overwrites all items by one batch. The power goes at each disk call of it, or at each `stride`-th,
/// and this number of images is drawn of each cut.
fn cut_everywhere(items: usize, value_bytes: usize, images: u64, stride: u64) {
    let (mut whole, mut absent) = (0, 0);
    for cut in seeds(0..u64::MAX).step_by(stride as usize) {
        let _repeat = Repeat::new("batch_cuts", cut);
        let sim = Simulation::new(cut);
        let store = sim.open(&Options::new()).unwrap();
        write(&store, items, value_bytes, 0).unwrap();
        sim.disk().inject(FaultPlan::after(cut, Fault::Eio).persistent());
        let acknowledged = write(&store, items, value_bytes, 1);
        let struck = sim.disk().faults_struck() > 0;
        assert!(struck || acknowledged.is_ok(), "nothing failed, and still {acknowledged:?}");
        let mut rng = fastrand::Rng::with_seed(cut);
        for _ in 0..images {
            let version = version_of(&sim.crash(&mut rng), items, value_bytes);
            assert!(version == 1 || acknowledged.is_err(), "an acknowledged batch is gone");
            *if version == 1 { &mut whole } else { &mut absent } += 1;
        }
        if !struck {
            // The batch needs no call of this number.
            break;
        }
    }
    println!("{items} x {value_bytes} B: {whole} images hold the batch, {absent} do not");
    let repeated = from_environment("IFMATCH_SEED").is_some();
    assert!(repeated || whole > 0 && absent > 0, "cuts that all end alike test nothing");
}

fn write(store: &Store, items: usize, len: usize, version: u8) -> Result<Revision, Error> {
    let blobs = store.raw("blobs")?;
    let value = Bytes::from(vec![version; len]);
    let add = |batch: ifmatch::Batch, item: usize| {
        batch.upsert(&blobs, item.to_be_bytes(), &value, Precondition::Always)
    };
    (0..items).fold(store.batch(), add).commit().map(|done| done.revision())
}

/// Opens an image and returns the one version that all items have.
fn version_of(image: &Simulation, items: usize, value_bytes: usize) -> usize {
    let store = image.open(&Options::new()).unwrap();
    let blobs = store.raw("blobs").unwrap();
    let mut versions = Vec::with_capacity(items);
    let wholes = [vec![0; value_bytes], vec![1; value_bytes]];
    for item in blobs.iter().unwrap() {
        let value = item.unwrap().value;
        let version = wholes.iter().position(|whole| *whole == value);
        versions.push(version.expect("a torn value"));
    }
    assert_eq!(versions.len(), items, "items are missing");
    assert!(versions.iter().all(|version| *version == versions[0]), "half of a batch");
    versions[0]
}
