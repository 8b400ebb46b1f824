//! The texts of errors, word by word, and each error's kind and HTTP status. A text says what
//! happened, to what, why, and what the caller can do.

use std::collections::HashSet;
use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ifmatch::simulation::{Fault, FaultPlan, Operation, Simulation};
use ifmatch::{
    Collection, Conflict, Error, ErrorKind, Filter, Meta, Options, Patch, PatchError, Precondition,
    Store, Tags, UpdateError,
};

const ALWAYS: Precondition = Precondition::Always;

fn numbers(store: &Store) -> Collection<u64> {
    store.collection("numbers").unwrap()
}

#[track_caller]
fn says<T>(result: Result<T, Error>, text: impl AsRef<str>) {
    let error = result.err().expect("this fails");
    assert_eq!(error.to_string(), text.as_ref());
}

#[test]
fn e6_an_absent_item_is_named() {
    let numbers = numbers(&Store::in_memory());
    says(numbers.delete("a", ALWAYS), r#"collection "numbers" has no item "a""#);
    says(numbers.replace("tab\t", &1, ALWAYS), r#"collection "numbers" has no item "tab\t""#);
    says(numbers.update([0xff, 0x00], |_| {}), r#"collection "numbers" has no item 0xff00"#);
    let refused = numbers.try_update("a", |_| Err("no")).unwrap_err();
    assert_eq!(refused.to_string(), r#"collection "numbers" has no item "a""#);
}

#[test]
fn a_conflict_names_the_item_and_the_stored_version() {
    let numbers = numbers(&Store::in_memory());
    let stored = numbers.create("a", &1).unwrap();
    let now = numbers.replace("a", &2, stored).unwrap().etag();
    says(
        numbers.create("a", &3),
        format!(r#"collection "numbers" already has an item "a": its tag is {now}"#),
    );
    says(
        numbers.replace("a", &3, Precondition::from(&stored.etag())),
        format!(
            r#"the precondition on item "a" of collection "numbers" does not hold: its tag is {now}"#
        ),
    );
    says(
        numbers.upsert("b", &3, stored),
        r#"the precondition on item "b" of collection "numbers" does not hold: there is no such item"#,
    );
}

#[test]
fn a_batch_says_which_operation_failed_and_why() {
    let store = Store::in_memory();
    let numbers = numbers(&store);
    says(
        store.batch().create(&numbers, "a", &1).create(&numbers, "a", &2).commit(),
        "operation 1 of the batch failed, so nothing of the batch was applied: collection \
         \"numbers\" already has an item \"a\": an earlier operation of the batch wrote it",
    );
}

#[test]
fn a_precondition_that_cannot_be_used_is_told_with_what_can() {
    let store = Store::in_memory();
    let numbers = numbers(&store);
    says(
        numbers.replace("a", &1, Precondition::if_none_match(Tags::Any)),
        "the precondition cannot be used here: replace, patch and delete need a stored item, and \
         IfNoneMatch(Any) demands that there is none; use create or upsert",
    );
    says(
        store.batch().check(&numbers, "a", ALWAYS).commit(),
        "operation 0 of the batch failed, so nothing of the batch was applied: the precondition \
         cannot be used here: a check demands nothing with Always; give it IfMatch or IfNoneMatch",
    );
}

#[test]
fn names_beyond_the_limits_are_told_with_the_limits() {
    let store = Store::in_memory();
    let numbers = numbers(&store);
    says(numbers.get(""), "the key is empty; a key has 1 to 511 bytes");
    says(numbers.get([0; 512]), "the key is too long; a key has 1 to 511 bytes");
    says(
        store.collection::<u64>("a\0b"),
        "the collection's name holds a NUL character; a name holds none",
    );
    says(
        store.batch().create(&self::numbers(&Store::in_memory()), "a", &1).commit(),
        "operation 0 of the batch failed, so nothing of the batch was applied: the collection \
         belongs to another store; open the collection from this store",
    );
}

#[test]
fn what_is_too_large_is_told_with_its_size_and_the_limit() {
    let store = Store::in_memory();
    let blobs = store.raw("blobs").unwrap();
    says(
        blobs.create("a", &vec![0; (64 << 20) + 1].into()),
        "the value has 67108865 bytes, over the limit of 67108864",
    );
    let numbers = numbers(&store);
    let batch =
        (0..10_001_u64).fold(store.batch(), |batch, n| batch.create(&numbers, n.to_string(), &n));
    says(batch.commit(), "the batch has 10001 operations, over the limit of 10000");
}

#[test]
fn a_document_that_its_codec_refuses_is_named_with_what_the_codec_says() {
    let store = Store::in_memory();
    let floats = store.collection::<f64>("floats").unwrap();
    let error = floats.create("a", &f64::NAN).unwrap_err();
    let text = error.to_string();
    let before = r#"the document for item "a" of collection "floats" cannot be encoded: "#;
    assert!(text.starts_with(before) && text.len() > before.len(), "{text}");
    assert_eq!((error.http_status(), error.kind()), (422, ErrorKind::Codec));

    floats.create("a", &0.5).unwrap();
    let error = numbers_of_floats(&store).get("a").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the stored document of item \"a\" of collection \"floats\" cannot be decoded as the type \
         that the collection was opened with: invalid type: floating point `0.5`, expected u64 at \
         line 1 column 3"
    );
    assert_eq!((error.http_status(), error.kind()), (500, ErrorKind::Codec));
    assert_eq!((error.collection(), error.key()), (Some("floats"), Some(&b"a"[..])));

    numbers_of_floats(&store).upsert("b", &1, ALWAYS).unwrap();
    let error = numbers_of_floats(&store).patch("b", &Patch::new().set("", 1.5), ALWAYS);
    let error = error.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the patch would make of item \"b\" of collection \"floats\" a document that cannot be \
         decoded as the collection's type: invalid type: floating point `1.5`, expected u64 at \
         line 1 column 3"
    );
    assert_eq!((error.http_status(), error.key()), (422, Some(&b"b"[..])));
}

fn numbers_of_floats(store: &Store) -> Collection<u64> {
    store.collection("floats").unwrap()
}

#[test]
fn e3_every_way_to_an_unreadable_document_names_it() {
    let store = Store::in_memory();
    store.collection::<f64>("floats").unwrap().create("a", &0.5).unwrap();
    let numbers = numbers_of_floats(&store);
    let snapshot = store.snapshot();
    let errors = [
        numbers.get("a").err(),
        numbers.get_many(["a"]).err(),
        numbers.iter().unwrap().next().and_then(Result::err),
        numbers.history("a").unwrap().into_iter().next().and_then(Result::err),
        numbers.update("a", |_| {}).err(),
        numbers.changes(ifmatch::Cursor::START).unwrap().next().and_then(Result::err),
        numbers.watch(ifmatch::Cursor::START).unwrap().recv().err(),
        snapshot.collection(&numbers).get("a").err(),
        match numbers.create("a", &1) {
            Err(Error::AlreadyExists(conflict)) => conflict.current::<u64>().err(),
            other => panic!("{other:?}"),
        },
    ];
    for (way, error) in errors.into_iter().enumerate() {
        let error = error.unwrap_or_else(|| panic!("way {way} reads it"));
        let named = (error.collection(), error.key(), error.http_status());
        assert_eq!(named, (Some("floats"), Some(&b"a"[..]), 500), "way {way}: {error}");
    }
}

#[test]
fn a_collection_of_another_codec_is_told_with_the_right_one() {
    let store = Store::in_memory();
    numbers(&store).create("a", &1).unwrap();
    says(
        store.raw("numbers"),
        "collection \"numbers\" is stored as json and was opened as raw; open it with the codec \
         that it is stored as",
    );
}

#[test]
fn a_patch_says_which_operation_does_not_fit() {
    let documents = Store::in_memory().collection::<serde_json::Value>("documents").unwrap();
    documents.create("a", &serde_json::json!({"sku": "A1"})).unwrap();
    let patch = Patch::new().test("/sku", "A2");
    says(
        documents.patch("a", &patch, ALWAYS),
        "the patch cannot be applied: operation 0: the test failed, since the document has \
         another value at \"/sku\"",
    );
    let Err(error) = Patch::from_json(r#"[{"op": "add", "path": "sku", "value": 1}]"#) else {
        panic!("no pointer was taken for one")
    };
    assert_eq!(
        error.to_string(),
        "the patch is not valid: operation 0: the path \"sku\" is not a JSON pointer"
    );
}

#[test]
fn an_update_that_gives_up_says_how_hard_it_tried() {
    let numbers = numbers(&Store::in_memory());
    numbers.create("a", &1).unwrap();
    let policy = ifmatch::RetryPolicy::new().max_attempts(2).base_delay(Duration::ZERO);
    let rival = numbers.clone();
    let error = numbers.with_retry(policy).update("a", |_| {
        let stored = rival.get("a").unwrap().unwrap();
        rival.replace("a", &7, stored.etag()).unwrap();
    });
    let error = error.unwrap_err();
    let Error::Contended { elapsed, .. } = &error else { panic!("{error:?}") };
    assert_eq!(
        error.to_string(),
        format!(
            "the change of item \"a\" of collection \"numbers\" was given up after 2 attempts in \
             {elapsed:?}: other writers changed the item each time; try again later, or allow more \
             attempts in the retry policy"
        )
    );
    assert_eq!((error.collection(), error.key()), (Some("numbers"), Some(&b"a"[..])));
}

#[test]
fn a_full_disk_is_named_with_the_file_and_what_the_system_says() {
    let simulation = Simulation::new(1);
    let store = simulation.open(&Options::new()).unwrap();
    let numbers = numbers(&store);
    simulation
        .disk()
        .inject(FaultPlan::after(0, Fault::Error(io::ErrorKind::StorageFull)).persistent());
    let error = numbers.create("a", &1).unwrap_err();
    let Error::Io { operation, path, source } = &error else { panic!("{error:?}") };
    assert_eq!(error.to_string(), format!("{operation} \"{}\" failed: {source}", path.display()));
    assert_eq!((error.http_status(), error.kind()), (507, ErrorKind::StorageFull));
}

#[test]
fn c5_the_first_failure_is_the_cause_that_every_later_refusal_names() {
    let simulation = Simulation::new(1);
    let store = simulation.open(&Options::new()).unwrap();
    let numbers = numbers(&store);
    numbers.create("a", &1).unwrap();
    simulation.disk().inject(FaultPlan::after(0, Fault::Eio).only(Operation::Sync));
    let error = numbers.create("b", &2).unwrap_err();
    let Error::CommitUnknown { meta, source: Some(source), cause } = &error else {
        panic!("{error:?}")
    };
    let segment = PathBuf::from("store").join("journal").join("0000000001.seg");
    let expected = format!("syncing \"{}\" failed: {source}", segment.display());
    assert_eq!(&**cause, expected);
    assert_eq!(
        error.to_string(),
        format!(
            "whether the write survives is unknown: {expected}; reopen the store and ask \
             Collection::was_written about the tag {}",
            meta.etag()
        )
    );

    let poisoned =
        format!("an earlier failure ended writing: {expected}; reopen the store to write again");
    says(numbers.create("c", &3), &poisoned);
    says(store.sync(), &poisoned);
    says(store.compact(), &poisoned);
    let stats = store.stats().unwrap();
    assert!(stats.poisoned);
    assert_eq!(stats.poison_cause.as_deref(), Some(&*expected));
    says(store.clone().close(), &poisoned);
    says(numbers.get("a"), "the store is closed; open it again");
}

#[test]
fn a_store_that_is_open_elsewhere_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.ifm");
    let _store = Store::open(&path).unwrap();
    let error = Store::open(&path).unwrap_err();
    let Error::Locked { path } = &error else { panic!("{error:?}") };
    assert_eq!(
        error.to_string(),
        format!(
            "the store at \"{}\" is open elsewhere, in this process or in another; close it there \
             first",
            path.display()
        )
    );
}

/// A conflict as a store makes it, and the version it ran into.
fn conflict() -> (Box<Conflict>, Meta) {
    let numbers = numbers(&Store::in_memory());
    let meta = numbers.create("k", &1).unwrap();
    let Err(Error::AlreadyExists(conflict)) = numbers.create("k", &2) else { panic!() };
    (conflict, meta)
}

fn io(kind: io::ErrorKind) -> Error {
    Error::Io { operation: "writing", path: "/x/1.seg".into(), source: kind.into() }
}

/// One error of every variant that a test can make, with its status and the text of its kind.
fn all() -> Vec<(u16, &'static str, Error)> {
    let (conflict, meta) = conflict();
    let path = PathBuf::from("/x");
    let elapsed = Duration::ZERO;
    let patch = |error| Error::Patch(error);
    let no_path = || PatchError::PathNotFound { index: 0, path: "/a".to_owned() };
    let too_large = || Error::TooLarge { what: "value", unit: "bytes", actual: 2, limit: 1 };
    let batch = |source| Error::Batch { index: 3, source: Box::new(source) };
    let collection = "c".to_owned();
    let meta = Box::new(meta);
    let unreadable = PatchError::InvalidDocument { reason: "no".to_owned() };
    vec![
        (404, "not_found", Error::not_found("c", "k")),
        (409, "already_exists", Error::AlreadyExists(conflict.clone())),
        (412, "precondition_failed", Error::PreconditionFailed(conflict.clone())),
        (
            409,
            "not_unique",
            Error::NotUnique {
                collection: "c".into(),
                index: "/a".into(),
                key: b"k"[..].into(),
                of: b"l"[..].into(),
            },
        ),
        (400, "invalid_precondition", Error::InvalidPrecondition { reason: "so" }),
        (409, "contended", Error::Contended { attempts: 1, elapsed, current: conflict }),
        (404, "not_found", batch(Error::not_found("c", "k"))),
        (413, "too_large", batch(too_large())),
        (409, "patch", patch(PatchError::TestFailed { index: 0, path: "/a".to_owned() })),
        (422, "patch", patch(no_path())),
        (400, "patch", patch(PatchError::NotAPatch { reason: "so".to_owned() })),
        (413, "patch", patch(PatchError::TooLarge { limit: 1 })),
        (500, "patch", patch(unreadable)),
        (400, "filter", Error::Filter(Filter::exists("a").check().unwrap_err())),
        (
            413,
            "scan_too_long",
            Error::ScanTooLong { collection: collection.clone(), limit: 1, index: None },
        ),
        (400, "codec_mismatch", Error::CodecMismatch { collection, stored: "a", opened: "b" }),
        (400, "invalid_key", Error::InvalidKey { reason: "so" }),
        (413, "too_large", too_large()),
        (507, "too_many_segments", Error::TooManySegments { segments: 8_000 }),
        (500, "commit_unknown", Error::CommitUnknown { meta, source: None, cause: "so".into() }),
        (410, "compacted", Error::Compacted),
        (409, "diverged", Error::Diverged),
        (410, "snapshot_too_old", Error::SnapshotTooOld),
        (
            500,
            "corrupt",
            Error::Corrupt {
                file: path.clone(),
                offset: 7,
                reason: "so",
                item: None,
                stepped_over: false,
            },
        ),
        (503, "locked", Error::Locked { path: path.clone() }),
        (503, "moved", Error::Moved { path: path.clone() }),
        (503, "poisoned", Error::Poisoned { cause: "so".into() }),
        (503, "closed", Error::Closed),
        (500, "unsupported", Error::Unsupported { path, found: 2, supported: 1 }),
        (500, "io", io(io::ErrorKind::PermissionDenied)),
        (507, "storage_full", io(io::ErrorKind::StorageFull)),
        (500, "internal", Error::Internal { what: "so" }),
    ]
}

#[test]
fn d8_every_error_has_its_http_status_and_its_kind() {
    for (status, kind, error) in all() {
        assert_eq!((error.http_status(), error.kind().as_str()), (status, kind), "{error:?}");
        let text = serde_json::to_string(&error.kind()).unwrap();
        assert_eq!(text, format!("\"{kind}\""));
    }
    let update = |error| UpdateError::<io::Error>::Store(error).http_status();
    assert!(all().into_iter().all(|(status, _, error)| update(error) == status));
    assert_eq!(UpdateError::Aborted("sold out").http_status(), 422);
    assert_eq!(UpdateError::Aborted("sold out").to_string(), "the update was aborted: sold out");
}

#[test]
fn every_failure_of_the_store_says_what_to_do() {
    let text = |error: Error| error.to_string();
    let expected = [
        (
            Error::TooManySegments { segments: 8_000 },
            "the journal has 8000 segments, and the manifest has no room to list another; compact \
             the store to make them fewer",
        ),
        (
            Error::Compacted,
            "the cursor is older than a removal that compaction has dropped, so the change feed \
             cannot report every removal since; take a snapshot, list it, and go on from the \
             snapshot's cursor",
        ),
        (
            Error::Diverged,
            "the cursor belongs to another history of the store, as after a restore; take a \
             snapshot, list it, and go on from the snapshot's cursor",
        ),
        (
            Error::SnapshotTooOld,
            "the snapshot was given up, because it would have taken more memory or disk space than \
             allowed; take another",
        ),
        (
            Error::Corrupt {
                file: "/x/1.seg".into(),
                offset: 7,
                reason: "a frame is damaged",
                item: None,
                stepped_over: false,
            },
            "\"/x/1.seg\" is damaged at byte 7: a frame is damaged; restore a backup, or open the \
             store with Options::on_damage to keep what is whole",
        ),
        (
            Error::Moved { path: "/x".into() },
            "the directory at \"/x\" is no longer the one that this store locked: it was moved, \
             removed or replaced; close the store, and open it where its directory is now",
        ),
        (
            Error::Unsupported { path: "/x/MANIFEST".into(), found: 9, supported: 1 },
            "\"/x/MANIFEST\" has format version 9, and this version of ifmatch reads versions up \
             to 1; use a newer version of ifmatch",
        ),
        (
            Error::Internal { what: "a commit of one operation wrote nothing" },
            "a commit of one operation wrote nothing: this is a bug in ifmatch; please report it \
             at https://github.com/ifmatch/ifmatch",
        ),
        (io(io::ErrorKind::PermissionDenied), "writing \"/x/1.seg\" failed: permission denied"),
    ];
    for (error, expected) in expected {
        assert_eq!(text(error), expected);
    }
}

/// A report that prints an error and then its sources must not print a cause twice.
#[test]
fn no_source_repeats_what_the_text_says() {
    let behind = || io::Error::other(io::Error::other("deep"));
    let full = Error::Io { operation: "writing", path: "/x".into(), source: behind() };
    let aborted = UpdateError::<io::Error>::Aborted(behind());
    for (_, _, error) in all().into_iter().chain([(500, "io", full)]) {
        let mut texts = vec![error.to_string()];
        let mut source = error.source();
        while let Some(error) = source {
            texts.push(error.to_string());
            source = error.source();
        }
        let distinct: HashSet<&String> = texts.iter().collect();
        assert_eq!(distinct.len(), texts.len(), "{texts:?}");
        assert!(texts.len() == 1 || error.kind() == ErrorKind::Io, "{texts:?}");
    }
    assert!(aborted.to_string().ends_with("deep"));
}

#[test]
fn e6_versions_and_items_are_serialized_for_people() {
    let simulation = Simulation::new(1);
    let store = simulation.open(&Options::new()).unwrap();
    let fleeting = numbers(&store).with_ttl(Duration::from_secs(1));
    let first = fleeting.create("a", &1).unwrap();
    let second = numbers(&store).replace("a", &2, first).unwrap();
    let ms = |at: std::time::SystemTime| {
        at.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
    };
    let meta = serde_json::json!({
        "etag": first.etag().to_string(),
        "parent": null,
        "revision": first.revision().0,
        "modified_ms": ms(first.modified()),
        "expires_ms": ms(first.expires().unwrap()),
    });
    assert_eq!(serde_json::to_value(first).unwrap(), meta);
    let item = serde_json::json!({
        "key": "a",
        "value": 2,
        "etag": second.etag().to_string(),
        "parent": first.etag().to_string(),
        "revision": second.revision().0,
        "modified_ms": ms(second.modified()),
        "expires_ms": ms(second.expires().unwrap()),
    });
    let stored = numbers(&store).get("a").unwrap().unwrap();
    assert_eq!(serde_json::to_value(&stored).unwrap(), item);
    let binary = ifmatch::Item::new([0xff, 0x01], 1);
    assert_eq!(serde_json::to_value(&binary).unwrap()["key"], "ff01");
}
