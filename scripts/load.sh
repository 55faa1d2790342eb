#!/usr/bin/env bash
# What rate limiting costs a real service under load: the example concepts_api, driven by wrk without the layer, with it over
# memory, and with it over a Redis of its own. Rounds take turns; printed are each kind's medians.
# scripts/load.sh [rounds]; SECONDS_EACH (5), CONNECTIONS (32) and THREADS (1) are wrk's. Run it on a quiet machine.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5} seconds=${SECONDS_EACH:-5} connections=${CONNECTIONS:-32} threads=${THREADS:-1}
for program in wrk curl redis-server redis-cli; do
    command -v "$program" >/dev/null || {
        echo "$program is missing: apt-get install wrk curl redis-server redis-tools, or brew install wrk curl redis" >&2
        exit 1
    }
done
cargo build --quiet --release -p rebate --features axum,metrics,redis --example concepts_api
program=${CARGO_TARGET_DIR:-target}/release/examples/concepts_api
folder=$(mktemp -d)
started=()
finish() {
    [ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true
    wait
    rm -rf "$folder"
}
trap finish EXIT

# Every request is charged, none is denied.
sed 's|"60/minute"|"1000000000000/month"|' crates/rebate/examples/concepts_api/rules.toml >"$folder/rules.toml"
grep -q 1000000000000 "$folder/rules.toml"
redis-server --port 16380 --save '' --dir "$folder" >/dev/null &
latest=$!
started+=("$latest")

# Until a command succeeds, as long as the process that was started last is there.
await() {
    until "$@" >/dev/null 2>&1; do
        kill -0 "$latest" 2>/dev/null || {
            echo "it ended: $*" >&2
            exit 1
        }
        sleep 0.1
    done
}
await redis-cli -p 16380 ping

# Starts the API as one of the kinds.
serve() {
    local kind=$1 port=$2
    shift 2
    env LISTEN="127.0.0.1:$port" METRICS=off WORKER=elsewhere TASKS="$folder/tasks" RULES="$folder/rules.toml" RUST_LOG=warn \
        "$@" "$program" >"$folder/$kind.out" &
    latest=$!
    started+=("$latest")
    await grep -q listening "$folder/$kind.out"
}
serve without 18080 LIMITING=off
serve memory 18081
serve redis 18082 STORE=redis://127.0.0.1:16380/

measure() {
    local kind=$1 port=$2 length=$3
    wrk -t"$threads" -c"$connections" -d"${length}s" --latency -H 'Authorization: Bearer ada' \
        "http://127.0.0.1:$port/api/storage/recent" >"$folder/wrk"
    if grep -q 'Non-2xx\|Socket errors' "$folder/wrk"; then
        cat "$folder/wrk" >&2
        exit 1
    fi
    # 1.20ms, 950.00us, 1.02s: in microseconds.
    awk -v kind="$kind" '
        $1 == "99%" { p99 = $2 + 0; if ($2 ~ /ms$/) p99 *= 1000; else if ($2 !~ /us$/) p99 *= 1000000 }
        $1 == "Requests/sec:" { rate = $2 }
        END { printf "%s %.0f %.0f\n", kind, rate, p99 }' "$folder/wrk"
}
for kind in 'without 18080' 'memory 18081' 'redis 18082'; do
    # shellcheck disable=SC2086
    measure $kind 1 >/dev/null
done
for _ in $(seq "$rounds"); do
    for kind in 'without 18080' 'memory 18081' 'redis 18082'; do
        # shellcheck disable=SC2086
        measure $kind "$seconds" >>"$folder/figures"
    done
done
# With the headers it should write: else what is compared is not what it claims to be.
for port in 18081 18082; do
    curl -sfi -H 'Authorization: Bearer ada' "http://127.0.0.1:$port/api/storage/recent" | grep -qi '^ratelimit:'
done

median() { awk -v kind="$1" -v column="$2" '$1 == kind { print $column }' "$folder/figures" | sort -n |
    awk '{ value[NR] = $1 } END { m = int((NR + 1) / 2); print NR % 2 ? value[m] : (value[m] + value[m + 1]) / 2 }'; }
echo "GET /api/storage/recent: $rounds rounds of $seconds s, $connections connections, $(nproc) cores, $(rustc --version | cut -d' ' -f1,2)"
printf '%-22s %12s %9s %10s %9s\n' '' 'requests/s' 'of bare' 'p99 in µs' 'of bare'
bare_rate=$(median without 2) bare_p99=$(median without 3)
while read -r kind name; do
    rate=$(median "$kind" 2) p99=$(median "$kind" 3)
    awk -v n="$name" -v r="$rate" -v p="$p99" -v br="$bare_rate" -v bp="$bare_p99" \
        'BEGIN { printf "%-22s %12.0f %9.2f %10.0f %9.2f\n", n, r, r / br, p, p / bp }'
done <<'KINDS'
without without the layer
memory with it, over memory
redis with it, over Redis
KINDS
