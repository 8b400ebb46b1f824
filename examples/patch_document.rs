//! Changes single fields of a document, with and without a precondition.
//!
//! Run it with `cargo run --example patch_document`.

use ifmatch::{Error, Item, Patch, Precondition, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Product {
    sku: String,
    price: f64,
    stock: i64,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

fn main() -> Outcome {
    let store = Store::in_memory();
    let products = store.collection::<Product>("products")?;
    let product = json!({ "sku": "A1", "price": 49.9, "stock": 3, "colour": "red" });
    let created = products.create("A1", &serde_json::from_value(product)?)?;
    println!("Created A1. ETag {}", created.etag());

    println!("\nset and incr, guarded by a test and by the tag:");
    let patch = Patch::new().test("/sku", "A1").set("/price", 45.5).incr("/stock", -1);
    let item = products.patch("A1", &patch, created.etag())?;
    show(&item);
    check(item.value.price == 45.5 && item.value.stock == 2, "both fields changed")?;
    check(item.value.extra.get("colour") == Some(&json!("red")), "the other fields are unchanged")?;

    println!("\nThe same patch again, with the tag of a superseded version:");
    match products.patch("A1", &patch, created.etag()) {
        Err(Error::PreconditionFailed(conflict)) => {
            let current = conflict.current::<Product>()?.ok_or("no current item")?;
            println!("  refused with {}", conflict.http_status());
            check(current == item, "the refusal carries the current item")?;
        }
        Err(other) => return Err(other.into()),
        Ok(_) => return Err("a stale patch was applied".into()),
    }

    println!("\nA JSON Patch (RFC 6902), for any version:");
    let text = r#"[{"op": "add", "path": "/tags", "value": ["sale"]},
                   {"op": "remove", "path": "/colour"}]"#;
    let item = products.patch("A1", &Patch::from_json(text)?, Precondition::Always)?;
    show(&item);
    check(!item.value.extra.contains_key("colour"), "the colour is removed")?;

    println!("\nA merge patch (RFC 7396), where null removes a field:");
    let merge = Patch::merge(json!({ "tags": null, "size": { "w": 10 } }));
    let item = products.patch("A1", &merge, item.etag())?;
    show(&item);
    check(item.value.extra.get("size") == Some(&json!({ "w": 10 })), "the size is stored")?;

    println!("\nA patch with a test that fails changes nothing, not even its first field:");
    let failing = Patch::new().set("/price", 1.0).test("/stock", 99);
    let refused = products.patch("A1", &failing, Precondition::Always);
    check(matches!(refused, Err(Error::Patch(_))), "it is refused")?;
    check(products.get("A1")?.as_ref() == Some(&item), "the item and its tag are unchanged")
}

fn show(item: &Item<Product>) {
    println!("  {:?}\n  ETag {}", item.value, item.etag());
}

fn check(held: bool, claim: &str) -> Outcome {
    println!("  {}: {claim}.", if held { "Checked" } else { "FAILED" });
    if held { Ok(()) } else { Err(claim.into()) }
}
