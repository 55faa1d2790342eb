#!/usr/bin/env bash
# Runs every test of the workspace, documentation examples included, with every feature. Arguments go to
# cargo test: scripts/test.sh -p rebate-core.
# Needs Rust and nothing else: no test so far uses a server, a network or a file outside the repository.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v cargo >/dev/null; then
    echo "cargo is missing; install Rust from https://rustup.rs" >&2
    exit 1
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
which=(--workspace)
for argument in "$@"; do
    case $argument in -p | --package | --package=* | -p*) which=() ;; esac
done
status=0
cargo test "${which[@]}" --all-features --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?
# Sums the lines `test result: ok. 9 passed; 0 failed; 1 ignored; …`.
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8; programs += 1 }
     END { printf "tests: %d passed, %d failed, %d ignored, in %d programs\n", passed, failed, ignored, programs }' "$log"
exit "$status"
