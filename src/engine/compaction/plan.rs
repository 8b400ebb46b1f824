//! Choosing what to compact.

use std::collections::HashSet;

use crate::engine::Engine;
use crate::journal::manifest::SegmentRecord;
use crate::journal::segment::{MAX_INCARNATIONS, SEGMENT_HEADER_BYTES};

/// The background compacts when more than this share of the live bytes, in percent, is dead.
const DEAD_PERCENT: u64 = 30;
/// From this share on, counted over the whole journal, it does not pause any more.
const URGENT_PERCENT: u64 = 42;
/// From this share on writers wait a little, more the higher it is.
const SLOW_PERCENT: u64 = 80;
const SLOW_US_PER_PERCENT: u64 = 20;
const SLOWEST_US: u64 = 500;
/// Less than this in the whole journal is no reason to hurry.
const UNHURRIED_BYTES: u64 = 16 << 20;
/// Less than this is not worth the syncs.
const LEAST_DEAD_BYTES: u64 = 1 << 20;
/// What a rewritten segment costs in addition to its bytes, for weighing runs.
const RANGE_COST_BYTES: u64 = 128 << 10;
/// The most segments of one run, and bytes of them to be read.
const MAX_RANGE_SEGMENTS: usize = 256;
const MAX_RANGE_BYTES: u64 = 256 << 20;
/// So many small neighbours are merged whether or not anything in them is dead.
pub(crate) const MANY_SMALL_SEGMENTS: usize = 16;

/// A piece of compaction that is worth its cost.
#[derive(Debug)]
pub(crate) struct CompactionJob {
    /// Neighbouring sealed segments.
    pub(crate) run: Vec<SegmentRecord>,
    /// Whether writers are producing dead bytes faster than they are reclaimed.
    pub(crate) urgent: bool,
}

/// A segment that may be compacted.
#[derive(Debug, Clone)]
struct Candidate {
    record: SegmentRecord,
    bytes: u64,
    live: u64,
    /// Known to stay: tombstones and versions that the last compaction had to keep.
    retained: u64,
    /// Whether frames of it are damaged: it stays as it is.
    damaged: bool,
    /// Those that wrote its entries; what several were written by must fit into one header.
    incarnations: Vec<[u8; 16]>,
}

impl Candidate {
    fn kept(&self) -> u64 {
        (self.live + self.retained).min(self.bytes)
    }

    /// What can be reclaimed.
    fn dead(&self) -> u64 {
        if self.damaged { 0 } else { self.bytes - self.kept() }
    }
}

/// Bytes of a sealed segment's frames.
pub(crate) fn frame_bytes(record: &SegmentRecord) -> u64 {
    record.sealed.map_or(0, |end| end.offset.saturating_sub(SEGMENT_HEADER_BYTES))
}

fn candidates(engine: &Engine) -> Vec<Candidate> {
    let segments = engine.journal.segments();
    let now_ms = engine.clock.now_ms();
    let candidate = |record: SegmentRecord| Candidate {
        bytes: frame_bytes(&record),
        live: segments.live_bytes(record.number),
        retained: segments.retained_bytes(record.number, now_ms),
        damaged: segments.is_damaged(record.number),
        incarnations: segments
            .get(record.number)
            .map_or_else(Vec::new, |known| known.incarnations.clone()),
        record,
    };
    engine.journal.covered_segments().into_iter().map(candidate).collect()
}

/// What is dead in the whole journal, as a share of what lives, in percent. What cannot be reclaimed
/// does not count: damaged segments, and what a compaction had to keep.
fn total_dead_percent(engine: &Engine) -> u64 {
    let segments = engine.journal.segments();
    let live = segments.total_live_bytes();
    let now_ms = engine.clock.now_ms();
    let mut extents = engine.journal.extents();
    let any_damaged = segments.damaged() > 0;
    extents.retain(|extent| !any_damaged || !segments.is_damaged(extent.number));
    let frames = extents.iter().map(|extent| {
        let frames = extent.end_offset.saturating_sub(SEGMENT_HEADER_BYTES);
        frames.saturating_sub(segments.retained_bytes(extent.number, now_ms))
    });
    let dead = frames.sum::<u64>().saturating_sub(live);
    if dead < UNHURRIED_BYTES { 0 } else { dead * 100 / live.max(1) }
}

/// How long each write should wait, in microseconds, so that compaction keeps up with writers.
pub(crate) fn write_delay_us(engine: &Engine) -> u64 {
    let over = total_dead_percent(engine).saturating_sub(SLOW_PERCENT);
    (over * SLOW_US_PER_PERCENT).min(SLOWEST_US)
}

/// The run that reclaims most for what it costs, when enough of the journal is dead.
pub(super) fn pick_job(engine: &Engine) -> Option<CompactionJob> {
    let candidates = candidates(engine);
    let live = engine.journal.segments().total_live_bytes();
    let dead: u64 = candidates.iter().map(Candidate::dead).sum();
    let limit = engine.journal.segment_capacity();
    let enough = dead >= LEAST_DEAD_BYTES.max(live / 100 * DEAD_PERCENT);
    let urgent = total_dead_percent(engine) >= URGENT_PERCENT;
    let run = best_range(&candidates, limit, enough)?;
    Some(CompactionJob { run: run.iter().map(|candidate| candidate.record).collect(), urgent })
}

/// The neighbours that give most dead bytes for what has to be written, or small ones that are
/// many; `limit` is how much of them may be kept.
fn best_range(candidates: &[Candidate], limit: u64, enough: bool) -> Option<&[Candidate]> {
    let mut best: Option<(u64, &[Candidate])> = None;
    for start in 0..candidates.len() {
        let (mut kept, mut dead, mut bytes) = (0, 0, 0);
        let mut incarnations: HashSet<&[u8; 16]> = HashSet::new();
        for (index, candidate) in candidates.iter().enumerate().skip(start).take(MAX_RANGE_SEGMENTS)
        {
            if candidate.damaged {
                break;
            }
            kept += candidate.kept();
            dead += candidate.dead();
            bytes += candidate.bytes;
            incarnations.extend(&candidate.incarnations);
            let too_many = incarnations.len() > MAX_INCARNATIONS;
            if index > start && (kept > limit || bytes > MAX_RANGE_BYTES || too_many) {
                break;
            }
            let many = index - start + 1 >= MANY_SMALL_SEGMENTS && kept <= limit;
            let rewarding = enough && dead >= kept / 8;
            if !many && !rewarding {
                continue;
            }
            let merged = (index - start) as u64;
            let score = (dead + merged * SEGMENT_HEADER_BYTES) * 1_000 / (kept + RANGE_COST_BYTES);
            if best.is_none_or(|(highest, _)| score > highest) {
                best = candidates.get(start..=index).map(|run| (score, run));
            }
        }
    }
    best.map(|(_, run)| run)
}

/// The segment of which least has to be written anew, among those that give back more than that
/// costs; none of these numbers.
pub(super) fn least_kept(engine: &Engine, tried: &HashSet<u32>) -> Option<SegmentRecord> {
    let rewarding = |candidate: &Candidate| {
        candidate.dead() > 2 * SEGMENT_HEADER_BYTES && !tried.contains(&candidate.record.number)
    };
    let candidates = candidates(engine).into_iter().filter(rewarding);
    candidates.min_by_key(Candidate::kept).map(|candidate| candidate.record)
}

/// Small neighbours that are many, none of them with these numbers: each takes a header and a part of
/// a block in addition to its bytes.
pub(super) fn many_small(engine: &Engine, tried: &HashSet<u32>) -> Option<Vec<SegmentRecord>> {
    let mut candidates = candidates(engine);
    for candidate in &mut candidates {
        // Runs end at these as at damaged ones.
        candidate.damaged |= tried.contains(&candidate.record.number);
    }
    let run = best_range(&candidates, engine.journal.segment_capacity(), false)?;
    Some(run.iter().map(|candidate| candidate.record).collect())
}

/// All segments that hold anything dead, with small neighbours, as runs.
pub(super) fn everything(engine: &Engine) -> Vec<Vec<SegmentRecord>> {
    let limit = engine.journal.segment_capacity();
    let mut runs: Vec<Vec<SegmentRecord>> = Vec::new();
    let mut run: Vec<Candidate> = Vec::new();
    let mut end = |run: &mut Vec<Candidate>| {
        let dead: u64 =
            run.iter().map(|candidate| candidate.bytes.saturating_sub(candidate.live)).sum();
        let bytes: u64 = run.iter().map(|candidate| candidate.bytes).sum();
        if run.len() > 1 || dead > bytes / 32 {
            runs.push(run.iter().map(|candidate| candidate.record).collect());
        }
        run.clear();
    };
    for candidate in candidates(engine) {
        let full = |run: &[Candidate]| {
            let live: u64 = run.iter().map(|candidate| candidate.live).sum();
            let bytes: u64 = run.iter().map(|candidate| candidate.bytes).sum();
            let with = run.iter().chain([&candidate]);
            let incarnations: HashSet<_> = with.flat_map(|with| &with.incarnations).collect();
            run.len() >= MAX_RANGE_SEGMENTS
                || incarnations.len() > MAX_INCARNATIONS
                || live + candidate.live > limit
                || bytes + candidate.bytes > MAX_RANGE_BYTES
        };
        if candidate.damaged || (!run.is_empty() && full(&run)) {
            end(&mut run);
        }
        if !candidate.damaged {
            run.push(candidate);
        }
    }
    end(&mut run);
    runs.retain(|run| !run.is_empty());
    runs
}

/// What is left of some neighbours without those that are known to be damaged.
pub(super) fn undamaged(engine: &Engine, run: &[SegmentRecord]) -> Vec<Vec<SegmentRecord>> {
    let segments = engine.journal.segments();
    let parts = run.split(|record| segments.is_damaged(record.number));
    parts.filter(|part| !part.is_empty()).map(<[_]>::to_vec).collect()
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::simulation::Simulation;
    use crate::{HistoryPolicy, Options, Precondition, Store};

    const KIB: u64 = 1 << 10;

    /// Segments with these numbers of live and dead KiB.
    fn segments(kib: &[(u64, u64)]) -> Vec<Candidate> {
        let segment = |(number, (live, dead)): (u32, &(u64, u64))| Candidate {
            record: SegmentRecord { number, first_revision: 1, sealed: None, live_bytes: 0 },
            bytes: (live + dead) * KIB,
            live: live * KIB,
            retained: 0,
            damaged: false,
            incarnations: vec![[1; 16]],
        };
        (1..).zip(kib).map(segment).collect()
    }

    fn run(kib: &[(u64, u64)], limit_kib: u64, enough: bool) -> Vec<u32> {
        let candidates = segments(kib);
        let run = best_range(&candidates, limit_kib * KIB, enough).unwrap_or_default();
        run.iter().map(|candidate| candidate.record.number).collect()
    }

    #[test]
    fn the_neighbours_that_give_most_for_what_they_cost_are_chosen() {
        assert_eq!(run(&[(900, 100), (200, 800), (900, 100)], 1_000, true), [2]);
        assert_eq!(run(&[(900, 100), (200, 800), (100, 900), (900, 100)], 1_000, true), [2, 3]);
        assert_eq!(run(&[(900, 100), (900, 90)], 1_000, true), [0; 0], "not worth what is kept");
        assert_eq!(run(&[(200, 800)], 1_000, false), [0; 0], "too little is dead in all");
    }

    #[test]
    fn what_is_kept_of_neighbours_fits_into_one_segment() {
        for limit in [700, 1_000, 1_500, 100_000] {
            let candidates = segments(&[(400, 600); 40]);
            let run = best_range(&candidates, limit * KIB, true).unwrap();
            let kept: u64 = run.iter().map(Candidate::kept).sum();
            assert!(kept <= limit * KIB, "{kept} bytes are kept of {} segments", run.len());
        }
        assert_eq!(run(&[(4_000, 6_000)], 1_000, true), [1], "one alone is taken as it is");
        let many = run(&[(1, 10_000); 40], 1_000_000, true);
        assert!(many.len() as u64 * 10_001 * KIB <= MAX_RANGE_BYTES);
    }

    /// A finding: each tick looked from each segment at all that follow it.
    #[test]
    fn c11_from_each_segment_a_bounded_number_of_neighbours_is_looked_at() {
        assert_eq!(run(&[(0, 1); 1_000], 1_000, true).len(), MAX_RANGE_SEGMENTS);
    }

    #[test]
    fn many_small_neighbours_are_merged_though_nothing_in_them_is_dead() {
        assert_eq!(run(&[(10, 0); 15], 1_000, false), [0; 0]);
        assert_eq!(run(&[(10, 0); 16], 1_000, false).len(), 16);
        assert_eq!(run(&[(100, 0); 40], 1_000, false), [0; 0], "they do not fit into one");
    }

    #[test]
    fn the_incarnations_of_a_run_fit_into_one_header() {
        let incarnation = |n: usize| (n as u128).to_le_bytes();
        let mut candidates = segments(&[(10, 0); 300]);
        for (n, candidate) in candidates.iter_mut().enumerate() {
            candidate.incarnations = vec![incarnation(n)];
        }
        let run = best_range(&candidates, 1 << 40, true).unwrap();
        assert!((100..=MAX_INCARNATIONS).contains(&run.len()), "{} segments", run.len());

        // Beside one that is full of others nothing is merged with it; those after it are.
        candidates.truncate(40);
        candidates[0].incarnations = (1_000..).take(MAX_INCARNATIONS).map(incarnation).collect();
        let run = best_range(&candidates, 1 << 40, false).unwrap();
        assert_eq!((run[0].record.number, run.len()), (2, 39));
        let same: Vec<_> = candidates[0].incarnations.clone();
        candidates.iter_mut().for_each(|candidate| candidate.incarnations = same.clone());
        assert_eq!(best_range(&candidates, 1 << 40, false).unwrap().len(), 40);
    }

    #[test]
    fn three_tenths_of_dead_bytes_are_worth_a_compaction() {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        let pages = store.raw("pages").unwrap();
        let write = |numbers: std::ops::Range<u32>| {
            for number in numbers {
                let value = vec![1; 5_000].into();
                pages.upsert(number.to_be_bytes(), &value, Precondition::Always).unwrap();
            }
            store.engine().unwrap().journal.seal_if_dead().unwrap();
            Simulation::checkpoint(&store).unwrap();
            pick_job(&store.engine().unwrap()).is_some()
        };
        assert!(!write(0..1_000));
        assert!(!write(0..250), "25 % is dead");
        assert!(write(250..350), "35 % is dead");
    }

    /// Else a store with much history is compacted without a pause, and its writers wait.
    #[test]
    fn what_had_to_be_kept_hurries_nobody() {
        let sim = Simulation::new(1);
        let store =
            sim.open(&Options::new().history(HistoryPolicy::new().versions(1_000))).unwrap();
        let pages = store.raw("pages").unwrap();
        for version in 0..200_u8 {
            pages.upsert("one", &vec![version; 100_000].into(), Precondition::Always).unwrap();
        }
        let dead_percent = || total_dead_percent(&store.engine().unwrap());
        assert!(dead_percent() > 10_000, "nobody knows yet what the policy keeps");
        store.compact().unwrap();
        assert_eq!(dead_percent(), 0);
        assert_eq!(write_delay_us(&store.engine().unwrap()), 0);
    }

    /// To find out again would be to read and rewrite all history in each run.
    #[test]
    fn b14_what_had_to_be_kept_is_known_to_later_runs_for_a_day() {
        let mut sim = Simulation::new(1);
        let options = Options::new().history(HistoryPolicy::new().versions(1_000));
        let is_due = |store: &Store| pick_job(&store.engine().unwrap()).is_some();
        let store = sim.open(&options).unwrap();
        let pages = store.raw("pages").unwrap();
        for version in 0..200_u8 {
            pages.upsert("one", &vec![version; 20_000].into(), Precondition::Always).unwrap();
        }
        Simulation::checkpoint(&store).unwrap();
        assert!(is_due(&store), "nobody knows yet what the policy keeps");
        store.compact().unwrap();
        assert!(!is_due(&store));
        let killed = sim.kill(&mut fastrand::Rng::with_seed(1));
        store.close().unwrap();

        assert!(!is_due(&killed.open(&options).unwrap()));
        let store = sim.open(&options).unwrap();
        assert!(!is_due(&store));
        // What is superseded later is not held.
        let pages = store.raw("pages").unwrap();
        for version in 0..200_u8 {
            pages.upsert("one", &vec![version; 20_000].into(), Precondition::Always).unwrap();
        }
        store.close().unwrap();
        assert!(is_due(&sim.open(&options).unwrap()));
        sim.remove_index();
        let store = sim.open(&options).unwrap();
        store.compact().unwrap();
        assert!(!is_due(&store));
        store.close().unwrap();
        let hours = |hours: u64| 1_700_000_000_000 + hours * 60 * 60 * 1_000;
        sim.set_now_ms(hours(23));
        assert!(!is_due(&sim.open(&options).unwrap()));
        sim.set_now_ms(hours(25));
        assert!(is_due(&sim.open(&options).unwrap()));
    }
}
