# The few verbs people type. `make` alone lists them.

TARGET := $(or $(CARGO_TARGET_DIR),target)
# The systemd boxes and many tests need namespaces and other users, and those need root; cargo itself does not.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
AS_ROOT = $(if $(SUDO),--config "target.'cfg(unix)'.runner=['sudo'$(comma) '--preserve-env']")
# What needs root says so by its name.
WITHOUT_ROOT := $(if $(SUDO),--skip as_root)
comma := ,

.PHONY: help
help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 20

.PHONY: demo
demo: ## install what it needs, build, and show the main job end to end in a scratch directory
	tests/install.sh demo
	cargo build --release -p reverie-agent -p reverie-ctl -p reverie-tpm --bins --example swtpm_front
	tests/demo/run.sh $(TARGET)/release
	tests/demo/mesh.sh $(TARGET)/release

.PHONY: check
check: ## what any user can run, no root: format, lints, unit tests, purity of the core, scores of the units
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --workspace --lib --bins -- $(WITHOUT_ROOT)
	tests/purity.sh
	tests/systemd/security.sh

.PHONY: test
test: ## everything: installs what it needs; wants root (by sudo if need be) for namespaces and systemd boxes
	tests/install.sh test
	tests/purity.sh
	cargo build --workspace --bins --examples
	cargo test --workspace $(AS_ROOT) -- --skip host::mesh --skip thousands_of_connections
	# Ten hosts, or thousands of connections, are load enough: one test after the other.
	cargo test --workspace --test all $(AS_ROOT) -- --test-threads 1 host::mesh thousands_of_connections
	tests/systemd/security.sh
	$(SUDO) tests/systemd/scenario.sh $(TARGET)/debug

.PHONY: hosts
hosts: ## of `make test` only the many real hosts in network namespaces, in trouble
	tests/install.sh test
	cargo build --workspace --bins --examples
	cargo test --workspace --test all $(AS_ROOT) -- --test-threads 1 host::mesh

SEEDS ?= 1000
.PHONY: sim
sim: ## simulated meshes in trouble, SEEDS of each story (1000; nightly 10000), checked against a reference model
	cargo run --release -p reverie-tests --example sim -- --seeds 0..$(SEEDS)

.PHONY: bench
bench: ## the benchmarks of docs/performance.md, each with its comparison in the same run
	tests/install.sh bench
	cargo build --profile dist --workspace --bins --example keeper_round_trip
	cargo build --release -p reverie-tests --example sim
	CARGO_TARGET_DIR=$(TARGET)/chitchat cargo build --release --locked --manifest-path tests/bench/chitchat/Cargo.toml
	tests/bench/run.sh $(TARGET)/dist

FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz: ## fuzz the parsers of the mesh, of credentials and of the file view's names, FUZZ_SECONDS each (60); findings go to tests/fuzz/artifacts
	tests/fuzz/run.sh $(FUZZ_SECONDS)

.PHONY: deb
deb: ## the Debian package, in target/debian
	cargo build --profile dist --workspace --bins
	units/deb.sh $(TARGET)/dist $(TARGET)/debian

.PHONY: install-deps
install-deps: ## only install what demo and test need
	tests/install.sh test
