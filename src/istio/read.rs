//! Reads API objects (JSON) into values of `domain`. Unknown fields are ignored; a field of a wrong shape counts as
//! absent.

use super::owners;
use super::render::MANAGED_BY;
use crate::domain::mesh::{
    ClientTls, DestinationRule, LegacyPolicy, LegacyTarget, MtlsMode, PeerAuthentication, PortTls, RuleDetails,
    SubsetTls, TlsPlace,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// `metadata.creationTimestamp` in seconds since the epoch; 0 if there is none.
pub fn created(object: &Value) -> i64 {
    object["metadata"]["creationTimestamp"]
        .as_str()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok())
        .map_or(0, jiff::Timestamp::as_second)
}

/// `metadata.<field>` as text; empty if there is none.
pub fn metadata<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

fn string_map(value: &Value) -> BTreeMap<String, String> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// A `PeerAuthentication` of `security.istio.io`; all versions have the same shape.
pub fn peer_authentication(object: &Value) -> PeerAuthentication {
    let spec = &object["spec"];
    let mode = |value: &Value| value["mode"].as_str().and_then(MtlsMode::parse);
    PeerAuthentication {
        namespace: metadata(object, "namespace").to_owned(),
        name: metadata(object, "name").to_owned(),
        created: created(object),
        revision: object["metadata"]["labels"]["istio.io/rev"].as_str().map(str::to_owned),
        selector: string_map(&spec["selector"]["matchLabels"]),
        empty_selector: spec["selector"].is_object() && string_map(&spec["selector"]["matchLabels"]).is_empty(),
        mode: mode(&spec["mtls"]),
        ports: spec["portLevelMtls"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(port, entry)| Some((port.parse().ok()?, mode(entry))))
            .collect(),
        is_ours: object["metadata"]["labels"][MANAGED_BY.0] == MANAGED_BY.1 && owners::is_applied_by_us(object),
    }
}

/// A Policy or `MeshPolicy` of `authentication.istio.io/v1alpha1`.
pub fn legacy_policy(object: &Value) -> LegacyPolicy {
    let spec = &object["spec"];
    let targets = spec["targets"].as_array().into_iter().flatten().map(|target| {
        let ports = || target["ports"].as_array().into_iter().flatten();
        LegacyTarget {
            service: target["name"].as_str().unwrap_or_default().to_owned(),
            ports: ports().filter_map(|port| u16::try_from(port["number"].as_u64()?).ok()).collect(),
            port_names: ports().filter_map(|port| Some(port["name"].as_str()?.to_owned())).collect(),
        }
    });
    LegacyPolicy {
        namespace: metadata(object, "namespace").to_owned(),
        name: metadata(object, "name").to_owned(),
        created: created(object),
        targets: targets.collect(),
        mode: legacy_mode(&spec["peers"]),
    }
}

/// LP-2: the first `mtls` peer decides. `mtls: {}`, `mtls: null` and no mode mean STRICT; no such peer means plaintext
/// only.
fn legacy_mode(peers: &Value) -> MtlsMode {
    let first = peers.as_array().into_iter().flatten().find_map(|peer| peer.as_object()?.get("mtls"));
    match first {
        None => MtlsMode::Disable,
        Some(mtls) if mtls["mode"].as_str() == Some("PERMISSIVE") => MtlsMode::Permissive,
        Some(_) => MtlsMode::Strict,
    }
}

/// A `DestinationRule` of `networking.istio.io`; all versions have the same shape.
pub fn destination_rule(object: &Value) -> DestinationRule {
    let spec = &object["spec"];
    let policy = &spec["trafficPolicy"];
    let settings = policy.as_object();
    let subsets = spec["subsets"].as_array().into_iter().flatten().map(|subset| SubsetTls {
        name: subset["name"].as_str().unwrap_or_default().to_owned(),
        labels: string_map(&subset["labels"]),
        tls: client_tls(&subset["trafficPolicy"]),
        ports: port_tls(&subset["trafficPolicy"]),
    });
    let export_to = spec["exportTo"].as_array().into_iter().flatten().filter_map(Value::as_str);
    DestinationRule {
        namespace: metadata(object, "namespace").to_owned(),
        name: metadata(object, "name").to_owned(),
        created: created(object),
        revision: object["metadata"]["labels"]["istio.io/rev"].as_str().map(str::to_owned),
        host: spec["host"].as_str().unwrap_or_default().to_owned(),
        export_to: export_to.map(str::to_owned).collect(),
        client_selector: spec["workloadSelector"]
            .as_object()
            .map(|_| string_map(&spec["workloadSelector"]["matchLabels"])),
        has_traffic_policy: settings.is_some(),
        has_other_traffic_settings: settings.is_some_and(|keys| keys.keys().any(|key| key != "tls")),
        tls: client_tls(policy),
        ports: port_tls(policy),
        subsets: subsets.collect(),
        details: details(spec),
        foreign_manager: owners::foreign_tls_manager(object),
    }
}

/// The places of `tls` blocks whose effect differs from their mode.
fn details(spec: &Value) -> RuleDetails {
    let mut details = RuleDetails {
        passthrough: spec["trafficPolicy"]["loadBalancer"]["simple"] == "PASSTHROUGH",
        ..RuleDetails::default()
    };
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut note = |place: TlsPlace, policy: &Value| {
        if let Some(tls) = policy["tls"].as_object() {
            if !tls.contains_key("mode") {
                details.empty_tls.push(place);
            }
            // A sidecar reads a `configmap://` credential itself.
            let credential = tls.get("credentialName").and_then(Value::as_str).unwrap_or_default();
            if !credential.is_empty() && !credential.starts_with("configmap://") {
                details.credentials.push(place);
            }
            let text = |field| tls.get(field).and_then(Value::as_str).unwrap_or_default();
            details.server_name |= matches!(text("mode"), "MUTUAL" | "ISTIO_MUTUAL") && !text("sni").is_empty();
        }
    };
    let mut policy_at = |policy: &Value, top: TlsPlace, port: &dyn Fn(usize) -> TlsPlace| {
        note(top, policy);
        for (index, entry) in items(&policy["portLevelSettings"]).iter().enumerate() {
            note(port(index), entry);
        }
    };
    policy_at(&spec["trafficPolicy"], TlsPlace::Top, &TlsPlace::Port);
    for (index, subset) in items(&spec["subsets"]).iter().enumerate() {
        let port = |port| TlsPlace::SubsetPort(index, port);
        policy_at(&subset["trafficPolicy"], TlsPlace::Subset(index), &port);
    }
    details
}

/// DR-15: a `tls` block without a mode means DISABLE; without a block there is no setting.
fn client_tls(policy: &Value) -> Option<ClientTls> {
    policy["tls"].as_object().map(|tls| ClientTls::parse(tls.get("mode").and_then(Value::as_str)))
}

fn port_tls(policy: &Value) -> Vec<PortTls> {
    let entries = policy["portLevelSettings"].as_array().into_iter().flatten();
    entries
        .map(|entry| PortTls {
            port: entry["port"]["number"].as_u64().and_then(|number| u16::try_from(number).ok()),
            tls: client_tls(entry),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_field_of_a_destination_rule_is_read() {
        let rule = destination_rule(&json!({
            "metadata": {"namespace": "foo", "name": "web", "creationTimestamp": "1970-01-01T00:00:09Z",
                         "labels": {"istio.io/rev": "canary"}},
            "spec": {
                "host": "web", "exportTo": ["."],
                "trafficPolicy": {
                    "tls": {},
                    "portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "SIMPLE"}}, {"port": {"number": 81}}],
                },
                "subsets": [{"name": "v1"}, {"name": "v2", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}],
            },
        }));
        assert_eq!((rule.created, rule.revision.as_deref()), (9, Some("canary")));
        assert_eq!(rule.tls, Some(ClientTls::Disable), "tls: {{}} is DISABLE");
        assert_eq!(rule.ports[0], PortTls { port: Some(80), tls: Some(ClientTls::Simple) });
        assert_eq!(rule.ports[1].tls, None);
        assert_eq!(rule.details.empty_tls, [TlsPlace::Top]);
        assert_eq!((rule.subsets[0].tls, rule.subsets[1].tls), (None, Some(ClientTls::IstioMutual)));
        assert!(rule.has_traffic_policy && rule.has_other_traffic_settings && !rule.selects_clients());
    }

    #[test]
    fn a_name_for_mutual_tls_is_read_wherever_it_is_set() {
        let tls = |mode: &str| json!({"tls": {"mode": mode, "sni": "web.example"}});
        for (spec, expected) in [
            (json!({"trafficPolicy": tls("ISTIO_MUTUAL")}), true),
            (json!({"trafficPolicy": {"portLevelSettings": [tls("MUTUAL")]}}), true),
            (json!({"subsets": [{"trafficPolicy": tls("ISTIO_MUTUAL")}]}), true),
            (json!({"trafficPolicy": tls("SIMPLE")}), false),
            (json!({"trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}), false),
        ] {
            assert_eq!(destination_rule(&json!({"spec": spec})).details.server_name, expected, "{spec}");
        }
    }

    #[test]
    fn fields_of_a_wrong_shape_count_as_absent() {
        for spec in [json!(null), json!("x"), json!({"host": 3, "trafficPolicy": [], "subsets": {}, "exportTo": "x"})] {
            let rule = destination_rule(&json!({"metadata": {}, "spec": spec}));
            assert!(rule.host.is_empty() && !rule.has_traffic_policy && rule.subsets.is_empty(), "{spec}");
        }
    }
}
