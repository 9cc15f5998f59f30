//! Computes which kinds of callers a port has, and what each sends to it.

use super::{Break, Caller, CallerView, EndpointState, speaks_http, workload};
use crate::domain::client_tls::rules::Sorting;
use crate::domain::client_tls::{
    Call, CallOutcome, Client, ClientKind, InForce, Mesh, VisibleRules, ambient_outcome, call_outcome, sends,
};
use crate::domain::effective::PolicyIndex;
use crate::domain::inbound::InboundPath;
use crate::domain::mesh::{DEFAULT_REVISION, DataPlane, Service, ServiceKind, ServicePort};
use crate::domain::namespace_context::NamespaceContext;
use crate::domain::rule::covers;
use crate::domain::selector::has_labels;
use std::collections::{BTreeMap, BTreeSet};

/// All kinds of callers: two clients are of one kind if the same rules apply to them.
pub(super) struct Callers<'a> {
    context: &'a NamespaceContext,
    mesh: Mesh<'a>,
    /// The rules that the namespace's clients see, for each revision of their proxies.
    rules: Vec<VisibleRules<'a>>,
    kinds: Vec<(Caller, String, ClientKind, BTreeMap<String, String>)>,
    /// Whether sidecars of the namespace send HBONE; both where they differ (DR-30).
    hbone: BTreeSet<bool>,
    /// Subsets that routes name, by host.
    routed: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Callers<'a> {
    pub(super) fn new(context: &'a NamespaceContext, index: &'a PolicyIndex<'a>) -> Self {
        let snapshot = &context.snapshot;
        let meshed = || snapshot.pods.values().filter(|pod| pod.data_plane.is_meshed() && !pod.facts.finished);
        let sorting = |revision| Sorting {
            root: &snapshot.mesh.root_namespace,
            cluster_domain: &snapshot.mesh.cluster_domain,
            default_export: &snapshot.mesh.rule_export,
            revision: Some(revision),
        };
        let mut revisions: BTreeSet<&str> =
            meshed().map(|pod| pod.revision.as_deref().unwrap_or(DEFAULT_REVISION)).collect();
        if revisions.is_empty() {
            revisions.insert(DEFAULT_REVISION);
        }
        let visible = |revision| VisibleRules::new(context.rules.iter(), sorting(revision));
        let (sidecars, ambient) = (
            meshed().any(|pod| pod.data_plane == DataPlane::Sidecar && !pod.facts.gateway),
            meshed().any(|pod| pod.data_plane == DataPlane::Ambient),
        );
        let own_sidecars = meshed().filter(|pod| pod.data_plane == DataPlane::Sidecar && !pod.facts.gateway);
        let mut hbone: BTreeSet<bool> = own_sidecars.map(|pod| !pod.facts.no_hbone).collect();
        if hbone.is_empty() {
            hbone.insert(true);
        }
        let home = snapshot.namespace.clone();
        let mut callers = Vec::new();
        if sidecars || !ambient {
            callers.push((Caller::Own, home.clone(), ClientKind::Sidecar, BTreeMap::new()));
        }
        let selectors: BTreeSet<_> = snapshot.rules.iter().filter_map(|rule| rule.client_selector.as_ref()).collect();
        for selector in selectors.into_iter().filter(|selector| !selector.is_empty()) {
            callers.push((Caller::Selected(selector.clone()), home.clone(), ClientKind::Sidecar, selector.clone()));
        }
        if ambient {
            callers.push((Caller::OwnAmbient, home.clone(), ClientKind::Ambient, BTreeMap::new()));
        }
        let root = snapshot.mesh.root_namespace.clone();
        for namespace in others_with_rules(context) {
            let caller = Caller::Namespace(namespace.clone());
            callers.push((caller, namespace, ClientKind::Sidecar, BTreeMap::new()));
        }
        if root != home {
            callers.push((Caller::Gateway, root, ClientKind::Gateway, BTreeMap::new()));
        }
        // A namespace without own rules; no namespace has an empty name.
        callers.push((Caller::Elsewhere, String::new(), ClientKind::Sidecar, BTreeMap::new()));
        let mut routed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (host, subset) in context.routed.iter() {
            routed.entry(host).or_default().push(subset);
        }
        Self {
            context,
            mesh: Mesh { auto_mtls: snapshot.mesh.auto_mtls && !snapshot.policies.legacy_only, policies: index },
            rules: revisions.into_iter().map(visible).collect(),
            kinds: callers,
            hbone,
            routed,
        }
    }

    /// What each kind of caller sends to a port.
    pub(super) fn views(
        &self,
        service: &Service,
        port: &ServicePort,
        endpoints: &[EndpointState<'_>],
    ) -> Vec<CallerView> {
        let snapshot = &self.context.snapshot;
        let host = service.host(&snapshot.namespace, &snapshot.mesh.cluster_domain);
        let call = Call {
            namespace: &snapshot.namespace,
            port: port.port,
            subset: None,
            headless: service.kind == ServiceKind::Headless,
            external: false,
            all_have_tls_label: !endpoints.is_empty() && endpoints.iter().all(|seen| seen.pod.has_tls_label()),
        };
        let http = speaks_http(port);
        let mut views = Vec::new();
        for (caller, namespace, kind, labels) in &self.kinds {
            let first = views.len();
            // Nothing is known of the sidecars of other namespaces, so Istio's default counts there.
            let is_own = matches!(caller, Caller::Own | Caller::Selected(_));
            let hbone = self.hbone.iter().copied().filter(|_| is_own).chain((!is_own).then_some(true));
            let clients = hbone.map(|hbone| Client { namespace, labels, kind: *kind, hbone });
            for (client, rules) in clients.flat_map(|client| self.rules.iter().map(move |rules| (client, rules))) {
                let rule = rules.in_force(client, &host, &snapshot.namespace);
                let view = self.view(caller, client, rule.as_ref(), call, endpoints, http);
                add_view(&mut views, first, view);
                let routed = self.routed.get(host.as_str()).into_iter().flatten();
                for subset in routed.filter(|subset| rule.as_ref().is_some_and(|rule| rule.subset(subset).is_some())) {
                    let call = Call { subset: Some(subset), ..call };
                    add_view(&mut views, first, self.view(caller, client, rule.as_ref(), call, endpoints, http));
                }
            }
        }
        views
    }

    fn view(
        &self,
        caller: &Caller,
        client: Client<'_>,
        rule: Option<&InForce<'_>>,
        call: Call<'_>,
        endpoints: &[EndpointState<'_>],
        http: bool,
    ) -> CallerView {
        let subset = call.subset.and_then(|name| rule?.subset(name)).map(|(rule, index)| &rule.subsets[index]);
        let rules = rule.map_or_else(Vec::new, |rule| {
            rule.effective_rules().map(|rule| format!("{}/{}", rule.namespace, rule.name)).collect()
        });
        let mut view = CallerView {
            caller: caller.clone(),
            subset: call.subset.map(str::to_owned),
            rules,
            explicit: client.kind != ClientKind::Ambient
                && rule.is_some_and(|rule| rule.cluster_tls(call, client.kind).is_some()),
            sends: BTreeMap::new(),
            outcome: CallOutcome::Works,
            breaks: BTreeSet::new(),
        };
        for seen in endpoints {
            if subset.is_some_and(|subset| !has_labels(&seen.pod.labels, &subset.labels)) {
                continue;
            }
            let sent = sends(self.mesh, client, rule, call, (seen.pod, seen.target_port));
            let outcome = match seen.state.path {
                InboundPath::Ztunnel => ambient_outcome(sent, seen.state.server),
                _ => call_outcome(sent, seen.state.server, http),
            };
            let workload = if seen.known { workload(seen.pod) } else { seen.endpoint.address.clone() };
            view.outcome = view.outcome.max(outcome);
            view.sends.entry(workload.clone()).or_default().insert(sent);
            if outcome == CallOutcome::Breaks {
                let has_tls_label = seen.pod.has_tls_label();
                view.breaks.insert(Break { sends: sent, server: seen.state.server, workload, has_tls_label });
            }
        }
        view
    }
}

/// Adds a view, or adds what it shows to the view of the same caller and subset from `first` on: clients whose proxies have
/// different revisions can send different things.
fn add_view(views: &mut Vec<CallerView>, first: usize, view: CallerView) {
    let Some(known) = views[first..].iter_mut().find(|known| known.subset == view.subset) else {
        views.push(view);
        return;
    };
    for rule in view.rules {
        if !known.rules.contains(&rule) {
            known.rules.push(rule);
        }
    }
    known.explicit |= view.explicit;
    known.outcome = known.outcome.max(view.outcome);
    for (workload, sent) in view.sends {
        known.sends.entry(workload).or_default().extend(sent);
    }
    known.breaks.extend(view.breaks);
}

/// Other namespaces with a rule that covers a Service of this one: their clients may send something else.
fn others_with_rules(context: &NamespaceContext) -> BTreeSet<String> {
    let snapshot = &context.snapshot;
    let home = format!(".{}.svc.{}", snapshot.namespace, snapshot.mesh.cluster_domain);
    let touches = |host: &str| host.ends_with(&home) || host.starts_with('*') && covers(host, &format!("any{home}"));
    context
        .rules
        .iter()
        .filter(|rule| rule.namespace != snapshot.namespace && rule.namespace != snapshot.mesh.root_namespace)
        .filter(|rule| touches(&rule.resolved_host(&snapshot.mesh.cluster_domain)))
        .map(|rule| rule.namespace.clone())
        .collect()
}
