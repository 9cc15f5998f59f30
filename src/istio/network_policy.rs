//! Reads NetworkPolicies, and renders those that admit the probe and the mesh client, for a switch that is blocked and for
//! `rbac --network-policy`.

use super::surroundings::label_selector;
use super::yaml;
use crate::domain::network_policy::{IngressRule, NetworkPolicy, OUR_PODS};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The DNS ports of pods; those of OpenShift listen on 5353 behind their Service.
pub const DNS_PORTS: [u16; 2] = [53, 5353];

/// What has to be admitted.
#[derive(Debug, Clone)]
pub struct Admission<'a> {
    /// The namespace of the targets.
    pub namespace: &'a str,
    /// The namespace of the probe pod; `None` if it is the same.
    pub probe_namespace: Option<&'a str>,
    /// Whether a mesh client runs in the namespace of the targets as well.
    pub has_mesh_client: bool,
    /// The namespace of istiod.
    pub istio_namespace: &'a str,
    /// The `podSelector` of each rule for connections to the targets. It must select only pods that another NetworkPolicy
    /// isolates already, because a NetworkPolicy isolates what it selects.
    pub targets: Vec<Value>,
    /// Whether the pods of this tool need a rule for the connections that they open.
    pub has_egress: bool,
    /// The target ports; empty for every TCP port.
    pub ports: BTreeSet<u16>,
    /// Addresses of endpoints that are no pods.
    pub addresses: BTreeSet<String>,
    /// The ports of DNS.
    pub dns_ports: &'a [u16],
}

/// A NetworkPolicy, and its `podSelector` as it was read.
pub fn read(object: &Value) -> (NetworkPolicy, Value) {
    let spec = &object["spec"];
    let types: Vec<&str> = spec["policyTypes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let policy = NetworkPolicy {
        name: super::read::metadata(object, "name").to_owned(),
        pods: label_selector(&spec["podSelector"]),
        ingress: types.is_empty() || types.contains(&"Ingress"),
        egress: types.contains(&"Egress") || types.is_empty() && !spec["egress"].is_null(),
        admits: spec["ingress"].as_array().into_iter().flatten().map(ingress_rule).collect(),
    };
    (policy, spec["podSelector"].clone())
}

/// A rule for incoming connections. Empty lists of callers and ports mean all.
fn ingress_rule(rule: &Value) -> IngressRule {
    let filled = |field: &str| rule[field].as_array().filter(|list| !list.is_empty());
    let from = filled("from").map(|from| from.iter().map(Value::to_string).collect());
    let is_tcp = |port: &&Value| port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP");
    let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    let range = |port: &Value| {
        if port["port"].is_null() {
            return Some((0, u16::MAX));
        }
        let first = number(&port["port"])?;
        Some((first, number(&port["endPort"]).unwrap_or(first)))
    };
    let ports = filled("ports").map(|ports| ports.iter().filter(is_tcp).filter_map(range).collect());
    IngressRule { from, ports }
}

/// The NetworkPolicies that admit the pods of this tool.
pub fn objects(admission: &Admission<'_>) -> Vec<Value> {
    let mut objects: Vec<Value> = admission
        .targets
        .iter()
        .enumerate()
        .map(|(index, pods)| {
            let name = if index == 0 {
                "secure-traffic-ingress".to_owned()
            } else {
                format!("secure-traffic-ingress-{}", index + 1)
            };
            let rule = json!([{"from": sources(admission), "ports": target_ports(admission)}]);
            policy(&name, admission.namespace, pods, "Ingress", rule)
        })
        .collect();
    if admission.has_egress {
        let name = "secure-traffic-egress";
        if let Some(namespace) = admission.probe_namespace {
            let targets = json!({"namespaceSelector": namespace_labels(admission.namespace), "podSelector": {}});
            let rules = egress(admission, targets, false);
            objects.push(policy(name, namespace, &our_pods(), "Egress", rules));
        }
        if admission.probe_namespace.is_none() || admission.has_mesh_client {
            let rules = egress(admission, json!({"podSelector": {}}), admission.has_mesh_client);
            objects.push(policy(name, admission.namespace, &our_pods(), "Egress", rules));
        }
    }
    objects
}

/// The objects as YAML.
pub fn manifest(admission: &Admission<'_>) -> Result<String, yaml::Error> {
    yaml::write_all(&objects(admission))
}

fn policy(name: &str, namespace: &str, pods: &Value, direction: &str, rules: Value) -> Value {
    let mut spec = json!({"podSelector": pods, "policyTypes": [direction]});
    spec[direction.to_ascii_lowercase()] = rules;
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

fn our_pods() -> Value {
    let (key, value) = OUR_PODS;
    json!({"matchLabels": {key: value}})
}

fn namespace_labels(namespace: &str) -> Value {
    json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}})
}

fn sources(admission: &Admission<'_>) -> Vec<Value> {
    let other = |namespace| json!({"namespaceSelector": namespace_labels(namespace), "podSelector": our_pods()});
    let probe = admission.probe_namespace.map(other);
    let is_same = admission.probe_namespace.is_none() || admission.has_mesh_client;
    probe.into_iter().chain(is_same.then(|| json!({"podSelector": our_pods()}))).collect()
}

fn tcp(port: u16) -> Value {
    json!({"protocol": "TCP", "port": port})
}

fn target_ports(admission: &Admission<'_>) -> Vec<Value> {
    if admission.ports.is_empty() {
        return vec![json!({"protocol": "TCP"})];
    }
    admission.ports.iter().map(|port| tcp(*port)).collect()
}

/// DNS wherever it is, the targets, and for a mesh client istiod.
fn egress(admission: &Admission<'_>, targets: Value, with_istiod: bool) -> Value {
    let dns = admission.dns_ports.iter().flat_map(|port| [json!({"protocol": "UDP", "port": port}), tcp(*port)]);
    let block = |address: &String| {
        let length = if address.contains(':') { 128 } else { 32 };
        json!({"ipBlock": {"cidr": format!("{address}/{length}")}})
    };
    let to: Vec<Value> = [targets].into_iter().chain(admission.addresses.iter().map(block)).collect();
    let mut rules =
        vec![json!({"ports": dns.collect::<Vec<_>>()}), json!({"to": to, "ports": target_ports(admission)})];
    if with_istiod {
        let istiod = json!({
            "namespaceSelector": namespace_labels(admission.istio_namespace),
            "podSelector": {"matchLabels": {"app": "istiod"}},
        });
        rules.push(json!({"to": [istiod], "ports": [tcp(15012)]}));
    }
    rules.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission<'static> {
        Admission {
            namespace: "shop",
            probe_namespace: None,
            has_mesh_client: true,
            istio_namespace: "istio-system",
            targets: vec![json!({})],
            has_egress: true,
            ports: BTreeSet::from([8080]),
            addresses: BTreeSet::new(),
            dns_ports: &[53],
        }
    }

    fn names(objects: &[Value]) -> Vec<String> {
        let place = |object: &Value| {
            let name = |field| object["metadata"][field].as_str().unwrap_or_default();
            format!("{}/{}", name("namespace"), name("name"))
        };
        objects.iter().map(place).collect()
    }

    #[test]
    fn policy_types_have_the_defaults_of_kubernetes() {
        for (spec, ingress, egress) in [
            (json!({"podSelector": {}}), true, false),
            (json!({"podSelector": {}, "egress": []}), true, true),
            (json!({"podSelector": {}, "policyTypes": ["Egress"]}), false, true),
            (json!({"podSelector": {}, "policyTypes": ["Ingress"], "egress": []}), true, false),
            (json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}), true, true),
        ] {
            let (found, pods) = read(&json!({"metadata": {"name": "deny"}, "spec": spec}));
            assert_eq!((found.ingress, found.egress, pods), (ingress, egress, json!({})), "{spec}");
        }
    }

    #[test]
    fn rules_for_incoming_connections_are_read_with_callers_and_tcp_ports() {
        let rule = |from: Option<&[&str]>, ports: Option<&[(u16, u16)]>| IngressRule {
            from: from.map(|from| from.iter().map(|one| (*one).to_owned()).collect()),
            ports: ports.map(<[_]>::to_vec),
        };
        let of_web = json!({"podSelector": {"matchLabels": {"app": "web"}}});
        for (written, expected) in [
            (json!({}), rule(None, None)),
            (json!({"from": [], "ports": []}), rule(None, None)),
            (json!({"from": [of_web]}), rule(Some(&[r#"{"podSelector":{"matchLabels":{"app":"web"}}}"#]), None)),
            (
                json!({"ports": [{"protocol": "TCP", "port": 80}, {"port": 90}]}),
                rule(None, Some(&[(80, 80), (90, 90)])),
            ),
            (json!({"ports": [{"port": 15000, "endPort": 15010}]}), rule(None, Some(&[(15000, 15010)]))),
            (json!({"ports": [{"protocol": "TCP"}]}), rule(None, Some(&[(0, u16::MAX)]))),
            (json!({"ports": [{"port": "http"}, {"protocol": "UDP", "port": 53}]}), rule(None, Some(&[]))),
        ] {
            let (found, _) =
                read(&json!({"metadata": {"name": "web"}, "spec": {"podSelector": {}, "ingress": [written]}}));
            assert_eq!(found.admits, [expected], "{written}");
        }
    }

    #[test]
    fn the_pods_of_the_namespace_admit_ours_at_the_target_ports() {
        let objects = objects(&admission());
        assert_eq!(names(&objects), ["shop/secure-traffic-ingress", "shop/secure-traffic-egress"]);
        assert_eq!(
            objects[0]["spec"],
            json!({
                "podSelector": {}, "policyTypes": ["Ingress"],
                "ingress": [{
                    "from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/managed-by": "secure-traffic"}}}],
                    "ports": [{"protocol": "TCP", "port": 8080}],
                }],
            })
        );
        let egress = &objects[1]["spec"]["egress"];
        assert_eq!(egress[0]["ports"], json!([{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]));
        assert_eq!(egress[1]["to"], json!([{"podSelector": {}}]));
        assert_eq!(egress[2]["ports"], json!([{"protocol": "TCP", "port": 15012}]));
        let selected = objects[1]["spec"]["podSelector"]["matchLabels"].as_object().unwrap();
        assert_eq!(selected.len(), 1, "only pods of this tool are isolated");
    }

    #[test]
    fn what_is_not_isolated_gets_no_rule() {
        let none = Admission { targets: vec![], has_egress: false, ..admission() };
        assert_eq!(objects(&none), Vec::<Value>::new());
        let of_two = vec![json!({"matchLabels": {"app": "web"}}), json!({"matchLabels": {"app": "db"}})];
        let of_two = Admission { targets: of_two, has_egress: false, ..admission() };
        assert_eq!(names(&objects(&of_two)), ["shop/secure-traffic-ingress", "shop/secure-traffic-ingress-2"]);
    }

    #[test]
    fn a_probe_of_another_namespace_is_admitted_from_there() {
        let from_ci = Admission { probe_namespace: Some("ci"), has_mesh_client: false, ..admission() };
        let found = objects(&from_ci);
        assert_eq!(names(&found), ["shop/secure-traffic-ingress", "ci/secure-traffic-egress"]);
        let from = &found[0]["spec"]["ingress"][0]["from"];
        assert_eq!(from[0]["namespaceSelector"], json!({"matchLabels": {"kubernetes.io/metadata.name": "ci"}}));
        assert_eq!((from.as_array().unwrap().len(), found[1]["spec"]["egress"].as_array().unwrap().len()), (1, 2));
        let with_client = Admission { has_mesh_client: true, ..from_ci };
        let found = objects(&with_client);
        assert_eq!(names(&found)[1..], ["ci/secure-traffic-egress", "shop/secure-traffic-egress"]);
        assert_eq!(found[0]["spec"]["ingress"][0]["from"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn endpoints_that_are_no_pods_are_named_by_address() {
        let addresses = BTreeSet::from(["10.0.0.7".to_owned(), "fd00::7".to_owned()]);
        let objects = objects(&Admission { addresses, ports: BTreeSet::new(), ..admission() });
        let to = &objects[1]["spec"]["egress"][1];
        assert_eq!(to["to"][1]["ipBlock"]["cidr"], "10.0.0.7/32");
        assert_eq!(to["to"][2]["ipBlock"]["cidr"], "fd00::7/128");
        assert_eq!(to["ports"], json!([{"protocol": "TCP"}]));
    }
}
