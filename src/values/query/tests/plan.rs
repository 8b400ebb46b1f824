//! The part of an index that a find reads holds everything that the find returns.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::values::query::entries::{entries, leading, split};
use crate::values::query::filter::{Condition, Filter};
use crate::values::query::index::Index;
use crate::values::query::plan::{CodeRange, Plan, plan};
use crate::values::query::sort::{Sort, SortField};

fn by(path: &str, descending: bool) -> Sort {
    Sort::by(SortField::new(path, descending).unwrap())
}

fn planned(filter: &str, sort: Option<&str>, indexes: &[&str]) -> Option<Plan> {
    let filter: Filter = filter.parse().unwrap();
    let sort = sort.map(|sort| match sort.strip_prefix('-') {
        Some(path) => by(path, true),
        None => by(sort, false),
    });
    let indexes: Vec<Index> = indexes.iter().map(|index| index.parse().unwrap()).collect();
    let indexes: Vec<&Index> = indexes.iter().collect();
    plan(filter.condition().unwrap(), sort.as_ref(), &indexes, &mut |at| 10 - at as u64)
}

#[test]
fn the_rules_of_the_table_choose_the_index() {
    for (filter, sort, indexes, expected) in [
        // Nothing fits.
        ("/a = 1", None, &[][..], None),
        ("/a = 1", None, &["/b"], None),
        ("/b = 1", None, &["/a,/b"], None),
        ("/a = 1 or /a = 2", None, &["/a"], None),
        ("not /a = 1", None, &["/a"], None),
        ("true", None, &["/a"], None),
        ("/a/* = 1", None, &["/a"], None),
        // Equality before range before order; then the smaller, then the name.
        ("/a = 1 and /b < 5", None, &["/b", "/a"], Some(1)),
        ("/a < 1 and /b = 5", None, &["/a", "/a,/b", "/b,/a"], Some(2)),
        ("/a = 1 and /b = 5", None, &["/a", "/a,/b"], Some(1)),
        ("/a = 1", Some("/m"), &["/a", "/m", "/a,/m"], Some(2)),
        ("/a = 1", Some("/m"), &["/m", "/a,/x"], Some(1)),
        ("/a exists", Some("/m"), &["/m", "/a"], Some(1)),
        ("true", Some("/m"), &["/a", "/m"], Some(1)),
        // The rows of /a are in the order of the keys.
        ("/a = 1", None, &["/a", "/a,/x"], Some(0)),
        ("/a/* has (/b = 1)", None, &["/a/*/b"], Some(0)),
        ("/a has (/b = 1 and /c > 2)", None, &["/a/c", "/a/b,/a/c"], Some(1)),
        ("/a in [1, 2] and /b > 3", None, &["/a,/b"], Some(0)),
        ("/a != 1", None, &["/a"], Some(0)),
        ("/a prefix \"x\"", None, &["/a"], Some(0)),
    ] {
        let found = planned(filter, sort, indexes).map(|plan| plan.index);
        assert_eq!(found, expected, "{filter} by {sort:?} of {indexes:?}");
    }
}

#[test]
fn a_plan_decides_what_its_ranges_are_all_of() {
    for (filter, sort, index, expected) in [
        ("/a = 1", None, "/a", true),
        ("/a = 1", None, "/a,/b", true),
        ("/a = 1", Some("-/b"), "/a,/b", true),
        ("/a = 1", Some("/b"), "/a", false),
        ("/a = 1 and /b > 2 and /b <= 7", None, "/a,-/b", true),
        ("/a in [1, 2] and /b exists", None, "/a,/b", true),
        ("/a prefix \"x\"", Some("-/a"), "/a", true),
        ("/a/* = 1", None, "/a/*", true),
        ("/a/* < 5", None, "/a/*", true),
        ("true", Some("/a"), "/a", true),
        // Another element may meet the other condition, or come first.
        ("/a/* > 1 and /a/* < 5", None, "/a/*", false),
        ("/a/* = 1", Some("/a/*"), "/a/*", false),
        ("true", Some("/a/*"), "/a/*", false),
        // There is more that the ranges do not say.
        ("/a = 1 and /b = 1", None, "/a", false),
        ("/a = 1 and /a < 5", None, "/a", false),
        ("/a = 1 and (/b = 1 or /b = 2)", None, "/a,/b", false),
        ("/a = 1 and not /b = 1", None, "/a", false),
        ("/a != 1", None, "/a", false),
        ("/a has (/b = 1)", None, "/a/b", false),
    ] {
        let plan = planned(filter, sort, &[index]).unwrap();
        assert_eq!(plan.decides, expected, "{filter} by {sort:?} of {index}");
    }
    let long = "x".repeat(300);
    assert!(!planned(&format!("/a = \"{long}\""), None, &["/a"]).unwrap().decides);
    assert!(!planned(&format!("/a < \"{long}\""), None, &["/a"]).unwrap().decides);
}

#[test]
fn the_place_of_an_entry_is_that_of_its_item_in_the_sort_whichever_way_the_index_is_read() {
    let document = json!({"a": 1, "m": 7});
    for (filter, sort, index) in [
        ("true", "/m", "/m"),
        ("true", "-/m", "/m"),
        ("true", "/m", "-/m"),
        ("true", "-/m", "-/m"),
        ("/a = 1", "-/m", "/a,/m"),
        ("/a = 1", "/m", "/a,-/m"),
    ] {
        let plan = planned(filter, Some(sort), &[index]).unwrap();
        let index: Index = index.parse().unwrap();
        let code = entries(&index, &document).unwrap().pop_first().unwrap();
        let place = plan.place(&index, &code).unwrap();
        let (path, descending) = sort.strip_prefix('-').map_or((sort, false), |path| (path, true));
        assert_eq!(place.as_slice(), by(path, descending).code(&document).unwrap(), "{sort}");
    }
}

#[test]
fn an_order_is_given_by_the_field_after_the_equal_ones() {
    for (filter, sort, index, expected) in [
        ("/a = 1", "/m", "/a,/m", Some(false)),
        ("/a = 1", "-/m", "/a,/m", Some(true)),
        ("/a = 1", "-/m", "/a,-/m", Some(false)),
        ("/a = 1 and /m > 5", "/m", "/a,/m", Some(false)),
        ("/m > 5", "/m", "/m,/x", Some(false)),
        ("true", "-/m", "/m", Some(true)),
        ("/t/* = 1", "-/m", "/t/*,-/m", Some(false)),
        ("true", "/t/*", "/t/*", Some(false)),
        ("/t/* > 1", "/t/*", "/t/*", None),
        ("/a in [1, 2]", "/m", "/a,/m", None),
        ("/a > 1", "/m", "/a,/m", None),
        ("/a = 1", "/a", "/a,/m", None),
    ] {
        let plan = planned(filter, Some(sort), &[index]).unwrap();
        assert_eq!(plan.ordered.then_some(plan.reverse), expected, "{filter} by {sort} of {index}");
    }
    assert!(planned("/a = 1", None, &["/a"]).unwrap().ordered, "in the order of the keys");
    assert!(!planned("/a = 1", None, &["/a,/m"]).unwrap().ordered);
    assert!(!planned("/a > 1", None, &["/a"]).unwrap().ordered);
}

#[test]
fn conditions_on_one_value_make_one_range() {
    let ranges = |filter: &str| planned(filter, None, &["/a"]).unwrap().ranges;
    assert_eq!(ranges("/a >= 1 and /a < 5"), ranges("/a >= 1 and /a >= 0 and /a < 9 and /a < 5"));
    assert_ne!(ranges("/a >= 1 and /a < 5"), ranges("/a >= 1"));
    let ranges = |filter: &str| planned(filter, None, &["/a/*"]).unwrap().ranges;
    assert_ne!(ranges("/a/* has (\"\" >= 1 and \"\" < 5)"), ranges("/a/* >= 1 and /a/* < 5"));
    assert_eq!(ranges("/a/* = 1 and /a/* = 2").len(), 1);
    assert_eq!(planned("/a in []", None, &["/a"]).unwrap().ranges, []);
}

pub(super) fn documents() -> impl Strategy<Value = Value> {
    let scalar = || {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-2_i64..3).prop_map(Value::from),
            "[ab\u{0}]{0,2}".prop_map(Value::from),
            "[ab]{249,252}".prop_map(Value::from),
        ]
    };
    let value = prop_oneof![
        scalar(),
        prop::collection::vec(scalar(), 0..3).prop_map(Value::from),
        scalar().prop_map(|a| json!({"a": a})),
    ];
    prop::collection::btree_map("[ab]", value, 0..3).prop_map(|members| json!(members))
}

pub(super) fn filters() -> impl Strategy<Value = Filter> {
    let path = || prop::sample::select(vec!["/a", "/b", "/a/*", "/b/*", "/a/a", ""]);
    let value = || {
        prop_oneof![
            (-2_i64..3).prop_map(Value::from),
            "[ab\u{0}]{0,2}".prop_map(Value::from),
            "[ab]{249,252}".prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
        ]
    };
    let leaf = prop_oneof![
        (path(), value()).prop_map(|(path, value)| Filter::eq(path, value)),
        (path(), value()).prop_map(|(path, value)| Filter::ne(path, value)),
        (path(), value()).prop_map(|(path, value)| Filter::lt(path, value)),
        (path(), value()).prop_map(|(path, value)| Filter::le(path, value)),
        (path(), value()).prop_map(|(path, value)| Filter::gt(path, value)),
        (path(), value()).prop_map(|(path, value)| Filter::ge(path, value)),
        (path(), -2_i64..3, 0_i64..3).prop_map(|(path, low, more)| Filter::between(
            path,
            low,
            low + more
        )),
        (path(), prop::collection::vec(value(), 0..3))
            .prop_map(|(path, values)| Filter::is_in(path, values)),
        (path(), "[ab\u{0}]{0,2}").prop_map(|(path, text)| Filter::prefix(path, text)),
        path().prop_map(Filter::exists),
    ];
    leaf.prop_recursive(3, 8, 3, move |inner| {
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 1..4).prop_map(Filter::all),
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::any),
            1 => inner.clone().prop_map(Filter::not),
            2 => (path(), inner).prop_map(|(path, filter)| Filter::element(path, filter)),
        ]
    })
}

fn read<'a>(rows: &'a BTreeSet<Vec<u8>>, plan: &Plan) -> Vec<&'a Vec<u8>> {
    let mut read: Vec<&Vec<u8>> = Vec::new();
    for CodeRange { from, to } in &plan.ranges {
        let within = rows.iter().filter(|row| *row >= from);
        read.extend(within.filter(|row| to.as_ref().is_none_or(|to| *row < to)));
    }
    if plan.reverse {
        read.reverse();
    }
    read
}

/// Documents by their keys, what is asked of them, and the plan by which an index is read for it.
struct Asked<'a> {
    documents: BTreeMap<Vec<u8>, Value>,
    condition: &'a Condition,
    sort: Option<Sort>,
    index: Index,
    rows: BTreeSet<Vec<u8>>,
    plan: Plan,
}

/// The values that an item is sorted by, and its key.
type Place = (Vec<u8>, Vec<u8>);

impl Asked<'_> {
    fn parts(&self, row: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (code, key) = split(&self.index, row).unwrap();
        (code.to_vec(), key.to_vec())
    }

    fn is_wanted(&self, document: &Value) -> bool {
        let sorted = self.sort.as_ref().is_none_or(|sort| sort.code(document).is_some());
        sorted && self.condition.matches(document)
    }

    fn rank(&self, document: &Value) -> Vec<u8> {
        self.sort.as_ref().map_or(Vec::new(), |sort| sort.code(document).unwrap())
    }

    /// Every item that is wanted is read, and none twice unless the plan says so.
    fn check_all_are_read(&self) -> Result<(), TestCaseError> {
        let plan = &self.plan;
        let keys = read(&self.rows, plan).into_iter().map(|row| self.parts(row).1);
        let keys: Vec<Vec<u8>> = keys.collect();
        let set: BTreeSet<&Vec<u8>> = keys.iter().collect();
        prop_assert!(plan.repeats || set.len() == keys.len(), "an item twice by {plan:?}");
        for (key, document) in &self.documents {
            let is_read = set.contains(key);
            prop_assert!(
                !self.is_wanted(document) || is_read,
                "{document} is not read by {plan:?}"
            );
        }
        Ok(())
    }

    /// What the plan decides without the document is so.
    fn check_decided(&self) -> Result<(), TestCaseError> {
        let (plan, mut met) = (&self.plan, BTreeSet::new());
        for row in read(&self.rows, plan) {
            let (code, key) = self.parts(row);
            let Some(place) = plan.place(&self.index, &code) else { continue };
            let document = &self.documents[&key];
            prop_assert!(self.is_wanted(document), "{document} is decided to be found by {plan:?}");
            if met.insert(key) {
                let rank = self.rank(document);
                prop_assert_eq!(place.as_slice(), rank, "the place of {} by {:?}", document, plan);
            }
        }
        Ok(())
    }

    /// What is given in the order of the sort, as far as the leading fields tell.
    fn given(&self) -> Vec<Place> {
        let mut seen = BTreeSet::new();
        let mut groups: Vec<(Vec<u8>, Vec<Place>)> = Vec::new();
        for row in read(&self.rows, &self.plan) {
            let (code, key) = self.parts(row);
            let document = &self.documents[&key];
            if !self.is_wanted(document) || !seen.insert(key.clone()) {
                continue;
            }
            let lead = leading(&self.index, &code, self.plan.ordered_fields()).to_vec();
            let place = (self.rank(document), key);
            match groups.last_mut() {
                Some((last, group)) if *last == lead => group.push(place),
                _ => groups.push((lead, vec![place])),
            }
        }
        groups.iter_mut().for_each(|(_, group)| group.sort());
        groups.into_iter().flat_map(|(_, group)| group).collect()
    }

    /// An ordered plan has the order, and from a place in it on leaves out nothing that follows.
    fn check_order(&self) -> Result<(), TestCaseError> {
        let given = self.given();
        prop_assert!(given.is_sorted(), "{given:?} by {:?}", self.plan);
        for (at, (code, key)) in given.iter().enumerate() {
            let mut rest = self.plan.clone();
            rest.begin_at(code, key);
            let read = read(&self.rows, &rest).into_iter().map(|row| self.parts(row).1);
            let read: BTreeSet<Vec<u8>> = read.collect();
            let missing = given[at + 1..].iter().find(|(_, key)| !read.contains(key));
            prop_assert_eq!(missing, None, "after {:?} of {:?}", given[at], given);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn what_meets_the_filter_is_read_in_the_order_that_is_promised(
        documents in prop::collection::vec(documents(), 0..20),
        filter in filters(),
        index in prop::sample::select(vec![
            "/a", "-/a", "/a/*", "-/a/*", "/a,/b", "/a,-/b", "-/a,/b/*", "/a/*,-/b", "/a/a", "/b,/a", "",
        ]),
        sort in prop::collection::vec(
            (prop::sample::select(vec!["/a", "/b", "/a/*"]), any::<bool>()),
            0..4,
        ),
    ) {
        let index: Index = index.parse().unwrap();
        let sort = sort.into_iter().fold(None, |sort: Option<Sort>, (path, descending)| {
            let field = SortField::new(path, descending).unwrap();
            Some(match sort {
                Some(sort) => sort.then(field).unwrap(),
                None => Sort::by(field),
            })
        });
        let documents: BTreeMap<Vec<u8>, Value> = documents
            .into_iter()
            .enumerate()
            .map(|(n, document)| (vec![b'k', n as u8], document))
            .collect();
        let condition = filter.condition().unwrap();
        let Some(plan) = plan(condition, sort.as_ref(), &[&index], &mut |_| 0) else {
            return Ok(());
        };
        let rows_of = |(key, document): (&Vec<u8>, &Value)| {
            let codes = entries(&index, document).unwrap();
            codes.into_iter().map(|code| [&code[..], key].concat()).collect::<Vec<_>>()
        };
        let rows = documents.iter().flat_map(rows_of).collect();
        let asked = Asked { documents, condition, sort, index, rows, plan };
        asked.check_all_are_read()?;
        asked.check_decided()?;
        if asked.plan.ordered {
            asked.check_order()?;
        }
    }
}
