//! `update` from several threads: each change is applied exactly once, in any order.
//!
//! Run it with `cargo run --example retrying_update`.

use std::thread;

use ifmatch::{Store, UpdateError};
use serde::{Deserialize, Serialize};

const THREADS: u64 = 8;
const VISITS_EACH: u64 = 1_000;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Page {
    visits: u64,
    seats: u64,
}

fn main() -> Outcome {
    let store = Store::in_memory();
    let pages = store.collection::<Page>("pages")?;
    let created = pages.create("home", &Page { visits: 0, seats: 3 })?;
    println!("The page has no visits. ETag {}", created.etag());

    // The closure gets the current document. If another thread writes first, the closure runs again
    // on that thread's version. So it should only change the document.
    thread::scope(|scope| {
        let visit = || (0..VISITS_EACH).try_for_each(|_| pages.update("home", add_visit).map(drop));
        let visitors: Vec<_> = (0..THREADS).map(|_| scope.spawn(visit)).collect();
        for visitor in visitors {
            visitor.join().map_err(|_| "a visitor panicked")??;
        }
        Outcome::Ok(())
    })?;
    let page = pages.get("home")?.ok_or("the page is missing")?;
    println!("{THREADS} threads added {VISITS_EACH} visits each. ETag {}", page.etag());
    check(page.value.visits == THREADS * VISITS_EACH, "no visit was lost")?;

    // With `try_update`, the closure can refuse. Its error is returned, and nothing is written.
    let mut taken = 0;
    while let Ok(item) = pages.try_update("home", take_seat) {
        taken += 1;
        println!("Took a seat, {} left. ETag {}", item.value.seats, item.etag());
        check(taken <= 3, "no more than three seats are taken")?;
    }
    match pages.try_update("home", take_seat) {
        Err(UpdateError::Aborted(reason)) => println!("The closure refused: {reason}."),
        _ => return Err("a fourth seat was taken".into()),
    }
    check(taken == 3, "three seats were taken, and the fourth was refused")
}

fn add_visit(page: &mut Page) {
    page.visits += 1;
}

fn take_seat(page: &mut Page) -> Result<(), &'static str> {
    page.seats = page.seats.checked_sub(1).ok_or("no seats are left")?;
    Ok(())
}

fn check(held: bool, claim: &str) -> Outcome {
    println!("{}: {claim}.", if held { "Checked" } else { "FAILED" });
    if held { Ok(()) } else { Err(claim.into()) }
}
