# What is done with this repository, by name: `just --list`. Each recipe calls a command or a script that also works without
# just (https://just.systems; `pipx install rust-just`).

# The recipes and what they do
[private]
default:
    @{{ just_executable() }} --list --unsorted

# Build the program: target/release/cachalot
build:
    cargo build --release --locked

# Build and start a server with the embedded model, or with `just serve --model DIR`
serve *switches:
    cargo run --release --locked -- serve {{ switches }}

# Run every test without services, or those of `just test -p CRATE`
test *arguments="--workspace":
    cargo test --release --locked {{ arguments }}

# Run the same tests beside a PostgreSQL and a Redis of their own, where these are installed
services *arguments="--workspace":
    tests/services.sh cargo test --release --locked {{ arguments }}

# Check the formatting and the lints
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --release --locked -- -D warnings

# Run the client libraries and the examples against a server; builds it first
clients: build
    tests/clients/install.sh
    tests/clients/run.sh

# Measure the kernels, the engine with the fixture model, and the gateway
bench: build
    cargo bench -p kernels
    target/release/cachalot bench speed --model fixture
    cargo build --profile dist --locked
    cargo run --release --locked --manifest-path bench/gateway/Cargo.toml

# Fuzz one target or all, each for some seconds; needs cargo-fuzz
fuzz target="all" seconds="60":
    fuzz/run.sh {{ target }} {{ seconds }}

# Build the API documentation, warnings are errors: target/doc/cachalot/index.html
docs:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --release --locked

# Check the links of the documents and build docs/ as a book: target/book/index.html; builds mdbook first
book:
    .ci/tools mdbook
    .ci/book

# Measure what README.md shows in its section "The first minute"; builds the program first
first-minute: build
    bench/first_minute.sh

# Check licences and sources of the dependencies; builds cargo-deny first
deny:
    PATH="$(.ci/tools cargo-deny):$PATH" cargo deny --locked check licenses bans sources

# Run everything that CI runs
ci:
    .ci/run

# Check everything, pack the archive of this machine with its checksum, print the release notes; a tag v* makes the release
release: deny book ci
    .ci/package
    .ci/changelog "$(.ci/version)" || .ci/changelog Unreleased
