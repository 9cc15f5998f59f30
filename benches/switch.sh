#!/usr/bin/env bash
# Times enable-mtls beside `kubectl apply --server-side` of the same objects, and beside a floor: the same requests and
# nothing else, 32 at a time (examples/raw_requests.rs). All in the same run, on the cluster of KUBECONFIG. It makes a
# namespace of its own and removes it; kubectl and jq must be there.
#
#   SERVICES=1000 RUNS=3 BINARY=target/release/secure-traffic benches/switch.sh
#
# SETUP_KUBECONFIG, where given, is a quicker way to the same cluster, for what is not measured.
set -euo pipefail

services=${SERVICES:-1000}
runs=${RUNS:-3}
binary=${BINARY:-target/release/secure-traffic}
example=${EXAMPLE:-target/release/examples/raw_requests}
namespace=secure-traffic-bench-$RANDOM
work=$(mktemp -d)
trap 'setup delete namespace "$namespace" --wait=false >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

for ((i = 0; i < services; i++)); do
    printf 'apiVersion: v1\nkind: Service\nmetadata: {name: svc-%04d}\nspec: {selector: {app: svc-%04d}, ports: [{name: http, port: 8080}]}\n---\n' "$i" "$i"
done >"$work/services.yaml"
seq -f 'svc-%04g' 0 $((services - 1)) >"$work/names"
setup() { KUBECONFIG=${SETUP_KUBECONFIG:-$KUBECONFIG} kubectl "$@"; }
setup create namespace "$namespace" >/dev/null
setup create -n "$namespace" -f "$work/services.yaml" --validate=false >/dev/null
# shellcheck disable=SC2046 # one argument a name
"$binary" enable-mtls -n "$namespace" --dry-run=client -o yaml $(cat "$work/names") >"$work/rules.yaml"

# Prints the seconds that a command takes; its output must not count as work.
seconds() {
    local start end
    start=$(date +%s.%N)
    "$@" >"$work/out" 2>"$work/err" || { cat "$work/err" >&2; return 1; }
    end=$(date +%s.%N)
    awk -v a="$start" -v b="$end" 'BEGIN { printf "%.2f", b - a }'
}
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
clear_rules() {
    setup delete --raw "/apis/networking.istio.io/v1/namespaces/$namespace/destinationrules" >/dev/null
    setup delete --raw "/apis/security.istio.io/v1/namespaces/$namespace/peerauthentications" >/dev/null
}
# The rules as they are, one a line.
# shellcheck disable=SC2046 # one argument a name
"$binary" enable-mtls -n "$namespace" --dry-run=client -o json $(cat "$work/names") |
    jq -c '.items[] | select(.kind == "DestinationRule")' >"$work/rules.jsonl"
floor() { "$example" "$work/rules.jsonl" "$namespace"; }
ours() { "$binary" enable-mtls -n "$namespace" --yes --verify=false --quiet; }
theirs() { kubectl apply --server-side -n "$namespace" -f "$work/rules.yaml"; }

for ((run = 1; run <= runs; run++)); do
    for who in ours theirs floor; do
        seconds $who >>"$work/$who.create"; echo >>"$work/$who.create"
        count=$(setup get -n "$namespace" destinationrules.networking.istio.io --no-headers | wc -l)
        [ "$count" -eq "$services" ] || { echo "$who made $count rules of $services" >&2; exit 1; }
        seconds $who >>"$work/$who.again"; echo >>"$work/$who.again"
        clear_rules
    done
done
printf '%-30s %15s %10s %8s %17s %14s\n' "$services services, median of $runs" secure-traffic kubectl floor \
    'kubectl is slower' 'over the floor'
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1fx", a / b }'; }
for what in create again; do
    a=$(median "$work/ours.$what") b=$(median "$work/theirs.$what") c=$(median "$work/floor.$what")
    printf '%-30s %14ss %9ss %7ss %17s %14s\n' "$what" "$a" "$b" "$c" "$(ratio "$b" "$a")" "$(ratio "$a" "$c")"
done
