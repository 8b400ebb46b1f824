//! What a filter demands of the values at its paths, as codes of an index: for
//! [`plan`](super::plan).

use serde_json::Value;

use super::encoding::{CUT_BYTES, field_code, is_cut, kind_bounds, present_bounds, string_prefix};
use super::filter::{Comparison, Condition};
use super::order::kind;
use super::pointer::Pointer;

/// What one value at a path has to be, as codes of a field that ascends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Demand {
    /// One of these, in order.
    Equal(Vec<Vec<u8>>),
    /// From one, on, up to another and without that.
    Range(Vec<u8>, Vec<u8>),
}

/// A demand on the values at a path.
#[derive(Debug)]
pub(super) struct Demanded {
    pub(super) path: Pointer,
    pub(super) demand: Demand,
    /// Demands of one group are on the same value, if the path has a `*`; 0 for a group of its own.
    group: usize,
    /// Whether it is all that the condition says.
    pub(super) exact: bool,
}

#[derive(Debug, Default)]
pub(super) struct Demands {
    pub(super) demands: Vec<Demanded>,
    groups: usize,
    /// Whether there are conditions that no demand represents.
    pub(super) others: bool,
}

impl Demands {
    /// Collects what must hold. `scope` is the path of the value that the condition is about, and
    /// its group.
    pub(super) fn collect(&mut self, condition: &Condition, scope: Option<(&Pointer, usize)>) {
        match condition {
            Condition::All(parts) => parts.iter().for_each(|part| self.collect(part, scope)),
            Condition::Element { path, of } => {
                self.others = true;
                let path = scope.map_or_else(|| Some(path.clone()), |(at, _)| at.join(path));
                self.groups += 1;
                let group = self.groups;
                if let Some(path) = path {
                    self.collect(of, Some((&path, group)));
                }
            }
            Condition::Compare { path, comparison, value } => {
                let exact = !matches!(comparison, Comparison::Ne);
                self.add(path, scope, of_comparison(*comparison, value), exact);
            }
            Condition::Between { path, low, high } => {
                let (from, to) = (code(low), after(code(high)));
                let exact = kind(low) == kind(high);
                self.add(path, scope, to.map(|to| Demand::Range(from, to)), exact);
            }
            Condition::In { path, values } => {
                let mut codes: Vec<Vec<u8>> = values.iter().map(code).collect();
                codes.sort_unstable();
                codes.dedup();
                self.add(path, scope, Some(Demand::Equal(codes)), true);
            }
            Condition::Prefix { path, prefix } => {
                let from = string_prefix(prefix);
                let to = after(from.clone());
                self.add(path, scope, to.map(|to| Demand::Range(from, to)), true);
            }
            Condition::Exists { path } => self.add(path, scope, Some(present()), true),
            Condition::Any(_) | Condition::Not(_) => self.others = true,
        }
    }

    fn add(
        &mut self,
        path: &Pointer,
        scope: Option<(&Pointer, usize)>,
        demand: Option<Demand>,
        exact: bool,
    ) {
        let Some(demand) = demand else {
            self.others = true;
            return;
        };
        // Below a value that is one, a path without `*` leads to one value.
        let (path, group) = match scope {
            None => (Some(path.clone()), 0),
            Some((at, group)) => (at.join(path), if path.has_each() { 0 } else { group }),
        };
        if let Some(path) = path {
            self.demands.push(Demanded { path, demand, group, exact });
        }
    }

    /// What a single value at the path has to be. Of a path with `*` it is what one of the
    /// conditions demands, or one group of them: those of different groups may be met by different
    /// elements.
    pub(super) fn of(&self, path: &Pointer) -> Option<Demand> {
        let on_path = || self.demands.iter().filter(|demanded| demanded.path == *path);
        if !path.has_each() {
            return on_path().map(|demanded| demanded.demand.clone()).reduce(Demand::and);
        }
        let single = on_path().filter(|demanded| demanded.group == 0);
        let single = single.map(|demanded| demanded.demand.clone());
        let groups = (1..=self.groups).filter_map(|group| {
            let of_group = on_path().filter(|demanded| demanded.group == group);
            of_group.map(|demanded| demanded.demand.clone()).reduce(Demand::and)
        });
        single.chain(groups).min_by_key(Demand::width)
    }
}

impl Demand {
    /// What meets both demands on one value.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Range(a_from, a_to), Self::Range(b_from, b_to)) => {
                Self::Range(a_from.max(b_from), a_to.min(b_to))
            }
            (Self::Equal(mut codes), Self::Equal(others)) => {
                codes.retain(|code| others.contains(code));
                Self::Equal(codes)
            }
            // The filter sees to the range.
            (Self::Equal(codes), Self::Range(..)) | (Self::Range(..), Self::Equal(codes)) => {
                Self::Equal(codes)
            }
        }
    }

    /// Equality before ranges, fewer values before more, and presence last.
    fn width(&self) -> usize {
        match self {
            Self::Equal(codes) => codes.len(),
            range if *range == present() => usize::MAX,
            Self::Range(..) => usize::MAX - 1,
        }
    }

    /// Whether it represents more values than are demanded.
    pub(super) fn is_cut(&self) -> bool {
        match self {
            Self::Equal(codes) => codes.iter().any(|code| is_cut(code)),
            Self::Range(from, to) => is_cut(from) || is_cut(to),
        }
    }

    pub(super) fn span(self) -> Option<(Vec<u8>, Vec<u8>)> {
        match self {
            Self::Range(from, to) => Some((from, to)),
            Self::Equal(codes) => {
                let to = codes.last().cloned().and_then(after)?;
                Some((codes.into_iter().next()?, to))
            }
        }
    }
}

fn of_comparison(comparison: Comparison, value: &Value) -> Option<Demand> {
    let (least, greatest) = kind_bounds(kind(value));
    Some(match comparison {
        Comparison::Eq => Demand::Equal(vec![code(value)]),
        Comparison::Ne => present(),
        Comparison::Lt => Demand::Range(least, below(code(value))?),
        Comparison::Le => Demand::Range(least, after(code(value))?),
        Comparison::Gt => Demand::Range(above(code(value))?, greatest),
        Comparison::Ge => Demand::Range(code(value), greatest),
    })
}

pub(super) fn present() -> Demand {
    let (from, to) = present_bounds();
    Demand::Range(from, to)
}

fn code(value: &Value) -> Vec<u8> {
    field_code(Some(value), false)
}

/// The end of what is less than a value; a cut code represents more than one.
fn below(code: Vec<u8>) -> Option<Vec<u8>> {
    if code.len() < CUT_BYTES { Some(code) } else { after(code) }
}

/// The beginning of what is greater than a value.
fn above(code: Vec<u8>) -> Option<Vec<u8>> {
    if code.len() < CUT_BYTES { after(code) } else { Some(code) }
}

/// The first bytes that are greater than all that begin with these; `None` where there are none.
pub(super) fn after(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    while bytes.pop_if(|last| *last == u8::MAX).is_some() {}
    *bytes.last_mut()? += 1;
    Some(bytes)
}
