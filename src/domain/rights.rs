//! The RBAC rights that each command needs: one table for the checks before a run and for the Roles of `rbac`.

/// Verb, API group and resource; the core group is the empty string.
pub type Right = (&'static str, &'static str, &'static str);

/// Rights for one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    pub purpose: &'static str,
    pub rights: &'static [Right],
    /// Names of the objects that the rights are for; empty means all.
    pub names: &'static [&'static str],
}

const fn group(purpose: &'static str, rights: &'static [Right]) -> Group {
    Group { purpose, rights, names: &[] }
}

/// The rights for a probe pod.
pub const PROBE: &[Right] = &[
    ("create", "", "pods"),
    ("list", "", "pods"),
    ("watch", "", "pods"),
    ("delete", "", "pods"),
    ("get", "", "pods/log"),
];

/// The rights for the Lease alone: the second half of [`JOURNAL`].
pub const LEASE: &[Right] = JOURNAL.split_at(4).1;

/// The rights for the journal and the Lease.
pub const JOURNAL: &[Right] = &[
    ("create", "", "configmaps"),
    ("list", "", "configmaps"),
    ("patch", "", "configmaps"),
    ("delete", "", "configmaps"),
    ("create", "coordination.k8s.io", "leases"),
    ("get", "coordination.k8s.io", "leases"),
    ("patch", "coordination.k8s.io", "leases"),
    ("delete", "coordination.k8s.io", "leases"),
];

/// The rights for the `Telemetry` object of a rehearsal: the object, its journal and the Lease.
pub const TELEMETRY_WRITES: &[Right] = &[
    ("create", "telemetry.istio.io", "telemetries"),
    ("list", "telemetry.istio.io", "telemetries"),
    ("delete", "telemetry.istio.io", "telemetries"),
    ("create", "", "configmaps"),
    ("list", "", "configmaps"),
    ("delete", "", "configmaps"),
    ("create", "coordination.k8s.io", "leases"),
    ("get", "coordination.k8s.io", "leases"),
    ("patch", "coordination.k8s.io", "leases"),
    ("delete", "coordination.k8s.io", "leases"),
];

const SERVICES: Group = group(
    "Which Services there are, and which endpoints stand behind them.",
    &[("list", "", "services"), ("list", "discovery.k8s.io", "endpointslices")],
);
const PODS: Group =
    group("Which pods are in the mesh, and which probe pods an earlier run has left.", &[("list", "", "pods")]);
const THROWAWAY: Group = group("The throwaway pod: made, watched, read back, read out, removed.", PROBE);
const POLICIES: Group = group(
    "What holds in the namespace.",
    &[("list", "security.istio.io", "peerauthentications"), ("list", "networking.istio.io", "destinationrules")],
);
const LEGACY_POLICIES: Group = group(
    "What holds in the namespace.",
    &[("list", "authentication.istio.io", "policies"), ("list", "networking.istio.io", "destinationrules")],
);
/// Server-side apply of a new object needs `create` and `patch`; a restore deletes objects that an earlier run created.
const WRITES: Group = group(
    "The two halves of mutual TLS: made and changed, and on the way back deleted where an earlier run has made them.",
    &[
        ("create", "security.istio.io", "peerauthentications"),
        ("patch", "security.istio.io", "peerauthentications"),
        ("delete", "security.istio.io", "peerauthentications"),
        ("create", "networking.istio.io", "destinationrules"),
        ("patch", "networking.istio.io", "destinationrules"),
        ("delete", "networking.istio.io", "destinationrules"),
    ],
);
const LEGACY_WRITES: Group = group(
    "The two halves of mutual TLS: made and changed, and on the way back deleted where an earlier run has made them.",
    &[
        ("create", "authentication.istio.io", "policies"),
        ("patch", "authentication.istio.io", "policies"),
        ("delete", "authentication.istio.io", "policies"),
        ("create", "networking.istio.io", "destinationrules"),
        ("patch", "networking.istio.io", "destinationrules"),
        ("delete", "networking.istio.io", "destinationrules"),
    ],
);
const KEEPING: Group = group("The journal, the way back, and the Lease that keeps two runs apart.", JOURNAL);
const MESH_ROOT: Group = Group {
    purpose: "The mesh root, against which certificates are verified: without it nothing is proven to be rejected.",
    rights: &[("get", "", "configmaps")],
    names: &["istio-ca-root-cert"],
};
const PROXIES: Group = group(
    "The endpoints' own proxies. It opens all of their admin interface: leave it out where that is too much.",
    &[("get", "", "pods/portforward"), ("create", "", "pods/portforward")],
);
const AUTHORIZATION: Group = group(
    "Whether an authorization policy could explain a refusal.",
    &[("list", "security.istio.io", "authorizationpolicies")],
);
const MESH_SETTINGS: Group =
    Group { purpose: "The settings of the mesh.", rights: &[("get", "", "configmaps")], names: &["istio"] };
const MACHINES: Group = group(
    "Endpoints that are no pods, and listeners of a Sidecar: without it a rule could be written for what takes none.",
    &[("list", "networking.istio.io", "workloadentries"), ("list", "networking.istio.io", "sidecars")],
);
/// Read in the namespace and in the root namespace.
const FILTERS: Group = group(
    "EnvoyFilters that change what the proxies accept: without it their effect on a verdict is not known.",
    &[("list", "networking.istio.io", "envoyfilters")],
);
const TEMPLATES: Group = group(
    "The pods that workloads will start: without it a rule could be written for pods that will have no proxy.",
    &[
        ("list", "apps", "deployments"),
        ("list", "apps", "statefulsets"),
        ("list", "apps", "daemonsets"),
        ("list", "batch", "jobs"),
        ("list", "argoproj.io", "rollouts"),
    ],
);
const NETWORK_POLICIES: Group = group(
    "Which NetworkPolicies keep the probe from its targets: without it no rule that admits it is printed.",
    &[("list", "networking.k8s.io", "networkpolicies")],
);
const AMBIENT_NETWORK_POLICIES: Group = group(
    "Which NetworkPolicies keep mutual TLS from pods in ambient mode: without it `hbone-blocked` is not found.",
    &[("list", "networking.k8s.io", "networkpolicies")],
);
const ROOT_POLICIES: Group = group(
    "The policies of the whole mesh: without them a namespace that has no mode of its own is `mode-unknown`.",
    &[("list", "security.istio.io", "peerauthentications")],
);
const ROOT_RULES: Group = group(
    "The rules of the whole mesh, which a new rule of the namespace would hide.",
    &[("list", "networking.istio.io", "destinationrules")],
);
const MESH_POLICY: Group = group(
    "The policy of the whole mesh: without it a namespace that has no mode of its own is `mode-unknown`.",
    &[("list", "authentication.istio.io", "meshpolicies")],
);

const ZTUNNELS: Group = group(
    "The logs of the nodes' ztunnels: who refused a call to a pod in ambient mode.",
    &[("list", "", "pods"), ("get", "", "pods/log")],
);
const ZTUNNEL_METRICS: Group = group(
    "The ztunnels' counters, where their logs do not tell, and the connections that they hold. It opens all of their ports.",
    &[("get", "", "pods/portforward"), ("create", "", "pods/portforward")],
);
/// Lists of all namespaces. Without them findings can be missing, and `not-read` says which.
const SURROUNDINGS: Group = group(
    "Rules, routes, scopes and names of all namespaces, and what calls from outside the mesh: without it findings may be missing.",
    &[
        ("list", "", "namespaces"),
        ("list", "networking.istio.io", "destinationrules"),
        ("list", "networking.istio.io", "virtualservices"),
        ("list", "networking.istio.io", "sidecars"),
        ("list", "networking.istio.io", "serviceentries"),
        ("list", "networking.istio.io", "gateways"),
        ("list", "networking.istio.io", "envoyfilters"),
        ("list", "security.istio.io", "authorizationpolicies"),
        ("list", "networking.k8s.io", "ingresses"),
        ("list", "route.openshift.io", "routes"),
        ("list", "gateway.networking.k8s.io", "gateways"),
        ("list", "gateway.networking.k8s.io", "httproutes"),
        ("list", "gateway.networking.k8s.io", "grpcroutes"),
        ("list", "gateway.networking.k8s.io", "tcproutes"),
        ("list", "gateway.networking.k8s.io", "tlsroutes"),
        ("list", "batch", "cronjobs"),
        ("list", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        ("list", "admissionregistration.k8s.io", "validatingwebhookconfigurations"),
        ("list", "apiregistration.k8s.io", "apiservices"),
        ("list", "apiextensions.k8s.io", "customresourcedefinitions"),
        ("list", "monitoring.coreos.com", "servicemonitors"),
        ("list", "monitoring.coreos.com", "podmonitors"),
        ("list", "flagger.app", "canaries"),
        ("list", "argoproj.io", "rollouts"),
        ("list", "elbv2.k8s.aws", "targetgroupbindings"),
    ],
);
const TELEMETRIES: Group = group(
    "Whether the access log leaves calls out: without it a rehearsal could miss callers.",
    &[("list", "telemetry.istio.io", "telemetries")],
);
/// Without them, a namespace without an access log is not observed.
const REHEARSAL_OBJECT: Group = group(
    "The Telemetry object of a rehearsal, its journal and the Lease: made, and deleted at its end or after it was interrupted.",
    TELEMETRY_WRITES,
);
/// Without them, callers of other namespaces are addresses without names.
const CALLERS: Group = group(
    "Who has an address: pods and nodes. A rule that sets `sni` hides who sends mutual TLS.",
    &[
        ("list", "", "pods"),
        ("watch", "", "pods"),
        ("list", "", "nodes"),
        ("list", "networking.istio.io", "destinationrules"),
    ],
);
/// The Services by istiod's label.
const CONTROL_PLANES: Group = group(
    "The control planes of the cluster: without it one is found by the proxies alone.",
    &[("list", "", "services")],
);

/// The Lease alone: a run that leaves the writes to others keeps no journal.
const LOCKING: Group = group("The Lease that keeps two runs out of each other's way.", LEASE);

/// The commands that need the same rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// `probe`.
    Probe,
    /// `enable-mtls`, `disable-mtls`, and `demo`, which runs both.
    Switch,
    /// `status`.
    Status,
    /// `rehearse`.
    Rehearse,
    /// `cleanup`.
    Cleanup,
    /// `history`.
    History,
}

/// The options of a task that need more or other rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct RbacOptions {
    /// The run reads the proxies' configuration.
    pub port_forward: bool,
    /// The run may start a client in the mesh.
    pub control: bool,
    /// The cluster has only the legacy API.
    pub legacy: bool,
    /// The logs of ztunnels are read: evidence for pods in ambient mode.
    pub ambient: bool,
    /// A rehearsal names the callers of all namespaces.
    pub all_callers: bool,
    /// A rehearsal may write a `Telemetry` object, and what an interrupted one left is removed.
    pub telemetry: bool,
    /// The probe pod runs in another namespace.
    pub probe_namespace: bool,
    /// Another writer makes the changes of a switch.
    pub observe: bool,
}

/// The rights of a task, by the namespace that they apply to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// In the namespace that the command is for.
    pub namespace: Vec<Group>,
    /// In the namespace of the probe pod, if that is another one.
    pub probe_namespace: Vec<Group>,
    /// In the mesh's root namespace.
    pub root: Vec<Group>,
    /// In the namespace of ztunnel.
    pub ztunnel: Vec<Group>,
    /// In the whole cluster.
    pub cluster: Vec<Group>,
}

/// The least rights that a task needs.
pub fn rights(task: Task, options: RbacOptions) -> Rights {
    if task == Task::Cleanup {
        let cleanup = group("Probe pods that are left.", &[("list", "", "pods"), ("delete", "", "pods")]);
        let mut namespace = vec![cleanup];
        namespace.extend(options.telemetry.then_some(REHEARSAL_OBJECT));
        return Rights { namespace, ..Rights::default() };
    }
    if task == Task::History {
        let journals = group("The journals of earlier runs.", &[("list", "", "configmaps")]);
        return Rights { namespace: vec![journals], ..Rights::default() };
    }
    let mut needed = Rights {
        namespace: vec![SERVICES, PODS, if options.legacy { LEGACY_POLICIES } else { POLICIES }, MACHINES],
        root: vec![MESH_SETTINGS],
        ..Rights::default()
    };
    if matches!(task, Task::Status | Task::Switch) {
        needed.namespace.push(TEMPLATES);
    }
    if task == Task::Status {
        needed.namespace.push(AMBIENT_NETWORK_POLICIES);
        needed.cluster.extend([SURROUNDINGS, CONTROL_PLANES]);
    } else {
        needed.namespace.push(FILTERS);
        needed.root.push(FILTERS);
        add_probe(&mut needed, options);
    }
    if task == Task::Rehearse {
        needed.namespace.push(TELEMETRIES);
        needed.root.push(TELEMETRIES);
    }
    if matches!(task, Task::Rehearse | Task::Switch) && options.telemetry {
        needed.namespace.push(REHEARSAL_OBJECT);
    }
    if task == Task::Rehearse && options.all_callers {
        needed.cluster.push(CALLERS);
    }
    if task == Task::Switch && options.observe {
        needed.namespace.extend([LOCKING, NETWORK_POLICIES]);
    } else if task == Task::Switch {
        needed.namespace.extend([if options.legacy { LEGACY_WRITES } else { WRITES }, KEEPING, NETWORK_POLICIES]);
    }
    if options.legacy {
        needed.cluster.push(MESH_POLICY);
    } else {
        needed.root.push(ROOT_POLICIES);
    }
    needed.root.push(ROOT_RULES);
    needed
}

/// What a probe needs besides reading the namespace.
fn add_probe(needed: &mut Rights, options: RbacOptions) {
    needed.namespace.push(MESH_ROOT);
    if options.probe_namespace {
        needed.probe_namespace = vec![SERVICES, PODS, THROWAWAY];
    } else {
        needed.namespace.push(THROWAWAY);
    }
    if options.port_forward {
        needed.namespace.push(PROXIES);
    }
    if options.control {
        needed.namespace.push(AUTHORIZATION);
        needed.root.push(AUTHORIZATION);
        if options.probe_namespace {
            needed.namespace.push(THROWAWAY);
        }
    }
    if options.ambient {
        needed.ztunnel.push(ZTUNNELS);
        needed.ztunnel.extend(options.port_forward.then_some(ZTUNNEL_METRICS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(rights: &Rights) -> Vec<Right> {
        let groups = [&rights.namespace, &rights.probe_namespace, &rights.root, &rights.ztunnel, &rights.cluster];
        groups.into_iter().flatten().flat_map(|group| group.rights).copied().collect()
    }

    #[test]
    fn a_probe_writes_only_pods() {
        for (port_forward, control, legacy, probe_namespace) in
            [(false, false, false, false), (true, true, false, true), (true, true, true, false)]
        {
            let rights = rights(
                Task::Probe,
                RbacOptions { port_forward, control, legacy, ambient: true, probe_namespace, ..RbacOptions::default() },
            );
            for (verb, _, resource) in all(&rights) {
                let reads = matches!(verb, "get" | "list" | "watch");
                assert!(reads || resource == "pods" || resource == "pods/portforward", "{verb} {resource}");
            }
            assert!(!probe_namespace || control || !rights.namespace.contains(&THROWAWAY));
        }
    }

    #[test]
    fn evidence_of_ztunnels_is_an_option_and_status_only_lists() {
        let log = ("get", "", "pods/log");
        let forward = ("create", "", "pods/portforward");
        let granted = |ambient, port_forward| {
            let options = RbacOptions { port_forward, ambient, ..RbacOptions::default() };
            let groups = rights(Task::Probe, options).ztunnel;
            [log, forward].map(|right| groups.iter().any(|group| group.rights.contains(&right)))
        };
        assert_eq!(granted(true, true), [true, true]);
        assert_eq!(granted(true, false), [true, false]);
        assert_eq!(granted(false, true), [false, false]);
        for (verb, _, resource) in all(&rights(Task::Status, RbacOptions::default())) {
            assert!(verb == "list" || (verb, resource) == ("get", "configmaps"), "{verb} {resource}");
        }
    }

    #[test]
    fn a_rehearsal_writes_only_pods_and_reads_the_whole_cluster_only_on_request() {
        let of = |all_callers| rights(Task::Rehearse, RbacOptions { all_callers, ..RbacOptions::default() });
        for (verb, _, resource) in all(&of(true)) {
            assert!(matches!(verb, "get" | "list" | "watch") || resource == "pods", "{verb} {resource}");
        }
        let telemetry = rights(Task::Rehearse, RbacOptions { telemetry: true, ..RbacOptions::default() });
        assert!(all(&telemetry).contains(&("create", "telemetry.istio.io", "telemetries")));
        assert!(of(false).cluster.is_empty() && of(true).cluster.contains(&CALLERS));
        assert!(all(&of(false)).contains(&("get", "", "pods/log")));
    }

    #[test]
    fn port_forward_is_granted_only_on_request() {
        let opens = |options| {
            all(&rights(Task::Switch, options)).iter().any(|(_, _, resource)| *resource == "pods/portforward")
        };
        assert!(!opens(RbacOptions::default()));
        assert!(opens(RbacOptions { port_forward: true, ..RbacOptions::default() }));
    }

    #[test]
    fn a_run_that_observes_another_writer_writes_nothing_but_its_lease_and_pods() {
        let observing = rights(Task::Switch, RbacOptions { observe: true, ..RbacOptions::default() });
        let is_write = |(verb, ..): &Right| matches!(*verb, "create" | "patch" | "update" | "delete");
        let mut written: Vec<&str> =
            all(&observing).iter().filter(|right| is_write(right)).map(|right| right.2).collect();
        written.sort_unstable();
        written.dedup();
        assert_eq!(written, ["leases", "pods"]);
    }
}
