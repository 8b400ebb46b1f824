//! The browser on a terminal in memory.

#![allow(clippy::unwrap_used)]

use crossterm::event::KeyCode;
use ifmatch::{HistoryPolicy, Options, Precondition, Store};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use crate::browse::app::{App, Effect, Page};
use crate::browse::view;

fn shop() -> Store {
    let store = Options::new().history(HistoryPolicy::new().versions(5)).in_memory();
    let prices = store.collection::<Value>("prices").unwrap();
    let first = prices.create("apple", &json!({"eur": 0.5, "stock": 3})).unwrap();
    prices.replace("apple", &json!({"eur": 0.6, "stock": 3}), first).unwrap();
    for key in ["apricot", "banana"] {
        prices.create(key, &json!({"eur": 1})).unwrap();
    }
    store.raw("icons").unwrap().create("apple", &vec![0, 255].into()).unwrap();
    store
}

/// The screen as text, a line a row.
fn screen(app: &App) -> String {
    let mut terminal = Terminal::new(TestBackend::new(100, 24)).unwrap();
    terminal.draw(|frame| view::draw(frame, app)).unwrap();
    let buffer = terminal.backend().buffer();
    let cells: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
    cells.chunks(100).map(|row| row.concat() + "\n").collect()
}

#[track_caller]
fn shows(app: &App, texts: &[&str]) {
    let screen = screen(app);
    for text in texts {
        assert!(screen.contains(text), "{text:?} is not on the screen:\n{screen}");
    }
}

fn press(app: &mut App, keys: &str) -> Effect {
    let mut effect = Effect::Nothing;
    for key in keys.chars() {
        effect = app
            .press(match key {
                '>' => KeyCode::Right,
                'v' => KeyCode::Down,
                '^' => KeyCode::Up,
                '\n' => KeyCode::Enter,
                '!' => KeyCode::Esc,
                other => KeyCode::Char(other),
            })
            .unwrap();
    }
    effect
}

#[test]
fn a_document_is_shown_with_its_tag() {
    let store = shop();
    let mut app = App::new(&store, None).unwrap();
    shows(&app, &["icons  1", "prices  3", "00ff (2 bytes)"]);
    press(&mut app, "v>");
    let tag = store.collection::<Value>("prices").unwrap().head("apple").unwrap().unwrap().etag();
    shows(&app, &["banana", &format!("ETag: {tag}"), "\"eur\": 0.6,", "q quit"]);
    press(&mut app, "vv");
    shows(&app, &["\"eur\": 1"]);
    assert_eq!(press(&mut app, "q"), Effect::Quit);
}

#[test]
fn a_search_lists_the_keys_with_the_prefix() {
    let mut app = App::new(&shop(), Some("prices")).unwrap();
    press(&mut app, "/ap");
    shows(&app, &["Keys /ap_", "apricot"]);
    assert!(!screen(&app).contains("banana"));
    press(&mut app, "r");
    shows(&app, &["Keys /apr_", "\"eur\": 1"]);
    press(&mut app, "\n");
    shows(&app, &["Keys apr…"]);
    press(&mut app, "/!");
    shows(&app, &["banana"]);
}

#[test]
fn long_lists_are_read_as_they_are_moved_through() {
    let store = Store::in_memory();
    let numbers = store.collection::<u64>("numbers").unwrap();
    let mut batch = store.batch();
    for n in 0..500 {
        batch = batch.create(&numbers, format!("{n:03}"), &n);
    }
    batch.commit().unwrap();
    let mut app = App::new(&store, Some("numbers")).unwrap();
    for _ in 0..600 {
        press(&mut app, "v");
    }
    assert_eq!((app.keys.len(), app.key), (500, 499));
    shows(&app, &["499"]);
}

#[test]
fn history_shows_what_each_version_changed() {
    let mut app = App::new(&shop(), Some("prices")).unwrap();
    press(&mut app, "h");
    shows(&app, &["2 versions", "What it changed", "-   \"eur\": 0.5,", "+   \"eur\": 0.6,"]);
    press(&mut app, "v");
    shows(&app, &["The oldest version", "\"eur\": 0.5,"]);
    press(&mut app, "v!");
    assert_eq!(app.page, Page::Documents);
}

#[test]
fn the_feed_and_the_figures_follow_the_store() {
    let store = shop();
    let mut app = App::new(&store, None).unwrap();
    press(&mut app, "f");
    shows(&app, &["no change since"]);
    store.collection::<Value>("notes").unwrap().create("a", &json!(1)).unwrap();
    app.tick().unwrap();
    shows(&app, &["created   notes/a"]);
    press(&mut app, "s");
    shows(&app, &["documents   5", "Commits", "notes", "live", "dead"]);
}

#[test]
fn an_edit_is_saved_under_if_match_and_a_conflict_shows_both() {
    let store = shop();
    let prices = store.collection::<Value>("prices").unwrap();
    let mut app = App::new(&store, Some("prices")).unwrap();
    assert_eq!(press(&mut app, "e"), Effect::Edit);
    assert!(app.draft.as_ref().unwrap().text.starts_with("{\n  \"eur\": 0.6,"));
    app.edited("{\"eur\": 0.7}".to_owned()).unwrap();
    shows(&app, &["saved as", "\"eur\": 0.7"]);

    // Text that is no document is kept, and edited further.
    press(&mut app, "e");
    app.edited("{\"eur\":".to_owned()).unwrap();
    shows(&app, &["not saved"]);
    assert_eq!(press(&mut app, "e"), Effect::Edit);
    assert_eq!(app.draft.as_ref().unwrap().text, "{\"eur\":");

    // Somebody is faster.
    prices.upsert("apple", &json!({"eur": 9}), Precondition::Always).unwrap();
    app.edited("{\"eur\": 0.8}".to_owned()).unwrap();
    shows(&app, &["Yours, not saved", "{\"eur\": 0.8}", "Theirs, of", "\"eur\": 9"]);
    assert_eq!(prices.get("apple").unwrap().unwrap().value, json!({"eur": 9}));

    // And again, while the conflict is looked at.
    prices.upsert("apple", &json!({"eur": 10}), Precondition::Always).unwrap();
    press(&mut app, "o");
    shows(&app, &["Yours, not saved", "\"eur\": 10"]);
    press(&mut app, "o");
    shows(&app, &["saved as"]);
    assert_eq!(prices.get("apple").unwrap().unwrap().value, json!({"eur": 0.8}));
}

#[test]
fn a_conflict_with_a_deletion_recreates_or_gives_up() {
    let store = shop();
    let prices = store.collection::<Value>("prices").unwrap();
    let mut app = App::new(&store, Some("prices")).unwrap();
    press(&mut app, "e");
    prices.delete("apple", Precondition::Always).unwrap();
    app.edited("1".to_owned()).unwrap();
    shows(&app, &["the document was deleted"]);
    press(&mut app, "!");
    shows(&app, &["nothing here"]);
    assert_eq!(prices.get("apple").unwrap(), None);
}
