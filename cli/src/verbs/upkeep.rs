//! Commands about a whole store.

use std::fmt::Display;

use ifmatch::{Damage, DamagedItem, OnDamage, Options, Store};

use crate::args::{Copy, Repair, Restore, Whole};
use crate::failure::Outcome;
use crate::open::{self, Bar};
use crate::output::{Fact, Output};

const REPAIRS: &str = "\
`ifmatch repair --yes` keeps every commit that is whole. A document whose newest version is damaged
goes back to an older one, or is gone. `--yes --prefix` keeps only what was written before the
damage. Damaged files are moved to the folder `damaged` in the store. Copy the store first.";

pub(crate) fn stats(args: &Whole, out: &mut Output) -> Outcome {
    open::with_store(&args.store, |store| {
        let (stats, collections) = (store.stats()?, store.collections()?);
        out.facts(&[
            Fact::count("collections", collections.len() as u64),
            Fact::count("documents", stats.items),
            Fact::count("revision", stats.revision.0),
            Fact::count("durable revision", stats.durable_revision.0),
            Fact::count("segments", stats.segments),
            Fact::count("damaged segments", stats.damaged_segments),
            Fact::bytes("journal", stats.journal_bytes),
            Fact::bytes("live", stats.live_bytes),
            Fact::bytes("dead", stats.dead_bytes),
            Fact::bytes("index", stats.index_bytes),
        ])
    })
}

pub(crate) fn verify(args: &Whole, out: &mut Output) -> Outcome {
    open::with_store(&args.store, |store| {
        let bar = Bar::time("verifying");
        let verified = store.verify_with_progress(|progress| bar.show(progress));
        bar.finish();
        let verified = verified?;
        out.facts(&[
            Fact::yes("whole", true),
            Fact::count("documents", verified.items),
            Fact::count("index entries", verified.index_entries),
            Fact::count("commits", verified.commits),
            Fact::bytes("journal", verified.journal_bytes),
        ])
    })
}

pub(crate) fn repair(args: &Repair, out: &mut Output) -> Outcome {
    if !args.yes {
        let damage = match Store::inspect(&args.store) {
            Ok(_) => {
                return out
                    .line("nothing in the journal is damaged; `ifmatch verify` checks the rest");
            }
            Err(error) => error,
        };
        if damage.kind() == ifmatch::ErrorKind::Corrupt {
            out.line(REPAIRS)?;
        }
        return Err(damage.into());
    }
    let keep = if args.prefix { OnDamage::KeepPrefix } else { OnDamage::SkipDamaged };
    let options = Options::new().create(false).on_damage(keep);
    open::run(&args.store, &options, |store| {
        let Some(damage) = store.damage() else {
            return out.line("nothing in the journal is damaged; `ifmatch verify` checks the rest");
        };
        out.facts(&given_up(damage))
    })
}

fn given_up(damage: &Damage) -> [Fact; 7] {
    [
        Fact::text("damaged", damage.file().display().to_string()),
        Fact::count("at byte", damage.offset()),
        Fact::text("because", damage.reason()),
        Fact::count("kept up to revision", damage.kept().0),
        Fact::bytes("given up", damage.lost_bytes()),
        Fact::text("may be older", listed(damage.items().iter().map(named))),
        Fact::text("moved aside", listed(damage.moved().iter().map(|path| path.display()))),
    ]
}

fn named(item: &DamagedItem) -> String {
    format!("{} {}", item.collection(), String::from_utf8_lossy(item.key()))
}

fn listed(all: impl Iterator<Item = impl Display>) -> String {
    let all: Vec<String> = all.map(|one| one.to_string()).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

pub(crate) fn compact(args: &Whole, out: &mut Output) -> Outcome {
    open::with_store(&args.store, |store| {
        let bar = Bar::time("compacting");
        let done = store.compact();
        bar.finish();
        let done = done?;
        out.facts(&[
            Fact::count("segments rewritten", done.segments),
            Fact::bytes("read", done.read_bytes),
            Fact::bytes("written", done.written_bytes),
            Fact::bytes("given back", done.reclaimed_bytes),
            Fact::count("removals forgotten", done.purged_tombstones),
        ])
    })
}

pub(crate) fn backup(args: &Copy, out: &mut Output) -> Outcome {
    open::with_store(&args.from, |store| {
        let bar = Bar::time("copying");
        let revision = store.backup_with_progress(&args.to, |progress| bar.show(progress));
        bar.finish();
        copied(args, revision?.0, out)
    })
}

pub(crate) fn restore(args: &Restore, out: &mut Output) -> Outcome {
    let bar = Bar::time("restoring");
    let shown = bar.clone();
    let on_damage = if args.skip_damaged { OnDamage::SkipDamaged } else { OnDamage::Refuse };
    let options =
        Options::new().on_damage(on_damage).on_progress(move |progress| shown.show(progress));
    let store = options.restore(&args.copy.from, &args.copy.to);
    bar.finish();
    let store = store?;
    let (revision, damage) = (store.revision().0, store.damage().cloned());
    open::close(store)?;
    copied(&args.copy, revision, out)?;
    damage.map_or(Ok(()), |damage| out.facts(&given_up(&damage)))
}

fn copied(args: &Copy, revision: u64, out: &mut Output) -> Outcome {
    out.facts(&[
        Fact::text("copied to", args.to.display().to_string()),
        Fact::count("up to revision", revision),
    ])
}
