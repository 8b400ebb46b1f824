//! The browser, and progress, in a real terminal, which tmux provides. Skipped with a message where it is missing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![cfg(feature = "browse")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

const IFMATCH: &str = env!("CARGO_BIN_EXE_ifmatch");

/// A terminal of 90 × 22 on a tmux server of its own.
struct Terminal<'a> {
    folder: &'a Path,
    socket: String,
}

impl<'a> Terminal<'a> {
    /// `None` where there is no tmux.
    fn new(folder: &'a Path) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            eprintln!("skipped: tmux is not installed");
            return None;
        }
        let name = folder.file_name().unwrap().to_string_lossy();
        let terminal = Self { folder, socket: format!("ifmatch-{name}") };
        let size = ["-x", "90", "-y", "22"];
        terminal.tmux(
            &[&["-f", "/dev/null", "new-session", "-d"][..], &size, &["bash --norc"]].concat(),
        );
        Some(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.socket]).args(arguments).current_dir(self.folder);
        let output = command.env("LC_ALL", "C.UTF-8").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until these texts are on the screen, and returns it.
    #[track_caller]
    fn shows(&self, texts: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if texts.iter().all(|text| screen.contains(text)) {
                return screen;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{texts:?} not in:\n{screen}");
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).status();
    }
}

/// The screen with what differs from run to run set to zeros.
fn steady(screen: &str) -> String {
    let tag = regex::Regex::new(r#""[0-9a-f]{32}""#).unwrap();
    let time = regex::Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z").unwrap();
    let screen = tag.replace_all(screen, format!("\"{}\"", "0".repeat(32)));
    let screen = time.replace_all(&screen, "2026-01-01T00:00:00.000Z");
    screen.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Compares a screen with the one that the guide shows; `SNAPSHOTS=overwrite` writes it.
fn compare_with_guide(screen: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/src/browser.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once("```text\n").unwrap();
    let (shown, after) = rest.split_once("```").unwrap();
    if std::env::var_os("SNAPSHOTS").is_some() {
        fs::write(page, format!("{before}```text\n{screen}```{after}")).unwrap();
    } else {
        snapbox::assert_data_eq!(screen.to_owned(), snapbox::Data::text(shown.to_owned()).raw());
    }
}

#[test]
fn a_document_is_found_edited_and_saved() {
    let folder = tempfile::tempdir().unwrap();
    let put = |collection: &str, key: &str, value: &str| {
        let mut command = Command::new(IFMATCH);
        command.args(["put", "shop.ifm", collection, key, value]).current_dir(folder.path());
        assert!(command.output().unwrap().status.success());
    };
    put("prices", "apple", r#"{"name": "Apple", "eur": 0.5}"#);
    put("prices", "apricot", r#"{"name": "Apricot", "eur": 0.7, "tags": ["ripe", "local"]}"#);
    put("notes", "a", r#""a note""#);
    let Some(terminal) = Terminal::new(folder.path()) else { return };

    let browse = format!("EDITOR='sed -i s/0.7/0.9/' {IFMATCH} browse shop.ifm prices");
    terminal.keys(&[&browse, "Enter"]);
    terminal.shows(&["Collections", "\"eur\": 0.5"]);
    terminal.keys(&["Down"]);
    let screen = terminal.shows(&["\"eur\": 0.7", "\"ripe\""]);
    compare_with_guide(&steady(&screen));

    terminal.keys(&["e"]);
    terminal.shows(&["saved as", "\"eur\": 0.9"]);
    terminal.keys(&["f"]);
    terminal.shows(&["replaced  prices/apricot"]);
    terminal.keys(&["Escape"]);
    terminal.shows(&["Collections"]);
    terminal.keys(&["s"]);
    terminal.shows(&["documents   3", "live,"]);
    terminal.keys(&["q"]);
    // The shell is back, which shows its own screen again, and the store is closed.
    terminal.shows(&["EDITOR="]);
    terminal.keys(&[&format!("{IFMATCH} get shop.ifm prices apricot --raw"), "Enter"]);
    terminal.shows(&[r#"{"name":"Apricot","eur":0.9,"tags":["ripe","local"]}"#]);
}

/// Documents as lines of JSON, half of them with keys that begin with `a`.
fn lines(documents: usize) -> String {
    let line = |n| format!("{{\"key\":\"{}-{n}\",\"value\":{n}}}\n", ["a", "b"][n % 2]);
    (0..documents).map(line).collect()
}

/// The bar was drawn once before the store was opened, and that line stayed on the screen.
#[test]
fn an_import_shows_how_far_it_has_come_and_leaves_nothing_of_that_behind() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("d.jsonl"), lines(10)).unwrap();
    let Some(terminal) = Terminal::new(folder.path()) else { return };
    // The import has read nothing yet when it begins to wait for the end of the other command.
    let import = format!("(cat go; cat d.jsonl) | {IFMATCH} import s.ifm items");
    terminal.keys(&["PS1='$ '; mkfifo go; clear", "Enter"]);
    terminal.keys(&[&import, "Enter"]);
    terminal.shows(&["importing 0 B"]);
    fs::write(folder.path().join("go"), "").unwrap();
    let screen = terminal.shows(&["documents a second"]);
    assert!(!screen.contains("importing"), "{screen}");
}

/// The total was that of the whole collection.
#[test]
fn an_export_of_some_keys_shows_no_total() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("d.jsonl"), lines(20_000)).unwrap();
    let Some(terminal) = Terminal::new(folder.path()) else { return };
    terminal.keys(&[&format!("{IFMATCH} import s.ifm items d.jsonl"), "Enter"]);
    terminal.shows(&["documents a second"]);
    // It stops soon, as nobody reads its output.
    for (options, shows) in [("", "/20,000 "), ("--limit 9999", "/9,999 "), ("--prefix a", ",000 ")]
    {
        terminal.keys(&["clear", "Enter"]);
        let export = format!("{IFMATCH} export s.ifm items {options} | sleep 1000");
        terminal.keys(&[&export, "Enter"]);
        let screen = terminal.shows(&["exporting", shows]);
        let has_total = screen.contains(" left");
        assert_eq!(has_total, !options.contains("prefix"), "{screen}");
        terminal.keys(&["C-c"]);
    }
}
