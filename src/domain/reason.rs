//! The reasons of an inconclusive verdict, each with its published name and a remedy, for verdicts, reports and
//! `docs/verdicts.md`.

use std::fmt;

/// Defines the enum, the list of all reasons and their names from one table, so that no reason is left out.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident => $name:literal;)*) => {
        /// Why a verdict is inconclusive.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[$doc])* $reason,)*
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub fn all() -> impl Iterator<Item = Self> {
                [$(Self::$reason),*].into_iter()
            }

            /// The published name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }
        }
    };
}

reasons! {
    /// The Service's name did not resolve.
    Dns => "dns";
    /// Nothing listens.
    Refused => "refused";
    /// No TCP connection was established in time.
    ConnectTimeout => "connect-timeout";
    /// The connection was established, and nothing came back in time.
    ReadTimeout => "read-timeout";
    /// The Service has no ready endpoint.
    NoEndpoints => "no-endpoints";
    /// The probe pod itself is in the mesh.
    ProbeMeshed => "probe-meshed";
    /// The probe pod became an endpoint of a Service.
    ProbeSelected => "probe-selected";
    /// The endpoint has no proxy that could refuse.
    TargetNotMeshed => "target-not-meshed";
    /// Connections were reset, and nothing proves that the mesh did it.
    ResetWithoutEvidence => "reset-without-evidence";
    /// Connections were closed without a reset, which a STRICT sidecar never does.
    ClosedNotReset => "closed-not-reset";
    /// The mode depends on objects that could not be read.
    ModeUnknown => "mode-unknown";
    /// The mesh's root certificate could not be read, so no certificate proves anything.
    MeshRootUnknown => "mesh-root-unknown";
    /// Policy, network evidence and proxy evidence contradict each other.
    EvidenceDisagrees => "evidence-disagrees";
    /// Only proxy evidence counts (`--evidence proxy`), and it is unavailable.
    ProxySilent => "proxy-silent";
    /// An `EnvoyFilter` changes the inbound listeners, so only proxy evidence counts, and it is unavailable.
    EnvoyFilter => "envoy-filter";
    /// The endpoint presents a certificate that is not the mesh's certificate for this pod.
    ApplicationTls => "application-tls";
    /// The probe's image could not be pulled.
    ImagePull => "image-pull";
    /// The API server rejected the probe pod.
    AdmissionDenied => "admission-denied";
    /// Pod Security rejected the probe pod, although its spec conforms to the level *restricted*.
    PodSecurity => "pod-security";
    /// A webhook rejected the probe pod.
    WebhookDenied => "webhook-denied";
    /// A webhook for pods with `failurePolicy: Fail` does not answer.
    WebhookFailed => "webhook-failed";
    /// The namespace has no service account for pods.
    NoServiceAccount => "no-service-account";
    /// A ResourceQuota rejected the probe pod.
    Quota => "quota";
    /// The status of a ResourceQuota is not known yet.
    QuotaUnknown => "quota-unknown";
    /// A LimitRange rejected the probe pod.
    LimitRange => "limit-range";
    /// The probe pod was not scheduled to a node.
    Unschedulable => "unschedulable";
    /// The image has no curl that can be started.
    NoCurl => "no-curl";
    /// The probe pod exceeded its deadline.
    Deadline => "deadline";
    /// The probe pod exceeded its memory limit.
    OutOfMemory => "out-of-memory";
    /// The probe pod was evicted or preempted.
    Evicted => "evicted";
    /// The probe pod's node was lost.
    NodeLost => "node-lost";
    /// The probe pod ended or was deleted before its work was done.
    ProbeFailed => "probe-failed";
    /// A client in the mesh does not reach the application either, or could not be started.
    ControlFailed => "control-failed";
    /// The samples contradict each other, or endpoints changed during the probe.
    NotSteady => "not-steady";
    /// The probe ran, but records of it are missing.
    LostOutput => "lost-output";
    /// curl failed in a way that shows nothing about mutual TLS.
    Unexpected => "unexpected";
}

impl Reason {
    /// What the user can do about it, with a command that has `--from-namespace`.
    pub const fn remedy_of_probe(self) -> &'static str {
        match self {
            Self::AdmissionDenied => "read the refusal, or ask from a namespace without it: --from-namespace",
            Self::PodSecurity => {
                "the probe keeps to Pod Security level restricted: find what is added to pods here, or use --from-namespace"
            }
            Self::WebhookDenied => {
                "exempt the probe from that webhook, or ask from a namespace without it: --from-namespace"
            }
            Self::Quota => {
                "free some of the quota (the probe asks for 10m CPU and 16Mi of memory, twice with more than 20 TLS hellos), or use --from-namespace"
            }
            Self::LimitRange => {
                "let the LimitRange admit a container of at most 1 CPU and 64Mi, with the ratio of limit to request that it demands, or use --from-namespace"
            }
            _ => self.remedy(),
        }
    }

    /// What the user can do about it, whatever the command.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Dns => {
                "check the name and --cluster-domain, and that the cluster's DNS answers pods of this namespace"
            }
            Self::Refused => "check that the application listens on the target port",
            Self::ConnectTimeout => "check NetworkPolicies between the probe's namespace and the target",
            Self::ReadTimeout => "a silent or server-first application: raise --max-time, or probe another port",
            Self::NoEndpoints => "wait until a pod of the Service is ready",
            Self::ProbeMeshed => {
                "find the webhook that ignores sidecar.istio.io/inject=false, or exempt the probe from it"
            }
            Self::ProbeSelected => "find what adds labels to pods here; the Service selects the probe itself",
            Self::TargetNotMeshed => {
                "restart the pod so that it gets a sidecar; without one nothing enforces mutual TLS"
            }
            Self::ResetWithoutEvidence => {
                "check that the application itself works; something other than the mesh may have reset"
            }
            Self::ClosedNotReset => "check the application: a STRICT sidecar resets, it never just closes",
            Self::ModeUnknown => "grant read access to PeerAuthentications in the root namespace",
            Self::MeshRootUnknown => "grant read access to the ConfigMap istio-ca-root-cert in the namespace",
            Self::EvidenceDisagrees => {
                "try again in a moment; if it stays, look at `istioctl proxy-config listeners` of the pod"
            }
            Self::ProxySilent => "see why the sidecar's admin interface is silent, or leave --evidence at auto",
            Self::EnvoyFilter => {
                "let this tool ask the proxy: leave --evidence at auto, and grant port-forward (`secure-traffic rbac COMMAND --port-forward`)"
            }
            Self::ApplicationTls => {
                "the application speaks TLS of its own: probe a plaintext port, or check it from its own logs"
            }
            Self::ImagePull => {
                "name an image that the nodes can pull with --image, and --image-pull-secret if it needs one"
            }
            Self::AdmissionDenied => {
                "read the refusal, and exempt pods with the label app.kubernetes.io/managed-by=secure-traffic"
            }
            Self::PodSecurity => "the probe keeps to Pod Security level restricted: find what is added to pods here",
            Self::WebhookDenied => "exempt the probe from that webhook",
            Self::WebhookFailed => {
                "bring the webhook's own service up (of the mesh it is istiod): no pod can be made here"
            }
            Self::NoServiceAccount => "wait until the namespace has its service account \"default\"",
            Self::Quota => {
                "free some of the quota (the probe asks for 10m CPU and 16Mi of memory, twice with more than 20 TLS hellos)"
            }
            Self::QuotaUnknown => "the quota was made a moment ago: try again",
            Self::LimitRange => {
                "let the LimitRange admit a container of at most 1 CPU and 64Mi, with the ratio of limit to request that it demands"
            }
            Self::Unschedulable => "see why no node takes a small pod; --toleration and --node-selector choose nodes",
            Self::NoCurl => "name an image with curl on its PATH with --image",
            Self::Deadline => "ask fewer targets at once, or lower --max-time and --attempts",
            Self::OutOfMemory => "ask fewer targets at once: the probe may have 64Mi of memory",
            Self::Evicted => "try again once the node has room",
            Self::NodeLost => "see that the nodes are ready (`kubectl get nodes`), and try again",
            Self::ProbeFailed => "see the pod's events; raise --pod-timeout if the cluster is slow",
            Self::ControlFailed => {
                "see that the application runs and which DestinationRule applies to its clients; plaintext is refused, but so is the mesh"
            }
            Self::NotSteady => "probe again once nothing changes, with more --attempts",
            Self::LostOutput => "probe again; if it stays, look at the node's logging",
            Self::Unexpected => "see curl's message above",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_that_have_the_flag_name_it() {
        use Reason::{AdmissionDenied, LimitRange, PodSecurity, Quota, WebhookDenied};
        for reason in [AdmissionDenied, LimitRange, PodSecurity, Quota, WebhookDenied] {
            assert!(reason.remedy_of_probe().contains("--from-namespace"), "{reason}");
            assert!(!reason.remedy().contains("--from-namespace"), "{reason}");
        }
        assert_eq!(Reason::NoCurl.remedy_of_probe(), Reason::NoCurl.remedy());
        assert!(LimitRange.remedy().contains("ratio"));
    }
}
