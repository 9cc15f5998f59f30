#!/usr/bin/env bash
# Times enable-mtls beside `kubectl apply --server-side` of the same objects, and beside a floor: the same requests and
# nothing else, 32 at a time, by one curl. All in the same run, on the cluster of KUBECONFIG. It makes a namespace of its
# own and removes it; kubectl, jq and curl must be there.
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
# The rules as they are, one file each, and a curl configuration that applies them all.
kubectl config view --raw --minify -o json >"$work/config"
field() { jq -r ".$1[0].$2" "$work/config"; }
for file in ca:clusters:cluster.\"certificate-authority-data\" cert:users:user.\"client-certificate-data\" \
    key:users:user.\"client-key-data\"; do
    IFS=: read -r name list path <<<"$file"
    field "$list" "$path" | base64 -d >"$work/$name"
done
server=$(field clusters cluster.server)
mkdir "$work/objects"
# shellcheck disable=SC2046 # one argument a name
"$binary" enable-mtls -n "$namespace" --dry-run=client -o json $(cat "$work/names") |
    jq -c '.items[] | select(.kind == "DestinationRule")' | while read -r object; do
    name=$(sed -E 's/.*"name": *"(svc-[0-9]+)".*/\1/' <<<"$object")
    printf '%s' "$object" >"$work/objects/$name"
    printf 'url = "%s"\nrequest = PATCH\nheader = "Content-Type: application/apply-patch+yaml"\n' \
        "$server/apis/networking.istio.io/v1/namespaces/$namespace/destinationrules/$name?fieldManager=floor"
    printf 'data-binary = "@%s"\noutput = /dev/null\ncacert = "%s"\ncert = "%s"\nkey = "%s"\nfail\nnext\n' \
        "$work/objects/$name" "$work/ca" "$work/cert" "$work/key"
done | sed '$d' >"$work/floor.conf"
floor() { curl -q -sS --http1.1 -Z --parallel-immediate --parallel-max 32 -K "$work/floor.conf"; }
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
