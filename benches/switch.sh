#!/usr/bin/env bash
# Times enable-mtls beside `kubectl apply --server-side` of the same objects, in the same run, on the cluster of
# KUBECONFIG. It makes a namespace of its own and removes it.
#
#   SERVICES=1000 RUNS=3 BINARY=target/release/secure-traffic benches/switch.sh
#
# SETUP_KUBECONFIG, where given, is a quicker way to the same cluster, for what is not measured.
set -euo pipefail

services=${SERVICES:-1000}
runs=${RUNS:-3}
binary=${BINARY:-target/release/secure-traffic}
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
ours() { "$binary" enable-mtls -n "$namespace" --yes --verify=false --quiet; }
theirs() { kubectl apply --server-side -n "$namespace" -f "$work/rules.yaml"; }

for ((run = 1; run <= runs; run++)); do
    for who in ours theirs; do
        seconds $who >>"$work/$who.create"; echo >>"$work/$who.create"
        count=$(setup get -n "$namespace" destinationrules.networking.istio.io --no-headers | wc -l)
        [ "$count" -eq "$services" ] || { echo "$who made $count rules of $services" >&2; exit 1; }
        seconds $who >>"$work/$who.again"; echo >>"$work/$who.again"
        clear_rules
    done
done
printf '%-28s %10s %10s %8s\n' "$services services, median of $runs" secure-traffic kubectl ratio
for what in create again; do
    a=$(median "$work/ours.$what") b=$(median "$work/theirs.$what")
    printf '%-28s %9ss %9ss %7sx\n' "$what" "$a" "$b" "$(awk -v a="$a" -v b="$b" 'BEGIN { printf "%.1f", b / a }')"
done
