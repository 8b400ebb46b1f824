//! How soon somebody who watches is told of a write that another thread may still lose.

use crate::engine::Outcome;
use crate::plan::{DEFAULT_CACHE_BYTES, Plan, VALUE_BYTES, eventual};
use crate::report::Goal::AtMost;
use crate::report::Rivals::All;
use crate::report::{Family, Report, Row, Unit};
use crate::work::load;

pub const FAMILY: Family = Family {
    title: "Watching",
    about: "A store with {n} items, eventual, is watched. An item is replaced, one every 20 ms or \
            so, and the time is measured from the return of the write to the moment at which the \
            watch has the change, which is durable by then.",
    rows: &ROWS,
    run,
};

const ROWS: [Row; 2] = [
    Row::new("watch-median", "told after a write, median", Unit::Milliseconds, All, &[AtMost(5.0)]),
    Row::new("watch-99", "told after a write, of 99 %", Unit::Milliseconds, All, &[]),
];

fn run(plan: &Plan, report: &mut Report) -> Outcome {
    let rows = [&ROWS[0], &ROWS[1]];
    if !rows.iter().any(|row| plan.wants(row)) {
        return Ok(());
    }
    let writes = if plan.quick { 10 } else { 300 };
    for column in plan.stores() {
        let dir = plan.folder()?;
        let told = (column.open)(dir.path(), eventual(DEFAULT_CACHE_BYTES)).and_then(|engine| {
            load(engine.as_ref(), plan.items, VALUE_BYTES)?;
            plan.rest();
            engine.watch(writes)
        });
        report.put_all(rows, column, told.map(quantiles));
    }
    Ok(())
}

/// The median, and what 99 of 100 are within.
fn quantiles(mut milliseconds: Vec<f64>) -> [f64; 2] {
    milliseconds.sort_by(f64::total_cmp);
    let at = |part: f64| milliseconds[((milliseconds.len() - 1) as f64 * part) as usize];
    [at(0.5), at(0.99)]
}
