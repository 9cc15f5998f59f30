//! The resources that the sandbox serves, and their discovery documents.

use super::scenario::State;
use serde_json::{Value, json};

/// A column of `kubectl get`: title, JSON pointer, and whether it shows only with `-o wide`.
pub(super) type Column = (&'static str, &'static str, bool);

/// A resource of the API; one stored object is served under every version.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) group: &'static str,
    /// The preferred version first.
    pub(super) versions: &'static [&'static str],
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) singular: &'static str,
    short: &'static [&'static str],
    pub(super) namespaced: bool,
    /// Whether writes get status 405.
    pub(super) read_only: bool,
    /// Columns between name and age.
    pub(super) columns: &'static [Column],
}

impl Resource {
    /// `plural.group`, for messages.
    pub(super) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `Kind.group`, for messages about invalid objects.
    pub(super) fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.to_owned() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// `group/version`, or the version alone in the core group.
    pub(super) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// Whether a `CustomResourceDefinition` defines it: such kinds have a schema and no strategic merge patch.
    pub(super) fn is_custom(&self) -> bool {
        self.group.ends_with(".istio.io")
    }

    pub(super) fn is_pod(&self) -> bool {
        self.kind == "Pod"
    }

    fn discovery(&self) -> Vec<Value> {
        const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        let verbs = if self.read_only { &["get", "list", "watch"] } else { ALL };
        let mut entries = vec![json!({
            "name": self.plural, "singularName": self.singular, "namespaced": self.namespaced, "kind": self.kind,
            "verbs": verbs, "shortNames": self.short,
        })];
        if self.is_pod() {
            entries.push(
                json!({"name": "pods/log", "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["get"]}),
            );
        }
        entries
    }
}

const BASE: Resource = Resource {
    group: "",
    versions: &["v1"],
    kind: "",
    plural: "",
    singular: "",
    short: &[],
    namespaced: true,
    read_only: false,
    columns: &[],
};

pub(super) static NAMESPACE: Resource = Resource {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short: &["ns"],
    namespaced: false,
    columns: &[("Status", "/status/phase", false)],
    ..BASE
};
pub(super) static POD: Resource = Resource {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short: &["po"],
    columns: &[("Status", "/status/phase", false), ("IP", "/status/podIP", true), ("Node", "/spec/nodeName", true)],
    ..BASE
};
pub(super) static SERVICE: Resource = Resource {
    kind: "Service",
    plural: "services",
    singular: "service",
    short: &["svc"],
    columns: &[
        ("Type", "/spec/type", false),
        ("Cluster-IP", "/spec/clusterIP", false),
        ("Port(s)", "/spec/ports", false),
    ],
    ..BASE
};
pub(super) static CONFIG_MAP: Resource =
    Resource { kind: "ConfigMap", plural: "configmaps", singular: "configmap", short: &["cm"], ..BASE };
pub(super) static SERVICE_ACCOUNT: Resource =
    Resource { kind: "ServiceAccount", plural: "serviceaccounts", singular: "serviceaccount", short: &["sa"], ..BASE };
static EVENT: Resource = Resource { kind: "Event", plural: "events", singular: "event", short: &["ev"], ..BASE };
pub(super) static DEPLOYMENT: Resource = Resource {
    group: "apps",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short: &["deploy"],
    columns: &[("Ready", "/status/readyReplicas", false)],
    ..BASE
};
pub(super) static ENDPOINT_SLICE: Resource = Resource {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    columns: &[
        ("AddressType", "/addressType", false),
        ("Port", "/ports/0/port", false),
        ("Endpoint", "/endpoints/0/addresses/0", false),
    ],
    ..BASE
};
static LEASE: Resource = Resource {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    columns: &[("Holder", "/spec/holderIdentity", false)],
    ..BASE
};
pub(super) static CRD: Resource = Resource {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short: &["crd", "crds"],
    namespaced: false,
    read_only: true,
    ..BASE
};
pub(super) static PEER_AUTHENTICATION: Resource = Resource {
    group: "security.istio.io",
    versions: &["v1", "v1beta1"],
    kind: "PeerAuthentication",
    plural: "peerauthentications",
    singular: "peerauthentication",
    short: &["pa"],
    columns: &[("Mode", "/spec/mtls/mode", false)],
    ..BASE
};
const RULE: Resource = Resource {
    group: "networking.istio.io",
    versions: &["v1", "v1beta1", "v1alpha3"],
    kind: "DestinationRule",
    plural: "destinationrules",
    singular: "destinationrule",
    short: &["dr"],
    columns: &[("Host", "/spec/host", false)],
    ..BASE
};
pub(super) static DESTINATION_RULE: Resource = RULE;
pub(super) static LEGACY_DESTINATION_RULE: Resource = Resource { versions: &["v1alpha3"], ..RULE };
pub(super) static TELEMETRY: Resource = Resource {
    group: "telemetry.istio.io",
    versions: &["v1", "v1alpha1"],
    kind: "Telemetry",
    plural: "telemetries",
    singular: "telemetry",
    short: &["telemetry"],
    ..BASE
};
pub(super) static POLICY: Resource = Resource {
    group: "authentication.istio.io",
    versions: &["v1alpha1"],
    kind: "Policy",
    plural: "policies",
    singular: "policy",
    ..BASE
};
pub(super) static MESH_POLICY: Resource = Resource {
    group: "authentication.istio.io",
    versions: &["v1alpha1"],
    kind: "MeshPolicy",
    plural: "meshpolicies",
    singular: "meshpolicy",
    namespaced: false,
    ..BASE
};

static KUBERNETES: [&Resource; 10] =
    [&NAMESPACE, &POD, &SERVICE, &CONFIG_MAP, &SERVICE_ACCOUNT, &EVENT, &DEPLOYMENT, &ENDPOINT_SLICE, &LEASE, &CRD];

/// The resources of one sandbox.
#[derive(Debug)]
pub(super) struct Catalogue(pub(super) Vec<&'static Resource>);

impl Catalogue {
    pub(super) fn of(state: State) -> Self {
        let mesh: &[&'static Resource] = match state {
            State::Legacy => &[&POLICY, &MESH_POLICY, &LEGACY_DESTINATION_RULE],
            State::Permissive | State::Strict => &[&PEER_AUTHENTICATION, &DESTINATION_RULE, &TELEMETRY],
        };
        Self(KUBERNETES.iter().chain(mesh).copied().collect())
    }

    pub(super) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
        self.in_version(group, version).find(|resource| resource.plural == plural)
    }

    fn in_version<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'static Resource> + 'a {
        self.0.iter().copied().filter(move |resource| resource.group == group && resource.versions.contains(&version))
    }

    /// Named groups with their versions, in the order of the table.
    pub(super) fn groups(&self) -> Vec<(&'static str, &'static [&'static str])> {
        let mut groups: Vec<(&str, &[&str])> = Vec::new();
        for resource in &self.0 {
            if !resource.group.is_empty() && groups.iter().all(|(group, _)| *group != resource.group) {
                groups.push((resource.group, resource.versions));
            }
        }
        groups
    }

    /// `/apis`.
    pub(super) fn group_list(&self) -> Value {
        let groups: Vec<Value> =
            self.groups().into_iter().map(|(group, versions)| group_document(group, versions)).collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }

    /// `/apis/GROUP`.
    pub(super) fn group(&self, name: &str) -> Option<Value> {
        let (group, versions) = self.groups().into_iter().find(|(group, _)| *group == name)?;
        let mut document = group_document(group, versions);
        document["kind"] = "APIGroup".into();
        document["apiVersion"] = "v1".into();
        Some(document)
    }

    /// `/api/v1` or `/apis/GROUP/VERSION`.
    pub(super) fn resource_list(&self, group: &str, version: &str) -> Option<Value> {
        let resources: Vec<Value> = self.in_version(group, version).flat_map(Resource::discovery).collect();
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        (!resources.is_empty()).then(|| {
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": resources})
        })
    }
}

fn group_document(group: &str, versions: &[&str]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "preferredVersion": versions[0], "versions": versions})
}
