//! Moves money between accounts from several threads. Both accounts of a transfer change in one
//! batch or neither does, so the sum is the same at every moment, for every reader.
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
    println!("Another thread added up all accounts {looks} times: always the same sum.");
    let expected = [START - 14 * TRANSFERS, START, START + 14 * TRANSFERS];
    if balances(accounts)? != expected {
        return Err("a transfer was lost or made twice".into());
    }
    println!("Checked: every transfer was made exactly once.");
    Ok(())
}

/// Moves 7 from one account to another. Returns how many races were lost on the way.
fn transfer(store: &Store, accounts: &Collection<i64>, (from, to): Route) -> Outcome<i64> {
    // Every lost race is another thread's transfer, so their number is bounded.
    for lost_races in 0..=3 * TRANSFERS {
        let payer = accounts.get(from)?.ok_or("the payer is gone")?;
        let payee = accounts.get(to)?.ok_or("the payee is gone")?;
        let batch = store.batch().replace(accounts, from, &(payer.value - 7), payer.etag());
        match batch.replace(accounts, to, &(payee.value + 7), payee.etag()).commit() {
            Ok(_) => return Ok(lost_races),
            Err(Error::Batch { source, .. }) if source.http_status() == 412 => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err("a transfer lost more races than there were transfers".into())
}

/// Adds up all accounts, each time as of one moment, until the transfers are done.
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
