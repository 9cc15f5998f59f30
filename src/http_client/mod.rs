//! Requests to addresses that the user passes: Prometheus and the URLs of `--check-url`.

pub mod front_door;
pub mod prometheus;
