//! Backup of an open store, and restore: whole copies, made so that they exist or do not.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::api::store::Store;
use crate::api::verify::frame_bytes;
use crate::engine::Rescued;
use crate::engine::environment::Environment;
use crate::journal::copying::{
    ClosedStore, Collector, DamagedStore, Loose, Origin, Source, Target, copy,
};
use crate::journal::frame_reader::FrameReader;
use crate::journal::manifest::Manifest;
use crate::storage::Disk;
use crate::values::error::{Error, Result};
use crate::values::options::{OnDamage, Options, Progress};
use crate::values::revision::Revision;

/// A restore of this many bytes or more is worth further threads.
const THREE_THREADS_BYTES: u64 = 8 << 20;

impl Store {
    /// Copies the store into a directory while others read and write. Returns the revision of the
    /// copy: it holds every commit up to that revision, whole, and no later one. It holds every
    /// write that returned before the call; if the store is poisoned, every durable write.
    ///
    /// The copy is a store: [`open`](Self::open) it in place, or [`restore`](Self::restore) it
    /// elsewhere. The copy keeps the tags, so a tag that was read before matches there too. Later
    /// writes to the copy get tags that the original never issues.
    ///
    /// The directory must be missing or empty, or left over from a backup or restore that was cut
    /// short. It must not be inside the store's own directory. A store in memory is copied to disk.
    ///
    /// Costs one read of the journal, with every checksum verified, one write of the same length,
    /// one sync for each 64 MiB and some ten further syncs. [`close`](Self::close) ends the backup,
    /// and waits for some MiB of copying at most. Compaction waits until the backup is done.
    ///
    /// If the journal is damaged, commits that cannot be read are left out, provided that no
    /// current item needs them. Then only superseded versions may be missing in the copy. That
    /// costs two further reads of the journal and a scan of the index, and holds a
    /// [snapshot](Self::snapshot) for that time.
    ///
    /// # Errors
    /// - [`Error::Io`] of kind `AlreadyExists` when the directory holds anything else; of kind
    ///   `InvalidInput` when it is inside the store's; of another kind when the system refuses a
    ///   call.
    /// - [`Error::Locked`] when another backup is being made there.
    /// - [`Error::Corrupt`] when an item cannot be read; [`Error::collection`] and [`Error::key`] name
    ///   it. Delete it, or open the store with [`OnDamage::SkipDamaged`](crate::OnDamage::SkipDamaged).
    /// - [`Error::SnapshotTooOld`] when the journal is damaged and writers were faster than the
    ///   copy.
    /// - [`Error::Closed`].
    ///
    /// After an error there is a whole copy or none. An incomplete copy is not a store: an open of
    /// its directory makes an empty store, and another backup to it replaces the copy. If only the
    /// last step failed, the copy is whole: it opens, and another backup to the same directory may
    /// be refused as `AlreadyExists`.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let (path, copy) = (folder.path().join("shop.ifm"), folder.path().join("copy.ifm"));
    /// let store = ifmatch::Store::open(&path)?;
    /// let prices = store.collection::<f64>("prices")?;
    /// let meta = prices.create("apple", &0.5)?;
    ///
    /// let revision = store.backup(&copy)?;
    /// assert_eq!(revision, meta.revision());
    ///
    /// let copy = ifmatch::Store::open(&copy)?;
    /// let item = copy.collection::<f64>("prices")?.get("apple")?;
    /// assert_eq!(item.map(|item| item.etag()), Some(meta.etag()));
    /// # Ok(()) }
    /// ```
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<Revision> {
        self.backup_with_progress(path, |_| {})
    }

    /// As [`backup`](Self::backup), and reports its progress to a function: after each 4 MiB or so
    /// that are copied, and at the end. The function is called on the calling thread, and may use
    /// the store. If the journal is damaged, the copy begins again, and so does the progress.
    ///
    /// # Errors
    /// As [`backup`](Self::backup).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let copy = folder.path().join("copy.ifm");
    /// let store = ifmatch::Store::in_memory();
    /// store.collection::<f64>("prices")?.create("apple", &0.5)?;
    /// let mut last = None;
    /// store.backup_with_progress(&copy, |progress| {
    ///     println!("{} of {} bytes", progress.done_bytes, progress.total_bytes);
    ///     last = Some(progress);
    /// })?;
    /// assert!(last.is_some_and(|last| last.done_bytes == last.total_bytes));
    /// # Ok(()) }
    /// ```
    pub fn backup_with_progress(
        &self,
        path: impl AsRef<Path>,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<Revision> {
        let environment = self.engine()?.environment.clone();
        let disk = environment.backup_disk.as_ref().unwrap_or(&environment.disk);
        let path = &resolve(&**disk, path.as_ref())?;
        let (hold, manifest, last_revision, clock_ms, total_bytes) = {
            let engine = self.engine()?;
            let journal = &engine.journal;
            if environment.backup_disk.is_none() {
                check_apart(journal.files().1, path)?;
            }
            let (hold, manifest) = journal.guard_copy();
            if let Err(failure) = journal.sync() {
                log::warn!(
                    "a backup holds only the commits that were durable before it, since the \
                     journal could not be synced: {}",
                    failure.cause
                );
            }
            let total_bytes = frame_bytes(&journal.extents());
            (hold, manifest, journal.durable(), engine.clock.now_ms(), total_bytes)
        };
        let mut report = Report { on_progress: &mut on_progress, done_bytes: 0, total_bytes };
        let mut source = OpenStore::whole(self, &manifest, last_revision);
        let mut copied = source.copy_to(disk, path, &manifest, clock_ms, &mut report);
        if matches!(copied, Err(Error::Corrupt { .. })) {
            source = OpenStore::damaged(self, &manifest)?;
            report.done_bytes = 0;
            copied = source.copy_to(disk, path, &manifest, clock_ms, &mut report);
        }
        drop(hold);
        copied?;
        report.advance(total_bytes);
        Ok(Revision(source.last_revision))
    }

    /// Copies a backup, or any store that nobody has open, into another directory, and opens the
    /// copy with the default [`Options`]; [`Options::restore`] takes others. The history policy is
    /// the source's.
    ///
    /// The new store holds what an open of the source would show. The source is only read, and is
    /// locked for that time; it may be on read-only media. The new store has a history of its own.
    /// It issues tags that neither the source nor another restored store ever issues, and revisions
    /// far above those of the source. Cursors of the source are [`Error::Diverged`] in it. Tags
    /// from before the restore still match their versions.
    ///
    /// Costs one read of the source's journal and one write of the same length. Then the open reads
    /// the journal again, builds the index, and checks that no item is missing.
    ///
    /// # Errors
    /// - [`Error::Io`] of kind `NotFound` when there is no store at `from`; of kind `AlreadyExists`
    ///   when `to` is neither missing nor empty nor left over from a backup or restore that was cut
    ///   short; of kind `InvalidInput` when `to` is inside `from`; of another kind when the system
    ///   refuses a call.
    /// - [`Error::Locked`] when somebody has the source open.
    /// - [`Error::Corrupt`] when the source is damaged; [`Options::restore`] can restore what is whole
    ///   of it. [`Error::Unsupported`] when a newer version wrote it.
    ///
    /// After an error there is a whole store at `to` or none, as after a [`backup`](Self::backup).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let (copy, path) = (folder.path().join("copy.ifm"), folder.path().join("shop.ifm"));
    /// use ifmatch::Store;
    ///
    /// let original = Store::in_memory();
    /// let meta = original.collection::<f64>("prices")?.create("apple", &0.5)?;
    /// original.backup(&copy)?;
    ///
    /// let store = Store::restore(&copy, &path)?;
    /// // A tag from before the backup still names the version that it named.
    /// store.collection::<f64>("prices")?.replace("apple", &0.6, meta.etag())?;
    /// # Ok(()) }
    /// ```
    pub fn restore(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Self> {
        Options::new().restore(from, to)
    }

    pub(crate) fn restore_in(
        environment: Environment,
        from: &Path,
        to: &Path,
        options: &Options,
    ) -> Result<Self> {
        let from = &resolve(&*environment.disk, from)?;
        match copy_whole(&environment, from, to, options) {
            Err(Error::Corrupt { .. }) if options.on_damage != OnDamage::Refuse => {
                let source = DamagedStore::open(&environment.disk, from)?;
                check_apart(from, to)?;
                let target = Target::begin(&environment.disk, to)?;
                source.copy_to(target, options.on_progress.as_ref())?;
            }
            copied => copied?,
        }
        Self::open_in(environment, to, options)
    }
}

impl Options {
    /// Restores a store as [`Store::restore`] does, and opens it with these options.
    ///
    /// The history policy is the source's unless [`history`](Self::history) names another.
    /// [`on_progress`](Self::on_progress) is called for the copy, after each 4 MiB or so that are
    /// read, and then for the open, from zero again.
    ///
    /// A damaged source is refused as [`Error::Corrupt`] by default. With another
    /// [`on_damage`](Self::on_damage) its files are copied as they are, and the open of the copy
    /// repairs that: it keeps what an open of the source would keep, and [`Store::damage`] reports
    /// what is gone. The source is not changed. If that open fails, the copy is left as damaged as
    /// the source; open it with the same options.
    ///
    /// # Errors
    /// As [`Store::restore`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let (copy, path) = (folder.path().join("copy.ifm"), folder.path().join("shop.ifm"));
    /// # ifmatch::Store::in_memory().backup(&copy)?;
    /// use ifmatch::{Durability, Options, Progress};
    ///
    /// let show = |progress: Progress| println!("{} bytes read", progress.done_bytes);
    /// let options = Options::new().durability(Durability::Eventual).on_progress(show);
    /// let store = options.restore(&copy, &path)?;
    /// # Ok(()) }
    /// ```
    pub fn restore(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Store> {
        let (environment, to) = Environment::on_disk(to.as_ref())?;
        Store::restore_in(environment, from.as_ref(), &to, self)
    }
}

/// Copies a store that nobody has open and that is whole.
fn copy_whole(environment: &Environment, from: &Path, to: &Path, options: &Options) -> Result<()> {
    let mut source = ClosedStore::open(&environment.disk, from, options.on_progress.as_ref())?;
    check_apart(from, to)?;
    let target = Target::begin(&environment.disk, to)?;
    let last_revision = source.last_revision;
    let on_three_threads = source.total_bytes() >= THREE_THREADS_BYTES;
    let origin = Origin { manifest: source.manifest.clone(), last_revision, on_three_threads };
    copy(target, &environment.entropy, origin, &mut source, ClosedStore::end)
}

/// The path to go by, whatever becomes of the working directory and of links.
fn resolve(disk: &dyn Disk, path: &Path) -> Result<PathBuf> {
    disk.resolve(path).map_err(Error::io("resolving", path))
}

/// Refuses to write a copy into the directory that it is made of; both paths are resolved.
fn check_apart(store: &Path, target: &Path) -> Result<()> {
    if target.starts_with(store) {
        let message = "the directory lies within the store's own; choose one outside of it";
        let source = io::Error::new(io::ErrorKind::InvalidInput, message);
        return Err(Error::io("copying a store to", target)(source));
    }
    Ok(())
}

/// Tells the caller how far a backup has come.
struct Report<'a> {
    on_progress: &'a mut dyn FnMut(Progress),
    done_bytes: u64,
    total_bytes: u64,
}

impl Report<'_> {
    fn advance(&mut self, copied_bytes: u64) {
        let Self { total_bytes, .. } = *self;
        // A journal that steps over damage is not copied byte by byte.
        self.done_bytes = (self.done_bytes + copied_bytes).min(total_bytes);
        (self.on_progress)(Progress { done_bytes: self.done_bytes, total_bytes });
    }
}

/// A source that reports what was read of it.
struct Reported<'s, 'a, 'r> {
    source: &'s mut OpenStore<'a>,
    report: &'s mut Report<'r>,
}

impl Source for Reported<'_, '_, '_> {
    fn next(&mut self) -> Result<Vec<Loose>> {
        let commits = self.source.next()?;
        if !commits.is_empty() {
            self.report.advance(commits.iter().map(|commit| commit.frame.len() as u64).sum());
        }
        Ok(commits)
    }
}

/// The journal of a running store, read some MiB at a time so that it can close in between.
struct OpenStore<'a> {
    store: &'a Store,
    reader: FrameReader,
    last_revision: u64,
    collector: Collector,
    /// Where the journal is damaged: what is taken from elsewhere, in order of revision.
    rescued: Option<VecDeque<Loose>>,
}

impl<'a> OpenStore<'a> {
    fn whole(store: &'a Store, manifest: &Manifest, last_revision: u64) -> Self {
        let (reader, collector) = (FrameReader::after(0), Collector::new(manifest));
        Self { store, reader, last_revision, collector, rescued: None }
    }

    /// A source that steps over damage, up to a revision at which all that lives can be read.
    fn damaged(store: &'a Store, manifest: &Manifest) -> Result<Self> {
        let (view, content, stretches) = {
            let engine = store.engine()?;
            let view = engine.begin_snapshot()?;
            let content = engine.journal.content();
            // What is copied must not be lost in a crash that the copy survives.
            engine.journal.sync()?;
            let stretches = engine.damaged_stretches(view.revision())?;
            (view, content, stretches)
        };
        let last_revision = view.revision();
        let mut rescued = Rescued::default();
        let mut after = None;
        loop {
            let engine = store.engine()?;
            after = engine.rescue(&view, &stretches, after.as_ref(), &mut rescued)?;
            if after.is_none() {
                break;
            }
        }
        // Known where nobody has written since the snapshot began.
        let is_other = content.0 == last_revision && content.1 != rescued.content;
        if is_other || rescued.was_cleared {
            return Err(Error::SnapshotTooOld);
        }
        let frames = store.engine()?.rescued_frames(&rescued);
        let Rescued { content, absent, .. } = rescued;
        let collector = Collector::of_damaged(manifest, last_revision, content, absent);
        let (reader, rescued) = (FrameReader::after(0), Some(frames.into()));
        Ok(Self { store, reader, last_revision, collector, rescued })
    }

    fn copy_to(
        &mut self,
        disk: &Arc<dyn Disk>,
        path: &Path,
        manifest: &Manifest,
        clock_ms: u64,
        report: &mut Report<'_>,
    ) -> Result<()> {
        let entropy = self.store.engine()?.environment.entropy.clone();
        let target = Target::begin(disk, path)?;
        let (manifest, last_revision) = (manifest.clone(), self.last_revision);
        // The program and upkeep are at work, too: a backup takes one thread.
        let origin = Origin { manifest, last_revision, on_three_threads: false };
        copy(target, &entropy, origin, &mut Reported { source: self, report }, |reported| {
            let OpenStore { collector, last_revision, .. } = &*reported.source;
            (collector.checkpoint_at(*last_revision), clock_ms)
        })
    }
}

impl Source for OpenStore<'_> {
    fn next(&mut self) -> Result<Vec<Loose>> {
        let engine = self.store.engine()?;
        let Self { reader, last_revision, collector, rescued, .. } = self;
        let steps_over = rescued.is_some();
        let rescued = rescued.get_or_insert_default();
        let reached = reader.read_over_damage(
            &engine.journal,
            *last_revision,
            &mut |commit| {
                let before = |next: &Loose| next.revision < commit.revision();
                let due = rescued.iter().take_while(|next| before(next)).count();
                rescued.drain(..due).for_each(|next| {
                    collector.push(next);
                });
                let enough = collector.add(commit.source(), &commit.frame)?;
                Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            },
            &mut |damage| if steps_over { Ok(()) } else { Err(damage.error()) },
        )?;
        if reached {
            rescued.drain(..).for_each(|next| {
                collector.push(next);
            });
        }
        if !steps_over {
            self.rescued = None;
        }
        Ok(self.collector.take())
    }
}
