# Two commands on a fresh machine: `make demo` and `make test`.

CARGO ?= cargo
PROFILES = economy balanced premium
EXAMPLE = example/tiny_llm
# Absolute, so that the example can be run from its own folder. CARGO_TARGET_DIR moves build output.
TARGET = $(abspath $(or $(CARGO_TARGET_DIR),target))
GMAT = $(TARGET)/release/gmat
CODEC_FILES = $(wildcard codecs/src/block/*.rs codecs/src/quant/*.rs codecs/src/arch/*.rs codecs/src/token/*.rs \
    codecs/src/container/*.rs)

.PHONY: help build demo test lint unit wasm docs interop jax web serve page tree install bench speed sanitize miri clean

help:
	@echo "make demo     build gmat, convert the example model, show the result"
	@echo "make test     install what the tests need, then run all of them"
	@echo "make install  install gmat"
	@echo "make web      build the page that converts in the browser, to web/dist"
	@echo "make serve    build it and serve it on this machine"
	@echo "also: build lint unit wasm docs interop jax page bench speed sanitize miri clean"

build:
	$(CARGO) build --release --locked -p gmat

demo: build
	rm -rf $(EXAMPLE)/model.gmat $(EXAMPLE)/export/gguf $(EXAMPLE)/import_config.json
	cd $(EXAMPLE) && $(GMAT) import --model hf-model/tiny_llm.safetensors --generate-config
	cd $(EXAMPLE) && $(GMAT) import --progress none --model hf-model/tiny_llm.safetensors \
	    --config import_config.json -o .
	set -e; cd $(EXAMPLE); for profile in $(PROFILES); do \
	    $(GMAT) export --progress none --model model.gmat --config export/export-$$profile.json \
	        -o export/gguf/tiny_llm-$$profile.gguf; done
	cd $(EXAMPLE) && $(GMAT) inspect export/gguf/tiny_llm-balanced.gguf
	ls -l $(EXAMPLE)/export/gguf

install:
	$(CARGO) install --locked --path native-cli

# Cheapest first, so that a slip is found early.
test: lint unit wasm docs page interop jax tree
	@echo "all checks passed"

lint:
	rustup component add rustfmt clippy
	$(CARGO) fmt --all --check
	rustfmt --edition 2024 --check $(CODEC_FILES)
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# The tests build plugins for wasm.
unit:
	rustup target add wasm32-unknown-unknown
	$(CARGO) test --workspace --locked

# The core and all codecs must build for the browser, and write the same bytes there.
wasm:
	rustup target add wasm32-unknown-unknown
	$(CARGO) clippy --locked -p gmat-core -p gmat-codecs --target wasm32-unknown-unknown -- -D warnings
	CARGO=$(CARGO) tests/wasm/run.sh

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

# The page is one module with threads and vectors, for which the standard library is built anew: the
# stable compiler does that with RUSTC_BOOTSTRAP=1. Ignoring that setting it would link the one
# without threads and say nothing, so the rebuilt one is looked for.
WEB = $(TARGET)/web
BUNDLE = $(TARGET)/bundle/debug/gmat-bundle
web:
	rustup component add rust-src
	RUSTC_BOOTSTRAP=1 $(CARGO) --config web/threads.toml build --release --locked -p gmat-web --lib \
	    --target wasm32-unknown-unknown --target-dir $(WEB)
	ls $(WEB)/wasm32-unknown-unknown/release/deps/libstd-*.rlib >/dev/null
	$(CARGO) build --quiet --locked --manifest-path web/bundle/Cargo.toml --target-dir $(TARGET)/bundle
	$(BUNDLE) build $(WEB)/wasm32-unknown-unknown/release/gmat_web.wasm web/page \
	    core/src/export/report/html/page.js web/dist

# PORT=8080 by default.
serve: web
	$(BUNDLE) serve web/dist $(or $(PORT),8080)

# Its tests build plugins for wasm.
page: web build
	rustup target add wasm32-unknown-unknown
	CARGO=$(CARGO) tests/page/run.sh $(GMAT) $(BUNDLE) web/dist

interop: build
	rustup target add wasm32-unknown-unknown
	tests/interop/run.sh $(GMAT)

# What convert writes, read by NumPy, msgpack, pickle and JAX.
jax: build
	tests/jax/run.sh $(GMAT)

# Building and testing must leave no trace in the checkout.
tree:
	@test -z "$$(git status --porcelain)" || { echo "the tree is not clean:"; git status --short; exit 1; }

bench: build
	$(CARGO) bench --locked -p gmat-tests
	tests/scale.sh $(GMAT)

# Quantization beside ggml's own; TYPES="q4_ iq2_xs" selects types by the beginning of their names.
speed:
	CARGO=$(CARGO) tests/interop/speed.sh $(TYPES)

# Memory errors, in the vector code of this processor too. RUSTC_BOOTSTRAP allows the sanitizer on the
# pinned compiler; with --target, build scripts are spared it. Leaks are not looked for: that needs
# ptrace, which containers forbid.
SANITIZE = RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 \
    $(CARGO) test --locked --target $(shell rustc -vV | sed -n 's/^host: //p')
sanitize:
	$(SANITIZE) -p gmat-codecs --lib
	$(SANITIZE) -p gmat-tests --test main -- quant_ block_ tokens hostile

# Undefined behaviour, on an interpreter: portable code, then what is compiled for AVX2. Left out are
# tests that go through all values of some bits.
MIRI = $(CARGO) +nightly miri test --locked -p gmat-codecs --lib -- \
    block32 fp4 lockstep protobuf quant:: search:: simd:: superblock trits
miri:
	rustup toolchain install nightly --profile minimal --component miri
	$(MIRI)
	RUSTFLAGS=-Ctarget-feature=+avx2 $(MIRI)

clean:
	$(CARGO) clean
	rm -rf web/dist
	rm -rf $(EXAMPLE)/model.gmat $(EXAMPLE)/export/gguf $(EXAMPLE)/import_config.json
