//! Records the system calls of a process with `strace`, and reads what it wrote down.
//!
//! strace stops a thread when it enters a call and when it leaves it, and handles one stop at a
//! time. So what one line of its log tells as returned was over before a later line's call began;
//! calls between whose beginning and end others stand may take effect at any time between.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::child::{PLAN, Plan, REPORT, STORE};

/// All calls by which files, their lengths or their names change or are made durable. Those that
/// are not followed are there to be refused.
const CALLS: &str = "open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,truncate,\
    ftruncate,fallocate,fsync,fdatasync,sync_file_range,msync,sync,syncfs,rename,renameat,\
    renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,copy_file_range,sendfile,\
    splice,mmap,lseek,io_uring_setup";

/// More than any one call writes; a call that was cut off is refused.
const LONGEST_BYTES: &str = "8388608";

/// Paths are relative to the folder that is recorded.
#[derive(Debug)]
pub(super) enum Call {
    /// An open that makes the file if there is none, or empties it.
    Open {
        path: PathBuf,
        create: bool,
        truncate: bool,
    },
    Write {
        path: PathBuf,
        offset: u64,
        data: Vec<u8>,
    },
    SetLen {
        path: PathBuf,
        len: u64,
    },
    /// Space is reserved, and the file is at least so long.
    Reserve {
        path: PathBuf,
        end: u64,
    },
    Sync {
        path: PathBuf,
    },
    MakeDir {
        path: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
}

#[derive(Debug)]
pub(super) enum Event {
    Begin(usize, Call),
    /// What the call returned; `None` where the process ended before it did.
    End(usize, Option<i64>),
    /// A line of the report is about to be written.
    Said(String),
}

/// Whether strace is there and may watch a process.
pub(super) fn can_record() -> bool {
    let mut command = Command::new("strace");
    let status = command.args(["-f", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Runs a process that works with a store, and writes its calls into a log.
pub(super) fn record(store: &Path, report: &Path, plan: Plan, log: &Path) {
    let output = Command::new("strace")
        .args(["-f", "-q", "-y", "-xx", "--seccomp-bpf", "-e", "signal=none"])
        .args(["-s", LONGEST_BYTES, "-e", &format!("trace={CALLS}"), "-o"])
        .arg(log)
        .arg(std::env::current_exe().unwrap())
        .args(["recorded_cuts::child::child", "--exact", "--ignored", "--nocapture"])
        .env(STORE, store)
        .env(REPORT, report)
        .env(PLAN, plan.text())
        .output()
        .expect("strace runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the recorded process failed: {said}");
}

/// Reads a log: what happened below `root`, and what was said in the report.
pub(super) fn read(log: &Path, root: &Path, report: &Path) -> Vec<Event> {
    let mut reader = Reader {
        root,
        report,
        positions: HashMap::new(),
        under_way: HashMap::new(),
        events: vec![],
    };
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().for_each(|line| reader.line(line));
    for (_, begun) in reader.under_way.drain() {
        reader.events.extend(begun.number.map(|number| Event::End(number, None)));
    }
    reader.events
}

struct Reader<'a> {
    root: &'a Path,
    report: &'a Path,
    /// Where in its file each handle stands, for calls that do not say.
    positions: HashMap<i64, u64>,
    /// The call in which each thread is.
    under_way: HashMap<String, Begun>,
    events: Vec<Event>,
}

#[derive(Default)]
struct Begun {
    number: Option<usize>,
    opens: bool,
    /// The handle that is moved on by what is written.
    moves: Option<i64>,
}

impl Reader<'_> {
    fn line(&mut self, line: &str) {
        let (thread, line) = line.split_once(' ').unwrap();
        let line = line.trim_start();
        if line.starts_with("+++") || line.starts_with("---") {
            return;
        }
        if line.starts_with("<... ") {
            return self.end(thread, line);
        }
        let (name, rest) = line.split_once('(').expect("a call");
        let unfinished = rest.strip_suffix("<unfinished ...>");
        let arguments = unfinished.unwrap_or_else(|| rest.rsplit_once(" = ").expect("a result").0);
        let arguments = arguments.trim_end().trim_end_matches(')').trim_end_matches(',');
        let begun = self.begin(name, &arguments.split(", ").collect::<Vec<_>>());
        self.under_way.insert(thread.to_owned(), begun);
        if unfinished.is_none() {
            self.end(thread, rest);
        }
    }

    fn begin(&mut self, name: &str, arguments: &[&str]) -> Begun {
        let opens = name.starts_with("open");
        let handle = arguments.first().and_then(|argument| number_of(argument));
        if name == "lseek" && arguments[1..] != ["0", "SEEK_CUR"] {
            // Files are read so; from here on nothing may be written through this handle.
            self.positions.remove(&handle.unwrap());
        }
        let call = match name {
            "write" if handle_path(arguments[0]).as_deref() == Some(self.report) => {
                let line = String::from_utf8(bytes_of(arguments[1])).unwrap();
                self.events.push(Event::Said(line.trim_end().to_owned()));
                None
            }
            _ => self.call(name, arguments),
        };
        let moves = handle.filter(|_| name == "write" && call.is_some());
        let number = call.map(|call| {
            self.events.push(Event::Begin(self.events.len(), call));
            self.events.len() - 1
        });
        Begun { number, opens, moves }
    }

    fn end(&mut self, thread: &str, line: &str) {
        let begun = self.under_way.remove(thread).unwrap_or_default();
        let result = number_of(line.rsplit_once(" = ").expect("a result").1);
        if let Some(handle) = result.filter(|_| begun.opens) {
            self.positions.insert(handle, 0);
        }
        if let (Some(handle), Some(written)) = (begun.moves, result) {
            *self.positions.get_mut(&handle).unwrap() += u64::try_from(written).unwrap();
        }
        self.events.extend(begun.number.map(|number| Event::End(number, result)));
    }

    /// What a call does below the root.
    fn call(&self, name: &str, arguments: &[&str]) -> Option<Call> {
        let handle = || self.below(handle_path(arguments[0])?);
        let at = |dir: usize, name: usize| self.below(path_at(arguments[dir], arguments[name]));
        let plain = |name: usize| self.below(path_of(arguments[name]));
        let number = |at: usize| arguments[at].parse::<u64>().unwrap();
        Some(match name {
            "openat" => {
                let (path, flags) = (at(0, 1)?, arguments[2]);
                let unknown = ["O_SYNC", "O_DSYNC", "O_DIRECT|", "O_APPEND", "O_TMPFILE"];
                let unknown = unknown.iter().find(|flag| format!("{flags}|").contains(**flag));
                assert_eq!(unknown, None, "{path:?} is opened with {flags}");
                let [create, truncate] = ["O_CREAT", "O_TRUNC"].map(|flag| flags.contains(flag));
                (create || truncate).then_some(Call::Open { path, create, truncate })?
            }
            "write" => {
                let path = handle()?;
                let offset = self.positions[&number_of(arguments[0])?];
                Call::Write { path, offset, data: bytes_of(arguments[1]) }
            }
            "pwrite64" => {
                Call::Write { path: handle()?, offset: number(3), data: bytes_of(arguments[1]) }
            }
            "ftruncate" => Call::SetLen { path: handle()?, len: number(1) },
            "fallocate" => {
                let path = handle()?;
                assert_eq!(arguments[1], "0", "a kind of fallocate that is not followed");
                Call::Reserve { path, end: number(2) + number(3) }
            }
            "fsync" | "fdatasync" => Call::Sync { path: handle()? },
            "lseek" => return None,
            // It flushes neither the device's cache nor what the file system knows of the file.
            "sync_file_range" => return None,
            "mkdir" => Call::MakeDir { path: plain(0)? },
            "mkdirat" => Call::MakeDir { path: at(0, 1)? },
            "unlink" | "rmdir" => Call::Remove { path: plain(0)? },
            "unlinkat" => Call::Remove { path: at(0, 1)? },
            "rename" => Call::Rename { from: plain(0)?, to: plain(1)? },
            "renameat" | "renameat2" => Call::Rename { from: at(0, 1)?, to: at(2, 3)? },
            "mmap" => {
                let writes = arguments[2].contains("PROT_WRITE") && arguments[3].contains("SHARED");
                let mapped = handle_path(arguments[4]).and_then(|path| self.below(path));
                assert!(!writes || mapped.is_none(), "{mapped:?} is mapped to be written");
                return None;
            }
            _ => {
                let paths = arguments.iter().filter_map(|argument| any_path(argument));
                let below = paths.filter_map(|path| self.below(path)).next();
                assert!(below.is_none() && name != "io_uring_setup", "{name} of {below:?}");
                return None;
            }
        })
    }

    fn below(&self, path: PathBuf) -> Option<PathBuf> {
        path.strip_prefix(self.root).ok().map(Path::to_owned)
    }
}

/// The number that a result or an argument begins with.
fn number_of(text: &str) -> Option<i64> {
    let end = text.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// The path in `3<...>`; none for what is no file, or was removed.
fn handle_path(argument: &str) -> Option<PathBuf> {
    let (_, path) = argument.split_once('<')?;
    let path = path.strip_suffix('>').filter(|path| path.starts_with("\\x2f"))?;
    Some(PathBuf::from(String::from_utf8(unescape(path)).unwrap()))
}

fn path_of(argument: &str) -> PathBuf {
    PathBuf::from(String::from_utf8(bytes_of(argument)).unwrap())
}

/// A path that may be relative to the folder of a handle.
fn path_at(dir: &str, argument: &str) -> PathBuf {
    handle_path(dir).unwrap_or_default().join(path_of(argument))
}

fn any_path(argument: &str) -> Option<PathBuf> {
    handle_path(argument).or_else(|| argument.starts_with("\"\\x2f").then(|| path_of(argument)))
}

/// The bytes in `"\x00\x01"`.
fn bytes_of(argument: &str) -> Vec<u8> {
    let inner = argument.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    unescape(inner.expect("a text that is whole"))
}

fn unescape(text: &str) -> Vec<u8> {
    let digit = |digit: u8| (digit as char).to_digit(16).expect("a hexadecimal digit") as u8;
    let (bytes, rest) = text.as_bytes().as_chunks::<4>();
    assert!(rest.is_empty(), "a text that strace did not escape");
    bytes.iter().map(|[_, _, high, low]| digit(*high) << 4 | digit(*low)).collect()
}
