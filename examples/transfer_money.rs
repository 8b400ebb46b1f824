//! Moves money between accounts from several threads. A batch changes both accounts of a transfer
//! or neither, so every reader sees the same sum at every moment.
//!
//! Run it with `cargo run --example transfer_money`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ifmatch::{Collection, Error, Store};

const START: i64 = 100_000;
const OWNERS: [&str; 3] = ["anna", "björn", "chidi"];
const ROUTES: [Route; 3] = [("anna", "björn"), ("björn", "chidi"), ("anna", "chidi")];
const TRANSFERS: i64 = 1_000;

type Route = (&'static str, &'static str);
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome {
    let store = Store::in_memory();
    let accounts = store.collection::<i64>("accounts")?;
    for owner in OWNERS {
        println!("{owner} has {START}. ETag {}", accounts.create(owner, &START)?.etag());
    }

    let (store, accounts, done) = (&store, &accounts, &AtomicBool::new(false));
    let (lost_races, looks) = thread::scope(|scope| {
        let work = |route| (0..TRANSFERS).map(|_| transfer(store, accounts, route)).sum();
        let workers = ROUTES.map(|route| scope.spawn(move || -> Outcome<i64> { work(route) }));
        let observer = scope.spawn(|| watch_the_sum(accounts, done));
        let results = workers.map(|worker| worker.join().unwrap_or(Err("panicked".into())));
        done.store(true, Ordering::Release);
        let lost_races: Outcome<i64> = results.into_iter().sum();
        Outcome::Ok((lost_races?, observer.join().map_err(|_| "the observer panicked")??))
    })?;

    println!("{} transfers; {lost_races} lost a race and were retried.", 3 * TRANSFERS);
    println!("Another thread read the sum of all accounts {looks} times. It never changed.");
    let expected = [START - 14 * TRANSFERS, START, START + 14 * TRANSFERS];
    if balances(accounts)? != expected {
        return Err("a transfer was lost or applied twice".into());
    }
    println!("Checked: every transfer was applied exactly once.");
    Ok(())
}

/// Moves 7 from one account to another. Returns the number of lost races.
fn transfer(store: &Store, accounts: &Collection<i64>, (from, to): Route) -> Outcome<i64> {
    // Every lost race is another thread's transfer, so the number of races is bounded.
    for lost_races in 0..=3 * TRANSFERS {
        let payer = accounts.get(from)?.ok_or("the payer is missing")?;
        let payee = accounts.get(to)?.ok_or("the payee is missing")?;
        let batch = store.batch().replace(accounts, from, &(payer.value - 7), payer.etag());
        match batch.replace(accounts, to, &(payee.value + 7), payee.etag()).commit() {
            Ok(_) => return Ok(lost_races),
            Err(Error::Batch { source, .. }) if source.http_status() == 412 => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err("a transfer lost more races than there were transfers".into())
}

/// Sums all accounts as of one moment, repeatedly, until the transfers are done. Returns the number
/// of sums.
fn watch_the_sum(accounts: &Collection<i64>, done: &AtomicBool) -> Outcome<i64> {
    let mut looks = 0;
    while looks == 0 || !done.load(Ordering::Acquire) {
        let sum: i64 = balances(accounts)?.iter().sum();
        if sum != 3 * START {
            return Err(format!("half a transfer was seen: the sum was {sum}").into());
        }
        looks += 1;
    }
    Ok(looks)
}

fn balances(accounts: &Collection<i64>) -> Outcome<Vec<i64>> {
    let found = accounts.get_many(OWNERS)?;
    Ok(found.into_iter().flatten().map(|item| item.value).collect())
}
