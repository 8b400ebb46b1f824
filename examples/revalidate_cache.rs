//! A cache revalidates its copies with If-None-Match. It receives a document only if it changed.
//!
//! Run it with `cargo run --example revalidate_cache`.

use std::collections::HashMap;

use ifmatch::{Collection, Item, Precondition, Read, Store, Tags};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Copies of documents, each with the tag of its version.
#[derive(Default)]
struct Cache {
    copies: HashMap<String, Item<String>>,
    reads: u32,
}

impl Cache {
    /// Returns the current document: the copy if it is still current, else a new one.
    fn get(&mut self, notes: &Collection<String>, key: &str) -> Outcome<Option<&Item<String>>> {
        let precondition = match self.copies.get(key) {
            Some(copy) => Precondition::if_none_match(copy.etag()),
            None => Precondition::Always,
        };
        match notes.get_if(key, precondition)? {
            Read::NotModified(meta) => println!("  304 Not Modified: still {}", meta.etag()),
            Read::Found(item) => {
                println!("  200 OK: {:?} {}", item.value, item.etag());
                self.reads += 1;
                self.copies.insert(key.to_owned(), item);
            }
            Read::Missing => {
                println!("  404 Not Found");
                self.copies.remove(key);
            }
        }
        Ok(self.copies.get(key))
    }
}

fn main() -> Outcome {
    let store = Store::in_memory();
    let notes = store.collection::<String>("notes")?;
    let mut cache = Cache::default();

    println!("The first read returns the document.");
    let first = notes.create("motd", &"Welcome".to_owned())?;
    let text = cache.get(&notes, "motd")?.map(|copy| copy.value.clone());
    check(text.as_deref() == Some("Welcome") && cache.reads == 1, "one document was read")?;

    println!("Nothing has changed, so the second read returns no document.");
    let tag = cache.get(&notes, "motd")?.map(Item::etag);
    check(tag == Some(first.etag()) && cache.reads == 1, "the copy in the cache is used")?;

    println!("Another write of the same text makes a new version.");
    let second = notes.replace("motd", &"Welcome".to_owned(), first.etag())?;
    let tag = cache.get(&notes, "motd")?.map(Item::etag);
    check(tag == Some(second.etag()) && cache.reads == 2, "the new version was read")?;

    println!("The header of a web request is parsed into tags.");
    let header = format!("W/\"other\", {}, {}", first.etag(), second.etag());
    let tags: Tags = header.parse()?;
    let read = notes.get_if("motd", Precondition::if_none_match(tags))?;
    check(matches!(read, Read::NotModified(_)), "one of the tags is current")?;

    println!("The document is deleted.");
    notes.delete("motd", second.etag())?;
    check(cache.get(&notes, "motd")?.is_none(), "the cache has dropped its copy")
}

fn check(held: bool, claim: &str) -> Outcome {
    println!("{}: {claim}.", if held { "Checked" } else { "FAILED" });
    if held { Ok(()) } else { Err(claim.into()) }
}
