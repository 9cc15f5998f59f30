#!/usr/bin/env bash
# Times `status` over a generated namespace beside the bare lists that it needs, and shows the memory that it takes.
# No cluster: the namespace is served by an example over plain HTTP.
#
#   SERVICES=5000 RUNS=3 BINARY=target/release/secure-traffic benches/status.sh
#
# It prints, of the runs' medians: seconds of the bare lists (curl, the large ones in parallel, page by page), seconds and
# CPU seconds of status, and its largest resident memory in MB. Twice the objects are measured too: the cost must be linear.
set -euo pipefail

services=${SERVICES:-5000}
runs=${RUNS:-3}
binary=${BINARY:-target/release/secure-traffic}
example=${EXAMPLE:-target/release/examples/large_namespace}
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
export HOME=$work
unset KUBECONFIG

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# Every page of one list, one after the other, as an API server hands them out.
pages() {
    local path=$1 token="" page=$work/page-$2
    while :; do
        curl -sS -o "$page" "$url$path?limit=500${token:+&continue=$token}"
        token=$(head -c 200 "$page" | sed -n 's/.*"continue":"\([0-9]*\)".*/\1/p')
        [ -n "$token" ] || break
    done
}
lists() {
    local number=0 path lists=()
    for path in /api/v1/namespaces/large/{services,pods} /apis/discovery.k8s.io/v1/namespaces/large/endpointslices \
        /apis/networking.istio.io/v1/destinationrules; do
        pages "$path" $((number += 1)) &
        lists+=($!)
    done
    wait "${lists[@]}"
}

measure() {
    local count=$1
    "$example" "$count" >"$work/address" &
    server=$!
    until [ -s "$work/address" ]; do sleep 0.1; done
    url=$(cat "$work/address")
    : >"$work/lists"; : >"$work/wall"; : >"$work/cpu"; : >"$work/memory"
    for ((run = 0; run < runs; run++)); do
        TIMEFORMAT=%R
        { time lists; } 2>>"$work/lists"
        # An error among the findings is part of the scene: exit code 1.
        /usr/bin/time -o "$work/usage" -f '%e %U %S %M' "$binary" status --server "$url" -n large >"$work/out" 2>"$work/err" ||
            grep -q plaintext-to-strict "$work/out" || { cat "$work/err"; exit 1; }
        tail -n 1 "$work/usage" | awk -v w="$work" '{ print $1 >> w "/wall"; print $2 + $3 >> w "/cpu"; print $4 / 1024 >> w "/memory" }'
    done
    printf '%6d services, %6d pods: bare lists %s s; status %s s, %s s of CPU, %.0f MB; %d lines of output\n' \
        "$count" $((count * 2)) "$(median "$work/lists")" "$(median "$work/wall")" "$(median "$work/cpu")" \
        "$(median "$work/memory")" "$(wc -l <"$work/out")"
    kill "$server"
    server=
    : >"$work/address"
}

measure $((services / 2))
measure "$services"
