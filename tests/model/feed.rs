//! The change feed, held against the list of all changes.
//!
//! What is superseded may be missing from it. Everything shown is a change that was made, in
//! order and once; the latest change of each item is always among them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use ifmatch::{Change, ChangeKind, Cursor, ETag, Error, Meta, Revision, Watch};

use super::handle::decoded;
use super::{COLLECTIONS, KEYS, Place, Value, World};

/// How many cursors are kept to go on from.
const KEPT: usize = 8;

/// One change, as the model saw it made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Logged {
    pub(super) place: Place,
    pub(super) revision: Revision,
    pub(super) kind: ChangeKind,
    pub(super) parent: Option<ETag>,
    /// Not known of what a batch deleted.
    pub(super) meta: Option<Meta>,
    pub(super) value: Option<Value>,
}

/// A cursor, and what it represents.
#[derive(Debug, Clone)]
struct Kept {
    cursor: Cursor,
    revision: Revision,
    /// What is known of the commit of that revision.
    known: BTreeSet<Place>,
}

/// Those who follow the feed: some that come back later, and a watch.
#[derive(Default)]
pub(crate) struct Followers {
    kept: Vec<Kept>,
    watch: Option<Watching>,
}

struct Watching {
    watch: Watch,
    from: Kept,
    shown: Vec<Change>,
}

impl Kept {
    fn start() -> Self {
        Self { cursor: Cursor::START, revision: Revision::ZERO, known: BTreeSet::new() }
    }

    fn is_before(&self, logged: &Logged) -> bool {
        logged.revision > self.revision
            || (logged.revision == self.revision && !self.known.contains(&logged.place))
    }

    fn after(&self, change: &Change) -> Self {
        let mut known = BTreeSet::new();
        if change.revision() == self.revision {
            known.clone_from(&self.known);
        }
        known.insert(place_of(change));
        Self { cursor: change.cursor(), revision: change.revision(), known }
    }
}

fn place_of(change: &Change) -> Place {
    let collection = COLLECTIONS.iter().position(|name| *name == change.collection());
    let key = KEYS.iter().position(|key| *key == change.key());
    let cleared = change.kind() == ChangeKind::Cleared && change.key().is_empty();
    match (collection, key) {
        (Some(collection), None) if cleared => Place::of_collection(collection),
        (Some(collection), Some(key)) => Place { collection, key },
        _ => panic!("nobody wrote {:?} {:?}", change.collection(), change.key()),
    }
}

impl World {
    /// Reads the feed from the start or a kept cursor on, and keeps another.
    pub(super) fn feed(&mut self, n: u8, keep: u8) {
        let from = self.kept(n);
        let starts = from.cursor == Cursor::START;
        self.follow(from, keep);
        self.note("feed", if starts { "from the start" } else { "from a cursor" });
    }

    /// Reads the feed from each place that is kept.
    pub(super) fn feed_from_everywhere(&mut self) {
        self.follow(Kept::start(), 0);
        for from in self.followers.kept.clone() {
            self.follow(from, 0);
        }
    }

    fn kept(&self, n: u8) -> Kept {
        let kept = &self.followers.kept;
        let at = usize::from(n) % (kept.len() + 1);
        at.checked_sub(1).map_or_else(Kept::start, |at| kept[at].clone())
    }

    fn follow(&mut self, from: Kept, keep: u8) {
        // As the one who keeps it would write it down.
        let text = serde_json::to_string(&from.cursor).unwrap();
        let cursor: Cursor = serde_json::from_str(&text).unwrap();
        assert_eq!(cursor.to_string().parse(), Ok(from.cursor));
        let least = self.durable();
        let mut changes = self.store.changes(cursor).expect("the feed goes on from a cursor");
        let shown: Vec<Change> =
            changes.by_ref().collect::<Result<_, _>>().expect("the feed is read");
        let (most, end) = (self.durable(), changes.cursor());
        self.check(&from, &shown, least, most, self.model.now);
        self.check_expired(&shown);
        for collection in 0..COLLECTIONS.len() {
            self.follow_collection(collection, cursor, &shown);
        }
        if keep == 0 {
            return;
        }
        let kept = match shown.len().checked_rem(usize::from(keep)) {
            Some(at) if at < shown.len() => {
                shown[..=at].iter().fold(from, |kept, change| kept.after(change))
            }
            // A place that is passed and not shown; which revision it represents is known only
            // where nothing is synced in the background.
            _ if least == most => {
                let all = (0..COLLECTIONS.len()).flat_map(|collection| {
                    (0..=KEYS.len()).map(move |key| Place { collection, key })
                });
                Kept { cursor: end, revision: most, known: all.collect() }
            }
            _ => return,
        };
        let followers = &mut self.followers;
        if followers.kept.len() == KEPT {
            followers.kept.remove(usize::from(keep) % KEPT);
        }
        followers.kept.push(kept);
    }

    /// One collection's feed is the part of the store's that is its own.
    fn follow_collection(&self, collection: usize, cursor: Cursor, shown: &[Change]) {
        let typed = self.handles[collection].changes(cursor).expect("a collection's feed is read");
        let mut typed = typed.into_iter();
        for change in shown.iter().filter(|change| place_of(change).collection == collection) {
            let typed = typed.next().expect("the collection's feed has it too");
            assert_eq!((typed.meta(), typed.cursor()), (change.meta(), change.cursor()));
            let value = change.value().map(|bytes| decoded(collection, bytes));
            assert_eq!((typed.kind(), typed.value()), (change.kind(), value.as_ref()));
        }
        if self.is_quiet() {
            assert_eq!(typed.next(), None, "a collection's feed has more than the store's");
        }
    }

    /// `least` was durable before the feed was read, `most` afterwards.
    fn check(
        &self,
        from: &Kept,
        shown: &[Change],
        least: Revision,
        most: Revision,
        now: SystemTime,
    ) {
        let log = &self.model.log;
        let mut seen = BTreeSet::new();
        let mut last = from.revision;
        let mut latest: BTreeMap<Place, Revision> = BTreeMap::new();
        for change in shown {
            let place = place_of(change);
            let made = log.iter().find(|l| l.place == place && l.revision == change.revision());
            let made = made.unwrap_or_else(|| panic!("{change:?} was never made"));
            assert!(from.is_before(made), "{change:?} was known before {from:?}");
            assert!(change.revision() >= last, "{change:?} comes after {last}");
            assert!(change.revision() <= most, "{change:?} is not durable");
            assert!(seen.insert((change.revision(), place)), "{change:?} is shown twice");
            made.check(change, now);
            last = change.revision();
            latest.insert(place, change.revision());
        }
        for made in log.iter().filter(|made| made.revision <= least && from.is_before(made)) {
            // What was cleared since is told by that.
            let cleared = latest.get(&Place::of_collection(made.place.collection));
            let shown = latest.get(&made.place).max(cleared);
            assert!(shown >= Some(&made.revision), "{made:?} is not shown, from {from:?}");
        }
    }

    /// What is expired is not shown as if it were there.
    fn check_expired(&self, shown: &[Change]) {
        for change in shown.iter().filter(|change| change.value().is_some()) {
            let item = self.model.state.items.get(&place_of(change));
            let newest = item.filter(|item| item.meta == *change.meta());
            assert!(newest.is_none_or(|item| !item.is_expired(self.model.now)), "{change:?}");
        }
    }

    /// What the store says is durable.
    fn durable(&self) -> Revision {
        let durable = self.store.stats().expect("figures").durable_revision;
        let known = self.model.unsynced[0].revision;
        // Of a store on a real disk it is not followed what its own thread syncs.
        assert!(durable >= known || !self.is_quiet(), "{known} was synced");
        assert!(durable <= self.model.state.revision);
        durable
    }

    /// Receives some changes from a watch.
    pub(super) fn watch(&mut self, n: u8) {
        let mut watching = match self.followers.watch.take() {
            Some(watching) => watching,
            None => self.begin_to_watch(self.kept(n)),
        };
        for _ in 0..=n % 16 {
            let least = self.durable();
            let Some(change) = watching.watch.try_recv().expect("the watch goes on") else {
                self.check(&watching.from, &watching.shown, least, self.durable(), self.model.now);
                watching = self.begin_to_watch(watching.reached());
                self.note("watch", "has seen everything");
                break;
            };
            assert_eq!(watching.watch.cursor().to_string().parse(), Ok(watching.watch.cursor()));
            watching.shown.push(change);
            self.note("watch", "a change");
        }
        self.followers.watch = Some(watching);
    }

    fn begin_to_watch(&self, from: Kept) -> Watching {
        let watch = self.store.watch(from.cursor).expect("a watch begins");
        Watching { watch, from, shown: Vec::new() }
    }

    /// The store was closed or killed when it was `ended_at`, and opened again: whoever watched goes
    /// on.
    pub(super) fn watch_again(&mut self, ended_at: SystemTime) {
        let Some(mut watching) = self.followers.watch.take() else { return };
        // What was read ahead is durable, and still there.
        while let Some(change) = watching.still_at_hand() {
            watching.shown.push(change);
        }
        // What was read then may have expired then, though a kill has set the clock back since.
        let now = self.model.now.max(ended_at);
        self.check(&watching.from, &watching.shown, Revision::ZERO, self.durable(), now);
        // From where it first began: what it has seen must still be in the feed's order.
        let next = watching.reached();
        self.followers.watch = Some(self.begin_to_watch(next));
        self.note("watch", "went on in the reopened store");
    }

    /// A text that is nearly a cursor is refused, or gives changes that were made.
    pub(super) fn garbled_cursor(&mut self, n: u8, at: u8, to: u8) {
        let mut text = self.kept(n).cursor.to_string().into_bytes();
        let at = usize::from(at) % text.len();
        text[at] = b"0123456789abcdef-.~+ \0"[usize::from(to) % 22];
        let text = String::from_utf8(text).unwrap();
        let outcome = match text.parse::<Cursor>().map(|cursor| self.store.changes(cursor)) {
            Err(_) => "refused",
            Ok(Err(Error::Diverged | Error::Compacted)) => "of no place",
            Ok(Err(other)) => panic!("{text}: {other:?}"),
            Ok(Ok(changes)) => {
                for change in changes {
                    let change = change.expect("the feed is read");
                    let place = place_of(&change);
                    let mut log = self.model.log.iter();
                    let made = log.find(|l| l.place == place && l.revision == change.revision());
                    made.expect("it was made").check(&change, self.model.now);
                }
                "another place"
            }
        };
        self.note("garbled cursor", outcome);
    }
}

impl Watching {
    fn reached(&self) -> Kept {
        let shown = self.shown.iter();
        shown.fold(self.from.clone(), |kept, change| kept.after(change))
    }

    /// Of a closed store.
    fn still_at_hand(&mut self) -> Option<Change> {
        match self.watch.try_recv() {
            Ok(change) => Some(change.expect("a closed store's watch does not wait")),
            Err(Error::Closed) => None,
            Err(other) => panic!("{other:?}"),
        }
    }
}

impl Logged {
    /// What has expired may be shown as such, without its value.
    fn check(&self, change: &Change, now: SystemTime) {
        assert_eq!(change.parent(), self.parent, "{self:?}");
        assert_eq!(self.meta.unwrap_or(*change.meta()), *change.meta());
        if change.kind() == ChangeKind::Expired && self.kind != ChangeKind::Expired {
            assert!(change.expires().is_some_and(|expires| expires <= now), "{self:?}");
            assert_eq!(change.value(), None);
            return;
        }
        assert_eq!(change.kind(), self.kind, "{self:?}");
        let value = change.value().map(|bytes| decoded(self.place.collection, bytes));
        assert_eq!(value, self.value, "{self:?}");
    }
}
