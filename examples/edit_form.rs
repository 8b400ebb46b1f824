//! A document passes through an edit form with its tag, as in a web page. The form is saved only if
//! no other write came in between. A conflict is shown and resolved.
//!
//! Run it with `cargo run --example edit_form`.

use ifmatch::{Error, Item, Store};
use serde::{Deserialize, Serialize};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Contact {
    phone: String,
    city: String,
}

/// The state of an edit: the item with its tag, and the document as it was shown.
struct Form {
    item: Item<Contact>,
    shown: Contact,
}

impl Form {
    fn show(item: Item<Contact>) -> Self {
        println!("A form shows {:?}\n  ETag {}", item.value, item.etag());
        Self { shown: item.value.clone(), item }
    }

    /// Applies the user's changes to the current item, and leaves its other fields unchanged. If
    /// both have changed a field, the user's value wins. Returns the number of such fields.
    fn resolve(&mut self, mut current: Item<Contact>) -> u32 {
        let mut overruled = 0;
        let mut merge = |field, shown: &String, mine: &String, theirs: &mut String| {
            println!("  {field}: was {shown:?}, yours {mine:?}, stored {theirs:?}");
            if mine != shown {
                overruled += u32::from(theirs != shown);
                theirs.clone_from(mine);
            }
        };
        let shown = std::mem::replace(&mut self.shown, current.value.clone());
        let (mine, theirs) = (&self.item.value, &mut current.value);
        merge("phone", &shown.phone, &mine.phone, &mut theirs.phone);
        merge("city", &shown.city, &mine.city, &mut theirs.city);
        self.item = current;
        overruled
    }
}

fn main() -> Outcome {
    let store = Store::in_memory();
    let contacts = store.collection::<Contact>("contacts")?;
    let [phone, city] = ["555-0100", "Lagos"].map(str::to_owned);
    // A new item has no tag: `save` creates it, and fails if it exists.
    let mut item = Item::new("zoë", Contact { phone, city });
    contacts.save(&mut item)?;

    let (mut ours, mut theirs) = (Form::show(item.clone()), Form::show(item));
    theirs.item.value.phone = "555-0199".to_owned();
    contacts.save(&mut theirs.item)?;
    println!("The other user saves a new phone number.\n  ETag {}", theirs.item.etag());
    ours.item.value.city = "Accra".to_owned();
    let Err(Error::PreconditionFailed(conflict)) = contacts.save(&mut ours.item) else {
        return Err("our stale form was saved".into());
    };
    println!("We save a new city, and the answer is {}:", conflict.http_status());
    let overruled = ours.resolve(conflict.current()?.ok_or("the contact was deleted")?);
    check(overruled == 0, "no field was changed by both users, so the changes combine")?;
    contacts.save(&mut ours.item)?;

    let stored = contacts.get("zoë")?.ok_or("the contact is gone")?;
    println!("Stored: {:?}\n  ETag {}", stored.value, stored.etag());
    let Contact { phone, city } = stored.value;
    check((&*phone, &*city) == ("555-0199", "Accra"), "neither user's change is lost")
}

fn check(held: bool, claim: &str) -> Outcome {
    println!("{}: {claim}.", if held { "Checked" } else { "FAILED" });
    if held { Ok(()) } else { Err(claim.into()) }
}
