//! Renders the objects that the tool creates, as JSON. Keys come in one order (`apiVersion`, `kind`, `metadata`,
//! `spec`), because `serde_json` orders the keys of an object.

use super::kinds::{Kind, PolicyApi, RuleApi};
use crate::domain::journal::ObjectState;
use crate::domain::mesh::{ClientTls, MtlsMode};
use crate::domain::object::ObjectJson;
use crate::domain::plan::{DEFAULT_POLICY_NAME, workload_policy_name};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The label of every object that the tool creates.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "secure-traffic");

/// The API versions of the objects that a run writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apis {
    pub policy: PolicyApi,
    pub rule: RuleApi,
}

/// A policy for the whole namespace. It has no `selector`: the ambient data plane reads even an empty one differently.
pub fn policy(api: PolicyApi, namespace: &str, name: &str, mode: MtlsMode) -> Value {
    let spec = match api {
        PolicyApi::V1 | PolicyApi::V1beta1 => json!({"mtls": {"mode": mode.as_str()}}),
        // LP-2: the legacy API has no mode for plaintext only; a policy without peers means it.
        PolicyApi::Legacy if mode == MtlsMode::Disable => json!({}),
        PolicyApi::Legacy => json!({"peers": [{"mtls": {"mode": mode.as_str()}}]}),
    };
    let kind = api.kind();
    json!({
        "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": metadata(namespace, name), "spec": spec,
    })
}

/// What a policy for single pods says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodPolicy<'a> {
    /// `matchLabels`.
    pub selector: &'a BTreeMap<String, String>,
    /// The mode of all ports; without one, the mode of the namespace.
    pub mode: Option<MtlsMode>,
    /// Modes of single target ports.
    pub ports: &'a BTreeMap<u16, MtlsMode>,
}

/// A policy for the pods of a selector. The legacy API has no selector, so that a plan never has such a policy for it.
pub fn policy_for_pods(api: PolicyApi, namespace: &str, name: &str, pods: &PodPolicy<'_>) -> Value {
    let mut spec = json!({"selector": {"matchLabels": pods.selector}});
    if let Some(mode) = pods.mode {
        spec["mtls"] = json!({"mode": mode.as_str()});
    }
    for (port, mode) in pods.ports {
        spec["portLevelMtls"][port.to_string()] = json!({"mode": mode.as_str()});
    }
    let kind = api.kind();
    json!({
        "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": metadata(namespace, name), "spec": spec,
    })
}

/// An object as somebody would write it into a file: without what the server adds, and without what kubectl notes.
pub fn for_apply(object: &Value) -> Value {
    let field = |name: &str| object["metadata"].get(name).filter(|value| !value.is_null()).cloned();
    let mut metadata = json!({});
    for name in ["annotations", "labels", "name", "namespace"] {
        if let Some(value) = field(name) {
            metadata[name] = value;
        }
    }
    if let Some(annotations) = metadata["annotations"].as_object_mut() {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        if annotations.is_empty()
            && let Some(metadata) = metadata.as_object_mut()
        {
            metadata.remove("annotations");
        }
    } else if let Some(metadata) = metadata.as_object_mut() {
        metadata.remove("annotations");
    }
    json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata, "spec": object["spec"],
    })
}

/// An object as it was before a run deleted it.
pub fn former(kind: &Kind, namespace: &str, name: &str, former: &ObjectState) -> Value {
    let mut metadata = former.metadata.value().clone();
    metadata["name"] = json!(name);
    metadata["namespace"] = json!(namespace);
    json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": metadata, "spec": former.spec.value()})
}

/// The spec of a policy with these modes of target ports.
pub fn with_ports(policy: &Value, ports: &BTreeMap<u16, MtlsMode>) -> ObjectJson {
    let mut spec = policy["spec"].clone();
    for (port, mode) in ports {
        spec["portLevelMtls"][port.to_string()] = json!({"mode": mode.as_str()});
    }
    spec.into()
}

/// A rule for one host. Without `tls` it has no `trafficPolicy` either: the webhook refuses an empty one (VA-3), and
/// `tls: {}` means DISABLE (DR-15).
pub fn destination_rule(api: RuleApi, namespace: &str, name: &str, host: &str, tls: Option<ClientTls>) -> Value {
    let spec = match tls {
        Some(tls) => json!({"host": host, "trafficPolicy": {"tls": {"mode": tls.as_str()}}}),
        None => json!({"host": host}),
    };
    let kind = api.kind();
    json!({
        "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": metadata(namespace, name), "spec": spec,
    })
}

/// The rule with DISABLE for these Service ports.
pub fn with_plaintext_ports(mut rule: Value, ports: &[u16]) -> Value {
    if !ports.is_empty() {
        let entry = |port: &u16| json!({"port": {"number": port}, "tls": {"mode": ClientTls::Disable.as_str()}});
        rule["spec"]["trafficPolicy"]["portLevelSettings"] = ports.iter().map(entry).collect();
    }
    rule
}

/// The name of the object that a rehearsal writes.
pub const REHEARSAL_TELEMETRY: &str = "secure-traffic-rehearsal";

/// The label that says what an object of this tool is for, and its value for a rehearsal.
pub const COMPONENT: (&str, &str) = ("app.kubernetes.io/component", "rehearsal");

/// The label with the run that wrote an object.
pub const RUN: &str = "app.kubernetes.io/instance";

/// The object of a rehearsal: with it, the sidecars of the namespace log exactly the plaintext calls that arrive. Without
/// `match`, the filter would apply to outbound calls too.
pub fn rehearsal_telemetry(kind: &Kind, namespace: &str, run: &str) -> Value {
    let mut metadata = metadata(namespace, REHEARSAL_TELEMETRY);
    metadata["labels"][COMPONENT.0] = json!(COMPONENT.1);
    metadata["labels"][RUN] = json!(run);
    json!({
        "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": metadata,
        "spec": {"accessLogging": [{
            "match": {"mode": "SERVER"}, "filter": {"expression": "!connection.mtls"}, "providers": [{"name": "envoy"}],
        }]},
    })
}

fn metadata(namespace: &str, name: &str) -> Value {
    json!({"labels": {MANAGED_BY.0: MANAGED_BY.1}, "name": name, "namespace": namespace})
}

/// What is rendered without a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offline<'a> {
    pub namespace: &'a str,
    /// Short names of the Services.
    pub services: &'a [String],
    pub cluster_domain: &'a str,
    /// Name of the policy, where the user chose one.
    pub policy: Option<&'a str>,
    /// The labels of the pods that the policy is for; `None` is the namespace.
    pub pods: Option<&'a BTreeMap<String, String>>,
    /// Mode of the policy; under STRICT the rules have `ISTIO_MUTUAL`.
    pub mode: MtlsMode,
}

impl Offline<'_> {
    /// The policy alone.
    pub fn policy(&self, api: PolicyApi) -> Value {
        match self.pods {
            None => policy(api, self.namespace, self.policy.unwrap_or(DEFAULT_POLICY_NAME), self.mode),
            Some(selector) => {
                let pods = PodPolicy { selector, mode: Some(self.mode), ports: &BTreeMap::new() };
                policy_for_pods(api, self.namespace, &workload_policy_name(selector), &pods)
            }
        }
    }

    /// One rule for each Service, ordered by name.
    pub fn rules(&self, api: RuleApi) -> Vec<Value> {
        let mut services: Vec<&String> = self.services.iter().collect();
        services.sort_unstable();
        services.dedup();
        let tls = (self.mode == MtlsMode::Strict).then_some(ClientTls::IstioMutual);
        let render = |service: &&String| {
            let host = format!("{service}.{}.svc.{}", self.namespace, self.cluster_domain);
            destination_rule(api, self.namespace, service, &host, tls)
        };
        services.iter().map(render).collect()
    }
}

/// All objects in the order in which it is safe to apply them: under STRICT the rules before the policy, else after it
/// (RE-7).
pub fn manifests(apis: Apis, offline: &Offline<'_>) -> Vec<Value> {
    let policy = offline.policy(apis.policy);
    let mut objects = offline.rules(apis.rule);
    let position = if offline.mode == MtlsMode::Strict { objects.len() } else { 0 };
    objects.insert(position, policy);
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_rendered_as_the_walk_through_writes_them() {
        let cases = [
            (
                policy(PolicyApi::V1, "shop", "default", MtlsMode::Strict),
                r#"{"apiVersion":"security.istio.io/v1","kind":"PeerAuthentication","metadata":{"labels":{"app.kubernetes.io/managed-by":"secure-traffic"},"name":"default","namespace":"shop"},"spec":{"mtls":{"mode":"STRICT"}}}"#,
            ),
            (
                policy(PolicyApi::Legacy, "shop", "default", MtlsMode::Permissive),
                r#"{"apiVersion":"authentication.istio.io/v1alpha1","kind":"Policy","metadata":{"labels":{"app.kubernetes.io/managed-by":"secure-traffic"},"name":"default","namespace":"shop"},"spec":{"peers":[{"mtls":{"mode":"PERMISSIVE"}}]}}"#,
            ),
            (
                destination_rule(
                    RuleApi::V1alpha3,
                    "shop",
                    "web",
                    "web.shop.svc.cluster.local",
                    Some(ClientTls::IstioMutual),
                ),
                r#"{"apiVersion":"networking.istio.io/v1alpha3","kind":"DestinationRule","metadata":{"labels":{"app.kubernetes.io/managed-by":"secure-traffic"},"name":"web","namespace":"shop"},"spec":{"host":"web.shop.svc.cluster.local","trafficPolicy":{"tls":{"mode":"ISTIO_MUTUAL"}}}}"#,
            ),
            (
                destination_rule(RuleApi::V1, "shop", "web", "web.shop.svc.cluster.local", None),
                r#"{"apiVersion":"networking.istio.io/v1","kind":"DestinationRule","metadata":{"labels":{"app.kubernetes.io/managed-by":"secure-traffic"},"name":"web","namespace":"shop"},"spec":{"host":"web.shop.svc.cluster.local"}}"#,
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(object.to_string(), expected);
        }
    }

    #[test]
    fn objects_come_in_the_order_of_apply() {
        let services = ["web".to_owned(), "api".to_owned(), "web".to_owned()];
        let apis = Apis { policy: PolicyApi::V1, rule: RuleApi::V1 };
        let names = |mode| {
            let offline = Offline {
                namespace: "shop",
                services: &services,
                cluster_domain: "cluster.local",
                policy: None,
                pods: None,
                mode,
            };
            let objects = manifests(apis, &offline);
            objects
                .iter()
                .map(|object| object["metadata"]["name"].as_str().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(MtlsMode::Strict), ["api", "web", "default"]);
        assert_eq!(names(MtlsMode::Permissive), ["default", "api", "web"]);
    }
}
