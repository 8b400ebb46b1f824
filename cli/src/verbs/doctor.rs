//! What a folder is, by looking alone.

use std::fs;
use std::io;
use std::path::Path;

use ifmatch::{Error, ErrorKind, Inspection, Options};

use crate::args::Whole;
use crate::failure::{Outcome, is};
use crate::open::Bar;
use crate::output::{Fact, Output};
use crate::told::Told;

pub(crate) fn doctor(args: &Whole, out: &mut Output) -> Outcome {
    let path = &args.store;
    let bar = Bar::time("reading");
    let shown = bar.clone();
    let found = Options::new().on_progress(move |progress| shown.show(progress)).inspect(path);
    bar.finish();
    let mut facts = vec![Fact::text("folder", path.display().to_string())];
    match &found {
        Ok(found) => facts.extend(of_store(found)),
        Err(error) => facts.extend(of_failure(path, error)),
    }
    out.facts(&facts)?;
    Ok(found.map(drop)?)
}

fn of_store(found: &Inspection) -> Vec<Fact> {
    let is = if found.is_backup { "a backup that was never opened" } else { "a store" };
    vec![
        Fact::text("is", is),
        Fact::text("whole", "yes: every checksum of its journal was verified"),
        Fact::text("open by", "nobody"),
        Fact::yes("closed in order", found.closed_in_order),
        Fact::count("revision", found.revision.0),
        Fact::count("commits", found.commits),
        Fact::count("segments", found.segments),
        Fact::bytes("journal", found.journal_bytes),
        Fact::text("an open would", outlook(found)),
    ]
}

fn outlook(found: &Inspection) -> String {
    match (found.rebuilds_index, found.replayed_commits) {
        (true, _) => "rebuild the index from the whole journal".to_owned(),
        (false, 0) => "replay no commits".to_owned(),
        (false, 1) => "replay 1 commit".to_owned(),
        (false, commits) => format!("replay {commits} commits"),
    }
}

fn of_failure(path: &Path, error: &Error) -> Vec<Fact> {
    let refused = |is: &str| vec![Fact::text("is", is), Fact::text("an open would", "be refused")];
    match error.kind() {
        ErrorKind::Locked => {
            let mut facts = refused("a store");
            facts.insert(1, Fact::text("open by", holder(path)));
            facts
        }
        ErrorKind::Corrupt => vec![
            Fact::text("is", "a store"),
            Fact::text("whole", format!("no: {}", Told(error))),
            Fact::text("an open would", outlook_over_damage(error)),
        ],
        ErrorKind::Unsupported => refused("a store of a newer version"),
        ErrorKind::Io if is(error, io::ErrorKind::NotFound) => of_no_store(path),
        _ => refused("not known"),
    }
}

fn outlook_over_damage(error: &Error) -> &'static str {
    match error {
        Error::Corrupt { stepped_over: true, .. } => {
            "step over the damage where the index is whole, and be refused where it is not"
        }
        _ => "be refused; see `ifmatch repair`",
    }
}

fn of_no_store(path: &Path) -> Vec<Fact> {
    let (is, outlook) = match fs::read_dir(path).map(Iterator::count) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => ("missing", "make a store"),
        Err(_) => ("not a readable folder", "be refused"),
        Ok(0) => ("an empty folder", "make a store"),
        Ok(_) if path.join("UNFINISHED").exists() => {
            ("a copy that was not finished", "make an empty store; repeat the copy instead")
        }
        Ok(_) if path.join("journal").exists() => {
            ("a store without its MANIFEST", "be refused; see `ifmatch repair`")
        }
        Ok(_) => ("a folder that holds something else", "be refused"),
    };
    vec![Fact::text("is", is), Fact::text("an open would", outlook)]
}

/// Which process holds the store's lock, where the system tells.
fn holder(store: &Path) -> String {
    holding_process(store).map_or_else(
        || "another process".to_owned(),
        |process| {
            let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
            format!("process {process} {}", name.trim()).trim_end().to_owned()
        },
    )
}

#[cfg(target_os = "linux")]
fn holding_process(store: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;

    let inode = fs::metadata(store.join("LOCK")).ok()?.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    // 1: FLOCK  ADVISORY  WRITE 4242 fd:01:131075 0 EOF
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(4);
        let (process, file) = (words.next()?, words.next()?);
        let same = file.rsplit(':').next()? == inode;
        same.then(|| process.parse().ok())?
    })
}

#[cfg(not(target_os = "linux"))]
fn holding_process(_store: &Path) -> Option<u32> {
    None
}
