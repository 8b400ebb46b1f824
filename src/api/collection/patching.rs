//! Changing parts of a document.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::collection::Collection;
use crate::engine::operation::{Action, PatchPlan};
use crate::values::codec::{Json, decode_json};
use crate::values::error::{CodecStep, Error, Result};
use crate::values::item::Item;
use crate::values::patch::Patch;
use crate::values::precondition::Precondition;

impl<T: Serialize + DeserializeOwned> Collection<T, Json> {
    /// Changes parts of a document that must exist and meet the precondition. All operations of the
    /// patch are applied, or none. Returns the item as written. Fields that the patch does not name
    /// keep their exact meaning, even if `T` does not know them. The patched document must still
    /// decode as `T`.
    ///
    /// The precondition is decided before the patch is applied. The patch is applied under no lock.
    /// If another writer comes in between, it is applied again, as often as the
    /// [`RetryPolicy`](crate::RetryPolicy) allows. Each attempt costs a read and a write.
    ///
    /// # Errors
    /// - [`Error::NotFound`], [`Error::PreconditionFailed`], [`Error::InvalidPrecondition`] as
    ///   [`replace`](Self::replace).
    /// - [`Error::Patch`] when an operation cannot be applied, naming it.
    /// - [`Error::Codec`] when the patched document cannot be decoded as `T`.
    /// - [`Error::Contended`] when every attempt that the policy allows has lost.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::Patch;
    ///
    /// let products = ifmatch::Store::in_memory().collection::<serde_json::Value>("products")?;
    /// let tag = products.create("01AC0", &serde_json::json!({"price": 60, "stock": 3}))?.etag();
    /// let patch = Patch::new().set("/price", 50.0).incr("/stock", -1);
    /// let item = products.patch("01AC0", &patch, tag)?;
    /// assert_eq!(item.value, serde_json::json!({"price": 50.0, "stock": 2}));
    /// # Ok(()) }
    /// ```
    ///
    /// Only JSON can be patched. Collections with another codec do not have this method:
    ///
    /// ```compile_fail,E0599
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let points = ifmatch::Store::in_memory().collection_with::<u64, ifmatch::Bincode>("p")?;
    /// points.patch("a", &ifmatch::Patch::new(), ifmatch::Precondition::Always)?;
    /// # Ok(()) }
    /// ```
    ///
    /// ```compile_fail,E0599
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let blobs = ifmatch::Store::in_memory().raw("blobs")?;
    /// blobs.patch("a", &ifmatch::Patch::new(), ifmatch::Precondition::Always)?;
    /// # Ok(()) }
    /// ```
    pub fn patch(
        &self,
        key: impl AsRef<[u8]>,
        patch: &Patch,
        precondition: impl Into<Precondition>,
    ) -> Result<Item<T>> {
        let action = self.patch_action(patch);
        let mut operations = [self.operation(key.as_ref(), action, precondition.into())?];
        // The document as it was last patched: that is the one that was committed.
        let mut document = None;
        let mut check = |bytes: &[u8]| {
            document = Some(decode_json::<T>(bytes, CodecStep::CheckPatched)?);
            Ok(())
        };
        let meta = self.run(&mut operations, Some(&mut check))?;
        let [operation] = operations;
        let nothing = Error::Internal { what: "a patch was committed and never applied" };
        Ok(Item::stored(operation.key.item_key(), document.ok_or(nothing)?, meta))
    }

    /// A patch to be applied to a document of this type.
    pub(crate) fn patch_action(&self, patch: &Patch) -> Action {
        fn check<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<()> {
            decode_json::<T>(bytes, CodecStep::CheckPatched).map(drop)
        }
        let (patch, expiry) = (Arc::new(patch.clone()), self.expiry);
        let plan = PatchPlan { patch, check: check::<T>, expiry, computed: None };
        Action::Patch(Box::new(plan))
    }
}
