//! Commands as processes: killed, interrupted, beside each other, on a pipe and on a terminal.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const IFMATCH: &str = env!("CARGO_BIN_EXE_ifmatch");

fn ifmatch(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(IFMATCH).args(arguments).current_dir(folder).output().unwrap()
}

#[track_caller]
fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = ifmatch(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn lines(count: u64) -> String {
    let mut text = String::new();
    for n in 0..count {
        writeln!(
            text,
            r#"{{"key":"{n:08}","value":{{"number":{n},"text":"{}"}}}}"#,
            "x".repeat(200)
        )
        .unwrap();
    }
    text
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} did not come");
        sleep(Duration::from_millis(5));
    }
}

fn journal_bytes(store: &Path) -> u64 {
    let files = fs::read_dir(store.join("journal")).into_iter().flatten();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn an_import_that_is_killed_is_finished_by_running_it_again() {
    const DOCUMENTS: u64 = 60_000;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("d.jsonl"), lines(DOCUMENTS)).unwrap();
    let import = ["import", "s.ifm", "items", "d.jsonl"];
    let mut child = Command::new(IFMATCH).args(import).current_dir(folder).spawn().unwrap();
    until("a part of the import", || journal_bytes(&folder.join("s.ifm")) > 3 << 20);
    child.kill().unwrap();
    child.wait().unwrap();

    done(folder, &["verify", "s.ifm"]);
    let part = done(folder, &["ls", "s.ifm", "items"]).lines().count() as u64;
    assert!(part > 0 && part < DOCUMENTS, "{part} were written before the kill");

    let report = done(folder, &["--json", "import", "s.ifm", "items", "d.jsonl"]);
    assert!(report.contains(&format!(r#""already_there":{part}"#)), "{report}");
    assert!(report.contains(&format!(r#""written":{}"#, DOCUMENTS - part)), "{report}");
    let stats = done(folder, &["--json", "stats", "s.ifm"]);
    assert!(stats.contains(&format!(r#""documents":{DOCUMENTS}"#)), "{stats}");
    // Nothing was written twice: each document is one change.
    let changes = done(folder, &["changes", "s.ifm"]);
    assert_eq!(
        changes.lines().filter(|line| line.contains("  created ")).count() as u64,
        DOCUMENTS
    );
}

/// A regression: in the second run the last line was found to be there already, and the first, which
/// was not, was written. Then both were written.
#[test]
fn the_last_of_several_lines_with_one_key_counts_in_every_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Neighbours, and lines that other batches lie between.
    for others in [0, 9_000, 30_000] {
        let text = format!(
            "{{\"key\":\"k\",\"value\":1}}\n{}{{\"key\":\"k\",\"value\":2}}\n",
            lines(others)
        );
        fs::write(folder.join("d.jsonl"), text).unwrap();
        for run in 0..3 {
            let report = done(folder, &["--json", "import", "s.ifm", "items", "d.jsonl"]);
            let writes_nothing = report.contains(r#""written":0}"#);
            assert_eq!(writes_nothing, run > 0, "{report} in run {run} with {others} lines");
            let value = done(folder, &["get", "s.ifm", "items", "k"]);
            assert!(value.ends_with("2\n"), "{value} in run {run} with {others} lines in between");
        }
        // Where what is there is kept, that is also what an earlier line has written.
        for store in ["new.ifm", "old.ifm"] {
            done(folder, &["put", "old.ifm", "items", "other", "0"]);
            for run in 0..2 {
                done(folder, &["import", store, "items", "d.jsonl", "--existing", "keep"]);
                let value = done(folder, &["get", store, "items", "k"]);
                assert!(value.ends_with("1\n"), "{value} in run {run} of {store}");
            }
            fs::remove_dir_all(folder.join(store)).unwrap();
        }
    }
}

#[test]
fn an_export_is_imported_to_the_same_export() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("d.jsonl"), lines(5_000)).unwrap();
    done(folder, &["import", "a.ifm", "items", "d.jsonl"]);
    done(folder, &["put", "a.ifm", "items", "n", "[1.0, 1e2, 18446744073709551615]"]);
    done(
        folder,
        &["put", "a.ifm", "bytes", "00ff", "0102", "--hex", "--hex-key", "--codec", "raw"],
    );
    done(
        folder,
        &["put", "a.ifm", "rows", "r", "0102", "--hex", "--codec", "bincode", "--ttl", "1h"],
    );
    let exported = done(folder, &["export", "a.ifm"]);
    fs::write(folder.join("all.jsonl"), &exported).unwrap();

    let mut child = Command::new(IFMATCH)
        .args(["import", "b.ifm"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(exported.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    // Tags and times of change are each store's own.
    let content = |store: &str| -> Vec<String> {
        let exported = done(folder, &["export", store]);
        let part = |line: &str| {
            let (before, after) = line.split_once(",\"etag\"").unwrap();
            let expires = after.split_once(",\"expires\"").map_or("", |(_, expires)| expires);
            format!("{before} {expires}")
        };
        exported.lines().map(part).collect()
    };
    assert_eq!(content("a.ifm"), content("b.ifm"));
    assert_eq!(content("a.ifm").len(), 5_003);
}

/// An import that waits for lines, and so has the store open.
fn holding(folder: &Path) -> Child {
    let mut child = Command::new(IFMATCH)
        .args(["import", "s.ifm", "items"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the open store", || {
        let output = ifmatch(folder, &["stats", "s.ifm"]);
        output.status.code() == Some(6)
    });
    child.stdin.as_mut().unwrap().flush().unwrap();
    child
}

#[test]
fn a_store_that_is_open_elsewhere_is_refused_and_doctor_names_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut child = holding(folder);
    let output = ifmatch(folder, &["get", "s.ifm", "items", "a"]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let output = ifmatch(folder, &["doctor", "s.ifm"]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    if cfg!(target_os = "linux") {
        assert!(told.contains(&format!("process {} ifmatch", child.id())), "{told}");
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    done(folder, &["doctor", "s.ifm"]);
}

/// What a shell starts in the background ignores Ctrl-C, and so do its children.
#[cfg(unix)]
fn ignores_interrupts() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|signals| u64::from_str_radix(signals.trim(), 16).ok());
    ignored.is_some_and(|signals| signals & 2 != 0)
}

#[cfg(unix)]
#[test]
fn an_interrupt_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut child = holding(folder);
    child.stdin.as_mut().unwrap().write_all(lines(5_000).as_bytes()).unwrap();
    let signal = if ignores_interrupts() { "-TERM" } else { "-INT" };
    let interrupted = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    assert!(!child.wait().unwrap().success());
    done(folder, &["verify", "s.ifm"]);
    let doctor = done(folder, &["doctor", "s.ifm"]);
    assert!(doctor.contains("closed in order  yes"), "{doctor}");
}

#[test]
fn changes_that_are_followed_let_others_write() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    done(folder, &["put", "s.ifm", "notes", "a", "1"]);
    let mut follower = Command::new(IFMATCH)
        .args(["changes", "s.ifm", "--follow", "--interval", "20ms"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || told.next().unwrap().unwrap();
    assert!(next().contains("created   notes/a"));
    for (key, kind) in [("a", "replaced"), ("b", "created")] {
        // Between two looks.
        until("a free store", || {
            ifmatch(folder, &["put", "s.ifm", "notes", key, "2"]).status.success()
        });
        let line = next();
        assert!(line.contains(&format!("{kind:8}  notes/{key}")), "{line}");
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("d.jsonl"), lines(5_000)).unwrap();
    done(folder, &["import", "s.ifm", "items", "d.jsonl"]);
    let mut child = Command::new(IFMATCH)
        .args(["cat", "s.ifm", "items"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn colours_are_for_terminals() {
    let folder = tempfile::tempdir().unwrap();
    done(folder.path(), &["put", "s.ifm", "notes", "a", "1"]);
    let plain = done(folder.path(), &["ls", "s.ifm"]);
    assert!(!plain.contains('\x1b'), "{plain:?}");
    let ls = |name: &str, value: &str| {
        let mut command = Command::new(IFMATCH);
        command.args(["ls", "s.ifm"]).current_dir(folder.path()).env(name, value);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(ls("CLICOLOR_FORCE", "1").contains("\x1b[1m"));
    assert!(!ls("NO_COLOR", "1").contains('\x1b'));
}

#[test]
fn completions_name_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = done(folder.path(), &["completions", shell]);
        assert!(script.contains("doctor") && script.contains("if-none-match"), "{shell}");
    }
}

#[test]
fn a_store_without_its_journal_is_told_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    done(folder, &["put", "s.ifm", "notes", "first", "1"]);
    fs::remove_dir_all(folder.join("s.ifm/journal")).unwrap();
    let output = ifmatch(folder, &["doctor", "s.ifm"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("an open would  be refused; see `ifmatch repair`"), "{told}");
    let output = ifmatch(folder, &["get", "s.ifm", "notes", "first"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}

#[test]
fn a_damaged_store_is_told_refused_and_repaired_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for store in ["s.ifm", "t.ifm"] {
        for key in ["first", "second", "third"] {
            done(folder, &["put", store, "notes", key, &format!("\"of the {key}\"")]);
        }
        let segments = fs::read_dir(folder.join(store).join("journal")).unwrap();
        let segment = segments.map(|entry| entry.unwrap().path()).next().unwrap();
        let mut bytes = fs::read(&segment).unwrap();
        let value = b"of the second";
        let at = bytes.windows(value.len()).position(|window| window == value).unwrap();
        bytes[at] ^= 1;
        fs::write(&segment, bytes).unwrap();
    }
    let output = ifmatch(folder, &["doctor", "s.ifm"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("whole          no: "), "{told}");
    assert!(
        told.contains("an open would  step over the damage where the index is whole"),
        "{told}"
    );
    assert_eq!(done(folder, &["get", "s.ifm", "notes", "third"]), "\"of the third\"\n");
    let output = ifmatch(folder, &["get", "s.ifm", "notes", "second"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let output = ifmatch(folder, &["repair", "s.ifm"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("--yes --prefix"));

    let repaired = done(folder, &["repair", "s.ifm", "--yes"]);
    assert!(repaired.contains("may be older         notes second"), "{repaired}");
    assert_eq!(done(folder, &["ls", "s.ifm", "notes"]), "first\nthird\n");
    done(folder, &["verify", "s.ifm"]);
    let repaired = done(folder, &["repair", "t.ifm", "--yes", "--prefix"]);
    assert!(repaired.contains("kept up to revision"), "{repaired}");
    assert_eq!(done(folder, &["ls", "t.ifm", "notes"]), "first\n");
    done(folder, &["verify", "t.ifm"]);
}
