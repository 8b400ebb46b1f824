//! The results, and how they stand to the goals.

use std::collections::HashMap;

use crate::engine::{Column, Mode};
use crate::work::{Goal, Reference, Work};

const OURS: &str = "ifmatch";
const WIDTH: usize = 14;

/// Operations per second, by row and column.
#[derive(Default)]
pub struct Table(HashMap<(&'static str, &'static str), f64>);

impl Table {
    pub fn put(&mut self, work: &Work, column: &Column, rate: f64) {
        self.0.insert((work.name, column.name), rate);
    }

    pub fn print(&self, works: &[&Work], columns: &[&Column]) {
        print!("\n{:WIDTH$}", "op/s");
        for column in columns {
            print!("{:>WIDTH$}", column.name);
        }
        for work in works {
            print!("\n{:WIDTH$}", work.name);
            for column in columns {
                let mark = if loses_on_kill(work, column) { "*" } else { "" };
                let rate = self.0.get(&(work.name, column.name));
                let text = rate.map_or("-".to_owned(), |rate| format!("{}{mark}", short(*rate)));
                print!("{text:>WIDTH$}");
            }
        }
        println!("\n\n* A kill loses what was acknowledged, so it counts for no goal.\n");
        for work in works {
            for goal in work.goals {
                self.print_goal(work, goal, columns);
            }
        }
    }

    fn print_goal(&self, work: &Work, goal: &Goal, columns: &[&Column]) {
        let ours = self.0.get(&(work.name, OURS));
        let (Some(ours), Some((name, rate))) = (ours, self.reference(work, goal, columns)) else {
            return println!("{:WIDTH$} not measured", work.name);
        };
        let ratio = ours / rate;
        let verdict = if ratio >= goal.ratio { "met" } else { "MISSED" };
        let wanted = goal.ratio;
        println!("{:WIDTH$} {ratio:6.2} x {name:14} goal {wanted:3.1}  {verdict}", work.name);
    }

    /// What a goal is held against: its name and its rate.
    fn reference(
        &self,
        work: &Work,
        goal: &Goal,
        columns: &[&Column],
    ) -> Option<(&'static str, f64)> {
        let cell = |row, column| self.0.get(&(row, column)).copied();
        match goal.to {
            Reference::Column(name) => Some((name, cell(work.name, name)?)),
            Reference::OwnRow(name) => Some((name, cell(name, OURS)?)),
            Reference::BestPeer => columns
                .iter()
                .filter(|column| column.peer && !loses_on_kill(work, column))
                .filter_map(|column| Some((column.name, cell(work.name, column.name)?)))
                .max_by(|a, b| a.1.total_cmp(&b.1)),
        }
    }
}

fn loses_on_kill(work: &Work, column: &Column) -> bool {
    work.writes() && work.mode == Mode::Eventual && !column.eventual_survives_kill
}

/// A rate with three figures: 812, 8.12 k, 81.2 k, 8.12 M.
fn short(rate: f64) -> String {
    let (scaled, unit) = match rate {
        r if r >= 1e6 => (r / 1e6, " M"),
        r if r >= 1e3 => (r / 1e3, " k"),
        r => (r, ""),
    };
    let digits = if scaled >= 100.0 || unit.is_empty() {
        0
    } else if scaled >= 10.0 {
        1
    } else {
        2
    };
    format!("{scaled:.digits$}{unit}")
}
