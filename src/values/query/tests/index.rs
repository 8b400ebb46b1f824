//! Definitions and the entries of documents.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::values;
use crate::values::query::encoding::Decoder;
use crate::values::query::entries::{MAX_ENTRIES, TooManyEntries, entries, split};
use crate::values::query::index::{Index, IndexError};
use crate::values::query::pointer::Pointer;

#[test]
fn a_definition_and_its_text_are_the_same() {
    let long = "/".to_owned() + &"x".repeat(200);
    for (index, text) in [
        (Index::on(""), ""),
        (Index::on_desc(""), "-"),
        (Index::on("/a").then_desc("/b"), "/a,-/b"),
        (Index::on("/a,b\\").then("/-,"), r"/a\,b\\,/-\,"),
        (Index::on("/*/-"), "/*/-"),
        (Index::on("/a~1b~0"), "/a~1b~0"),
        (Index::on(&long), &long),
    ] {
        assert_eq!(index.check(), Ok(()), "{text}");
        assert_eq!(index.to_string(), text);
        assert_eq!(text.parse(), Ok(index.clone()), "{text}");
        let json = serde_json::to_string(&index).unwrap();
        assert_eq!(serde_json::from_str::<Index>(&json).unwrap(), index);
    }
}

#[test]
fn what_is_no_definition_is_refused_with_its_reason() {
    let many = (0..8).fold(Index::on("/a"), |index, n| index.then(&format!("/{n}")));
    assert_eq!(many.check(), Err(IndexError::TooManyFields { count: 9 }));
    assert_eq!(Index::on("/*/*").check(), Err(IndexError::SeveralElements { count: 2 }));
    let twice = Index::on("/a/*").then("/b/*").then("/c");
    assert_eq!(twice.check(), Err(IndexError::SeveralElements { count: 2 }));
    let repeated = IndexError::RepeatedField { path: "/a".to_owned() };
    assert_eq!(Index::on("/a").then_desc("/a").check(), Err(repeated));
    let long = Index::on(&format!("/{}", "x".repeat(256)));
    assert_eq!(long.check(), Err(IndexError::TooLong { bytes: 257 }));
    for path in ["a", " /a", "/~", "/~2", "/a~"] {
        let found = Index::on(path).then("/b").check().unwrap_err();
        assert!(matches!(&found, IndexError::InvalidPath { path: named, .. } if named == path));
        assert!(serde_json::to_string(&Index::on(path)).is_err());
    }
    assert!("/a,,/b".parse::<Index>().is_ok(), "the second field is the whole document");
    assert!("/a,".parse::<Index>().is_ok());
    assert!(serde_json::from_str::<Index>("\"a\"").is_err());
}

#[test]
fn a_path_leads_where_rfc_6901_says() {
    // The examples of its section 5.
    let document = json!({
        "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5,
        "k\"l": 6, " ": 7, "m~n": 8
    });
    let at = |path: &str| Pointer::parse(path).unwrap().first(&document).cloned();
    assert_eq!(at(""), Some(document.clone()));
    assert_eq!(at("/foo/0"), Some(json!("bar")));
    for (path, value) in [
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ("/k\"l", 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ] {
        assert_eq!(at(path), Some(json!(value)), "{path}");
    }
    for path in ["/foo/-", "/foo/00", "/foo/2", "/foo/+1", "/x", "/foo/0/x", "/*", "/foo/"] {
        assert_eq!(at(path), None, "{path}");
    }
    assert_eq!(at("/foo/*"), Some(json!("bar")));
}

fn read(index: &Index, document: &Value) -> Vec<Vec<Option<Value>>> {
    let decode = |code: Vec<u8>| {
        let mut decoder = Decoder::new(&code);
        let fields = index.fields().iter();
        fields.map(|field| decoder.field(field.is_descending()).unwrap()).collect()
    };
    entries(index, document).unwrap().into_iter().map(decode).collect()
}

#[test]
fn a_document_has_an_entry_for_each_element_and_none_without_the_first_field() {
    let index = Index::on("/tags/*").then_desc("/modified");
    let document = json!({"tags": ["work", "home", "work"], "modified": 5});
    let home = vec![Some(json!("home")), Some(json!(5))];
    let work = vec![Some(json!("work")), Some(json!(5))];
    assert_eq!(read(&index, &document), [home, work]);
    assert_eq!(read(&index, &json!({"tags": ["a"]})), [[Some(json!("a")), None]]);
    for none in [json!({"modified": 5}), json!({"tags": []}), json!({"tags": "a"}), json!(1)] {
        assert!(read(&index, &none).is_empty(), "{none}");
    }
    let later = Index::on("/author").then("/tags/*");
    assert_eq!(read(&later, &json!({"author": 1})), [[Some(json!(1)), None]]);
    let entries = read(&later, &json!({"author": 1, "tags": [2, 3]}));
    assert_eq!(entries, [[Some(json!(1)), Some(json!(2))], [Some(json!(1)), Some(json!(3))]]);
    let nested = Index::on("/items/*/sku");
    assert_eq!(read(&nested, &json!({"items": [{"sku": 1}, {}, {"sku": null}]})).len(), 2);
}

#[test]
fn an_item_has_at_most_a_thousand_entries() {
    let index = Index::on("/*");
    let document = |n: usize| Value::from((0..n).collect::<Vec<_>>());
    assert_eq!(entries(&index, &document(MAX_ENTRIES)).unwrap().len(), MAX_ENTRIES);
    assert_eq!(entries(&index, &document(MAX_ENTRIES + 1)), Err(TooManyEntries));
    let repeated = Value::from(vec![7; 2 * MAX_ENTRIES]);
    assert_eq!(entries(&index, &repeated).unwrap().len(), 1);
}

proptest! {
    #[test]
    fn an_entry_is_parted_from_the_key_that_follows(
        a in values(),
        b in values(),
        key in prop::collection::vec(any::<u8>(), 1..8),
        descending: bool,
    ) {
        let index = Index::on("/a");
        let index = if descending { index.then_desc("/b/*") } else { index.then("/b/*") };
        for code in entries(&index, &json!({"a": a, "b": [b, 1]})).unwrap() {
            let mut entry = code.clone();
            entry.extend(&key);
            prop_assert_eq!(split(&index, &entry), Some((&code[..], &key[..])));
        }
    }

    #[test]
    fn any_text_is_a_definition_or_refused_and_the_definition_is_its_text(text: String) {
        if let Ok(index) = text.parse::<Index>() {
            prop_assert_eq!(index.to_string().parse::<Index>(), Ok(index));
        }
    }
}
