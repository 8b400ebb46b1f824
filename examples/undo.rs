//! Undo and redo from an item's history. An earlier version is read by its tag and written over the
//! version that is shown, unless another write has come since.
//!
//! Run it with `cargo run --example undo`.

use ifmatch::{Collection, ETag, Error, HistoryPolicy, Item, Options, Store};
use serde::{Deserialize, Serialize};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The versions that an editor can return to. It holds only tags, so it is small. It is stored in
/// the store, and is valid for as long as the history.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Steps {
    undo: Vec<ETag>,
    redo: Vec<ETag>,
}

struct Editor {
    texts: Collection<String>,
    shown: Item<String>,
    steps: Steps,
}

impl Editor {
    fn write(&mut self, text: &str) -> Outcome {
        let before = self.shown.etag();
        self.shown.value = text.to_owned();
        self.texts.save(&mut self.shown)?;
        self.steps.undo.push(before);
        self.steps.redo.clear();
        self.report("written");
        Ok(())
    }

    fn undo(&mut self) -> Outcome<bool> {
        let Some(tag) = self.steps.undo.last().copied() else { return Ok(false) };
        let Some(before) = self.go_to(tag)? else { return Ok(false) };
        self.steps.undo.pop();
        self.steps.redo.push(before);
        self.report("undone");
        Ok(true)
    }

    fn redo(&mut self) -> Outcome<bool> {
        let Some(tag) = self.steps.redo.last().copied() else { return Ok(false) };
        let Some(before) = self.go_to(tag)? else { return Ok(false) };
        self.steps.redo.pop();
        self.steps.undo.push(before);
        self.report("redone");
        Ok(true)
    }

    /// Writes an earlier version again, as a new version with a new tag. Returns the tag of the
    /// version that it replaced, or `None` if the earlier version is no longer kept.
    fn go_to(&mut self, tag: ETag) -> Result<Option<ETag>, Error> {
        let Some(earlier) = self.texts.get_version(self.shown.key(), &tag)? else {
            return Ok(None);
        };
        // The value moves into the item that is shown. The tag of that item is the save's If-Match.
        let mut next = self.shown.clone().map(|_| earlier.value);
        self.texts.save(&mut next)?;
        Ok(Some(std::mem::replace(&mut self.shown, next).etag()))
    }

    fn report(&self, what: &str) {
        println!("  {what}: {:?}, ETag {}", self.shown.value, self.shown.etag());
    }
}

fn open(path: &std::path::Path) -> Outcome<(Store, Collection<Steps>, Editor)> {
    let options = Options::new().history(HistoryPolicy::new().versions(100));
    let store = options.open(path)?;
    let kept = store.collection::<Steps>("steps")?;
    let texts = store.collection::<String>("texts")?;
    let shown = texts.get("poem")?.unwrap_or_else(|| Item::new("poem", String::new()));
    let steps = kept.get("poem")?.map(|item| item.value).unwrap_or_default();
    Ok((store.clone(), kept, Editor { texts, shown, steps }))
}

fn main() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("texts.ifm");
    let (store, kept, mut editor) = open(&path)?;
    editor.texts.save(&mut editor.shown)?;
    for text in ["Roses", "Roses are", "Roses are red"] {
        editor.write(text)?;
    }
    editor.undo()?;
    editor.undo()?;
    check(editor.shown.value == "Roses", "two steps back")?;

    println!("The program is closed and opened again.");
    kept.upsert("poem", &editor.steps, ifmatch::Precondition::Always)?;
    drop((kept, editor));
    store.close()?;
    let (store, _, mut editor) = open(&path)?;
    editor.redo()?;
    check(editor.shown.value == "Roses are", "one step forward again")?;
    editor.write("Roses are blue")?;
    check(!editor.redo()?, "after a new change there is nothing to redo")?;
    while editor.undo()? {}
    check(editor.shown.value.is_empty(), "back to the beginning")?;

    println!("Another window writes.");
    let other = editor.texts.update("poem", |text| text.push_str("Violets"))?;
    let refused = editor.redo();
    let status = refused.err().and_then(|error| Some(error.downcast_ref::<Error>()?.http_status()));
    check(status == Some(412), "a redo over another window's change is refused")?;
    let stored = editor.texts.get("poem")?.ok_or("the poem is missing")?;
    check(stored == other, "the other window's text is still stored")?;

    // The user has seen the current item, and may decide to redo over it.
    editor.shown = stored;
    check(editor.redo()?, "with the current item, the redo succeeds")?;
    editor.undo()?;
    check(editor.shown.value == "Violets", "an undo restores the other window's text")?;
    let past = editor.texts.history("poem")?;
    println!("{} versions are kept.", past.len());
    let newest = past.first().and_then(|version| version.as_ref().ok());
    check(newest == Some(&editor.shown), "the history begins with the stored version")?;
    store.close()?;
    Ok(())
}

fn check(held: bool, claim: &str) -> Outcome {
    println!("{}: {claim}.", if held { "Checked" } else { "FAILED" });
    if held { Ok(()) } else { Err(claim.into()) }
}
