//! Measurements in a process of their own: what is killed, and figures that the system keeps for
//! a process as a whole. The program runs itself again with a hidden subcommand; the child prints
//! its figures on one line.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::engine::{Absent, Column, Outcome};
use crate::engines;
use crate::plan::Plan;
use crate::report::{Report, Row};
use crate::rows::{footprint, idle, sizes};

pub const SUBCOMMAND: &str = "child";
const READY: &str = "ready";

pub struct Child(std::process::Child);

impl Child {
    pub fn start(kind: &str, column: &Column, dir: &Path, numbers: &[u64]) -> Outcome<Self> {
        let numbers = numbers.iter().map(u64::to_string);
        // A user's usual limit, whatever this one has: what runs within it runs everywhere.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 1024 && exec \"$0\" \"$@\""]);
        command.arg(env::current_exe()?).args([SUBCOMMAND, kind, column.name]);
        command.arg(dir).args(numbers);
        Ok(Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?))
    }

    /// Waits for the figures.
    pub fn figures<const N: usize>(self) -> Outcome<[f64; N]> {
        let output = self.0.wait_with_output()?;
        let line = String::from_utf8_lossy(&output.stdout);
        if let Some(reason) = line.strip_prefix("absent ") {
            return Err(Absent(reason.trim().to_owned()).into());
        }
        let figures: Vec<f64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next_back().unwrap_or_default().to_owned();
        figures.try_into().map_err(|_| format!("{}: {said}", output.status).into())
    }

    /// Waits until the child has done its writes, and kills it.
    pub fn kill_when_ready(mut self) -> Outcome {
        let mut line = String::new();
        let out = self.0.stdout.take().ok_or("no output")?;
        BufReader::new(out).read_line(&mut line)?;
        self.0.kill()?;
        self.0.wait()?;
        if line.trim() == READY {
            return Ok(());
        }
        let mut said = String::new();
        self.0.stderr.take().ok_or("no output")?.read_to_string(&mut said)?;
        Err(said.into())
    }
}

/// Has each store measured by a child of its own, one after the other, if any of the rows is wanted.
pub fn measure_each<const N: usize>(
    plan: &Plan,
    report: &mut Report,
    rows: &[Row; N],
    kind: &str,
    numbers: &[u64],
) -> Outcome {
    for column in plan.stores().filter(|_| plan.wants_any(rows)) {
        let dir = plan.folder()?;
        let child = Child::start(kind, column, dir.path(), numbers);
        report.put_all(rows.each_ref(), column, child.and_then(Child::figures));
    }
    Ok(())
}

/// What the child does: kind, engine, folder, numbers.
pub fn serve(arguments: &[String]) -> Outcome {
    let [kind, name, dir, numbers @ ..] = arguments else {
        return Err("a child is started by this program alone".into());
    };
    let found = engines::COLUMNS.iter().find(|column| column.name == name);
    let (column, dir) = (found.ok_or("no such engine")?, Path::new(dir));
    let numbers: Vec<u64> = numbers.iter().map(|n| n.parse()).collect::<Result<_, _>>()?;
    let figures = match (&**kind, &*numbers) {
        ("killed", &[items, writes]) => {
            let _open = sizes::write_to_be_killed(column, dir, items, writes)?;
            println!("{READY}");
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        }
        ("overwrite", &[items, writes, value_bytes, cache_bytes]) => {
            footprint::overwrite(column, dir, items, writes, value_bytes as usize, cache_bytes)
        }
        ("memory", &[items, operations, cache_bytes]) => {
            footprint::memory(column, dir, items, operations, cache_bytes)
        }
        ("idle", &[items, milliseconds]) => idle::idle(column, dir, items, milliseconds),
        ("many", &[stores]) => idle::many(column, dir, stores),
        _ => Err("no such measurement".into()),
    };
    match figures {
        Ok(figures) => {
            let figures: Vec<_> = figures.iter().map(f64::to_string).collect();
            println!("{}", figures.join(" "));
            Ok(())
        }
        Err(error) if error.is::<Absent>() => {
            println!("absent {error}");
            Ok(())
        }
        Err(error) => Err(error),
    }
}
