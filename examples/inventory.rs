//! An inventory on disk: two windows edit one product, eight threads reserve stock, and the
//! store is closed and opened again.
//!
//! ```text
//! cargo run --release --example inventory [CATALOGUE.jsonl]
//! ```
//!
//! A catalogue holds one JSON object per line, with at least `sku`, `name`, `price` and `stock`.
//! The exit code is 0 only if every check passes.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::ScopedJoinHandle;
use std::{env, fs, process, thread};

use ifmatch::{Collection, ETag, Error, Filter, Index, Item, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

const BUYERS: u64 = 8;
const UNITS_PER_BUYER: u64 = 10;
const PRODUCTS_PER_BATCH: usize = 1_000;

type Outcome<T = ()> = Result<T, Box<dyn StdError + Send + Sync>>;
type Products = Collection<Product>;
type Catalogue = BTreeMap<String, Product>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Product {
    sku: String,
    name: String,
    price: f64,
    stock: u64,
    /// Fields that this program does not know. Without this field, a save would drop them.
    #[serde(flatten)]
    extra: Map<String, Value>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nFAILED: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  caused by: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome {
    let mut expected = read_catalogue(&catalogue_path()?)?;
    let directory = env::temp_dir().join(format!("ifmatch-inventory-{}", process::id()));
    fs::create_dir(&directory).map_err(|error| format!("cannot create {directory:?}: {error}"))?;
    let path = directory.join("shop.ifm");
    let outcome = work(&path, &mut expected).and_then(|last| reopen(&path, &expected, &last));
    fs::remove_dir_all(&directory)?;
    outcome?;
    println!("\nAll checks passed.");
    Ok(())
}

/// Does everything between the first open and the close. Returns the final state of the busiest
/// product.
fn work(path: &Path, expected: &mut Catalogue) -> Outcome<Item<Product>> {
    let sku = expected.keys().next().ok_or("the catalogue holds no product")?.clone();
    println!("1. Opening a new store in {}.", path.display());
    let store = Store::open(path)?;
    let products = store.collection::<Product>("products")?;
    products.ensure_index(Index::on("/price"))?;
    load(&store, &products, expected)?;
    find_by_price(&products, expected)?;

    edit_in_two_windows(&products, &sku)?;
    let last = reserve_from_many_threads(&products, &sku)?;
    expected.insert(sku.clone(), last.value.clone());

    println!("\n5. Closing the store.");
    store.close()?;
    check(matches!(products.get(&sku), Err(Error::Closed)), "a closed store refuses reads")?;
    Ok(last)
}

fn load(store: &Store, products: &Products, catalogue: &Catalogue) -> Outcome {
    let all: Vec<_> = catalogue.iter().collect();
    for chunk in all.chunks(PRODUCTS_PER_BATCH) {
        let mut batch = store.batch();
        for (sku, product) in chunk {
            batch = batch.create(products, sku, product);
        }
        batch.commit()?;
    }
    println!("\n2. Loaded {} products in batches, each applied all or none.", all.len());
    compare(products, catalogue)
}

/// The three cheapest products, and all in a range of prices, by the index.
fn find_by_price(products: &Products, catalogue: &Catalogue) -> Outcome {
    let mut prices: Vec<f64> = catalogue.values().map(|product| product.price).collect();
    prices.sort_unstable_by(f64::total_cmp);
    println!("\n   The cheapest products:");
    let cheapest = || products.find(Filter::exists("/price")).sort("/price").limit(3);
    let mut found = Vec::new();
    for item in cheapest().iter()? {
        let product = item?.value;
        println!("   {:>8.2}  {}", product.price, product.name);
        found.push(product.price);
    }
    check(found.iter().eq(prices.iter().take(3)), "the cheapest come first")?;
    let at =
        |part| prices.get(prices.len() / part).copied().ok_or("the catalogue holds no product");
    let (low, high) = (at(4)?, at(2)?);
    let between = || products.find(Filter::between("/price", low, high));
    let expected = prices.iter().filter(|price| (low..=high).contains(*price)).count() as u64;
    println!("   From {low:.2} to {high:.2} there are {expected} of {}.", prices.len());
    check(between().count()? == expected, "the count is that of the catalogue")?;
    let cost = between().explain()?;
    println!("   How: {cost}.");
    check(cost.index() == Some("/price") && cost.looked_at() == expected, "only these are read")
}

fn edit_in_two_windows(products: &Products, sku: &str) -> Outcome {
    let mut window_a = fetch(products, sku)?;
    let mut window_b = fetch(products, sku)?;
    let read = window_a.etag();
    println!("\n3. Two windows open product {sku}, \"{}\".", window_a.value.name);
    println!("   Both hold version {read}.");

    window_a.value.price += 1.0;
    products.save(&mut window_a)?;
    println!("   Window A saves the price {:.2}.", window_a.value.price);
    show_tags(read, window_a.etag());

    window_b.value.name.push_str(" (new edition)");
    let wanted = window_b.value.name.clone();
    let conflict = match products.save(&mut window_b) {
        Err(Error::PreconditionFailed(conflict)) => conflict,
        Err(other) => return Err(other.into()),
        Ok(_) => return Err("window B overwrote window A's change".into()),
    };
    println!("   Window B saves a new name under the version that it read. The save is refused.");
    check(conflict.http_status() == 412, "the error's status is 412, Precondition Failed")?;

    let mut current = conflict.current::<Product>()?.ok_or("the conflict carries no item")?;
    check(current == window_a, "the error carries the current item, as window A saved it")?;
    current.value.name.clone_from(&wanted);
    products.save(&mut current)?;
    println!("   Window B sets its name on that item and saves again.");
    show_tags(window_a.etag(), current.etag());

    let stored = fetch(products, sku)?;
    let found = (stored.value.name, stored.value.price);
    check(found == (wanted, window_a.value.price), "both changes are in the store")
}

fn reserve_from_many_threads(products: &Products, sku: &str) -> Outcome<Item<Product>> {
    let wanted = BUYERS * UNITS_PER_BUYER;
    println!("\n4. {BUYERS} threads reserve {UNITS_PER_BUYER} units each of {sku}, one by one.");
    let mut before = fetch(products, sku)?;
    if before.value.stock < wanted {
        println!("   Only {} are in stock, so {wanted} more are added first.", before.value.stock);
        before.value.stock += wanted;
        products.save(&mut before)?;
    }

    let lost_races = thread::scope(|scope| {
        let buy = || (0..UNITS_PER_BUYER).map(|_| reserve_one(products, sku)).sum::<Outcome<u64>>();
        let buyers: Vec<_> = (0..BUYERS).map(|_| scope.spawn(buy)).collect();
        let join = |buyer: ScopedJoinHandle<'_, _>| buyer.join().unwrap_or(Err("panicked".into()));
        buyers.into_iter().map(join).sum::<Outcome<u64>>()
    })?;

    let after = fetch(products, sku)?;
    let (from, to) = (before.value.stock, after.value.stock);
    println!("   The stock went from {from} to {to}; {lost_races} saves lost a race and retried.");
    show_tags(before.etag(), after.etag());
    check(from == to + wanted, "no unit was lost or sold twice")?;
    Ok(after)
}

/// Takes one unit. Returns the number of saves that lost a race.
fn reserve_one(products: &Products, sku: &str) -> Outcome<u64> {
    let mut item = fetch(products, sku)?;
    // Every lost race is another buyer's success, so the number of races is bounded.
    for lost_races in 0..=BUYERS * UNITS_PER_BUYER {
        item.value.stock = item.value.stock.checked_sub(1).ok_or("sold out")?;
        match products.save(&mut item) {
            Ok(_) => return Ok(lost_races),
            Err(Error::PreconditionFailed(conflict)) => {
                item = conflict.current()?.ok_or("the product was deleted")?;
            }
            Err(other) => return Err(other.into()),
        }
    }
    Err("a save lost more races than there were saves".into())
}

fn reopen(path: &Path, expected: &Catalogue, last: &Item<Product>) -> Outcome {
    println!("\n6. Opening it again.");
    let store = Store::open(path)?;
    let products = store.collection::<Product>("products")?;
    compare(&products, expected)?;
    let found = fetch(&products, &last.value.sku)?;
    show_tags(last.etag(), found.etag());
    check(found == *last, "the edited product has the same version and values as before")?;
    Ok(store.close()?)
}

/// Checks that the store holds the catalogue: every product, every field, and nothing else.
fn compare(products: &Products, expected: &Catalogue) -> Outcome {
    let mut stored = Catalogue::new();
    for item in products.iter()? {
        let product = item?.value;
        stored.insert(product.sku.clone(), product);
    }
    check(stored == *expected, "the store holds every product with every field, and nothing else")
}

fn fetch(products: &Products, sku: &str) -> Outcome<Item<Product>> {
    products.get(sku)?.ok_or_else(|| format!("product {sku} is missing").into())
}

fn show_tags(before: ETag, after: ETag) {
    println!("   ETag before {before}\n        after  {after}");
}

fn check(held: bool, claim: &str) -> Outcome {
    if !held {
        return Err(format!("a check failed: {claim}").into());
    }
    println!("   Checked: {claim}.");
    Ok(())
}

fn catalogue_path() -> Outcome<PathBuf> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/products.jsonl");
    let mut arguments = env::args_os().skip(1);
    let path = arguments.next().map_or(ours, PathBuf::from);
    if arguments.next().is_some() {
        return Err("usage: inventory [CATALOGUE.jsonl]".into());
    }
    Ok(path)
}

/// Reads the whole catalogue before any of it is stored, so that a bad line stores nothing.
fn read_catalogue(path: &Path) -> Outcome<Catalogue> {
    let file = path.display();
    let bytes = fs::read(path).map_err(|error| format!("cannot read {file}: {error}"))?;
    let mut catalogue = Catalogue::new();
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1_u64..) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let at = |what: String| format!("{file}, line {number}: {what}");
        let product: Product = serde_json::from_slice(line).map_err(|error| at(reason(&error)))?;
        if !(1..=511).contains(&product.sku.len()) {
            return Err(at("a sku has 1 to 511 bytes".into()).into());
        }
        if catalogue.insert(product.sku.clone(), product).is_some() {
            return Err(at("this sku is on an earlier line".into()).into());
        }
    }
    Ok(catalogue)
}

/// The message of serde without its line number, which is always 1 here.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("{what} (column {})", error.column())
}
