//! What commands print, as it stands in `tests/cmd` and in the documents.
//!
//! Each `console` block of a document is run, command by command, in one folder for the document.
//! `SNAPSHOTS=overwrite cargo test -p ifmatch-cli --test cmd` writes into the documents what the
//! commands print now.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use regex::Regex;

/// What differs from run to run, and the name that stands for it.
const VARIES: [(&str, &str); 9] = [
    (r"--after \S+", "--after [PLACE]"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "[TIME]"),
    (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 2\d{3} \d\d:\d\d:\d\d GMT", "[DATE]"),
    (r"(?m)^(seconds|documents a second) {2,}.*$", "$1  [FIGURE]"),
    // Of the journal and the index, whose bytes are no business of these tests.
    (r"(?m)^(journal|live|dead|index|read|written|given back)( {2,})\d\S* \w+$", "$1$2[SIZE]"),
    (r#""(journal|live|dead)":\d+"#, r#""$1":[SIZE]"#),
    (r"\b[0-9a-f]{32}[-:.][0-9.:-]+", "[CURSOR]"),
    // A store's revisions go on from 2^20 after its first close.
    (r"\b1048\d{3}\b", "[REVISION]"),
    (r"\b[0-9a-f]{32}\b", "[TAG]"),
];

fn run(command: &str, folder: &Path) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_ifmatch")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let script = format!("exec 2>&1; {command}");
    let mut shell = Command::new("bash");
    shell
        .stdin(Stdio::null())
        .args(["-c", &script])
        .current_dir(folder)
        .env("PATH", path)
        .env("NO_COLOR", "1");
    shell.output().unwrap()
}

/// A command's exit code, where it is not 0, and what it prints.
fn printed(command: &str, folder: &Path) -> String {
    let output = run(command, folder);
    let mut text = String::new();
    if !output.status.success() {
        writeln!(text, "? {}", output.status.code().unwrap()).unwrap();
    }
    let folder = folder.display().to_string();
    text += &String::from_utf8_lossy(&output.stdout).replace(&folder, "/data");
    for (pattern, name) in VARIES {
        text = Regex::new(pattern).unwrap().replace_all(&text, name).into_owned();
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// The document with what its commands print now.
fn played(document: &str, folder: &Path) -> String {
    let mut text = String::new();
    let mut lines = document.lines().peekable();
    let mut in_block = false;
    while let Some(line) = lines.next() {
        let begins = line == "```console";
        in_block = begins || (in_block && line != "```");
        if in_block && !begins && !line.starts_with("$ ") {
            continue;
        }
        writeln!(text, "{line}").unwrap();
        if let Some(first) = line.strip_prefix("$ ").filter(|_| in_block) {
            let mut command = first.to_owned();
            while let Some(more) = lines.next_if(|line| line.starts_with("> ")) {
                writeln!(text, "{more}").unwrap();
                command = format!("{command}\n{}", &more[2..]);
            }
            text += &printed(&command, folder);
        }
    }
    text
}

fn check(document: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let inputs = document.with_extension("in");
    for input in fs::read_dir(inputs).into_iter().flatten() {
        let input = input.unwrap();
        fs::copy(input.path(), folder.path().join(input.file_name())).unwrap();
    }
    let expected = fs::read_to_string(document).unwrap();
    let actual = played(&expected, folder.path());
    if std::env::var_os("SNAPSHOTS").is_some_and(|what| what == "overwrite") {
        fs::write(document, actual).unwrap();
    } else if actual != expected {
        println!("{}", document.display());
        snapbox::assert_data_eq!(actual, snapbox::Data::text(expected).raw());
    }
}

/// The documents of a folder that show commands.
fn documents(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let shows = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "md")
            && fs::read_to_string(path).unwrap().contains("```console")
    };
    files.filter(shows).collect()
}

#[test]
fn commands_print_what_their_cases_say() {
    let cases = documents(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd"));
    assert!(cases.len() > 3, "{cases:?}");
    cases.iter().for_each(|case| check(case));
}

#[test]
fn commands_in_documents_print_what_stands_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let shown = [documents(root), documents(&root.join("docs/guide/src"))].concat();
    shown.iter().for_each(|document| check(document));
}

/// The examples that `--help` shows for a command, without what is said of them.
fn examples(verb: &str, folder: &Path) -> Vec<String> {
    let help = run(&format!("ifmatch {verb} --help"), folder);
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{verb}: {help}"));
    let commands = examples.lines().filter_map(|line| line.strip_prefix("  ifmatch "));
    commands.map(|line| format!("ifmatch {}", line.split("   ").next().unwrap())).collect()
}

/// What the examples of `--help` begin with.
fn begin(folder: &Path) {
    for command in [
        r#"ifmatch put shop.ifm prices apple '{"eur": 0.5, "stock": 3}' --versions 3"#,
        r#"ifmatch put shop.ifm prices pear '{"eur": 0.4}'"#,
        r#"ifmatch put shop.ifm products lamp '{"price": 40, "tags": ["new"]}'"#,
        r#"ifmatch put shop.ifm users ann '{"email": "a@example.org"}'"#,
        "ifmatch export shop.ifm prices > prices.jsonl",
        "ifmatch backup shop.ifm old.ifm",
        r#"echo '{"eur": 0.6}' | tee apple.json > plum.json"#,
    ] {
        let output = run(command, folder);
        assert!(output.status.success(), "{command}: {output:?}");
    }
}

#[test]
fn every_command_has_examples_that_work() {
    let begun = tempfile::tempdir().unwrap();
    begin(begun.path());
    let changes = run("ifmatch --json changes shop.ifm prices", begun.path());
    let changes = String::from_utf8(changes.stdout).unwrap();
    let cursor = Regex::new(r#""cursor":"([^"]+)""#).unwrap();
    let cursor = cursor.captures(&changes).unwrap()[1].to_owned();

    let help = String::from_utf8(run("ifmatch -h", begun.path()).stdout).unwrap();
    let verbs = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let verbs: Vec<&str> =
        verbs.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(verbs.len() > 20, "{verbs:?}");
    for verb in verbs.into_iter().filter(|verb| *verb != "help").chain([""]) {
        let folder = tempfile::tempdir().unwrap();
        run(&format!("cp -r {}/. .", begun.path().display()), folder.path());
        if verb == "restore" {
            run("ifmatch backup shop.ifm backup.ifm", folder.path());
        }
        for example in examples(verb, folder.path()) {
            // These wait for a person.
            if example.contains(" browse ") || example.contains("--follow") {
                continue;
            }
            let tag = run("ifmatch get shop.ifm prices apple --etag", folder.path());
            let tag = String::from_utf8(tag.stdout).unwrap().trim().to_owned();
            let mut command = example.replace("\"TAG\"", &tag).replace("TAG", &format!("'{tag}'"));
            command = command.replace("CURSOR", &cursor);
            if command.contains(" - ") && !command.contains('<') {
                command += " < apple.json";
            }
            let output = run(&command, folder.path());
            let asks = String::from_utf8_lossy(&output.stdout).contains("add --yes");
            // 3: the version that If-None-Match names is current.
            let is_well = matches!(output.status.code(), Some(0 | 3)) || asks;
            assert!(is_well, "{command}: {output:?}");
        }
    }
}
