//! Kills, losses of power, damage and repairs.

use super::*;

/// Writes under a unique index, and the making of one, are cut by kills and losses of power. What is
/// left holds no value twice, and an acknowledged write is there.
#[test]
fn cuts_of_commits_and_of_making_leave_no_value_twice() {
    for seed in seeds(0..from_environment("IFMATCH_UNIQUE_CUTS").unwrap_or(thinned(40, 120))) {
        let _repeat = Repeat::new("uniqueness", seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let sim = Simulation::new(seed);
        let store = sim.open(&Options::new()).unwrap();
        let users = users(&store);
        let breaks = rng.u8(0..4) == 0;
        if rng.bool() {
            users.ensure_index(by_mail()).unwrap();
        }
        for n in 0..rng.u64(0..40) {
            users.create(format!("{n:02}"), &mail(&format!("{n}"))).unwrap();
        }
        let unique = !users.indexes().unwrap().is_empty();
        if breaks && !unique {
            users.upsert("twin", &mail("3"), ALWAYS).unwrap();
        }
        let begun = sim.disk().calls();
        let mut acknowledged = Vec::new();
        let cut = begun + rng.u64(0..60);
        sim.disk().inject(
            ifmatch::simulation::FaultPlan::after(cut - begun, ifmatch::simulation::Fault::Eio)
                .persistent(),
        );
        let made = users.ensure_index(by_mail());
        for n in 0..8 {
            let (a, b) = (format!("{n:02}"), format!("{:02}", n + 1));
            let swap = store.batch().upsert(&users, &a, &mail(&format!("{}", n + 1)), ALWAYS);
            let swap = swap.upsert(&users, &b, &mail(&format!("{n}")), ALWAYS).commit();
            if swap.is_ok() {
                acknowledged.push((a, b));
            }
        }
        sim.disk().clear_faults();
        let left = if rng.bool() { sim.kill(&mut rng) } else { sim.crash(&mut rng) };
        drop(store);
        let store = left.open(&Options::new()).unwrap();
        let users = self::users(&store);
        store.verify().unwrap();
        let indexes = users.indexes().unwrap();
        if unique || made.is_ok() {
            assert!(indexes.len() == 1 && indexes[0].index.is_unique(), "{indexes:?}");
        }
        let mut values: Vec<String> =
            users.iter().unwrap().map(|item| item.unwrap().value["email"].to_string()).collect();
        values.sort_unstable();
        let shared = values.windows(2).any(|pair| pair[0] == pair[1]);
        assert!(indexes.is_empty() || !shared, "{values:?}");
        if let Some((a, b)) = acknowledged.last() {
            assert!(users.contains(a).unwrap() && users.contains(b).unwrap());
        }
        // It goes on.
        match users.ensure_index(by_mail()) {
            Ok(_) => assert!(!shared),
            Err(Error::NotUnique { .. }) => assert!(shared && users.indexes().unwrap().is_empty()),
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn flip(sim: &Simulation, marker: &[u8]) {
    let names = sim.disk().file_names();
    let path = names.into_iter().find(|name| name.to_string_lossy().ends_with(".seg")).unwrap();
    let mut bytes = sim.disk().read_file(&path).unwrap();
    let at = bytes.windows(marker.len()).position(|window| window == marker).unwrap();
    bytes[at] ^= 1;
    sim.disk().write_file(&path, &bytes).unwrap();
}

#[test]
fn a_repair_refuses_nothing_and_verify_names_two_items_with_one_value() {
    let sim = Simulation::new(5);
    let store = sim.open(&Options::new()).unwrap();
    let users = users(&store);
    users.ensure_index(by_mail()).unwrap();
    users.create("ann", &mail("a@x")).unwrap();
    users.replace("ann", &mail("moved away"), ALWAYS).unwrap();
    users.create("bob", &mail("a@x")).unwrap();
    users.create("cid", &mail("c@x")).unwrap();
    let damaged = sim.kill(&mut fastrand::Rng::with_seed(1));
    drop(store);
    flip(&damaged, b"moved away");
    let store = damaged.open(&Options::new().on_damage(OnDamage::SkipDamaged)).unwrap();
    let users = self::users(&store);
    assert_eq!(users.get("ann").unwrap().unwrap().value, mail("a@x"), "the newest that is whole");
    assert_eq!(users.get("bob").unwrap().unwrap().value, mail("a@x"));
    assert!(users.indexes().unwrap()[0].built);
    assert_eq!(not_unique(store.verify()), pair("bob", "ann"));
    // Both are found, and can be changed.
    assert_eq!(users.find(Filter::eq("/email", "a@x")).count().unwrap(), 2);
    users.patch("ann", &Patch::new().set("/age", 3), ALWAYS).unwrap();
    assert_eq!(not_unique(users.create("new", &mail("a@x"))), pair("new", "ann"));
    let reopened = || -> Store {
        store.clone().close().unwrap();
        damaged.open(&Options::new()).unwrap()
    };
    let store = reopened();
    let users = self::users(&store);
    assert_eq!(not_unique(store.verify()), pair("bob", "ann"));
    // A copy is as the store is.
    store.backup(Path::new(STORE).with_extension("copy")).unwrap();
    let restored = damaged.at("again");
    let restored =
        restored.restore(Path::new(STORE).with_extension("copy"), &Options::new()).unwrap();
    assert_eq!(not_unique(restored.verify()), pair("bob", "ann"));
    assert_eq!(not_unique(self::users(&restored).create("new", &mail("c@x"))), pair("new", "cid"));
    users.patch("ann", &Patch::new().set("/email", "another"), ALWAYS).unwrap();
    store.verify().unwrap();
}
