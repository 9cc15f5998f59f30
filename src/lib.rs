//! Turns Istio's strict mutual TLS on and off in a namespace, and proves from outside the mesh whether
//! plaintext still gets in.
//!
//! ```text
//!  cli ─▶ settings ─▶ commands ──▶ cluster ──▶ istio ──▶ domain
//!                        │            ▲
//!                        ├─▶ report   └── sandbox (a cluster in one process, behind `kube::Client`)
//!                        └─▶ ui
//! ```
//! Arrows are `use`; nothing points upwards, and `tests/architecture.rs` holds that table.

pub mod domain;
pub mod istio;
