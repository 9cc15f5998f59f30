//! A namespace of a test's own, deleted whatever becomes of the test.

use crate::environment::{Lease, environment, lease, lease_alone, not_run};
use crate::tool::Tool;
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use rand::Rng;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

const SECURITY: (&str, &str) = ("security.istio.io", "v1");
const NETWORKING: (&str, &str) = ("networking.istio.io", "v1");

/// A namespace, with the tool pointed at it.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) tool: Tool,
}

/// Makes a namespace with injection, runs the body in it, and deletes it. A body that panics leaves the states of the
/// pods on stderr.
pub(crate) async fn with_namespace(body: impl AsyncFnOnce(&Stage)) {
    if let Some(lease) = lease().await {
        with_lease(lease, ("istio-injection", "enabled"), body).await;
    }
}

/// Makes a namespace in ambient mode, where the environment says that the cluster has it, and runs the body in it. In such a
/// namespace a pod has a sidecar if it asks for one.
pub(crate) async fn with_ambient_namespace(body: impl AsyncFnOnce(&Stage)) {
    if !environment().ambient {
        return not_run("SECURE_TRAFFIC_E2E_AMBIENT=1 is not set");
    }
    if let Some(lease) = lease().await {
        with_lease(lease, ("istio.io/dataplane-mode", "ambient"), body).await;
    }
}

/// The same while no other test of the suite uses the cluster.
pub(crate) async fn with_namespace_alone(body: impl AsyncFnOnce(&Stage)) {
    if let Some(lease) = lease_alone().await {
        with_lease(lease, ("istio-injection", "enabled"), body).await;
    }
}

async fn with_lease(lease: Lease, mesh: (&str, &str), body: impl AsyncFnOnce(&Stage)) {
    let name = format!("st-e2e-{:08x}", rand::rng().random::<u32>());
    let stage = Stage::new(lease.client.clone(), &name);
    let labels = json!({mesh.0: mesh.1, "app.kubernetes.io/part-of": "secure-traffic-e2e"});
    let namespace = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap();
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let outcome = AssertUnwindSafe(body(&stage)).catch_unwind().await;
    if outcome.is_err() {
        stage.print_pods().await;
    }
    // Without grace, so that the next test finds the node free.
    let _ = stage.pods().delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await;
    let deleted = namespaces.delete(&name, &DeleteParams::default()).await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    deleted.unwrap();
}

impl Stage {
    pub(crate) fn new(client: Client, name: &str) -> Self {
        Self { client, name: name.to_owned(), tool: Tool::new(name) }
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    fn api(&self, (group, version): (&str, &str), kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), &self.name, &resource)
    }

    pub(crate) fn policies(&self) -> Api<DynamicObject> {
        self.api(SECURITY, "PeerAuthentication")
    }

    pub(crate) fn rules(&self) -> Api<DynamicObject> {
        self.api(NETWORKING, "DestinationRule")
    }

    fn api_of(&self, object: &Value) -> (Api<DynamicObject>, DynamicObject) {
        let version = object["apiVersion"].as_str().unwrap();
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let api = self.api((group, version), object["kind"].as_str().unwrap());
        (api, serde_json::from_value(object.clone()).unwrap())
    }

    /// Creates an object, as kubectl's client-side apply does.
    pub(crate) async fn create(&self, object: &Value) {
        let params =
            PostParams { field_manager: Some("kubectl-client-side-apply".to_owned()), ..PostParams::default() };
        let (api, object) = self.api_of(object);
        api.create(&params, &object).await.unwrap();
    }

    /// Applies an object on the server's side as this manager.
    pub(crate) async fn apply_as(&self, manager: &str, object: &Value) {
        let (api, _) = self.api_of(object);
        let name = object["metadata"]["name"].as_str().unwrap();
        api.patch(name, &PatchParams::apply(manager).force(), &Patch::Apply(object)).await.unwrap();
    }

    /// Sets the mode for the whole namespace.
    pub(crate) async fn set_mode(&self, mode: &str) {
        self.apply_as("kubectl", &policy("default", None, mode, json!({}))).await;
    }

    /// Waits until every pod is ready, every Service has as many ready endpoints as the pods that it selects, and the
    /// sidecars know what the control plane has been told.
    pub(crate) async fn ready(&self) {
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            let missing = self.not_ready().await;
            if missing.is_empty() {
                return crate::sidecar::caught_up(self).await;
            }
            assert!(Instant::now() < deadline, "not ready after two minutes: {missing:?}");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Waits until a pod runs and its Services have its address, ready or not.
    pub(crate) async fn running(&self, pod: &str) {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.name);
        for _ in 0..240 {
            let status = self.pods().get(pod).await.unwrap().status.unwrap_or_default();
            let started = status.container_statuses.iter().flatten().any(|one| one.started == Some(true));
            let listed = slices.list(&ListParams::default()).await.unwrap();
            let ip = status.pod_ip.unwrap_or_default();
            let mut addresses = listed.iter().flat_map(|slice| &slice.endpoints).flat_map(|one| &one.addresses);
            if started && addresses.any(|address| *address == ip) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("{pod} does not run");
    }

    async fn not_ready(&self) -> Vec<String> {
        let pods = self.pods().list(&ListParams::default()).await.unwrap();
        let is_ready = |pod: &Pod| {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        let mut missing: Vec<String> =
            pods.items.iter().filter(|pod| !is_ready(pod)).map(ResourceExt::name_any).collect();
        let all = ListParams::default();
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.name);
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.name);
        let (services, slices) = futures::try_join!(services.list(&all), slices.list(&all)).unwrap();
        for service in services {
            let name = service.name_any();
            let own = slices.iter().filter(|slice| slice.labels().get("kubernetes.io/service-name") == Some(&name));
            let ready: Vec<&String> = own
                .flat_map(|slice| &slice.endpoints)
                .filter(|endpoint| endpoint.conditions.as_ref().and_then(|it| it.ready) != Some(false))
                .flat_map(|endpoint| &endpoint.addresses)
                .collect();
            let selector = service.spec.and_then(|spec| spec.selector).unwrap_or_default();
            let behind = pods.iter().filter(|pod| pod.labels().get("app") == selector.get("app"));
            let ip = |pod: &Pod| pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default();
            missing.extend(
                behind.filter(|pod| !ready.contains(&&ip(pod))).map(|pod| format!("{} of {name}", pod.name_any())),
            );
        }
        missing
    }

    /// Names of the probe pods that are there.
    pub(crate) async fn probe_pods(&self) -> Vec<String> {
        let ours = ListParams::default().labels("app.kubernetes.io/managed-by=secure-traffic");
        self.pods().list(&ours).await.unwrap().iter().map(ResourceExt::name_any).collect()
    }

    /// Policies and rules as `peerauthentication.security.istio.io/default`, ordered.
    pub(crate) async fn mesh_objects(&self) -> Vec<String> {
        let all = ListParams::default();
        let (policies, rules) = (self.policies(), self.rules());
        let (policies, rules) = futures::try_join!(policies.list(&all), rules.list(&all)).unwrap();
        let policies = policies.iter().map(|it| format!("peerauthentication.security.istio.io/{}", it.name_any()));
        let rules = rules.iter().map(|it| format!("destinationrule.networking.istio.io/{}", it.name_any()));
        let mut names: Vec<String> = policies.chain(rules).collect();
        names.sort();
        names
    }

    /// Deletes every policy and rule.
    pub(crate) async fn delete_mesh_objects(&self) {
        for api in [self.policies(), self.rules()] {
            api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
        }
    }

    #[expect(clippy::print_stderr, reason = "told where a test has failed")]
    async fn print_pods(&self) {
        let mut text = format!("pods of {}:\n", self.name);
        match self.pods().list(&ListParams::default()).await {
            Ok(pods) => {
                for pod in pods {
                    let status = pod.status.clone().unwrap_or_default();
                    let containers: Vec<String> = status
                        .init_container_statuses
                        .iter()
                        .chain(&status.container_statuses)
                        .flatten()
                        .map(|one| {
                            format!("{} ready={} {}", one.name, one.ready, serde_json::to_string(&one.state).unwrap())
                        })
                        .collect();
                    let phase = status.phase.unwrap_or_default();
                    let _ = writeln!(text, "  {} {phase}\n    {}", pod.name_any(), containers.join("\n    "));
                }
            }
            Err(error) => text.push_str(&error.to_string()),
        }
        eprintln!("{text}");
    }
}

/// A `PeerAuthentication`: for the workloads with this `app` label, or for the namespace.
pub(crate) fn policy(name: &str, app: Option<&str>, mode: &str, ports: Value) -> Value {
    let mut spec = json!({"mtls": {"mode": mode}});
    if let Some(app) = app {
        spec["selector"] = json!({"matchLabels": {"app": app}});
    }
    if ports.as_object().is_some_and(|ports| !ports.is_empty()) {
        spec["portLevelMtls"] = ports;
    }
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": name}, "spec": spec,
    })
}

/// An `AuthorizationPolicy` that denies everybody these ports of every workload.
pub(crate) fn denial(ports: &[&str]) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "deny"},
        "spec": {"action": "DENY", "rules": [{"to": [{"operation": {"ports": ports}}]}]},
    })
}
