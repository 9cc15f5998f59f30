//! Sends HTTP requests to URLs that the user passes, for `commands`: Prometheus and the URLs of `--check-url`.

mod client;
pub mod front_door;
pub mod prometheus;
