//! The tool as a person or a script runs it: exit code, stdout and stderr of every command, on the sandbox or at an
//! API server that misbehaves.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::too_many_lines, reason = "what the tool shows is long")]

mod bad_servers;
mod completion;
mod connection;
mod credential_plugins;
mod demo;
mod faulty_proxy;
mod front_door;
mod general;
mod guide;
mod helpers;
mod hostile;
mod limits;
mod mesh_client;
mod pictures;
mod probe;
mod proxies;
mod rehearse;
mod rehearse_telemetry;
mod reports;
mod restore;
mod robustness;
mod rollout;
mod sandbox;
mod signals;
mod slow_link;
mod status;
mod switch;
mod terminal;
mod user_manifests;
mod watch;
mod wrong_use;
