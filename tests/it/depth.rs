//! How deeply a document may nest: what would overflow the stack of its reader is refused, when it
//! is written and when it is read.

use std::collections::BTreeMap;

use ifmatch::{Bincode, Codec, Error, Store};
use serde::{Deserialize, Serialize};

/// The levels that a document stored as [`Bincode`] may have.
const BINCODE_LEVELS: usize = 255;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nest(Vec<Nest>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Chain {
    next: Option<Box<Chain>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Wrapped(Box<Tree>),
    Pair(Box<Tree>, u8),
    Named { tree: Box<Tree> },
    Map(BTreeMap<u8, Tree>),
}

fn on_a_large_stack(body: fn()) {
    let thread = std::thread::Builder::new().stack_size(512 << 20).spawn(body).unwrap();
    thread.join().unwrap();
}

fn is_refused<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = result.expect_err("it nests too deeply");
    assert!(matches!(error, Error::Codec { .. }), "{error:?}");
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
    let text: Vec<String> = causes.map(ToString::to_string).collect();
    assert!(text.iter().any(|text| text.contains("nests deeper")), "{text:?}");
}

fn nest(levels: usize) -> Nest {
    (0..levels).fold(Nest(Vec::new()), |inner, _| Nest(vec![inner]))
}

fn chain(levels: usize) -> Chain {
    (0..levels).fold(Chain { next: None }, |inner, _| Chain { next: Some(Box::new(inner)) })
}

fn tree(levels: usize, wrap: fn(Tree) -> Tree) -> Tree {
    (0..levels).fold(Tree::Leaf, |inner, _| wrap(inner))
}

const WRAPS: [fn(Tree) -> Tree; 4] = [
    |inner| Tree::Wrapped(Box::new(inner)),
    |inner| Tree::Pair(Box::new(inner), 7),
    |inner| Tree::Named { tree: Box::new(inner) },
    |inner| Tree::Map(BTreeMap::from([(1, inner)])),
];

/// Regression: there was no limit, so a document that one thread wrote ended the process of every
/// reader whose stack is smaller.
#[test]
fn b9_a_bincode_document_that_nests_too_deeply_is_refused_when_written() {
    on_a_large_stack(|| {
        let store = Store::in_memory();
        let deep = 50_000;
        is_refused(store.collection_with::<_, Bincode>("n").unwrap().create("k", &nest(deep)));
        is_refused(store.collection_with::<_, Bincode>("c").unwrap().create("k", &chain(deep)));
        for wrap in WRAPS {
            let trees = store.collection_with::<_, Bincode>("t").unwrap();
            is_refused(trees.create("k", &tree(deep, wrap)));
        }
    });
}

#[test]
fn b9_bincode_bytes_that_nest_too_deeply_are_refused_when_read() {
    // One element each, a million times; a variant in a variant; a field that is there.
    is_refused(<Bincode as Codec<Nest>>::decode(vec![1; 1 << 20].into()));
    is_refused(<Bincode as Codec<Chain>>::decode(vec![1; 1 << 20].into()));
    for bytes in [&[1_u8][..], &[2], &[3], &[4, 1, 1]] {
        is_refused(<Bincode as Codec<Tree>>::decode(bytes.repeat(1 << 20).into()));
    }
}

#[test]
fn b9_bincode_documents_within_the_limit_are_read_again_by_a_small_stack() {
    let numbers = Store::in_memory().collection_with::<Nest, Bincode>("n").unwrap();
    // A newtype and its list are two levels, and the innermost list is one.
    let deepest = BINCODE_LEVELS / 2;
    numbers.create("k", &nest(deepest - 1)).unwrap();
    assert_eq!(numbers.get("k").unwrap().unwrap().value, nest(deepest - 1));
    is_refused(numbers.create("over", &nest(deepest + 1)));

    let chains = Store::in_memory().collection_with::<Chain, Bincode>("c").unwrap();
    chains.create("k", &chain(deepest - 1)).unwrap();
    assert_eq!(chains.get("k").unwrap().unwrap().value, chain(deepest - 1));
    for wrap in WRAPS {
        let trees = Store::in_memory().collection_with::<Tree, Bincode>("t").unwrap();
        let levels = BINCODE_LEVELS / 3 - 1;
        trees.create("k", &tree(levels, wrap)).unwrap();
        assert_eq!(trees.get("k").unwrap().unwrap().value, tree(levels, wrap));
    }
}

/// What is not nested has no limit but its size.
#[test]
fn a_long_bincode_document_is_not_a_deep_one() {
    let lists = Store::in_memory().collection_with::<Vec<Option<u64>>, Bincode>("lists").unwrap();
    let long: Vec<Option<u64>> = (0..100_000).map(Some).collect();
    lists.create("k", &long).unwrap();
    assert_eq!(lists.get("k").unwrap().unwrap().value, long);
}
