//! What the running thread has written since an update's closure began: an update that loses to its
//! own closure loses every time, and need not be tried ten thousand times.

use std::cell::RefCell;

use crate::values::etag::ETag;
use crate::values::item::Meta;

thread_local! {
    /// `None` while no update runs its closure on this thread.
    static TAGS: RefCell<Option<Vec<ETag>>> = const { RefCell::new(None) };
}

/// Collects the tags of this thread's commits until it is dropped.
#[derive(Debug)]
pub(crate) struct OwnWrites {
    /// Those of the update whose closure runs this one.
    outer: Option<Vec<ETag>>,
}

impl OwnWrites {
    pub(crate) fn collect() -> Self {
        Self { outer: TAGS.replace(Some(Vec::new())) }
    }

    /// Whether this thread wrote this version in the meantime.
    pub(crate) fn include(&self, version: Option<&Meta>) -> bool {
        let is_own = |meta: &Meta| {
            TAGS.with_borrow(|tags| tags.as_ref().is_some_and(|tags| tags.contains(&meta.etag())))
        };
        version.is_some_and(is_own)
    }
}

impl Drop for OwnWrites {
    fn drop(&mut self) {
        let own = TAGS.take();
        let outer = self.outer.take().map(|mut outer| {
            outer.extend(own.into_iter().flatten());
            outer
        });
        TAGS.set(outer);
    }
}

/// Says that this thread has written these versions.
pub(crate) fn note(metas: &[Meta]) {
    TAGS.with_borrow_mut(|tags| {
        if let Some(tags) = tags {
            tags.extend(metas.iter().map(Meta::etag));
        }
    });
}
