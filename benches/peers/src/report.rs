//! The results, how they stand to the goals, and the page that tells them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use crate::engine::{Absent, Column, Outcome};
use crate::engines::{OURS, RAW_DISK};
use crate::plan::Plan;

pub struct Family {
    pub title: &'static str,
    pub about: &'static str,
    pub rows: &'static [Row],
    pub run: fn(&Plan, &mut Report) -> Outcome,
}

pub struct Row {
    pub id: &'static str,
    /// With `{n}`, `{5n}` and so on for the numbers of a run.
    pub what: &'static str,
    pub unit: Unit,
    pub rivals: Rivals,
    pub goals: &'static [Goal],
}

impl Row {
    pub const fn new(
        id: &'static str,
        what: &'static str,
        unit: Unit,
        rivals: Rivals,
        goals: &'static [Goal],
    ) -> Self {
        Self { id, what, unit, rivals, goals }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// More is better; of all others less is.
    PerSecond,
    Milliseconds,
    /// So many times something.
    Times,
    MiB,
    KiB,
    Count,
}

/// Which peers count in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rivals {
    All,
    /// Those whose acknowledged writes survive a kill.
    SurvivingKill,
    /// Those that compare a checksum of what they read.
    Checking,
}

impl Rivals {
    fn admits(self, column: &Column) -> bool {
        match self {
            Self::All => true,
            Self::SurvivingKill => column.survives_kill,
            Self::Checking => column.checks_reads,
        }
    }

    /// What marks the figures of those that it does not admit, and why.
    fn mark(self) -> (&'static str, &'static str) {
        match self {
            Self::All => ("", ""),
            Self::SurvivingKill => ("\\*", "a kill loses what was acknowledged"),
            Self::Checking => ("†", "what is read is not checked"),
        }
    }
}

pub enum Goal {
    /// Ours is at least so many times as good as the best peer.
    Best(f64),
    /// The same beside one column.
    Column(f64, &'static str),
    /// Ours is at least so many times ours of another row.
    OwnAtLeast(f64, &'static str),
    /// Ours is at most so many times ours of another row.
    OwnAtMost(f64, &'static str),
    /// Ours is at most so much.
    AtMost(f64),
}

enum Cell {
    Values(Vec<f64>),
    /// Why there is no value, and whether that is a failure.
    Gap(String, bool),
}

#[derive(Default)]
pub struct Report(HashMap<(&'static str, &'static str), Cell>);

impl Report {
    /// Adds what one round gave, of which the median counts.
    pub fn put(&mut self, row: &Row, column: &Column, result: Outcome<f64>) {
        let failed = |reason: &str| eprintln!("{}, {}: {reason}", row.id, column.name);
        let at = (row.id, column.name);
        match result {
            Ok(value) => {
                eprintln!("{}, {}: {}", row.id, column.name, text(value, row.unit));
                match self.0.entry(at).or_insert_with(|| Cell::Values(Vec::new())) {
                    Cell::Values(values) => values.push(value),
                    Cell::Gap(..) => {}
                }
            }
            Err(error) if error.is::<Absent>() => {
                self.0.insert(at, Cell::Gap(error.to_string(), false));
            }
            Err(error) => {
                let reason = format!("failed: {error}");
                failed(&reason);
                self.0.insert(at, Cell::Gap(reason, true));
            }
        }
    }

    /// The same for several rows that one measurement gives.
    pub fn put_all<const N: usize>(
        &mut self,
        rows: [&Row; N],
        column: &Column,
        result: Outcome<[f64; N]>,
    ) {
        match result {
            Ok(values) => {
                for (row, value) in rows.into_iter().zip(values) {
                    self.put(row, column, Ok(value));
                }
            }
            Err(error) => {
                for row in rows {
                    self.put(row, column, Err(again(&*error)));
                }
            }
        }
    }

    pub fn failures(&self) -> usize {
        self.0.values().filter(|cell| matches!(cell, Cell::Gap(_, true))).count()
    }

    fn value(&self, row: &str, column: &str) -> Option<f64> {
        let key = self.0.keys().find(|(r, c)| *r == row && *c == column)?;
        match self.0.get(key)? {
            Cell::Values(values) => {
                let mut sorted = values.clone();
                sorted.sort_by(f64::total_cmp);
                sorted.get(sorted.len() / 2).copied()
            }
            Cell::Gap(..) => None,
        }
    }

    fn gap(&self, row: &'static str, column: &'static str) -> &str {
        match self.0.get(&(row, column)) {
            Some(Cell::Gap(reason, _)) => reason,
            _ if column == RAW_DISK => "stores no items",
            _ => "not measured",
        }
    }

    /// The best peer of a row, and how many times as good as it ours is.
    fn best(&self, row: &Row, plan: &Plan) -> Option<(&'static str, f64)> {
        let counts = |column: &Column| column.peer && row.rivals.admits(column);
        let ratios = plan
            .columns
            .iter()
            .filter(|column| counts(column))
            .filter_map(|column| Some((column.name, self.ratio(row, column.name)?)));
        ratios.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// How many times as good as a column's ours is.
    fn ratio(&self, row: &Row, column: &str) -> Option<f64> {
        let (ours, theirs) = (self.value(row.id, OURS)?, self.value(row.id, column)?);
        let (more, less) =
            if row.unit == Unit::PerSecond { (ours, theirs) } else { (theirs, ours) };
        Some(if more == less { 1.0 } else { more / less })
    }

    /// A goal in words, and whether it is met by what was measured.
    fn judge(&self, row: &Row, goal: &Goal, plan: &Plan) -> (String, Option<(f64, bool)>) {
        let ours = self.value(row.id, OURS);
        let own = |other| Some(ours? / self.value(other, OURS)?);
        let at_least = |ratio: Option<f64>, goal| ratio.map(|ratio| (ratio, ratio >= goal));
        let at_most = |ratio: Option<f64>, goal| ratio.map(|ratio| (ratio, ratio <= goal));
        match *goal {
            Goal::Best(goal) => {
                let best = self.best(row, plan).map(|(_, ratio)| ratio);
                (format!("≥ {goal} × best peer"), at_least(best, goal))
            }
            Goal::Column(goal, name) => {
                (format!("≥ {goal} × {name}"), at_least(self.ratio(row, name), goal))
            }
            Goal::OwnAtLeast(goal, other) => {
                (format!("≥ {goal} × our {other}"), at_least(own(other), goal))
            }
            Goal::OwnAtMost(goal, other) => {
                (format!("≤ {goal} × our {other}"), at_most(own(other), goal))
            }
            Goal::AtMost(goal) => (format!("≤ {}", text(goal, row.unit)), at_most(ours, goal)),
        }
    }

    pub fn page(&self, families: &[Family], plan: &Plan) -> String {
        let mut page = String::new();
        let mut losses = String::new();
        for family in families.iter().filter(|family| plan.wants_any(family.rows)) {
            self.family(family, plan, &mut page, &mut losses);
        }
        let _ = writeln!(page, "\n## Where ifmatch loses\n");
        let none = "It misses no goal and is behind no peer that counts.\n";
        page.push_str(if losses.is_empty() { none } else { &losses });
        page
    }

    fn family(&self, family: &Family, plan: &Plan, page: &mut String, losses: &mut String) {
        let _ = writeln!(page, "\n## {}\n\n{}\n", family.title, sized(family.about, plan));
        let names: Vec<_> = plan.columns.iter().map(|column| column.name).collect();
        let _ = writeln!(page, "| row | what | {} | to the best peer | goal |", names.join(" | "));
        let _ = writeln!(page, "|---|---|{}---|---|", "--:|".repeat(names.len()));
        let wanted = || family.rows.iter().filter(|row| plan.wants(row));
        let mut gaps: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for row in wanted() {
            self.cells(row, plan, page, &mut gaps);
            let lost = self.verdicts(row, plan, page);
            if !lost.is_empty() {
                let what = sized(row.what, plan);
                let _ = writeln!(losses, "- {} ({what}): {}", row.id, lost.join("; "));
            }
        }
        for rivals in [Rivals::SurvivingKill, Rivals::Checking] {
            if wanted().any(|row| row.rivals == rivals) {
                let (mark, why) = rivals.mark();
                let _ = writeln!(page, "\n{mark} No rival in this row: {why}.");
            }
        }
        if !gaps.is_empty() {
            page.push_str("\nNo figure (–):\n\n");
        }
        for (reason, rows) in gaps {
            let _ = writeln!(page, "- {reason} ({})", rows.join(", "));
        }
    }

    /// A row's name and its cells; why some have no figure goes to `gaps`.
    fn cells(
        &self,
        row: &Row,
        plan: &Plan,
        page: &mut String,
        gaps: &mut BTreeMap<String, Vec<&str>>,
    ) {
        let _ = write!(page, "| {} | {} |", row.id, sized(row.what, plan));
        for column in &plan.columns {
            if let Some(value) = self.value(row.id, column.name) {
                let mark = if row.rivals.admits(column) { "" } else { row.rivals.mark().0 };
                let _ = write!(page, " {}{mark} |", text(value, row.unit));
            } else {
                let reason = format!("{}: {}", column.name, self.gap(row.id, column.name));
                gaps.entry(reason).or_default().push(row.id);
                page.push_str(" – |");
            }
        }
    }

    /// The end of a row: the best peer, and the goals. Returns what is lost to them.
    fn verdicts(&self, row: &Row, plan: &Plan, page: &mut String) -> Vec<String> {
        let mut lost = Vec::new();
        if let Some((name, ratio)) = self.best(row, plan) {
            let beside = format!("{} × {name}", short(ratio));
            let _ = write!(page, " {beside} |");
            lost.extend((ratio < 1.0).then_some(beside));
        } else {
            page.push_str(" – |");
        }
        let mut told = Vec::new();
        for goal in row.goals {
            let (words, verdict) = self.judge(row, goal, plan);
            let verdict = match verdict {
                Some((_, true)) => format!("{words}: met"),
                Some((value, false)) => format!("{words}: **missed**, {}", short(value)),
                None => format!("{words}: not measured"),
            };
            if !verdict.ends_with(": met") {
                lost.push(verdict.clone());
            }
            told.push(verdict);
        }
        let _ = writeln!(page, " {} |", told.join("; "));
        lost
    }
}

/// The same error for another row.
fn again(
    error: &(dyn std::error::Error + Send + Sync + 'static),
) -> Box<dyn std::error::Error + Send + Sync> {
    match error.downcast_ref::<Absent>() {
        Some(absent) => absent.clone().into(),
        None => error.to_string().into(),
    }
}

/// Puts the numbers of this run into a text.
fn sized(text: &str, plan: &Plan) -> String {
    let numbers = [
        ("{n/20}", plan.items / 20),
        ("{n}", plan.items),
        ("{5n}", plan.items * 5),
        ("{10n}", plan.items * 10),
        ("{50n}", plan.items * 50),
        ("{idle}", plan.idle().as_secs()),
        ("{many}", plan.many()),
    ];
    let put = |text: String, (name, number)| text.replace(name, &grouped(number));
    numbers.into_iter().fold(text.to_owned(), put)
}

pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn text(value: f64, unit: Unit) -> String {
    let unit = match unit {
        Unit::PerSecond => return format!("{}/s", short(value)),
        Unit::Milliseconds => " ms",
        Unit::Times => " ×",
        Unit::MiB => " MiB",
        Unit::KiB => " KiB",
        Unit::Count => "",
    };
    format!("{}{unit}", short(value))
}

/// A number with about three figures: 0.0812, 0.81, 8.12, 81.2, 812, 8.12 k, 8.12 M.
fn short(value: f64) -> String {
    if value.is_infinite() {
        return "∞".to_owned();
    }
    let (scaled, unit) = match value {
        v if v >= 999.5e3 => (v / 1e6, " M"),
        v if v >= 999.5 => (v / 1e3, " k"),
        v => (v, ""),
    };
    let digits = match scaled {
        s if s >= 99.95 => 0,
        s if s >= 9.995 => 1,
        s if s >= 0.0995 => 2,
        _ => 4,
    };
    let text = format!("{scaled:.digits$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}
