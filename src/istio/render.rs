//! The objects that the tool creates, as JSON. Keys come out in one order (`apiVersion`, `kind`, `metadata`,
//! `spec`), because a JSON object of this crate is ordered by key.

use super::kinds::{PolicyApi, RuleApi};
use crate::domain::mesh::{ClientTls, MtlsMode};
use crate::domain::plan::{Action, Change, Target};
use serde_json::{Value, json};

/// Label by which the tool finds again what it created.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "secure-traffic");

/// The API versions in which a run renders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apis {
    /// Of the policy, the server's half.
    pub policy: PolicyApi,
    /// Of the rules, the client's half.
    pub rule: RuleApi,
}

/// A policy for the whole namespace. It never has a `selector`: even an empty one means another thing in ambient.
pub fn policy(api: PolicyApi, namespace: &str, name: &str, mode: MtlsMode) -> Value {
    let spec = match api {
        PolicyApi::V1 | PolicyApi::V1beta1 => json!({"mtls": {"mode": mode.as_str()}}),
        // LP-2: the legacy API has no word for plaintext only; a policy without peers says it.
        PolicyApi::Legacy if mode == MtlsMode::Disable => json!({}),
        PolicyApi::Legacy => json!({"peers": [{"mtls": {"mode": mode.as_str()}}]}),
    };
    let kind = api.kind();
    json!({
        "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": metadata(namespace, name), "spec": spec,
    })
}

/// A rule for one host. Without `tls` it has no `trafficPolicy` either: an empty one is refused (VA-3), and
/// `tls: {}` would mean DISABLE (DR-15).
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

fn metadata(namespace: &str, name: &str) -> Value {
    json!({"labels": {MANAGED_BY.0: MANAGED_BY.1}, "name": name, "namespace": namespace})
}

/// The object that a planned creation writes; `None` for a change of an object that exists.
pub fn created(apis: Apis, change: &Change) -> Option<Value> {
    if change.action != Action::Create {
        return None;
    }
    Some(match change.target {
        Target::Policy => policy(apis.policy, &change.namespace, &change.name, change.mode?),
        Target::Rule => {
            let host = change.host.as_deref()?;
            destination_rule(apis.rule, &change.namespace, &change.name, host, Some(ClientTls::IstioMutual))
        }
    })
}

/// What is rendered with no cluster at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offline<'a> {
    /// Namespace of the objects.
    pub namespace: &'a str,
    /// Short names of the Services.
    pub services: &'a [String],
    /// Domain of the cluster's Services.
    pub cluster_domain: &'a str,
    /// The policy's name.
    pub policy: &'a str,
    /// The policy's mode; STRICT is "on".
    pub mode: MtlsMode,
}

impl Offline<'_> {
    /// The policy alone.
    pub fn policy(&self, api: PolicyApi) -> Value {
        policy(api, self.namespace, self.policy, self.mode)
    }

    /// One rule per Service, by name.
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

/// The whole set in the order in which it is safe to apply: on, the rules before the policy; off, after it (RE-7).
pub fn manifests(apis: Apis, what: &Offline<'_>) -> Vec<Value> {
    let policy = what.policy(apis.policy);
    let mut objects = what.rules(apis.rule);
    let position = if what.mode == MtlsMode::Strict { objects.len() } else { 0 };
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
    fn the_set_is_in_the_order_of_apply() {
        let services = ["web".to_owned(), "api".to_owned(), "web".to_owned()];
        let apis = Apis { policy: PolicyApi::V1, rule: RuleApi::V1 };
        let names = |mode| {
            let what = Offline {
                namespace: "shop",
                services: &services,
                cluster_domain: "cluster.local",
                policy: "default",
                mode,
            };
            let objects = manifests(apis, &what);
            objects
                .iter()
                .map(|object| object["metadata"]["name"].as_str().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(MtlsMode::Strict), ["api", "web", "default"]);
        assert_eq!(names(MtlsMode::Permissive), ["default", "api", "web"]);
    }
}
