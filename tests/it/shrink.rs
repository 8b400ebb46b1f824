//! Making a failing case smaller: its parts are left out, many at a time and then one by one, as
//! long as it still fails.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

/// How long a case is made smaller.
const LONGEST: Duration = Duration::from_secs(30);

/// The parts of a case, each with a number that does not depend on what else takes place.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Where only some take place, these.
    only: Option<HashSet<u32>>,
    met: RefCell<Vec<u32>>,
}

impl Parts {
    fn only(parts: impl IntoIterator<Item = u32>) -> Self {
        Self { only: Some(parts.into_iter().collect()), met: RefCell::default() }
    }

    /// All, except for those that `IFMATCH_PARTS=n,n,...` leaves out.
    pub(crate) fn from_environment() -> Self {
        let Ok(list) = std::env::var("IFMATCH_PARTS") else { return Self::default() };
        Self::only(list.split(',').map(|part| part.parse().expect("IFMATCH_PARTS has numbers")))
    }

    pub(crate) fn take_place(&self, part: u32) -> bool {
        let takes_place = self.only.as_ref().is_none_or(|only| only.contains(&part));
        if takes_place {
            self.met.borrow_mut().push(part);
        }
        takes_place
    }
}

/// The number of the nth part below another, whose number is 0 for the case itself.
pub(crate) fn part(above: u32, nth: u32) -> u32 {
    (above ^ nth.wrapping_add(0x9e37_79b9)).wrapping_mul(0x0100_0193).rotate_left(15)
}

/// Runs a case. When it fails, prints the few parts with which it still fails, and fails with them.
pub(crate) fn shrinking(case: impl Fn(&Parts)) {
    let parts = Parts::from_environment();
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| case(&parts))) else { return };
    let all = parts.met.take();
    let count = all.len();
    let fewest = fewest(all, |parts| fails_quietly(|| case(&Parts::only(parts.iter().copied()))));
    let list: Vec<String> = fewest.iter().map(u32::to_string).collect();
    eprintln!(
        "fails with {} of {count} parts as well: IFMATCH_PARTS={}",
        list.len(),
        list.join(",")
    );
    case(&Parts::only(fewest));
    // It fails by chance only, so this failure is all there is to tell.
    std::panic::resume_unwind(panic);
}

/// Leaves out parts for as long as those that stay fail.
fn fewest(mut parts: Vec<u32>, fails: impl Fn(&[u32]) -> bool) -> Vec<u32> {
    let began = Instant::now();
    let mut at_a_time = parts.len().div_ceil(2);
    while at_a_time > 0 && began.elapsed() < LONGEST {
        let mut from = 0;
        while from < parts.len() && began.elapsed() < LONGEST {
            let mut fewer = parts.clone();
            fewer.drain(from..parts.len().min(from + at_a_time));
            if fails(&fewer) {
                parts = fewer;
            } else {
                from += at_a_time;
            }
        }
        at_a_time /= 2;
    }
    parts
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Whether this panics, without a word about it.
fn fails_quietly(case: impl FnOnce()) -> bool {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                usual(panic);
            }
        }));
    });
    QUIET.set(true);
    let failed = catch_unwind(AssertUnwindSafe(case)).is_err();
    QUIET.set(false);
    failed
}

#[test]
fn a_failing_case_is_shrunk_to_the_parts_that_make_it_fail() {
    let needed: Vec<u32> = [3, 17, 40].map(|nth| part(0, nth)).to_vec();
    let case = |parts: &Parts| {
        let met: Vec<u32> =
            (0..100).map(|nth| part(0, nth)).filter(|part| parts.take_place(*part)).collect();
        assert!(!needed.iter().all(|part| met.contains(part)), "all of them are there");
    };
    let all = (0..100).map(|nth| part(0, nth)).collect();
    assert_eq!(fewest(all, |parts| fails_quietly(|| case(&Parts::only(parts.to_vec())))), needed);
    assert!(fails_quietly(|| shrinking(case)));
    assert!(!fails_quietly(|| shrinking(|_| {})));
}
