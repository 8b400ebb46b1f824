//! Randomness: what must differ between stores and between runs.

use std::fmt;
use std::sync::Arc;

/// A source of random bytes for incarnations and salts.
#[derive(Clone)]
pub(crate) struct Entropy(Arc<Filler>);

/// Fills a buffer with random bytes.
type Filler = dyn Fn(&mut [u8]) + Send + Sync;

impl Entropy {
    /// The operating system's generator. Where it fails, which no supported system does once it
    /// has started, a seeded generator is used: incarnations must differ, but need not be secret.
    pub(crate) fn system() -> Self {
        Self(Arc::new(|bytes| {
            if getrandom::fill(bytes).is_err() {
                fastrand::fill(bytes);
            }
        }))
    }

    /// A generator that makes the same bytes for the same seed.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn seeded(seed: u64) -> Self {
        let generator = std::sync::Mutex::new(fastrand::Rng::with_seed(seed));
        Self(Arc::new(move |bytes| match generator.lock() {
            Ok(mut generator) => generator.fill(bytes),
            Err(poisoned) => poisoned.into_inner().fill(bytes),
        }))
    }

    pub(crate) fn fill(&self, bytes: &mut [u8]) {
        (self.0)(bytes);
    }

    /// 128 random bits.
    pub(crate) fn incarnation(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}
