//! A store and its model, side by side.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ifmatch::simulation::{Simulation, open_quietly};
use ifmatch::{Durability, ETag, Error, Index, Item, Options, Store};

use super::feed::Followers;
use super::handle::{Handle, value_of};
use super::ops::{Cond, Op, Pick, Step, Ttl, Verb};
use super::snapshots::Past;
use super::{Action, COLLECTIONS, Expires, Failure, KEYS, Model, New, Place, RAW, Value, Want};

/// Where the store stands.
pub(crate) enum Home {
    Memory,
    Disk(PathBuf),
    Simulated(Box<Simulation>),
}

/// A store, its model, and what a caller keeps of what it read.
pub(crate) struct World {
    home: Home,
    options: Options,
    pub(super) store: Store,
    pub(super) handles: Vec<Handle>,
    /// A collection of another store.
    foreign: Option<Handle>,
    pub(super) model: Model,
    pub(super) held: BTreeMap<Place, Vec<Item<Value>>>,
    /// The live snapshots.
    pub(super) past: Vec<Past>,
    pub(super) followers: Followers,
    rng: fastrand::Rng,
    now_ms: u64,
    /// How often each verb came out how.
    pub(crate) outcomes: BTreeMap<(&'static str, &'static str), u64>,
    /// The verbs run, those of batches counted one by one.
    pub(crate) operations: u64,
}

const BEGIN_MS: u64 = 1_700_000_000_000;

impl World {
    /// An empty store. The seed decides what kills and crashes leave.
    pub(crate) fn new(home: Home, durability: Durability, seed: u64) -> Self {
        let options = Options::new().durability(durability).cache_bytes(1 << 20);
        let store = open(&home, &options).expect("a new store opens");
        // What a store in memory writes cannot be lost, and it is never reopened.
        let eventual = durability == Durability::Eventual && matches!(home, Home::Simulated(_));
        let handles = handles(&store);
        let mut model = Model::new(eventual, matches!(home, Home::Simulated(_)));
        model.now = clock(&store);
        if seed.is_multiple_of(2) {
            let is_unique = seed.is_multiple_of(4);
            declare_indexes(&store, &handles[0], is_unique);
            model.begins_with_indexes(0, is_unique, store.revision());
        }
        Self {
            home,
            options,
            store,
            handles,
            foreign: None,
            model,
            held: BTreeMap::new(),
            past: Vec::new(),
            followers: Followers::default(),
            rng: fastrand::Rng::with_seed(seed),
            now_ms: BEGIN_MS,
            outcomes: BTreeMap::new(),
            operations: 0,
        }
    }

    /// Runs an operation on both sides and compares everything that can be seen.
    ///
    /// Panics where they differ.
    pub(crate) fn run(&mut self, op: &Op) {
        self.look_at_the_clock();
        self.operations += if let Op::Batch(steps) = op { steps.len().max(1) as u64 } else { 1 };
        match op {
            Op::Get(place) => self.get(*place),
            Op::GetIf(place, cond) => self.get_if(*place, cond),
            Op::GetMany { collection, keys } => self.get_many(*collection, keys),
            Op::Write(step) => self.write(step),
            Op::Save { place, held, seed, ttl } => self.save(*place, *held, *seed, *ttl),
            Op::Update { place, how, ttl } => self.update(*place, *how, *ttl),
            Op::Batch(steps) => self.batch(steps),
            Op::Scan { collection, how } => self.scan(*collection, *how),
            Op::Clear { collection, dropped } => self.clear(*collection, *dropped),
            Op::Compact => self.compact(),
            Op::TakeSnapshot => self.take_snapshot(),
            Op::DropSnapshot(which) => self.drop_snapshot(*which),
            Op::ReadSnapshot { which, collection, how } => {
                self.read_snapshot(*which, *collection, *how);
            }
            Op::Feed(n, keep) => self.feed(*n, *keep),
            Op::GarbledCursor(n, at, to) => self.garbled_cursor(*n, *at, *to),
            Op::Watch(n) => self.watch(*n),
            Op::OtherCodec(collection) => self.other_codec(*collection),
            Op::BadKey(step) => self.bad_key(step),
            Op::ForeignCollection(steps) => self.foreign_collection(steps),
            Op::Tick(ms) => self.tick(*ms),
            Op::Sweep => self.sweep(),
            Op::Sync => self.sync(),
            Op::Checkpoint => self.checkpoint(),
            Op::Reopen => self.reopen(),
            Op::Kill | Op::Crash => self.end_process(matches!(op, Op::Crash)),
        }
        assert_eq!(self.store.revision(), self.model.state.revision, "after {op:?}");
    }

    /// Compares the whole contents, and those of the snapshots.
    pub(crate) fn compare_all(&mut self) {
        self.look_at_the_clock();
        let stats = self.store.stats().expect("there are figures");
        assert_eq!(stats.items, self.model.state.items.len() as u64, "items are miscounted");
        for collection in 0..COLLECTIONS.len() {
            self.scan(collection, super::ops::Scan::All);
        }
        self.compare_snapshots();
        self.feed_from_everywhere();
        self.model.assert_unique();
        // Every entry of an index against its item, and back.
        self.store.verify().expect("the store is whole");
    }

    /// Whether nothing happens that is not asked for.
    pub(super) fn is_quiet(&self) -> bool {
        !matches!(self.home, Home::Disk(_))
    }

    pub(super) fn note(&mut self, verb: &'static str, outcome: &'static str) {
        *self.outcomes.entry((verb, outcome)).or_default() += 1;
    }

    fn tick(&mut self, ms: i64) {
        self.now_ms = self.now_ms.saturating_add_signed(ms);
        if let Home::Simulated(simulation) = &self.home {
            simulation.set_now_ms(self.now_ms);
            let (before, now) = (self.model.now, UNIX_EPOCH + Duration::from_millis(self.now_ms));
            self.look_at_the_clock();
            assert_eq!(self.model.now, before.max(now), "the clock went back, or stood still");
        }
    }

    /// A clock that stands still says what it said before; any other has gone on.
    fn look_at_the_clock(&mut self) {
        self.model.now = clock(&self.store);
    }

    fn sync(&mut self) {
        self.store.sync().expect("a sync succeeds");
        self.model.synced();
        self.note("sync", "ok");
    }

    fn checkpoint(&mut self) {
        if let Home::Simulated(_) = self.home {
            Simulation::checkpoint(&self.store).expect("a checkpoint succeeds");
            self.model.synced();
            self.note("checkpoint", "ok");
        }
    }

    /// Closes in order and opens again.
    fn reopen(&mut self) {
        if matches!(self.home, Home::Memory) {
            return;
        }
        self.compare_snapshots();
        self.store.clone().close().expect("closing succeeds");
        self.end_snapshots();
        assert!(matches!(self.handles[0].now().get(b"k"), Err(Error::Closed)));
        assert!(matches!(self.store.clone().close(), Err(Error::Closed)));
        self.model.synced();
        let absent = self.model.state.items.values().filter(|item| item.is_expired(self.model.now));
        let absent: Vec<_> = absent.cloned().collect();
        self.open_again();
        let now = self.model.now;
        assert!(absent.iter().all(|item| item.is_expired(now)), "what was expired is back");
        self.note("reopen", "closed");
    }

    /// Ends the process, and with `power_loss` the system, and opens what is left.
    fn end_process(&mut self, power_loss: bool) {
        let Home::Simulated(simulation) = &self.home else { return };
        let rng = &mut self.rng;
        let left = if power_loss { simulation.crash(rng) } else { simulation.kill(rng) };
        if !power_loss {
            // What was written stays, synced or not.
            self.model.synced();
        }
        self.home = Home::Simulated(Box::new(left));
        self.past.clear();
        let before = self.model.state.revision;
        self.open_again();
        let lost = self.model.state.revision != before;
        let outcome = match (power_loss, lost) {
            (false, _) => "killed",
            (true, false) => "power lost, nothing gone",
            (true, true) => "power lost, a suffix gone",
        };
        self.note("reopen", outcome);
    }

    fn open_again(&mut self) {
        // On a real disk the old handles hold the lock until they are closed, which they are.
        self.store = open(&self.home, &self.options).expect("what was left opens");
        self.handles = handles(&self.store);
        assert!(self.store.damage().is_none());
        let ended_at = self.model.now;
        self.model.go_back_to(self.store.revision(), clock(&self.store));
        self.watch_again(ended_at);
        self.compare_all();
    }

    fn other_codec(&mut self, collection: usize) {
        let name = COLLECTIONS[collection];
        let opened = if collection == RAW {
            self.store.collection::<u64>(name).map(drop)
        } else {
            self.store.raw(name).map(drop)
        };
        let refused = matches!(opened, Err(Error::CodecMismatch { .. }));
        assert!(refused || opened.is_ok(), "{opened:?}");
        assert_eq!(refused, self.model.state.recorded[collection]);
        self.note("open as another form", if refused { "refused" } else { "ok" });
    }

    fn bad_key(&mut self, step: &Step) {
        let (place, action, want) = self.resolve(step, false);
        let long = [b'k'; 512];
        for key in [&b""[..], &long] {
            let written = self.handles[place.collection].write(key, &action, &want);
            assert!(matches!(written, Err(Error::InvalidKey { .. })), "{written:?}");
            let read = self.handles[place.collection].now().get(key);
            assert!(matches!(read, Err(Error::InvalidKey { .. })), "{read:?}");
        }
        self.note("bad key", "refused");
    }

    fn foreign_collection(&mut self, steps: &[Step]) {
        let foreign = self.foreign.take();
        let foreign =
            foreign.unwrap_or_else(|| Handle::open(&Store::in_memory(), 0).expect("a collection"));
        let mut batch = self.store.batch();
        for step in steps {
            let (place, action, want) = self.resolve(step, true);
            batch = self.add(batch, place, &action, &want);
        }
        let action = Action::Upsert(New { value: value_of(0, 0), expires: Expires::Never });
        let refused = foreign.add(batch, b"k", &action, &Want::Always).commit();
        let Err(Error::Batch { index, source }) = refused else { panic!("{refused:?}") };
        assert!(index == steps.len() && matches!(*source, Error::InvalidKey { .. }));
        self.foreign = Some(foreign);
        self.note("foreign collection", "refused");
    }

    /// Fills in values and tags. A patch of bytes, which cannot be written, becomes one of a
    /// document.
    pub(super) fn resolve(&self, step: &Step, in_batch: bool) -> (Place, Action, Want) {
        let mut place = step.place;
        // What a batch wrote is read afterwards, so that its tag is known.
        let ttl = match step.ttl {
            Ttl::Zero if in_batch => Ttl::Millisecond,
            ttl => ttl,
        };
        let value = |seed: &u8| New {
            value: value_of(step.place.collection, *seed),
            expires: self.expires(ttl),
        };
        let action = match &step.verb {
            Verb::Create(seed) => Action::Create(value(seed)),
            Verb::Replace(seed) => Action::Replace(value(seed)),
            Verb::Upsert(seed) => Action::Upsert(value(seed)),
            Verb::Patch(steps) => {
                place.collection %= RAW;
                Action::Patch(steps.clone(), self.expires(ttl))
            }
            Verb::Delete => Action::Delete,
            Verb::Check => Action::Check,
        };
        (place, action, self.want(place, &step.cond))
    }

    /// When a write through a handle with this ttl expires.
    pub(super) fn expires(&self, ttl: Ttl) -> Expires {
        let is_exact = matches!(self.home, Home::Simulated(_));
        let ms = match ttl {
            Ttl::None => return Expires::Keep,
            Ttl::Without => return Expires::Never,
            Ttl::Zero => 0,
            Ttl::Millisecond if is_exact => 1,
            Ttl::Seconds if is_exact => 3_000,
            // Where the clock goes on by itself, nothing may expire at just this moment.
            Ttl::Millisecond | Ttl::Seconds | Ttl::Long => 100_000_000,
        };
        Expires::After(Duration::from_millis(ms))
    }

    pub(super) fn want(&self, place: Place, cond: &Cond) -> Want {
        let current = self.model.live(place).map(|item| item.meta);
        let tags = |picks: &[Pick]| picks.iter().map(|pick| self.tag(place, *pick)).collect();
        match cond {
            Cond::Always => Want::Always,
            Cond::Match(picks) => Want::Match(tags(picks)),
            Cond::MatchAny => Want::MatchAny,
            Cond::NoneMatch(picks) => Want::NoneMatch(tags(picks)),
            Cond::NoneMatchAny => Want::NoneMatchAny,
            Cond::ModifiedSince(ms) => {
                let from = current.map_or(UNIX_EPOCH, |meta| meta.modified());
                let by = Duration::from_millis(ms.unsigned_abs());
                Want::ModifiedSince(if *ms < 0 { from - by } else { from + by })
            }
            Cond::IfUnchanged => {
                current.map_or(Want::NoneMatchAny, |meta| Want::Match(vec![meta.etag()]))
            }
        }
    }

    fn tag(&self, place: Place, pick: Pick) -> ETag {
        let current = self.model.live(place).map(|item| item.meta.etag());
        let nth = |tags: Vec<ETag>, n: u8| match tags.len() {
            0 => ETag([7; 16]),
            len => tags[usize::from(n) % len],
        };
        match pick {
            Pick::Current => current.unwrap_or_else(|| nth(self.model.tags_of(place), u8::MAX)),
            Pick::Stale(n) => {
                let mut tags = self.model.tags_of(place);
                tags.retain(|tag| Some(*tag) != current);
                nth(tags, n)
            }
            Pick::Given(n) => nth(self.model.tags(), n),
            Pick::Invented(byte) => ETag([byte; 16]),
            Pick::Unsaved => ETag::UNSAVED,
        }
    }

    /// The store's error in the model's terms.
    pub(super) fn failure(&self, error: &Error, places: &[Place]) -> Failure {
        let seen = |conflict| self.handles[places[0].collection].seen(places[0], conflict);
        match error {
            Error::NotFound { .. } => Failure::NotFound,
            Error::AlreadyExists(conflict) => {
                assert_eq!((conflict.http_status(), error.http_status()), (409, 409));
                Failure::AlreadyExists(seen(conflict).expect("what exists is there"))
            }
            Error::PreconditionFailed(conflict) => {
                assert_eq!((conflict.http_status(), error.http_status()), (412, 412));
                Failure::PreconditionFailed(seen(conflict))
            }
            Error::NotUnique { collection, key, of, .. } => {
                let at = |key: &[u8]| {
                    let collection = COLLECTIONS.iter().position(|name| *name == &**collection);
                    let key = KEYS.iter().position(|known| *known == key);
                    Place { collection: collection.unwrap(), key: key.unwrap() }
                };
                Failure::NotUnique(at(key), at(of))
            }
            Error::InvalidPrecondition { .. } => Failure::InvalidPrecondition,
            Error::Patch(error) => match super::patch::failure(error) {
                Some(failure) => Failure::Patch(failure),
                None => panic!("no patch fails like this: {error:?}"),
            },
            Error::Codec { .. } => Failure::Codec,
            Error::CodecMismatch { .. } => Failure::CodecMismatch,
            Error::InvalidKey { .. } => Failure::InvalidKey,
            Error::Batch { index, source } => {
                Failure::Batch(*index, Box::new(self.failure(source, &places[*index..])))
            }
            other => panic!("nothing was to go wrong here: {other:?}"),
        }
    }
}

fn open(home: &Home, options: &Options) -> Result<Store, Error> {
    match home {
        Home::Memory => Ok(Store::in_memory()),
        Home::Disk(path) => open_quietly(path, options),
        Home::Simulated(simulation) => simulation.open(options),
    }
}

/// Returns a collection indexes: of each element and of a number, and of what few documents have.
fn declare_indexes(store: &Store, handle: &Handle, is_unique: bool) {
    let Handle::Documents(documents) = handle else { panic!("only documents have indexes") };
    let of_number = if is_unique { super::unique::index() } else { Index::on("/x") };
    for index in [Index::on("/list/*").then_desc("/n"), of_number] {
        documents.ensure_index(index).expect("an empty collection takes an index");
    }
    store.sync().expect("what was declared can be made durable");
}

/// What the store's clock says.
fn clock(store: &Store) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(Simulation::clock_ms(store).expect("the store is open"))
}

fn handles(store: &Store) -> Vec<Handle> {
    (0..COLLECTIONS.len()).map(|at| Handle::open(store, at).expect("a collection opens")).collect()
}
