# The commands that contributors need. `just` alone lists them. See CONTRIBUTING.md.

# An edit is tested after a quarter of the time; Cargo.toml says why this is not the default.
export CARGO_INCREMENTAL := "1"

# List the recipes
default:
    @just --list

# Check formatting and lints, without running anything
check:
    cargo fmt --check
    cargo fmt --manifest-path fuzz/Cargo.toml --check
    cargo fmt --manifest-path benches/peers/Cargo.toml --check
    cargo clippy --all-targets --all-features -- -D warnings
    cargo clippy -- -D warnings
    cargo fmt -p ifmatch-cli -p ifmatch-benches --check
    cargo clippy -p ifmatch-cli --all-targets -- -D warnings
    cargo clippy -p ifmatch-benches --all-targets -- -D warnings

# Run the tests, or those that match: `just test --test it damage`
test *arguments:
    cargo test {{ arguments }}

# Run the tests of the command line; `SNAPSHOTS=overwrite just cli` writes what commands print now
cli *arguments:
    cargo test -p ifmatch-cli {{ arguments }}

# Explore the models of the commit path in every interleaving, or those whose name matches
loom model="models":
    RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --release --lib {{ model }}

# Fuzz one target; `cargo +nightly fuzz list` names them
fuzz target seconds="60":
    mkdir -p target/fuzz-corpus/{{ target }} fuzz/corpus/{{ target }}
    cargo +nightly fuzz run {{ target }} target/fuzz-corpus/{{ target }} fuzz/corpus/{{ target }} \
        -- -max_total_time={{ seconds }} -rss_limit_mb=4096

# Print the numbers of this crate: `just bench get`
bench *arguments:
    cargo bench -p ifmatch-benches {{ arguments }}

# Print the numbers of this crate and of other embedded stores
peers *arguments:
    cargo run --release --manifest-path benches/peers/Cargo.toml -- {{ arguments }}

# Put bugs into a copy of the source and demand that a test fails: a pattern, --check or --ci
seeded *arguments:
    scripts/seeded-bugs {{ arguments }}

# Build the documentation and run its examples
doc *arguments:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps {{ arguments }}
    cargo test --doc

# Run everything that must pass before a change lands
ci:
    bash .ci/run

# Run one proof, or all of them: `just proof kills 200`, `just proof all --quick`
proof row="all" *arguments:
    scripts/proof/{{ row }} {{ arguments }}
