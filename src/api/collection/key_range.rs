//! The ranges of keys that a scan takes.

use std::ops::{
    Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive,
};

/// A range of keys, for [`Collection::range`](crate::Collection::range): `..`, `a..b`, `a..=b`,
/// `a..`, `..b` and `..=b` of anything that is bytes, and pairs of [`Bound`]s. `K` is `[u8]` in each.
///
/// A page that follows the last key of another begins after it:
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use std::ops::Bound::{Excluded, Unbounded};
///
/// let products = ifmatch::Store::in_memory().collection::<f64>("products")?;
/// for key in ["a", "b", "c", "d"] {
///     products.create(key, &0.5)?;
/// }
/// let page: Vec<_> = products.range(..)?.take(2).collect::<Result<_, _>>()?;
/// let last = page.last().expect("two products");
/// let next = products.range((Excluded(last.key()), Unbounded))?.next().transpose()?;
/// assert_eq!(next.and_then(|item| item.key_str().map(str::to_owned)), Some("c".to_owned()));
/// # Ok(()) }
/// ```
pub trait KeyRange<K: ?Sized>: sealed::Sealed {
    /// The two ends.
    #[doc(hidden)]
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>);
}

mod sealed {
    /// Keeps [`KeyRange`](super::KeyRange) to the ranges of the standard library, of which one form
    /// each lets the compiler tell what `..` is a range of.
    pub trait Sealed {}
}

impl sealed::Sealed for RangeFull {}
impl KeyRange<[u8]> for RangeFull {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Unbounded, Bound::Unbounded)
    }
}

macro_rules! ranges {
    ($($range:ty),*) => {
        $(impl<Q: AsRef<[u8]>> sealed::Sealed for $range {}
        impl<Q: AsRef<[u8]>> KeyRange<[u8]> for $range {
            fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
                (
                    RangeBounds::<Q>::start_bound(self).map(AsRef::as_ref),
                    RangeBounds::<Q>::end_bound(self).map(AsRef::as_ref),
                )
            }
        })*
    };
}

ranges!(
    Range<Q>,
    RangeInclusive<Q>,
    RangeFrom<Q>,
    RangeTo<Q>,
    RangeToInclusive<Q>,
    (Bound<Q>, Bound<Q>)
);
