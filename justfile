# Recipes for https://just.systems; everything here is also one command without it. `.ci/run` runs all of `ci`.

# What there is.
default:
    @just --list

# Policies swapped live over an embedded cluster, in under half a minute.
demo *arguments:
    cargo demo {{ arguments }}

# Puts the sources into form.
fmt:
    cargo fmt --all

# Format and lints, as the gate sees them.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Every test of the workspace.
test *arguments:
    cargo test --workspace --locked {{ arguments }}

# The documentation; it must build without a warning.
doc *arguments:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked {{ arguments }}

# The plugin from outside: its tests, its library, the host's verdict on it.
third-party:
    cd examples/third-party && cargo test --locked && cargo build --release --locked
    cargo run --quiet --locked -p policy-host-cli --bin policy-host -- check examples/third-party/target/release/libspread_by_rack.so

# Figures: the boundary, the validator, swaps under load. Quiet machine, please.
bench *arguments:
    cargo bench --locked -p policy-host {{ arguments }}

# Writes plugin-api/abi.lock anew after a change that is meant. Read plugin-api/ABI.md first.
abi-lock:
    UPDATE_ABI_LOCK=1 cargo test -p policy-plugin-api --test abi_lock

# Licences, advisories, sources; needs cargo-deny.
deny:
    cargo deny check

# All that must hold before a change goes in.
ci:
    .ci/run
