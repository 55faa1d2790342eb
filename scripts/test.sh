#!/usr/bin/env bash
# Runs every test of the workspace, documentation examples included, with every feature. Arguments go to
# cargo test: scripts/test.sh -p rebate-core.
# Needs Rust, and installs what else is missing: redis-server and redis-cli, which tests start on free ports and stop, and
# make. REBATE_SERVER names another server program, such as valkey-server. No network is used but for installing.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v cargo >/dev/null; then
    echo "cargo is missing; install Rust from https://rustup.rs" >&2
    exit 1
fi
# Installs the package that brings a program, by Debian's or Homebrew's means.
need() {
    local program=$1 debian=$2 homebrew=$3 sudo=
    command -v "$program" >/dev/null && return
    echo "installing $program"
    if command -v apt-get >/dev/null; then
        [ "$(id -u)" -eq 0 ] || sudo=sudo
        $sudo apt-get install -y -qq "$debian" >/dev/null 2>&1 ||
            { $sudo apt-get update -qq >/dev/null && $sudo apt-get install -y -qq "$debian" >/dev/null; } || true
    elif command -v brew >/dev/null; then
        brew install --quiet "$homebrew" || true
    fi
    command -v "$program" >/dev/null && return
    echo "$program is missing and cannot be installed here: apt-get install $debian, or brew install $homebrew" >&2
    exit 1
}
[ -n "${REBATE_SERVER:-}" ] || need redis-server redis-server redis
need redis-cli redis-tools redis
need make make make
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
