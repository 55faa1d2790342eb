#!/usr/bin/env bash
# The long runs: an hour of fuzzing for each target, a million differential cases, half an hour of chaos, a million
# keys listed beside charges, every bench.
# FUZZ_SECONDS, CHAOS_SECONDS and REBATE_CASES shorten them. Takes most of a night on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=()
run() {
    echo "== $*"
    local started=$SECONDS
    "$@" </dev/null || failed+=("$*")
    echo "-- took $((SECONDS - started)) s"
}
export REBATE_CASES="${REBATE_CASES:-1000000}"
run cargo test --release -p rebate-conformance --test differential_own_store
run cargo test --release -p rebate-memory --test laws -- every_answer_is_the_models forgetting_what_has_expired
unset REBATE_CASES
run env PROPTEST_CASES=100000 cargo test --release --workspace --all-features
run env REBATE_SECONDS=10 cargo test --release -p rebate-redis --test processes
run env REBATE_SECONDS="${CHAOS_SECONDS:-1800}" cargo test --release -p rebate-redis --test chaos
run cargo test --release -p rebate-cli --test beside_charges -- --ignored --nocapture --test-threads=1
run env SECONDS_EACH="${FUZZ_SECONDS:-3600}" fuzz/run.sh
run env REBATE_BENCH=all cargo bench -p rebate-benches
if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi
echo "all passed"
