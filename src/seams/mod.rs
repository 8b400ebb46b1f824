//! Replaceable in tests: synchronisation, time and randomness.

pub(crate) mod clock;
pub(crate) mod entropy;
pub(crate) mod sync;

/// How many cases of a long unit test are run: the first number in a plain `cargo test`, the second
/// with `IFMATCH_THOROUGH=1`.
#[cfg(test)]
pub(crate) fn thinned<N>(plain: N, thorough: N) -> N {
    let is_thorough = std::env::var("IFMATCH_THOROUGH").is_ok_and(|value| value != "0");
    if is_thorough { thorough } else { plain }
}
