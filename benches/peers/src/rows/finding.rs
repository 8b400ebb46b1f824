//! Indexes over JSON documents: imports with none, one and three of them, finding, and writing.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::documents::{self, Documents, NUMBERS, Note, PAGE, Query, TAGS, sku, tag};
use crate::engine::{Column, Outcome, Random};
use crate::plan::{DEFAULT_CACHE_BYTES, Plan};
use crate::report::Goal::{Column as Beside, OwnAtLeast};
use crate::report::Rivals::{All, SurvivingKill};
use crate::report::Unit::{MiB, PerSecond};
use crate::report::{Family, Report, Row};
use crate::rows::footprint::allocated_bytes;
use crate::work::LOAD_BATCH;

pub const FAMILY: Family = Family {
    title: "Indexes",
    about: "{5n} JSON documents of 256 bytes, loaded in order of keys in durable batches of 1 000, \
            with up to three indexes: by tag and falling time of change, by price, by number. A \
            listing gives 50 documents, decoded. Writes read a document, change one field and \
            replace it under its tag, with three indexes. The cache has 64 MiB. ifmatch and SQLite \
            declare their indexes; with redb the program keeps them by hand.",
    rows: &ROWS,
    run,
};

/// With one index an import may take 1.3 times as long: it has 0.77 of the rate.
const IMPORTS: [Row; 3] = [
    Row::new("import-0", "import without an index", PerSecond, All, &[]),
    Row::new("import-1", "import with one index", PerSecond, All, &[OwnAtLeast(0.77, "import-0")]),
    Row::new("import-3", "import with three indexes", PerSecond, All, &[]),
];
const DISK_0: Row = Row::new("import-0-disk", "disk, without an index", MiB, All, &[]);
const DISK_3: Row = Row::new("import-3-disk", "disk, with three indexes", MiB, All, &[]);
const FIND_ONE: Row = Row::new("find-one", "find of one document", PerSecond, All, &[]);
const FIND_RANGE: Row =
    Row::new("find-range", "listings of a range, by price", PerSecond, All, &[]);
const FIND_NEWEST: Row = Row::new(
    "find-newest",
    "listings of the newest of one tag",
    PerSecond,
    All,
    &[Beside(1.0, "sqlite")],
);
const WRITE_INDEXED: Row =
    Row::new("write-indexed", "eventual replace, an indexed field", PerSecond, SurvivingKill, &[]);
const WRITE_OTHER: Row =
    Row::new("write-other", "eventual replace, another field", PerSecond, SurvivingKill, &[]);

const ROWS: [Row; 10] = {
    let [none, one, three] = IMPORTS;
    [
        none,
        one,
        three,
        DISK_0,
        DISK_3,
        FIND_ONE,
        FIND_RANGE,
        FIND_NEWEST,
        WRITE_INDEXED,
        WRITE_OTHER,
    ]
};

fn run(plan: &Plan, report: &mut Report) -> Outcome {
    for column in plan.stores() {
        if let Err(error) = measured(plan, report, column) {
            report.put_all(ROWS.each_ref(), column, Err(error));
        }
    }
    Ok(())
}

fn measured(plan: &Plan, report: &mut Report, column: &Column) -> Outcome {
    for (indexes, row) in [0, 1].into_iter().zip(&IMPORTS) {
        let dir = plan.folder()?;
        let (_documents, rate) = imported(plan, column, dir.path(), indexes)?;
        report.put(row, column, Ok(rate));
        if indexes == 0 {
            report.put(&DISK_0, column, Ok(disk_mib(dir.path())));
        }
    }
    let dir = plan.folder()?;
    let (mut documents, rate) = imported(plan, column, dir.path(), 3)?;
    report.put(&IMPORTS[2], column, Ok(rate));
    report.put(&DISK_3, column, Ok(disk_mib(dir.path())));
    let items = plan.items * 5;
    let finds: [(&Row, fn(u64, &mut Random) -> Query, usize); 3] = [
        (&FIND_ONE, |items, random| Query::Sku(sku(random.below(items))), 1),
        // Fewer are left behind a price near the end.
        (&FIND_RANGE, |_, random| Query::PriceFrom(random.below(NUMBERS * 9 / 10)), PAGE),
        (&FIND_NEWEST, |_, random| Query::NewestOf(tag(random.below(TAGS))), PAGE),
    ];
    for (row, query, wanted) in finds {
        for round in 0..plan.rounds {
            let mut random = Random::new(round);
            let rate = repeated(plan.time, || {
                let found = documents.find(&query(items, &mut random))?;
                // A small run has fewer of a tag.
                let right = found == wanted.min(items as usize / TAGS as usize) || plan.quick;
                if right { Ok(()) } else { Err(format!("{found} documents found").into()) }
            });
            report.put(row, column, rate);
        }
    }
    let writes: [(&Row, fn(&mut Note, u64)); 2] = [
        (&WRITE_INDEXED, |note, number| note.price = number),
        (&WRITE_OTHER, |note, number| note.text = format!("{number:0164}")),
    ];
    for (row, change) in writes {
        for round in 0..plan.rounds {
            let mut random = Random::new(round);
            let rate = repeated(plan.time, || {
                let (n, number) = (random.below(items), random.below(NUMBERS));
                documents.replace(n, &|note| change(note, number))
            });
            report.put(row, column, rate);
        }
    }
    Ok(())
}

fn disk_mib(dir: &Path) -> f64 {
    allocated_bytes(dir) as f64 / f64::from(1 << 20)
}

/// Loads all documents, and tells how many a second.
fn imported(
    plan: &Plan,
    column: &Column,
    dir: &Path,
    indexes: usize,
) -> Outcome<(Box<dyn Documents>, f64)> {
    let items = plan.items * 5;
    let mut documents = documents::open(column.name, dir, indexes, DEFAULT_CACHE_BYTES)?;
    let (mut random, mut spent) = (Random::new(0), Duration::ZERO);
    for first in (0..items).step_by(LOAD_BATCH as usize) {
        let numbers = first..items.min(first + LOAD_BATCH);
        let notes: Vec<_> = numbers.map(|n| Note::new(n, &mut random)).collect();
        let began = Instant::now();
        documents.load(first, &notes)?;
        spent += began.elapsed();
    }
    plan.rest();
    Ok((documents, items as f64 / spent.as_secs_f64()))
}

/// How often a second it can be done.
fn repeated(time: Duration, mut work: impl FnMut() -> Outcome) -> Outcome<f64> {
    let (began, mut done) = (Instant::now(), 0_u32);
    while began.elapsed() < time {
        work()?;
        done += 1;
    }
    Ok(f64::from(done) / began.elapsed().as_secs_f64())
}
