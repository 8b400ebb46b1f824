//! The documents: every link leads somewhere, every page is in the guide's summary, and every kind
//! of error is explained.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The documents that people read.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.to_owned(), root.join("docs"), root.join("docs/guide/src")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = files.map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

/// The text without its blocks of code.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// The targets of the links in a text, `[…](target)`.
fn links(prose: &str) -> Vec<&str> {
    let after = prose.split("](").skip(1);
    after.filter_map(|rest| rest.split_once(')').map(|(target, _)| target)).collect()
}

/// The anchors that a document's headings make.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    let anchor = |heading: &str| {
        let kept = heading.trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// Where the repository's files are shown. Pages of the guide link to them in full, as the book is
/// also shown elsewhere.
const SHOWN_AT: [&str; 2] = [
    concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/"),
    concat!(env!("CARGO_PKG_REPOSITORY"), "/tree/main/"),
];

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut dead = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&prose(&text)) {
            let shown = SHOWN_AT.iter().find_map(|at| link.strip_prefix(at));
            let here = shown.unwrap_or(link);
            if here.starts_with("http") || here.contains(' ') {
                continue;
            }
            let (file, anchor) = here.split_once('#').unwrap_or((here, ""));
            let folder = if shown.is_some() { root } else { document.parent().unwrap() };
            let target = if file.is_empty() { document.clone() } else { folder.join(file) };
            let leaves_book = shown.is_none()
                && file.starts_with("..")
                && document.parent().unwrap().ends_with("guide/src");
            let leads = target.exists()
                && !leaves_book
                && (anchor.is_empty()
                    || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor));
            if !leads {
                dead.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn every_page_of_the_guide_is_in_its_summary() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/src");
    let summary = fs::read_to_string(pages.join("SUMMARY.md")).unwrap();
    let listed = links(&summary);
    for page in fs::read_dir(&pages).unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        let is_page = name.ends_with(".md") && name != "SUMMARY.md";
        assert!(!is_page || listed.contains(&name.as_str()), "{name} is not in SUMMARY.md");
    }
}

#[test]
fn every_kind_of_error_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/guide/src/errors.md")).unwrap();
    let code = fs::read_to_string(root.join("src/values/error/kind.rs")).unwrap();
    let kinds: Vec<&str> = code
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \""))
        .filter_map(|(_, rest)| rest.split_once('"').map(|(kind, _)| kind))
        .collect();
    assert!(kinds.len() > 20, "{kinds:?}");
    for kind in kinds {
        assert!(page.contains(&format!("| `{kind}` |")), "{kind} is not explained");
    }
}

/// A finding: README said neither what is below nor what comes along with it.
#[test]
fn e8_readme_names_the_engine_below_and_every_notice() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let (readme, lock, deny) = (read("README.md"), read("Cargo.lock"), read("deny.toml"));
    let (_, sled) = lock.split_once("name = \"sled\"\nversion = \"").unwrap();
    let (version, _) = sled.split_once('"').unwrap();
    assert!(readme.contains(&format!("[sled](https://docs.rs/sled/{version}) {version}")));
    let notices: Vec<&str> = deny
        .split("id = \"")
        .skip(1)
        .filter_map(|rest| rest.split_once('"'))
        .map(|n| n.0)
        .collect();
    assert!(!notices.is_empty());
    for notice in notices {
        assert!(readme.contains(&format!("| {notice} |")), "README does not name {notice}");
    }
}
