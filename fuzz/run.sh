#!/usr/bin/env bash
# Fuzzes every target, or those named, for SECONDS_EACH seconds each (20 unless said):
#   fuzz/run.sh            SECONDS_EACH=3600 fuzz/run.sh token operations
# Needs nightly Rust and cargo-fuzz. What crashes a target is kept in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-20}
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    # Not in a process substitution: what fails there is not seen, and nothing would be fuzzed.
    list=$(cargo +nightly fuzz list)
    mapfile -t targets <<<"$list"
fi
# Seeds that read, so that a short run gets past the first character.
seed() {
    mkdir -p "fuzz/corpus/$1"
    printf '%s' "$3" >"fuzz/corpus/$1/seed-$2"
}
number=0
for text in '10/month' '5/30s' '30/24h from first' '1000/day in Europe/Berlin' '100/minute sliding' \
    '100/minute sliding log' '10/second burst 20' '3 at once for 10m'; do
    seed policy_text $((number += 1)) "$text"
done
seed log_line common '192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET /a?b HTTP/1.1" 200 512 "-" "curl"'
seed log_line json '{"time":"2015-05-17T10:05:03.5Z","ip":"192.0.2.7","status":"409"}'
number=0
for text in $'base = "/api"\n[[rule]]\npath = "/a/{id}"\nlimit = "10/month"\nrefund = [409, "5xx"]' \
    $'[limits]\nd = "50/day"\n[plans]\nby = "header:p"\ndefault = "a"\n[plans.a]\nd = "unlimited"\n[[rule]]\nprefix = "/"\nlimits = ["d"]' \
    $'[[rule]]\npath = "/a"\nlimit = "1/day"\n[[rule]]\npath = "/b"\nlimits_of = ["/a"]\nkey = "ip"\n[exempt]\nkeys = ["ip:10.0.0.1"]\nnetworks = ["10.0.0.0/8"]'; do
    seed rule_file $((number += 1)) "$text"
done
number=0
for text in '/api/generate' '/api/auth/%2e%2e%2fgenerate' '/api//storage/x/../y/' '/api/x/..;/open/\a' '/api/%2567enerate%00?#'; do
    seed request_path $((number += 1)) "$text"
done
seed token one 'HgRmdXp6gID5wMHEggMAAAFhAWsBAAECAwQFBgcAAA'
head -c 400 Cargo.lock >fuzz/corpus/seed.tmp 2>/dev/null && mkdir -p fuzz/corpus/operations &&
    mv fuzz/corpus/seed.tmp fuzz/corpus/operations/seed-bytes
crashed=()
for target in "${targets[@]}"; do
    echo "== fuzz $target, $seconds s"
    # The others have their time all the same.
    cargo +nightly fuzz run "$target" ${FUZZ_TARGET_DIR:+--target-dir "$FUZZ_TARGET_DIR"} -- \
        -max_total_time="$seconds" -print_final_stats=1 -print_funcs=0 -rss_limit_mb=4096 || crashed+=("$target")
done
if [ ${#crashed[@]} -gt 0 ]; then
    echo "failed: ${crashed[*]}"
    exit 1
fi
