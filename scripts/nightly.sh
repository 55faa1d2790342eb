#!/usr/bin/env bash
# The long runs: an hour of fuzzing for each target, a million differential cases, half an hour of chaos, a million
# keys listed beside charges, every bench. Takes most of a night on two cores.
#   scripts/nightly.sh                  # all of them
#   scripts/nightly.sh chaos fuzz       # those named
# Shortened by: REBATE_CASES (differential, memory), PROPTEST_CASES (tests), PROCESS_SECONDS (processes), CHAOS_SECONDS
# (chaos), REBATE_ROUNDS and REBATE_KEYS (listing), FUZZ_SECONDS (fuzz), REBATE_BENCH=quick (benches).
set -euo pipefail
cd "$(dirname "$0")/.."
ALL="differential memory tests processes chaos listing fuzz benches"
cases=${REBATE_CASES:-1000000}
# The others' differential tests are run by `tests`, as long as on any day.
unset REBATE_CASES

differential() { REBATE_CASES=$cases cargo test --release -p rebate-conformance --test differential_own_store; }
memory() {
    REBATE_CASES=$cases cargo test --release -p rebate-memory --test laws -- \
        every_answer_is_the_models forgetting_what_has_expired
}
tests() { PROPTEST_CASES=${PROPTEST_CASES:-100000} scripts/test.sh --release; }
processes() { REBATE_SECONDS=${PROCESS_SECONDS:-10} cargo test --release -p rebate-redis --test processes; }
chaos() { REBATE_SECONDS=${CHAOS_SECONDS:-1800} cargo test --release -p rebate-redis --test chaos; }
listing() {
    cargo test --release -p rebate-cli --test beside_charges -- --ignored --nocapture --test-threads=1
}
fuzz() { SECONDS_EACH=${FUZZ_SECONDS:-3600} fuzz/run.sh; }
benches() { REBATE_BENCH=${REBATE_BENCH:-all} cargo bench -p rebate-benches; }

failed=()
for part in ${*:-$ALL}; do
    if [[ " $ALL " != *" $part "* ]]; then
        echo "no part is called $part; there are: $ALL" >&2
        exit 2
    fi
    echo "== $part"
    started=$SECONDS
    "$part" </dev/null || failed+=("$part")
    echo "-- $part took $((SECONDS - started)) s"
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}"
    exit 1
fi
echo "all passed"
