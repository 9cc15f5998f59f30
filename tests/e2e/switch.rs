//! Objects that somebody else made: changed where asked, otherwise left alone.

use crate::support::{Namespace, Workload, cluster, service};
use serde_json::Value;

const RULE: &str = r"
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: circuit-breaker, annotations: {team: shop}}
spec:
  host: web
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 7}}
    outlierDetection: {consecutive5xxErrors: 3}
    tls: {mode: DISABLE}
    portLevelSettings:
    - {port: {number: 8080}, connectionPool: {tcp: {maxConnections: 5}}, tls: {mode: DISABLE}}
  subsets:
  - {name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
";

fn namespace_with_app<'a>(cluster: &'a crate::support::Cluster, what: &str) -> Namespace<'a> {
    let namespace = Namespace::new(cluster, what);
    let app = Workload { name: "web", labels: "app: web", annotations: "", arguments: &["serve", "-http", ":8080"] };
    namespace.apply(&(app.manifest(&cluster.app) + &service("web", "app: web", &[("http", 8080)], false)));
    namespace.ready();
    namespace
}

fn spec(namespace: &Namespace<'_>) -> Value {
    let text = namespace.kubectl(&["get", "destinationrule", "circuit-breaker", "-o", "json"]);
    serde_json::from_str::<Value>(&text).expect("JSON")["spec"].clone()
}

#[test]
fn a_rule_that_serves_the_host_changes_in_its_tls_alone_and_is_not_doubled() {
    let Some(cluster) = cluster() else { return };
    let namespace = namespace_with_app(&cluster, "existing");
    namespace.apply(RULE);
    // The walk-through's own policy, as `oc apply` leaves it.
    namespace.policy("PERMISSIVE");
    let mut expected = spec(&namespace);
    let run = namespace.tool(&["enable-mtls", "--yes"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    expected["trafficPolicy"]["tls"]["mode"] = "ISTIO_MUTUAL".into();
    expected["trafficPolicy"]["portLevelSettings"][0]["tls"]["mode"] = "ISTIO_MUTUAL".into();
    assert_eq!(spec(&namespace), expected);
    let names = namespace.kubectl(&["get", "destinationrules,peerauthentications", "-o", "name"]);
    assert_eq!(
        names.lines().collect::<Vec<_>>(),
        ["destinationrule.networking.istio.io/circuit-breaker", "peerauthentication.security.istio.io/default"]
    );
    let again = namespace.tool(&["enable-mtls", "--yes", "--verify=false"]);
    assert_eq!((again.code, again.stdout.matches("unchanged").count()), (Some(0), 2), "{again:?}");
}

#[test]
fn fields_of_another_manager_stop_the_run_before_anything_is_written() {
    let Some(cluster) = cluster() else { return };
    let namespace = namespace_with_app(&cluster, "foreign");
    cluster.kubectl(&["apply", "--server-side", "--field-manager=flux", "-n", &namespace.name, "-f", "-"], RULE);
    let before = spec(&namespace);
    let run = namespace.tool(&["enable-mtls", "--yes"]);
    assert_eq!(run.code, Some(4), "{run:?}");
    assert!(run.stderr.contains("conflict with \"flux\"") || run.stderr.contains("conflicts with \"flux\""), "{run:?}");
    assert!(run.stderr.contains("--force-conflicts"), "{run:?}");
    assert_eq!(spec(&namespace), before);
    assert_eq!(namespace.kubectl(&["get", "peerauthentications", "-o", "name"]), "");
    let run = namespace.tool(&["enable-mtls", "--yes", "--force-conflicts"]);
    assert_eq!(run.code, Some(0), "{run:?}");
}
