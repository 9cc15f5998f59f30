//! Pods of the test application, and Services in front of them.

use crate::environment::environment;
use crate::namespace::Stage;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value, json};

/// Pods that run the test application.
pub(crate) struct Workload {
    command: &'static str,
    name: String,
    app: String,
    arguments: Vec<String>,
    annotations: Map<String, Value>,
    labels: Map<String, Value>,
    in_mesh: bool,
    volume: Option<&'static str>,
    never_ready: bool,
    host_network: bool,
}

impl Workload {
    /// `serve` with these arguments, with a `ServiceAccount` of the workload's name.
    pub(crate) fn new(name: &str, arguments: &[&str]) -> Self {
        Self {
            command: "serve",
            name: name.to_owned(),
            app: name.to_owned(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            annotations: Map::new(),
            labels: Map::new(),
            in_mesh: true,
            volume: None,
            never_ready: false,
            host_network: false,
        }
    }

    /// A client that calls `url` for ever, fifty times a second; its counts can be read from outside the mesh.
    pub(crate) fn load(name: &str, url: &str, fresh: bool) -> Self {
        let arguments: &[&str] = if fresh { &["-fresh", url] } else { &[url] };
        let load = Self { command: "load", ..Self::new(name, arguments) };
        load.annotate("traffic.sidecar.istio.io/excludeInboundPorts", "9100")
    }

    /// A client that sends a line at a time over one kept connection to an echo server.
    pub(crate) fn tcp_load(name: &str, server: &str) -> Self {
        let load = Self { command: "load", ..Self::new(name, &["-tcp", server]) };
        load.annotate("traffic.sidecar.istio.io/excludeInboundPorts", "9100")
    }

    /// Without a proxy, also in an ambient namespace.
    pub(crate) fn outside(mut self) -> Self {
        self.in_mesh = false;
        self.label("istio.io/dataplane-mode", "none")
    }

    /// In the ambient mesh, in a namespace of that mode.
    pub(crate) fn ambient(mut self) -> Self {
        self.in_mesh = false;
        self
    }

    /// With a readiness probe that fails.
    pub(crate) fn never_ready(mut self) -> Self {
        self.never_ready = true;
        self
    }

    /// In the network of its node.
    pub(crate) fn on_host_network(mut self) -> Self {
        self.host_network = true;
        self
    }

    /// Behind the Services of another workload too.
    pub(crate) fn like(mut self, app: &str) -> Self {
        app.clone_into(&mut self.app);
        self
    }

    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), json!(value));
        self
    }

    pub(crate) fn annotate(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), json!(value));
        self
    }

    /// The sidecar writes its own certificate to this directory, where the application can read it.
    pub(crate) fn with_certificate_of_sidecar(mut self, directory: &'static str) -> Self {
        let config = json!({"proxyMetadata": {"OUTPUT_CERTS": directory}}).to_string();
        let mount = json!({"certificates": {"mountPath": directory}}).to_string();
        self.volume = Some(directory);
        self.annotate("proxy.istio.io/config", &config).annotate("sidecar.istio.io/userVolumeMount", &mount)
    }

    /// Makes it; [`Stage::ready`] waits for it.
    pub(crate) async fn start(self, stage: &Stage) {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": self.name}});
        stage.create(&account).await;
        stage.create(&self.pod()).await;
    }

    fn pod(&self) -> Value {
        let inject = if self.in_mesh { "true" } else { "false" };
        let mut labels = self.labels.clone();
        labels.insert("app".to_owned(), json!(self.app));
        labels.insert("sidecar.istio.io/inject".to_owned(), json!(inject));
        let arguments = [&[self.command.to_owned()], &self.arguments[..]].concat();
        let mut container = json!({
            "name": "application", "image": environment().app_image, "imagePullPolicy": "IfNotPresent",
            "args": arguments,
            "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}},
        });
        let mut volumes = json!([]);
        if let Some(directory) = self.volume {
            container["volumeMounts"] = json!([{"name": "certificates", "mountPath": directory}]);
            volumes = json!([{"name": "certificates", "emptyDir": {}}]);
        }
        if self.never_ready {
            container["readinessProbe"] = json!({"tcpSocket": {"port": 1}});
        }
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": self.name, "labels": labels, "annotations": self.annotations},
            "spec": {
                "serviceAccountName": self.name, "terminationGracePeriodSeconds": 1,
                "hostNetwork": self.host_network, "containers": [container], "volumes": volumes,
            },
        });
        let _: Pod = serde_json::from_value(pod.clone()).unwrap();
        pod
    }
}

/// A port of a Service: its name, number and target port.
pub(crate) type Port<'a> = (&'a str, u16, u16);

/// Makes a Service in front of a workload.
pub(crate) async fn service(stage: &Stage, name: &str, app: &str, port: Port<'_>) {
    stage.create(&service_object(name, app, port)).await;
}

/// The same with more in its `spec`.
pub(crate) async fn service_with(stage: &Stage, name: &str, app: &str, port: Port<'_>, more: Value) {
    let mut object = service_object(name, app, port);
    for (key, value) in more.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    stage.create(&object).await;
}

fn service_object(name: &str, app: &str, (port_name, port, target): Port<'_>) -> Value {
    let mut port = json!({"port": port, "targetPort": target});
    if !port_name.is_empty() {
        port["name"] = json!(port_name);
    }
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": app}, "ports": [port]},
    })
}
