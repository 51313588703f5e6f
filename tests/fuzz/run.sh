#!/bin/bash
# Runs every fuzz target: first over its corpus, then for some seconds on what it makes of that. Findings go to artifacts/.
#   tests/fuzz/run.sh SECONDS [TARGET ...]       0 seconds: the corpora alone
# As cargo-fuzz does, without it: the instrumentation wants flags that a stable compiler takes with RUSTC_BOOTSTRAP=1.
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: tests/fuzz/run.sh SECONDS [TARGET ...]" >&2; exit 64; }
seconds=$1
shift
cd "$(dirname "$(readlink -f "$0")")"
target=${CARGO_TARGET_DIR:-$(readlink -f ../..)/target}/fuzz
[ $# -gt 0 ] || set -- $(ls fuzz_targets | sed 's/\.rs$//')

host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Ccodegen-units=1 -Zsanitizer=address"
# With --target the flags reach the programs and not the build scripts.
cargo build --locked --release --target "$host" --target-dir "$target" --bins

for name; do
    program=$target/$host/release/$name
    mkdir -p "artifacts/$name" "$target/corpus/$name"
    echo "fuzz: $name, the corpus"
    "$program" -runs=0 -rss_limit_mb=1024 -malloc_limit_mb=256 -artifact_prefix="artifacts/$name/" "corpus/$name" 2>&1 | tail -n 2
    if [ "$seconds" -gt 0 ]; then
        echo "fuzz: $name, $seconds s"
        # What it finds worth keeping stays out of the tree; the corpus that is committed is only read.
        "$program" -max_total_time="$seconds" -timeout=10 -max_len=8192 -rss_limit_mb=1024 -malloc_limit_mb=256 \
            -print_final_stats=1 -artifact_prefix="artifacts/$name/" "$target/corpus/$name" "corpus/$name" 2>"$target/$name.log" ||
            { tail -n 60 "$target/$name.log" >&2; echo "fuzz: $name has a finding in tests/fuzz/artifacts/$name" >&2; exit 1; }
        grep -E 'number_of_executed_units|average_exec' "$target/$name.log"
    fi
done
