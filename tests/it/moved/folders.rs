//! Real folders that are moved or removed while a store in them is open. Windows lets nobody do that.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use ifmatch::simulation::Simulation;
use ifmatch::{Error, Options, Store};

use super::{Counter, check};

const CHILD_STORE: &str = "IFMATCH_MOVED_STORE";

/// Two stores of one process, in folders of the file system.
#[test]
fn a3_a_folder_that_was_moved_is_refused_and_the_one_in_its_place_is_whole() {
    for removed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("store"), folder.path().join("elsewhere"));
        let mut ours = Counter::new(Store::open(&path).unwrap());
        ours.write().unwrap();
        if removed {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::rename(&path, &elsewhere).unwrap();
        }
        let mut theirs = Counter::new(Store::open(&path).unwrap());
        theirs.write().unwrap();
        assert!(ours.do_everything());
        let refused = (0..3).find_map(|_| ours.write().err()).expect("a refusal");
        assert!(matches!(&refused, Error::Moved { path } if path.ends_with("store")), "{refused}");
        assert_eq!(refused.http_status(), 503);
        assert!(!theirs.do_everything());
        // The index, too, is missing some of its names.
        assert!(ours.store.clone().close().is_err(), "a close that knows nothing of it");
        theirs.write().unwrap();
        theirs.store.clone().close().unwrap();
        check(&Store::open(&path).unwrap(), theirs.acknowledged);
        if !removed {
            check(&Store::open(&elsewhere).unwrap(), ours.acknowledged);
        }
    }
}

/// A regression: the sync of the index's folder, which goes by its path, said that this was not found.
#[test]
fn a3_a_store_whose_folder_is_gone_says_so_to_whoever_asks() {
    for removed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("store"), folder.path().join("elsewhere"));
        let store = ifmatch::simulation::open_quietly(&path, &Options::new()).unwrap();
        let items = store.raw("items").unwrap();
        items.create("a", &Bytes::from_static(b"1")).unwrap();
        if removed {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::rename(&path, &elsewhere).unwrap();
        }
        assert_eq!(items.get("a").unwrap().unwrap().value, "1");
        let asked = [
            ("checkpoint", Simulation::checkpoint(&store)),
            ("compact", store.compact().map(drop)),
            ("close", store.close()),
        ];
        for (what, answer) in asked {
            assert!(matches!(answer, Err(Error::Moved { .. })), "{what}: {answer:?}");
        }
    }
}

/// A regression: the second process had acknowledged what the first one then removed.
#[test]
fn a3_two_processes_at_one_path_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (path, elsewhere) = (folder.path().join("store"), folder.path().join("elsewhere"));
    let mut first = Writing::start(&path);
    first.wait_for(3);
    fs::rename(&path, &elsewhere).unwrap();
    let mut second = Writing::start(&path);
    second.wait_for(5);
    let ours = first.end();
    second.wait_for(9);
    let theirs = second.end();
    check(&Store::open(&path).unwrap(), theirs);
    check(&Store::open(&elsewhere).unwrap(), ours);
}

/// A child that writes until it is refused or killed.
struct Writing {
    child: Child,
    numbers: std::iter::Peekable<Box<dyn Iterator<Item = u64>>>,
    acknowledged: u64,
}

impl Writing {
    fn start(path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["moved::folders::child", "--exact", "--ignored", "--nocapture"])
            .env(CHILD_STORE, path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let number = |line: String| line.strip_prefix("wrote ")?.strip_suffix(" .")?.parse().ok();
        let numbers: Box<dyn Iterator<Item = u64>> = Box::new(lines.filter_map(number));
        Self { child, numbers: numbers.peekable(), acknowledged: 0 }
    }

    fn wait_for(&mut self, number: u64) {
        while self.acknowledged < number {
            self.acknowledged = self.numbers.next().expect("the child writes");
        }
    }

    fn end(mut self) -> u64 {
        self.child.kill().unwrap();
        let acknowledged = self.numbers.last().unwrap_or(self.acknowledged);
        self.child.wait().unwrap();
        acknowledged
    }
}

/// What has the store open.
#[test]
#[ignore = "run by the test that kills it"]
fn child() {
    let Some(path) = std::env::var_os(CHILD_STORE) else { return };
    let mut counter = Counter::new(Store::open(PathBuf::from(path)).unwrap());
    loop {
        match counter.write() {
            Ok(()) => {
                let mut output = std::io::stdout().lock();
                writeln!(output, "wrote {} .", counter.acknowledged).unwrap();
                output.flush().unwrap();
            }
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
}
