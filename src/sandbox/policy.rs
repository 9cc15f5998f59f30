//! The configuration that the proxies have loaded: the objects of the API, after a delay. Computes modes, client TLS and
//! what the access log has from it.

use super::access_log::LoggedCalls;
use super::resource::{
    CONFIG_MAP, DESTINATION_RULE, LEGACY_DESTINATION_RULE, MESH_POLICY, PEER_AUTHENTICATION, POLICY, TELEMETRY,
};
use super::scenario::{ROOT_NAMESPACE, State};
use super::store::Store;
use crate::domain::effective::{legacy_server_mode, server_mode};
use crate::domain::mesh::{MtlsMode, Pod, Policies};
use crate::istio::read;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// istiod's longest debounce: a stream of writes without a pause takes effect after this time.
const LONGEST_DEBOUNCE: Duration = Duration::from_secs(2);

/// The configuration in effect.
#[derive(Debug, Default)]
pub(super) struct Config {
    policies: Policies,
    rules: Vec<Arc<Value>>,
    /// The calls that sidecars log by the mesh's settings.
    logged_calls: LoggedCalls,
    /// The same by namespace, where a `Telemetry` object decides.
    logged_calls_of: BTreeMap<String, LoggedCalls>,
}

/// One Service port at one pod, for which a mode is computed.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) pod: Pod,
    pub(super) service: String,
    pub(super) port: u16,
    /// The port of the pod, which policies name.
    pub(super) target_port: u16,
    pub(super) port_name: String,
}

impl Place {
    /// The name that clients in the mesh request by TLS.
    pub(super) fn server_name(&self) -> String {
        format!("outbound_.{}_._.{}.{}.svc.cluster.local", self.port, self.service, self.pod.namespace)
    }
}

impl Config {
    pub(super) fn read(store: &Store, state: State) -> Self {
        let legacy_only = state == State::Legacy;
        let mut policies = Policies {
            root_namespace: ROOT_NAMESPACE.to_owned(),
            root_readable: true,
            legacy_only,
            ..Policies::default()
        };
        let rules = if legacy_only {
            policies.legacy = store.list(&POLICY, None).0.iter().map(|object| read::legacy_policy(object)).collect();
            let mesh = store.get(&MESH_POLICY, "", "default");
            policies.legacy_mesh = mesh.map(|object| read::legacy_policy(&object));
            store.list(&LEGACY_DESTINATION_RULE, None).0
        } else {
            let (objects, _) = store.list(&PEER_AUTHENTICATION, None);
            policies.peer = objects.iter().map(|object| read::peer_authentication(object)).collect();
            store.list(&DESTINATION_RULE, None).0
        };
        let (logged_calls, logged_calls_of) = (logged_by_mesh(store), logged_by_namespace(store));
        Self { policies, rules, logged_calls, logged_calls_of }
    }

    /// The mode of the server at a place.
    pub(super) fn mode(&self, place: &Place) -> MtlsMode {
        let effective = if self.policies.legacy_only {
            let name = Some(place.port_name.as_str());
            legacy_server_mode(&self.policies, &place.pod.namespace, &place.service, place.port, name)
        } else {
            server_mode(&self.policies, &place.pod, place.target_port)
        };
        effective.mode.unwrap_or(MtlsMode::Permissive)
    }

    /// The calls that the sidecars of a namespace log.
    pub(super) fn logged_calls(&self, namespace: &str) -> LoggedCalls {
        self.logged_calls_of.get(namespace).copied().unwrap_or(self.logged_calls)
    }

    /// Whether a client in the mesh uses mutual TLS to a place: the `DestinationRule` decides, else auto mTLS.
    pub(super) fn client_uses_mtls(&self, place: &Place) -> bool {
        match self.client_tls(place) {
            Some(mode) => mode != "DISABLE",
            None => {
                !self.policies.legacy_only && place.pod.data_plane.is_meshed() && self.mode(place) != MtlsMode::Disable
            }
        }
    }

    fn client_tls(&self, place: &Place) -> Option<&str> {
        let namespace = place.pod.namespace.as_str();
        let names = [
            format!("{}.{namespace}.svc.cluster.local", place.service),
            format!("{}.{namespace}.svc", place.service),
            format!("{}.{namespace}", place.service),
            place.service.clone(),
        ];
        let host = |rule: &Value| rule["spec"]["host"].as_str().unwrap_or_default().to_owned();
        let local = || self.rules.iter().filter(|rule| rule["metadata"]["namespace"] == namespace);
        let exact = local()
            .filter(|rule| names.contains(&host(rule)))
            .min_by_key(|rule| (read::created(rule), read::metadata(rule, "name").to_owned()));
        let wildcard = || {
            let fits =
                |rule: &&Arc<Value>| host(rule).strip_prefix('*').is_some_and(|suffix| names[0].ends_with(suffix));
            local().filter(fits).max_by_key(|rule| host(rule).len())
        };
        let policy = &exact.or_else(wildcard)?["spec"]["trafficPolicy"];
        let ports = policy["portLevelSettings"].as_array().into_iter().flatten();
        let port =
            ports.filter(|entry| entry["port"]["number"] == place.port).find_map(|entry| entry["tls"]["mode"].as_str());
        // An empty `tls` means DISABLE.
        port.or_else(|| {
            policy["tls"].as_object().map(|tls| tls.get("mode").and_then(Value::as_str).unwrap_or("DISABLE"))
        })
    }
}

/// The calls that the sidecars of each namespace log, by its oldest `Telemetry` without a selector.
fn logged_by_namespace(store: &Store) -> BTreeMap<String, LoggedCalls> {
    let (mut telemetries, _) = store.list(&TELEMETRY, None);
    telemetries.retain(|object| object["spec"]["selector"].is_null());
    telemetries.sort_by_key(|object| (read::created(object), read::metadata(object, "name").to_owned()));
    let mut logged: BTreeMap<String, Option<LoggedCalls>> = BTreeMap::new();
    for object in &telemetries {
        let namespace = read::metadata(object, "namespace").to_owned();
        let entry = object["spec"]["accessLogging"].get(0);
        logged.entry(namespace).or_insert_with(|| {
            entry.map(|entry| match entry["filter"]["expression"].as_str() {
                _ if entry["disabled"] == true => LoggedCalls::None,
                Some("!connection.mtls") => LoggedCalls::Plaintext,
                _ => LoggedCalls::All,
            })
        });
    }
    logged.into_iter().filter_map(|(namespace, calls)| Some((namespace, calls?))).collect()
}

/// The calls that all other sidecars log, by the settings of the mesh.
fn logged_by_mesh(store: &Store) -> LoggedCalls {
    let settings = store.get(&CONFIG_MAP, ROOT_NAMESPACE, "istio");
    let has_log =
        settings.is_some_and(|map| map["data"]["mesh"].as_str().is_some_and(|text| text.contains("accessLogFile")));
    if has_log { LoggedCalls::All } else { LoggedCalls::None }
}

/// Makes writes take effect after a pause of `delay`, like istiod's debounce.
pub(super) async fn propagate(store: Arc<Store>, state: State, delay: Duration, in_force: watch::Sender<Arc<Config>>) {
    let mut changes = store.subscribe();
    while changes.changed().await.is_ok() {
        let settle =
            async { while tokio::time::timeout(delay, changes.changed()).await.is_ok_and(|change| change.is_ok()) {} };
        // A stream of writes without a pause takes effect after the longest debounce.
        let _ = tokio::time::timeout(LONGEST_DEBOUNCE, settle).await;
        in_force.send_replace(Arc::new(Config::read(&store, state)));
    }
}
