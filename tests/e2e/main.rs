//! The tool on a real mesh: any cluster with Istio whose kubeconfig `SECURE_TRAFFIC_E2E_KUBECONFIG` names, with
//! `SECURE_TRAFFIC_E2E_APP_IMAGE` as the application and `kubectl` on the PATH. Each test makes a namespace of its
//! own. Without the variable they skip, and say so; with `SECURE_TRAFFIC_E2E_REQUIRED=1` that is a failure.

mod interruption;
mod refusals;
mod support;
mod switch;
mod verdicts;
mod walkthrough;
