//! Which index a find uses, and which part of it.
//!
//! | rule | |
//! |---|---|
//! | a condition counts if it must hold | it is the whole filter, or in an `all`, or in an `element` of these; what is in `any` and `not` does not count |
//! | an index may be used if its first field is demanded | by a condition that counts, or by the sort: an item that lacks it has no entry |
//! | the fields that are demanded to be equal come first | `=`, `in`, from the first field on: the equality prefix |
//! | then a range of the next field | `<` `<=` `>` `>=` `between` `prefix` `exists` `!=` |
//! | then the order | the field after the prefix is the one sorted by, in either direction |
//!
//! A unique index of which all fields are demanded to be equal to one value is used first: it leads
//! to one item at most. Then the index with the longest equality prefix is used, of these one with
//! a range, of these one that has the order, of these the one with fewest rows, and of these the
//! first by name.
//!
//! A range may hold more than is found, never less: items are compared with the whole filter,
//! unless the plan [decides](Plan::decides) it. That is so where the ranges are all that the filter
//! says. An entry that is cut decides nothing.

use super::demands::{Demand, Demanded, Demands, after, present};
use super::encoding::{CUT_BYTES, is_cut};
use super::entries::first_fields;
use super::filter::Condition;
use super::index::{Field, Index};
use super::sort::{Sort, SortField};
use crate::values::short_bytes::ShortBytes;

/// The most ranges that the lists of a filter are made into.
const MAX_RANGES: usize = 64;

/// Which part of an index a find reads, and what that spares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Which of the indexes.
    pub(crate) index: usize,
    /// The parts of it, in order, none of them beginning before the end of another.
    pub(crate) ranges: Vec<CodeRange>,
    /// Whether it is read from its end.
    pub(crate) reverse: bool,
    /// Whether its entries come in the order that is asked for, as far as the sort's field decides
    /// it: items with equal values are still to be ordered by key.
    pub(crate) ordered: bool,
    /// Whether an item can have several entries in the ranges.
    pub(crate) repeats: bool,
    /// How many fields are demanded to be equal, and whether there is a range after them.
    pub(crate) equal_fields: usize,
    pub(crate) ranged: bool,
    /// Whether the index is unique, and all its fields are demanded to be equal to one value each:
    /// so one item is found at most.
    pub(crate) single: bool,
    /// Whether the find returns each item of an entry in the ranges, unless the entry is cut, and
    /// [`place`](Self::place) says where.
    pub(crate) decides: bool,
    /// What all entries of the ranges begin with, if it is ordered.
    prefix: Vec<u8>,
    /// Of the fields of the sort that the index has in order, one for each: whether it descends.
    order: Vec<bool>,
    /// Whether these are all fields of the sort.
    pub(crate) orders_all: bool,
}

impl Plan {
    /// The number of fields that make up the order, if it is ordered.
    pub(crate) fn ordered_fields(&self) -> usize {
        self.equal_fields + self.order.len()
    }

    /// The code of the values that are sorted by, as [`Sort::code`] makes it, from the code of an
    /// entry which is not cut; `None` where the plan does not decide that.
    pub(crate) fn place(&self, index: &Index, code: &[u8]) -> Option<ShortBytes> {
        if !self.decides || is_cut(code) {
            return None;
        }
        if self.order.is_empty() {
            return Some(ShortBytes::EMPTY);
        }
        let code = code.strip_prefix(&self.prefix[..])?;
        let fields = index.fields().get(self.equal_fields..self.ordered_fields())?;
        let code = first_fields(fields.iter().map(Field::is_descending), code);
        Some(if self.reverse {
            ShortBytes::of([&complement_if(true, code.to_vec())])
        } else {
            ShortBytes::of([code])
        })
    }

    /// Leaves out what comes before a place in the order: the code of the values that are sorted
    /// by, and the key of the item. Something of it may be left.
    pub(crate) fn begin_at(&mut self, code: &[u8], key: &[u8]) {
        let (true, [range]) = (self.ordered, &mut self.ranges[..]) else { return };
        let prefix = &self.prefix[..];
        if code.is_empty() {
            // In the order of the keys.
            range.from = std::mem::take(&mut range.from).max([prefix, key].concat());
            return;
        }
        let code = first_fields(self.order.iter().copied(), code);
        let code = complement_if(self.reverse, code.to_vec());
        let place = cut([prefix, &code].concat());
        if !self.reverse {
            range.from = std::mem::take(&mut range.from).max(place);
        } else if let Some(end) = after(place)
            && range.to.as_ref().is_none_or(|to| end < *to)
        {
            range.to = Some(end);
        }
    }
}

/// Entries from one, on, up to another and without that; `None` for the end of the index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CodeRange {
    pub(crate) from: Vec<u8>,
    pub(crate) to: Option<Vec<u8>>,
}

/// Chooses the index of a find; `None` to look at every item. `rows` returns how many entries an
/// index has.
pub(crate) fn plan(
    condition: &Condition,
    sort: Option<&Sort>,
    indexes: &[&Index],
    rows: &mut dyn FnMut(usize) -> u64,
) -> Option<Plan> {
    let mut demands = Demands::default();
    demands.collect(condition, None);
    let plans = indexes.iter().enumerate().filter_map(|(at, index)| demands.plan(at, index, sort));
    let mut plans: Vec<Plan> = plans.collect();
    let mut rank = |plan: &Plan| {
        let Plan { index, equal_fields, ranged, ordered, single, .. } = plan;
        let name = indexes.get(*index).map(|index| index.name());
        (std::cmp::Reverse((*single, *equal_fields, *ranged, *ordered)), rows(*index), name)
    };
    plans.sort_by_cached_key(|plan| rank(plan));
    plans.into_iter().next()
}

/// The definition of an index that a find would use: its equal fields, then the sort, or else the
/// first range.
pub(crate) fn suggestion(condition: &Condition, sort: Option<&Sort>) -> Option<Index> {
    let mut demands = Demands::default();
    demands.collect(condition, None);
    let all = &demands.demands;
    let equal = all.iter().filter(|demanded| matches!(demanded.demand, Demand::Equal(_)));
    let ranged = all.iter().filter(|demanded| matches!(demanded.demand, Demand::Range(..)));
    let last: Vec<_> = match sort {
        Some(sort) => sort.fields().map(|field| (field.path(), field.is_descending())).collect(),
        None => ranged.map(|demanded| (&demanded.path, false)).take(1).collect(),
    };
    let fields = equal.map(|demanded| (&demanded.path, false)).chain(last);
    fields.fold(None, |index: Option<Index>, (path, descending)| {
        let path = path.as_str();
        let longer = match (&index, descending) {
            (None, false) => Index::on(path),
            (None, true) => Index::on_desc(path),
            (Some(index), false) => index.clone().then(path),
            (Some(index), true) => index.clone().then_desc(path),
        };
        // One with a second `*`, or with a field that it has, is none.
        if longer.check().is_ok() { Some(longer) } else { index }
    })
}

impl Demands {
    /// Whether the ranges of an index are all that is demanded: those of values that its first
    /// fields are equal to, and of the next field if it is `ranged`.
    fn are_all_of(&self, index: &Index, equal_fields: usize, ranged: bool) -> bool {
        let fields = || index.fields().iter().map(Field::path);
        let in_range = |demanded: &Demanded| {
            let at = fields().position(|path| *path == demanded.path);
            let alone = || {
                let on_path = self.demands.iter().filter(|other| other.path == demanded.path);
                on_path.count() == 1
            };
            let used = match demanded.demand {
                Demand::Equal(_) => at.is_some_and(|at| at < equal_fields),
                Demand::Range(..) => ranged && at == Some(equal_fields),
            };
            used && demanded.exact
                && !demanded.demand.is_cut()
                // Two conditions on a path with a `*` may be met by two elements.
                && (!demanded.path.has_each() || alone())
        };
        !self.others && self.demands.iter().all(in_range)
    }

    /// How one index would be used.
    fn plan(&self, at: usize, index: &Index, sort: Option<&Sort>) -> Option<Plan> {
        let fields = index.fields();
        let mut prefixes: Vec<Vec<u8>> = vec![Vec::new()];
        let (mut equal_fields, mut range, mut repeats) = (0, None, false);
        for field in fields {
            match self.of(field.path()) {
                Some(Demand::Equal(codes)) if prefixes.len() * codes.len() <= MAX_RANGES => {
                    repeats |= field.path().has_each() && codes.len() > 1;
                    prefixes = extend(&prefixes, &codes, field.is_descending());
                    equal_fields += 1;
                }
                Some(demand) => {
                    range = demand.span();
                    break;
                }
                None => break,
            }
        }
        let next = fields.get(equal_fields);
        let rest = fields.get(equal_fields..).unwrap_or_default();
        let sorts = sort.map_or(0, |sort| in_order(rest, sort));
        let ranged = range.is_some();
        if range.is_none() && sorts > 0 {
            range = present().span();
        }
        if equal_fields == 0 && range.is_none() {
            return None;
        }
        repeats |= fields.iter().skip(equal_fields).any(|field| field.path().has_each());
        let single = prefixes.len() == 1;
        let ordered = match sort {
            None => single && equal_fields == fields.len(),
            // Of several values the first counts, and it may lie outside of a range.
            Some(sort) => single && sorts > 0 && !(ranged && sort.first().path().has_each()),
        };
        let descends = next.is_some_and(Field::is_descending);
        let reverses = |sort: &Sort| sort.first().is_descending() != descends;
        let reverse = ordered && sort.is_some_and(reverses);
        let order = sort.iter().flat_map(|sort| sort.fields()).map(SortField::is_descending);
        let orders_all = sort.is_none_or(|sort| sort.fields().count() == sorts);
        let prefix = prefixes.first().cloned().unwrap_or_default();
        let ranges = ranges(prefixes, range, descends);
        let cut =
            |range: &CodeRange| is_cut(&range.from) || range.to.as_deref().is_some_and(is_cut);
        // Of several values the first counts, which may not be the one of an entry.
        let each = |sort: &Sort| sort.fields().any(|field| field.path().has_each());
        let places = sort.is_none_or(|sort| ordered && orders_all && !each(sort));
        let decides =
            places && self.are_all_of(index, equal_fields, ranged) && !ranges.iter().any(cut);
        Some(Plan {
            index: at,
            ranges,
            reverse,
            ordered,
            repeats,
            equal_fields,
            ranged,
            single: index.is_unique() && single && equal_fields == fields.len(),
            decides,
            prefix,
            order: order.take(sorts).collect(),
            orders_all,
        })
    }
}

/// How many of the sort's fields, from the first on, come in their order in these fields of an
/// index: all as in the index, or all the other way round.
fn in_order(fields: &[Field], sort: &Sort) -> usize {
    let reverses = |(field, by): &(&Field, &SortField)| field.is_descending() != by.is_descending();
    let mut alike = fields.iter().zip(sort.fields());
    let first = alike.clone().next();
    let follows = |pair: (&Field, &SortField)| {
        pair.0.path() == pair.1.path() && first.as_ref().map(reverses) == Some(reverses(&pair))
    };
    alike.position(|pair| !follows(pair)).unwrap_or_else(|| fields.len().min(sort.fields().count()))
}

/// The prefixes with each of these values of the next field.
fn extend(prefixes: &[Vec<u8>], codes: &[Vec<u8>], descending: bool) -> Vec<Vec<u8>> {
    let values = codes.iter().map(|code| complement_if(descending, code.clone()));
    let values: Vec<Vec<u8>> = values.collect();
    let with = |prefix: &Vec<u8>| {
        let prefix = prefix.clone();
        values.iter().map(move |value| cut([&prefix[..], value].concat()))
    };
    let mut extended: Vec<Vec<u8>> = prefixes.iter().flat_map(with).collect();
    extended.sort_unstable();
    extended.dedup();
    extended
}

/// The entries that begin with one of the prefixes, and go on within the range of the next field.
fn ranges(
    prefixes: Vec<Vec<u8>>,
    range: Option<(Vec<u8>, Vec<u8>)>,
    descending: bool,
) -> Vec<CodeRange> {
    let range = match range {
        // What is not less than `from` begins, complemented, with nothing that is above it.
        Some((from, to)) if descending => {
            Some((after(complement_if(true, to)), after(complement_if(true, from))))
        }
        Some((from, to)) => Some((Some(from), Some(to))),
        None => None,
    };
    let of = |prefix: Vec<u8>| match &range {
        None => CodeRange { to: after(prefix.clone()), from: prefix },
        Some((from, to)) => {
            let from = from.as_deref().unwrap_or_default();
            let whole_from = [&prefix[..], from].concat();
            let to = match to {
                Some(to) => {
                    let whole_to = [&prefix[..], to].concat();
                    // What is below a bound that is cut may be equal to it when it is cut.
                    let is_cut = whole_to.len() > CUT_BYTES;
                    if is_cut { after(cut(whole_to)) } else { Some(whole_to) }
                }
                None => after(prefix.clone()),
            };
            CodeRange { from: cut(whole_from), to }
        }
    };
    prefixes.into_iter().map(of).collect()
}

fn complement_if(complement: bool, mut bytes: Vec<u8>) -> Vec<u8> {
    if complement {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    bytes
}

fn cut(mut code: Vec<u8>) -> Vec<u8> {
    code.truncate(CUT_BYTES);
    code
}
