use ifmatch::*;
#[test]
fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5u64 {
        let store = Store::open(dir.path().join("s")).unwrap();
        let c = store.collection::<u64>("numbers").unwrap();
        for i in 0..500u64 {
            if round == 0 {
                c.create(format!("k{i:04}"), &i).unwrap();
            } else {
                let it = c.get(format!("k{i:04}")).unwrap().unwrap();
                assert_eq!(it.value, i + round - 1);
                c.replace(format!("k{i:04}"), &(i + round), it.etag()).unwrap();
            }
        }
        assert_eq!(c.len().unwrap(), 500);
        let v: Vec<_> = c.iter().unwrap().rev().map(|i| i.unwrap().value).collect();
        assert_eq!(v.len(), 500);
        if round % 2 == 0 {
            store.close().unwrap();
        }
        drop(c);
    }
}
