//! The lists of a notes program: by tag and time, by a search, page by page, and a list that stays
//! current while notes are written. Also addresses that no two notes share. It checks what it prints.
//!
//! Run it with `cargo run --example notes`.

use std::collections::BTreeMap;

use ifmatch::{
    Collection, Durability, Error, Filter, FoundKind, Index, Options, Patch, Precondition,
    WatchFound,
};
use serde::{Deserialize, Serialize};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Note {
    title: String,
    tags: Vec<String>,
    modified: u64,
    #[serde(default)]
    done: bool,
    /// The end of its address, which no two notes share; left out where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slug: Option<String>,
}

fn main() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notes.ifm");
    let store = Options::new().durability(Durability::Eventual).open(&path)?;
    let notes = store.collection::<Note>("notes")?;
    notes.ensure_index(Index::on("/tags/*").then_desc("/modified"))?;
    notes.ensure_index(Index::on("/slug").unique())?;
    write_notes(&notes)?;

    by_tag(&notes)?;
    search(&notes, r#"/title prefix "Note 1" and not /done = true"#)?;
    search(&notes, r#"/title prefix Note"#)?;
    pages(&notes)?;
    finish_old_work(&notes)?;
    publish(&notes)?;

    // A list that is shown, and kept current.
    let open = Filter::all([Filter::eq("/tags/*", "home"), Filter::eq("/done", false)]);
    let snapshot = store.snapshot();
    let mut shown = BTreeMap::new();
    for note in snapshot.collection(&notes).find(open.clone()).iter()? {
        let note = note?;
        shown.insert(note.key().to_vec(), note.value.title);
    }
    let mut watch = notes.watch_find(open.clone(), snapshot.cursor()?)?;
    drop(snapshot);
    let first = shown.keys().next().cloned().ok_or("a note at home")?;
    notes.patch(&first, &Patch::new().set("/done", true), Precondition::Always)?;
    let new = Note {
        title: "Bread".into(),
        tags: vec!["home".into()],
        modified: 1_000,
        done: false,
        slug: None,
    };
    notes.create("n-new", &new)?;
    store.sync()?;
    follow(&mut watch, &mut shown)?;
    assert_eq!(shown.len() as u64, notes.find(open).count()?);
    assert!(shown.contains_key(&b"n-new"[..]) && !shown.contains_key(&first));
    println!("the list is current: {} notes", shown.len());
    store.close()?;
    Ok(())
}

fn write_notes(notes: &Collection<Note>) -> Outcome {
    for n in 0..200_u64 {
        let mut tags = vec![if n % 2 == 0 { "work" } else { "home" }.to_owned()];
        if n % 5 == 0 {
            tags.push("urgent".to_owned());
        }
        let note =
            Note { title: format!("Note {n}"), tags, modified: n, done: n % 3 == 0, slug: None };
        notes.create(format!("n-{n:03}"), &note)?;
    }
    Ok(())
}

/// The newest notes of a tag, by the index.
fn by_tag(notes: &Collection<Note>) -> Outcome {
    let urgent = || notes.find(Filter::eq("/tags/*", "urgent")).sort_desc("/modified").limit(3);
    let mut titles = Vec::new();
    for note in urgent().iter()? {
        titles.push(note?.value.title);
    }
    assert_eq!(titles, ["Note 195", "Note 190", "Note 185"]);
    let cost = urgent().explain()?;
    assert_eq!((cost.index(), cost.looked_at()), (Some("/tags/*,-/modified"), 3));
    println!("urgent, the newest first: {}\n  {cost}", titles.join(", "));
    Ok(())
}

/// A search that somebody has typed.
fn search(notes: &Collection<Note>, text: &str) -> Outcome {
    match text.parse::<Filter>() {
        Ok(filter) => {
            let cost = notes.find(filter.clone()).explain()?;
            assert_eq!(cost.found(), notes.find(filter).count()?);
            println!("{text}\n  {cost}");
        }
        Err(error) => {
            assert_eq!((error.line(), error.column()), (1, 15));
            println!("{error}");
        }
    }
    Ok(())
}

fn pages(notes: &Collection<Note>) -> Outcome {
    let (mut place, mut seen) = (None, Vec::new());
    loop {
        let page = notes.find(Filter::eq("/tags/*", "work")).sort_desc("/modified").limit(30);
        let page = if let Some(place) = place { page.after(place) } else { page };
        let mut items = page.iter()?;
        let before = seen.len();
        for note in &mut items {
            seen.push(note?.value.modified);
        }
        if seen.len() == before {
            break;
        }
        place = items.cursor();
    }
    assert!(seen.len() == 100 && seen.is_sorted_by(|a, b| a > b));
    println!("{} notes of work, page by page", seen.len());
    Ok(())
}

fn finish_old_work(notes: &Collection<Note>) -> Outcome {
    let old = Filter::all([
        Filter::eq("/tags/*", "work"),
        Filter::lt("/modified", 100),
        Filter::eq("/done", false),
    ]);
    let changed = notes.find(old.clone()).update_each(|note| note.done = true)?;
    assert_eq!((changed, notes.find(old).count()?), (33, 0));
    println!("{changed} old notes are done");
    Ok(())
}

/// Gives two notes addresses. The second asks for the first one's, and gets the next that is free.
fn publish(notes: &Collection<Note>) -> Outcome {
    for (key, title) in [("n-001", "Bread and butter"), ("n-003", "Bread and butter")] {
        let slug = title.to_lowercase().replace(' ', "-");
        let tries = (1..100).map(|n| if n == 1 { slug.clone() } else { format!("{slug}-{n}") });
        for slug in tries {
            match notes.update(key, |note| note.slug = Some(slug.clone())) {
                Ok(_) => break,
                Err(Error::NotUnique { of, .. }) => {
                    println!("{slug} is the address of {}", String::from_utf8_lossy(&of));
                }
                Err(other) => return Err(other.into()),
            }
        }
    }
    let second = notes.find(Filter::eq("/slug", "bread-and-butter-2"));
    assert_eq!(
        second.iter()?.next().transpose()?.map(|note| note.key().to_vec()),
        Some(b"n-003".to_vec())
    );
    Ok(())
}

/// Applies the changes up to now.
fn follow(watch: &mut WatchFound<Note>, shown: &mut BTreeMap<Vec<u8>, String>) -> Outcome {
    while let Some(found) = watch.try_recv()? {
        let (kind, change) = (found.kind(), found.into_change());
        let key = change.key().to_vec();
        match (kind, change.into_value()) {
            (FoundKind::Entered | FoundKind::Changed, Some(note)) => {
                shown.insert(key, note.title);
            }
            (FoundKind::Cleared, _) => shown.clear(),
            _ => drop(shown.remove(&key)),
        }
    }
    Ok(())
}
