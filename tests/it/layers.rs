//! The layers of `src`: a file names only its own floor and the floors below it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. `journal` and `index` share a floor and do not know each other.
const FLOORS: [&[&str]; 6] =
    [&["seams"], &["values"], &["storage"], &["journal", "index"], &["engine"], &["api"]];
/// Files that stand outside of the floors: the root, and what drives stores for tests.
const OUTSIDE: [&str; 2] = ["lib.rs", "simulation.rs"];

fn floor_of(layer: &str) -> usize {
    let floor = FLOORS.iter().position(|layers| layers.contains(&layer));
    floor.unwrap_or_else(|| panic!("src/{layer} belongs to no layer; see docs/design.md"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file that is no test and no comment.
fn production(text: &str) -> String {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut kept: Vec<&str> = Vec::new();
    let mut lines = code.peekable();
    while let Some(line) = lines.next() {
        let is_test = line.starts_with("#[cfg(") && line.contains("test") && !line.contains("not(");
        let is_test = is_test || line.starts_with("#[cfg(all(test, not(loom)))]");
        if is_test && lines.peek().is_some_and(|next| next.starts_with("mod ")) {
            // A module of tests in the file goes on to the end of it.
            if lines.next().is_some_and(|module| module.ends_with('{')) {
                break;
            }
            continue;
        }
        kept.push(line);
    }
    kept.join("\n")
}

/// Where a file names another layer: the layer and the line.
fn named_layers(code: &str) -> Vec<(String, String)> {
    let mut named = Vec::new();
    for line in code.lines() {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            named.push((rest[..end].to_owned(), line.trim().to_owned()));
        }
    }
    named
}

fn is_test_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap();
    let in_tests =
        path.iter().any(|part| ["tests", "models", "simulated"].iter().any(|t| part == *t));
    in_tests || ["tests.rs", "conformance.rs", "simulated.rs"].contains(&name)
}

#[test]
fn no_use_points_up() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut upward = BTreeMap::new();
    for file in &files {
        let inside = file.strip_prefix(&root).unwrap();
        let layer = inside.iter().next().and_then(|part| part.to_str()).unwrap();
        if OUTSIDE.contains(&layer) || is_test_file(inside) {
            continue;
        }
        let own = floor_of(layer);
        for (named, line) in named_layers(&production(&fs::read_to_string(file).unwrap())) {
            let beside = named != layer
                && FLOORS
                    .iter()
                    .any(|floor| floor.contains(&layer) && floor.contains(&named.as_str()));
            if floor_of(&named) > own || beside {
                upward.insert(inside.to_owned(), line);
            }
        }
    }
    assert!(upward.is_empty(), "these name a layer above or beside their own: {upward:#?}");
    assert!(files.len() > 80, "only {} files were looked at", files.len());
}

#[test]
fn few_files_are_loose() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let loose =
        fs::read_dir(root).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file());
    assert_eq!(loose.count(), OUTSIDE.len());
}

/// The modules' table of `docs/design.md` says where to change something, so it must name every
/// file; where it names a folder, the files in it may be named by the table of the folder's
/// `mod.rs`.
#[test]
fn the_map_names_every_file() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let design = fs::read_to_string(manifest.join("docs/design.md")).unwrap();
    let map = design.split("\n## Modules").nth(1).and_then(|rest| rest.split("\n## ").next());
    let map = map.expect("docs/design.md has a section on modules");
    let root = manifest.join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let is_named = |file: &PathBuf| {
        let inside = file.strip_prefix(&root).unwrap();
        let name = inside.file_name().and_then(|name| name.to_str()).unwrap();
        let folder = fs::read_to_string(file.with_file_name("mod.rs")).unwrap_or_default();
        let is_outside = inside.components().count() == 1 || is_test_file(inside);
        let is_small = name == "mod.rs" && inside.components().count() == 2;
        is_outside
            || is_small
            || map.contains(&format!("(../src/{})", inside.display()))
            || folder.lines().any(|line| line.starts_with("//! |") && line.contains(name))
    };
    files.retain(|file| !is_named(file));
    assert!(files.is_empty(), "docs/design.md, Modules, does not name {files:#?}");
}
