//! What stops a probe pod, and what is asked for that is not there: named, quickly, and nothing left.

use crate::support::{Namespace, Workload, cluster, service};
use std::time::{Duration, Instant};

fn one_app(namespace: &Namespace<'_>) {
    let app = Workload { name: "web", labels: "app: web", annotations: "", arguments: &["serve", "-http", ":8080"] };
    namespace.apply(&(app.manifest(&namespace.cluster.app) + &service("web", "app: web", &[("http", 8080)], false)));
    namespace.apply(&service("empty", "app: nobody", &[("http", 8080)], false));
    namespace.ready();
}

#[test]
fn what_keeps_a_probe_from_running_is_named_and_leaves_nothing() {
    let Some(cluster) = cluster() else { return };
    let namespace = Namespace::new(&cluster, "stopped");
    one_app(&namespace);

    let run = namespace.tool(&["probe", "empty", "-o", "json"]);
    assert_eq!((run.code, run.verdict("empty:8080").as_str()), (Some(3), "inconclusive (no-endpoints)"));

    let start = Instant::now();
    let run = namespace.tool(&["probe", "web", "-o", "json", "--image", "registry.invalid/none:1"]);
    assert_eq!((run.code, run.verdict("web:8080").as_str()), (Some(3), "inconclusive (image-pull)"));
    assert!(start.elapsed() < Duration::from_secs(30), "it waited for a time-out");

    let limits = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: large}\nspec: {limits: [{type: Container, min: {memory: 1Gi}}]}\n";
    namespace.apply(limits);
    let run = namespace.tool(&["probe", "web", "-o", "json"]);
    assert_eq!((run.code, run.verdict("web:8080").as_str()), (Some(3), "inconclusive (quota)"));
    namespace.kubectl(&["delete", "limitrange", "large"]);

    namespace.apply("apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none}\nspec: {hard: {pods: \"0\"}}\n");
    let run = namespace.tool(&["probe", "web", "-o", "json"]);
    assert_eq!((run.code, run.verdict("web:8080").as_str()), (Some(3), "inconclusive (quota)"));
    let run = namespace.tool(&["enable-mtls", "--yes"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.contains("nothing was written"), "{run:?}");
    namespace.kubectl(&["delete", "resourcequota", "none"]);
    assert_eq!(namespace.kubectl(&["get", "peerauthentications,destinationrules", "-o", "name"]), "");

    namespace.kubectl(&["label", "namespace", &namespace.name, "pod-security.kubernetes.io/enforce=restricted"]);
    let run = namespace.tool(&["probe", "web", "-o", "json"]);
    assert_eq!((run.code, run.verdict("web:8080").as_str()), (Some(0), "accepted"), "{run:?}");
    assert_eq!(namespace.probe_pods(), "");
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    let Some(cluster) = cluster() else { return };
    let namespace = Namespace::new(&cluster, "absent");
    one_app(&namespace);
    let run = namespace.tool(&["probe", "nosuch"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("empty, web"), "{run:?}");
    let run = namespace.tool(&["probe", "web:99"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("8080 (http)"), "{run:?}");
    let run = cluster.tool(&["probe", "web", "-n", "st-e2e-no-such-namespace"]);
    assert_eq!(run.code, Some(4));
    assert!(run.stderr.contains("not found"), "{run:?}");
}

#[test]
fn a_missing_right_is_named_with_what_grants_it_and_nothing_is_written() {
    let Some(cluster) = cluster() else { return };
    let namespace = Namespace::new(&cluster, "rights");
    one_app(&namespace);
    namespace.kubectl(&["create", "serviceaccount", "reader"]);
    let account = format!("--serviceaccount={}:reader", namespace.name);
    namespace.kubectl(&["create", "rolebinding", "view", "--clusterrole=view", &account]);
    let istio = "--resource=peerauthentications.security.istio.io,destinationrules.networking.istio.io";
    namespace.kubectl(&["create", "role", "istio", "--verb=get,list,create,patch", istio]);
    namespace.kubectl(&["create", "rolebinding", "istio", "--role=istio", &account]);
    let user = format!("system:serviceaccount:{}:reader", namespace.name);
    let run = namespace.tool(&["probe", "web", "--as", &user]);
    assert_eq!(run.code, Some(4), "{run:?}");
    assert!(run.stderr.contains("create pods") && run.stderr.contains("--verb=create --resource=pods"), "{run:?}");
    let run = namespace.tool(&["enable-mtls", "--yes", "--as", &user]);
    assert_eq!(run.code, Some(4), "{run:?}");
    assert!(run.stderr.contains("create pods"), "{run:?}");
    assert_eq!(namespace.kubectl(&["get", "peerauthentications,destinationrules", "-o", "name"]), "");
}
