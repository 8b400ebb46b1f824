//! Operations as data: what property tests shrink and fuzzers mutate. Every string of bytes is an
//! operation, and zeros are the simplest one.

use super::{COLLECTIONS, KEYS, Place};

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Get(Place),
    GetIf(Place, Cond),
    GetMany {
        collection: usize,
        keys: Vec<usize>,
    },
    Write(Step),
    Save {
        place: Place,
        held: Held,
        seed: u8,
        ttl: Ttl,
    },
    Update {
        place: Place,
        how: Update,
        ttl: Ttl,
    },
    Batch(Vec<Step>),
    Scan {
        collection: usize,
        how: Scan,
    },
    /// Of all items, or of the whole collection.
    Clear {
        collection: usize,
        dropped: bool,
    },
    Compact,
    TakeSnapshot,
    DropSnapshot(u8),
    ReadSnapshot {
        which: u8,
        collection: usize,
        how: Scan,
    },
    /// From which kept cursor on, and which place to keep.
    Feed(u8, u8),
    /// Which cursor's text, where, and by what it is replaced.
    GarbledCursor(u8, u8, u8),
    Watch(u8),
    OtherCodec(usize),
    BadKey(Step),
    ForeignCollection(Vec<Step>),
    Tick(i64),
    Sweep,
    Sync,
    Checkpoint,
    Reopen,
    Kill,
    Crash,
}

/// One conditional verb; a `Check` only in batches.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) place: Place,
    pub(crate) verb: Verb,
    pub(crate) cond: Cond,
    pub(crate) ttl: Ttl,
}

/// The ttl of the handle that a write goes through.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ttl {
    None,
    /// That makes the item stay.
    Without,
    Zero,
    Millisecond,
    Seconds,
    Long,
}

#[derive(Debug, Clone)]
pub(crate) enum Verb {
    Create(u8),
    Replace(u8),
    Upsert(u8),
    Patch(Vec<PatchStep>),
    Delete,
    Check,
}

#[derive(Debug, Clone)]
pub(crate) enum Cond {
    Always,
    Match(Vec<Pick>),
    MatchAny,
    NoneMatch(Vec<Pick>),
    NoneMatchAny,
    /// So many milliseconds after the item was modified.
    ModifiedSince(i64),
    /// What a reader who saw the item, or saw nothing, says.
    IfUnchanged,
}

/// A tag, by where it comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pick {
    Current,
    /// An older tag of the same key, replaced, deleted or a tombstone's.
    Stale(u8),
    /// A tag that some write gave, to whatever key.
    Given(u8),
    Invented(u8),
    Unsaved,
}

/// Which item is saved.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Held {
    JustRead,
    ReadEarlier(u8),
    New,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Update {
    Change(u8),
    Abort,
    OrInsert(u8),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Scan {
    All,
    Reverse,
    BothEnds,
    Keys,
    Len,
    Prefix(u8),
    Range(u8, u8, bool),
}

/// One operation of a patch on a document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PatchStep {
    Add(&'static str, i64),
    Remove(&'static str),
    Replace(&'static str, i64),
    Test(&'static str, i64),
    Set(&'static str, i64),
    Incr(&'static str, i64),
    /// Merges these members into the document; `None` removes one.
    Merge(Vec<(&'static str, Option<i64>)>),
}

/// Where patches point: fields, elements, places that are not there or hold no member.
pub(crate) const PATHS: [&str; 10] =
    ["/n", "/x", "/list/0", "/list/-", "/list/2", "/list", "/n/deep", "/gone/deep", "/y", ""];
const MEMBERS: [&str; 4] = ["n", "x", "list", "y"];
const NUMBERS: [i64; 6] = [0, 1, -1, 2, i64::MAX, i64::MIN];

/// Reads choices from bytes; after their end every choice is the first.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl Choices<'_> {
    pub(crate) fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().map_or((0, &[][..]), |(b, rest)| (*b, rest));
        self.0 = rest;
        byte
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Mostly one of a few places, so that operations meet.
    fn place(&mut self) -> Place {
        let byte = usize::from(self.byte());
        let at = if byte < 180 { byte % 5 } else { byte % (COLLECTIONS.len() * KEYS.len()) };
        Place { collection: at % COLLECTIONS.len(), key: at / COLLECTIONS.len() }
    }

    pub(crate) fn op(&mut self) -> Op {
        match self.byte() {
            0..9 => Op::Get(self.place()),
            9..11 => Op::TakeSnapshot,
            11..12 => Op::DropSnapshot(self.byte()),
            12..18 => {
                let (which, collection) = (self.byte(), self.below(COLLECTIONS.len()));
                Op::ReadSnapshot { which, collection, how: self.scan() }
            }
            18..36 => Op::GetIf(self.place(), self.cond()),
            36..44 => {
                let collection = self.below(COLLECTIONS.len());
                let keys = (0..=self.below(6)).map(|_| self.below(KEYS.len())).collect();
                Op::GetMany { collection, keys }
            }
            44..47 => {
                let (collection, kind) = (self.below(COLLECTIONS.len()), self.byte());
                Op::Clear { collection, dropped: kind % 2 == 1 }
            }
            47..132 => Op::Write(self.step(false)),
            132..154 => {
                let held = [Held::JustRead, Held::ReadEarlier(0), Held::New];
                let (place, held, seed) = (self.place(), self.of(&held), self.byte());
                let held = match held {
                    Held::ReadEarlier(_) => Held::ReadEarlier(self.byte()),
                    held => held,
                };
                Op::Save { place, held, seed, ttl: self.ttl() }
            }
            154..168 => {
                let seed = self.byte();
                let how = [Update::Change(seed), Update::Abort, Update::OrInsert(seed)];
                Op::Update { how: self.of(&how), place: self.place(), ttl: self.ttl() }
            }
            168..210 => self.batch(),
            210..213 => Op::Feed(self.byte(), self.byte()),
            213 => Op::GarbledCursor(self.byte(), self.byte(), self.byte()),
            214..216 => Op::Watch(self.byte()),
            216..224 => Op::Scan { collection: self.below(COLLECTIONS.len()), how: self.scan() },
            224..227 => Op::OtherCodec(self.below(COLLECTIONS.len())),
            227..229 => Op::BadKey(self.step(false)),
            229..231 => Op::ForeignCollection(self.steps()),
            231..239 => Op::Tick(self.of(&[1, 2_000, 0, -1, 1, 5_000, -4_000, 60_000])),
            239..241 => Op::Sweep,
            241..242 => Op::Compact,
            242..245 => Op::Sync,
            245..248 => Op::Checkpoint,
            248..251 => Op::Reopen,
            251..254 => Op::Kill,
            254.. => Op::Crash,
        }
    }

    fn scan(&mut self) -> Scan {
        let (a, b) = (self.byte(), self.byte());
        let range = Scan::Range(a, b, a % 2 == 0);
        let plain = [Scan::All, Scan::Reverse, Scan::BothEnds, Scan::Keys, Scan::Len];
        let all = [plain.as_slice(), &[Scan::Prefix(a), range, range]].concat();
        self.of(&all)
    }

    pub(crate) fn batch(&mut self) -> Op {
        Op::Batch(self.steps())
    }

    fn steps(&mut self) -> Vec<Step> {
        (0..self.below(7)).map(|_| self.step(true)).collect()
    }

    fn step(&mut self, in_batch: bool) -> Step {
        let (place, verb) = (self.place(), self.below(if in_batch { 18 } else { 16 }));
        let seed = self.byte();
        let verb = match verb {
            0..5 => Verb::Upsert(seed),
            5..8 => Verb::Replace(seed),
            8..10 => Verb::Create(seed),
            10 => Verb::Delete,
            11..16 => Verb::Patch((0..=seed % 3).map(|_| self.patch_step()).collect()),
            16 if in_batch => Verb::Upsert(seed),
            _ => Verb::Check,
        };
        // Of several operations each must hold, so each mostly does.
        let easy = in_batch && self.below(4) > 0;
        let cond = if easy { self.of_easy_conds() } else { self.cond() };
        let ttl = if matches!(verb, Verb::Delete | Verb::Check) { Ttl::None } else { self.ttl() };
        Step { place, verb, cond, ttl }
    }

    fn ttl(&mut self) -> Ttl {
        match self.below(32) {
            18..20 => Ttl::Without,
            20..22 => Ttl::Zero,
            22..25 => Ttl::Millisecond,
            25..30 => Ttl::Seconds,
            30.. => Ttl::Long,
            _ => Ttl::None,
        }
    }

    fn of_easy_conds(&mut self) -> Cond {
        if self.below(4) == 0 { Cond::IfUnchanged } else { Cond::Always }
    }

    fn cond(&mut self) -> Cond {
        match self.below(32) {
            0..8 => Cond::Always,
            8..16 => Cond::Match(vec![Pick::Current]),
            16..19 => Cond::Match(vec![self.pick()]),
            19..21 => Cond::Match((0..self.below(4)).map(|_| self.pick()).collect()),
            21..23 => Cond::MatchAny,
            23..26 => Cond::NoneMatch(vec![self.pick()]),
            26..27 => Cond::NoneMatch((0..self.below(4)).map(|_| self.pick()).collect()),
            27..28 => Cond::NoneMatchAny,
            28..30 => Cond::ModifiedSince(self.of(&[0, 1, -1])),
            _ => Cond::IfUnchanged,
        }
    }

    fn pick(&mut self) -> Pick {
        match self.below(12) {
            0..3 => Pick::Current,
            3..7 => Pick::Stale(self.byte()),
            7..10 => Pick::Given(self.byte()),
            10 => Pick::Invented(self.byte()),
            _ => Pick::Unsaved,
        }
    }

    pub(crate) fn patch_step(&mut self) -> PatchStep {
        let verb = self.below(16);
        // Mostly what can succeed.
        let easy = self.below(4) > 0;
        let path = self.of(if easy { &PATHS[..4] } else { &PATHS });
        let number = self.of(&NUMBERS);
        match verb {
            0..4 => PatchStep::Incr(path, number),
            4..7 => PatchStep::Set(path, number),
            7..9 => PatchStep::Test(path, number),
            9..11 => PatchStep::Add(path, number),
            11..13 => PatchStep::Remove(if easy { "/x" } else { path }),
            13 => PatchStep::Replace(path, number),
            _ => PatchStep::Merge(
                (0..self.below(3))
                    .map(|_| (self.of(&MEMBERS[..if easy { 2 } else { 4 }]), self.byte()))
                    .map(|(member, n)| (member, (n % 4 > 0).then_some(i64::from(n))))
                    .collect(),
            ),
        }
    }
}
