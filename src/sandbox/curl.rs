//! The arguments of the host's curl, which is the only program that the sandbox runs. No argument can make it connect to
//! an address outside the sandbox.
//!
//! Flags come from an allow-list. In addition, the last `--connect-to` entry of every transfer matches every host and
//! port that no earlier entry matches, and maps them to a name that cannot be resolved. So curl connects to sockets of
//! the sandbox or to nothing, even if curl parses a URL differently from this module.

use super::mesh::Network;
use super::resource::SERVICE;
use super::store::Store;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// The first label is longer than 63 characters, so resolvers reject the name without a query.
const UNRESOLVABLE: &str = "::this-name-does-not-resolve-in-the-sandbox-as-it-names-none-of-its-services.invalid:1";

/// Flags without a value.
const SWITCHES: [&str; 8] = [
    "--silent",
    "--show-error",
    "--verbose",
    "--insecure",
    "--disable",
    "--http1.1",
    "--http2-prior-knowledge",
    "--no-alpn",
];
const SHORT_SWITCHES: &str = "qsSvk";
/// Flags whose value is passed on as it is.
const VALUES: [&str; 7] =
    ["--connect-timeout", "--max-time", "--noproxy", "--tls-max", "--rate", "--limit-rate", "--user-agent"];

/// Why the sandbox does not run a container: the argument or feature, for the pod's log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotRun(pub(super) String);

impl std::fmt::Display for NotRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sandbox: {}; it runs curl with the flags of a probe, on its own addresses, and nothing else", self.0)
    }
}

fn not_run<T>(why: impl Into<String>) -> Result<T, NotRun> {
    Err(NotRun(why.into()))
}

/// The sandbox's names and addresses, as one pod sees them.
pub(super) struct Directory<'a> {
    pub(super) store: &'a Store,
    pub(super) network: &'a Network,
    /// Namespace of the pod, in which short names resolve.
    pub(super) namespace: &'a str,
    /// Whether the pod has a sidecar.
    pub(super) meshed: bool,
    /// The loopback address that the pod calls from.
    pub(super) source: Ipv4Addr,
}

impl Directory<'_> {
    /// The sockets behind a Service name, by Service port; `None` when no Service has that name.
    fn service(&self, host: &str) -> Option<Vec<(u16, SocketAddr)>> {
        let (name, rest) = host.split_once('.').unwrap_or((host, self.namespace));
        let (namespace, domain) = rest.split_once('.').unwrap_or((rest, ""));
        if !["", "svc", "svc.cluster.local", "svc.cluster.local."].contains(&domain) {
            return None;
        }
        let service = self.store.get(&SERVICE, namespace, name)?;
        let address = service["spec"]["clusterIP"].as_str().and_then(|text| text.parse().ok());
        let ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let ports = ports.filter_map(|port| u16::try_from(port["port"].as_u64()?).ok());
        let socket = |port| Some((port, self.network.socket(address?, port, self.meshed)?));
        Some(ports.filter_map(socket).collect())
    }

    /// The `--connect-to` entries of a Service: one per port, and a refusing socket for every other port.
    fn entries(&self, host: &str) -> Vec<String> {
        let mut entries = Vec::new();
        if let Some(sockets) = self.service(host) {
            entries.extend(sockets.into_iter().map(|(port, socket)| format!("{host}:{port}:{socket}")));
            entries.push(format!("{host}::{}", self.network.refused()));
        }
        entries
    }

    /// `HOST:PORT:IP:PORT` with the address replaced by the socket that serves it.
    fn connect_to(&self, entry: &str) -> Result<String, NotRun> {
        let parts: Vec<&str> = entry.split(':').collect();
        let [host, port, address, target] = parts.as_slice() else {
            return not_run(format!("`--connect-to {entry}` is not HOST:PORT:IP:PORT"));
        };
        let socket = address
            .parse::<Ipv4Addr>()
            .ok()
            .zip(target.parse().ok())
            .and_then(|(address, target)| self.network.socket(address, target, self.meshed));
        socket.map_or_else(
            || not_run(format!("{address}:{target} is no address of a sandbox pod or Service")),
            |socket| Ok(format!("{host}:{port}:{socket}")),
        )
    }
}

/// One transfer of curl: the arguments between two `--next`.
#[derive(Default)]
struct Transfer {
    flags: Vec<String>,
    connect_to: Vec<String>,
    urls: Vec<String>,
}

impl Transfer {
    fn arguments(self, directory: &Directory<'_>) -> Result<Vec<String>, NotRun> {
        let mut arguments = self.flags;
        arguments.extend(["--noproxy", "*", "--proto", "=http,https,gopher"].map(str::to_owned));
        arguments.extend(["--interface".to_owned(), directory.source.to_string()]);
        let mut entries: Vec<String> = Vec::new();
        for entry in &self.connect_to {
            entries.push(directory.connect_to(entry)?);
        }
        for url in self.urls.iter().flat_map(|url| alternatives(url)) {
            let host = host(&url)?;
            match host.parse::<Ipv4Addr>() {
                Ok(address) => entries.push(address_entry(directory, address, &url)?),
                Err(_) => entries.extend(directory.entries(host)),
            }
        }
        entries.push(UNRESOLVABLE.to_owned());
        for entry in entries {
            arguments.extend(["--connect-to".to_owned(), entry]);
        }
        for url in self.urls {
            arguments.extend(["--url".to_owned(), url]);
        }
        Ok(arguments)
    }
}

/// The entry for a URL that names an address.
fn address_entry(directory: &Directory<'_>, address: Ipv4Addr, url: &str) -> Result<String, NotRun> {
    let default = if url.to_ascii_lowercase().starts_with("https") { 443 } else { 80 };
    let port = authority(url).rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(default);
    match directory.network.socket(address, port, directory.meshed) {
        Some(socket) => Ok(format!("{address}:{port}:{socket}")),
        None => not_run(format!("{address} is no address of a sandbox pod or Service")),
    }
}

/// Expands the first set of curl's globs (`http://{a:1/,b:2/}`). If curl expands it differently, the last `--connect-to`
/// entry prevents a connection.
fn alternatives(url: &str) -> Vec<String> {
    let whole = || vec![url.to_owned()];
    let Some((before, rest)) = url.split_once('{').filter(|(before, _)| !before.ends_with('\\')) else {
        return whole();
    };
    let mut parts = vec![String::new()];
    let mut rest = rest.chars();
    while let Some(c) = rest.next() {
        let literal = if c == '\\' { rest.next() } else { None };
        match (c, literal) {
            ('}', _) => {
                let after = rest.as_str();
                return parts.iter().map(|part| format!("{before}{part}{after}")).collect();
            }
            (',', _) => parts.push(String::new()),
            (c, literal) => parts.last_mut().into_iter().for_each(|part| part.push(literal.unwrap_or(c))),
        }
    }
    whole()
}

/// `user@host:port` of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn host(url: &str) -> Result<&str, NotRun> {
    let lower = url.to_ascii_lowercase();
    if !["http://", "https://", "gopher://"].iter().any(|scheme| lower.starts_with(scheme)) {
        return not_run(format!("`{url}` is not an http://, https:// or gopher:// URL"));
    }
    let authority = authority(url);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Ok(host
        .rsplit_once(':')
        .filter(|(_, port)| !port.contains(']') || port.starts_with('['))
        .map_or(host, |(host, _)| host))
}

/// The arguments with which curl is run for a pod, or why it is not run.
pub(super) fn arguments(wanted: &[String], directory: &Directory<'_>, message: &Path) -> Result<Vec<String>, NotRun> {
    let mut transfers = vec![Transfer::default()];
    let mut rest = wanted.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        if argument == "--next" || argument == "-:" {
            transfers.push(Transfer::default());
        } else if let Some(transfer) = transfers.last_mut() {
            take(argument, &mut rest, transfer, message)?;
        }
    }
    if transfers.iter().any(|transfer| transfer.urls.is_empty()) {
        return not_run("a transfer without a URL");
    }
    // `-q` keeps the host's own configuration out, and counts only as the first argument.
    let mut all = vec!["-q".to_owned()];
    for (index, transfer) in transfers.into_iter().enumerate() {
        if index > 0 {
            all.push("--next".to_owned());
        }
        all.extend(transfer.arguments(directory)?);
    }
    Ok(all)
}

/// Adds one argument, with its value if it has one, to the transfer.
fn take<'a>(
    argument: &str,
    rest: &mut impl Iterator<Item = &'a str>,
    transfer: &mut Transfer,
    message: &Path,
) -> Result<(), NotRun> {
    let mut value = || rest.next().map_or_else(|| not_run(format!("`{argument}` without a value")), Ok);
    match argument {
        "-o" | "--output" => {
            let path = match value()? {
                // The second cannot be opened, so that curl ends at the first byte.
                path @ ("/dev/null" | "/dev/null/none") => path.to_owned(),
                "/dev/termination-log" => message.to_string_lossy().into_owned(),
                other => {
                    return not_run(format!("`{argument} {other}`: output goes to /dev/null or /dev/termination-log"));
                }
            };
            transfer.flags.extend(["-o".to_owned(), path]);
        }
        "--stderr" => match value()? {
            "-" => transfer.flags.extend(["--stderr", "-"].map(str::to_owned)),
            other => return not_run(format!("`--stderr {other}`: traces go to the log")),
        },
        "--connect-to" => transfer.connect_to.push(value()?.to_owned()),
        "--url" => transfer.urls.push(value()?.to_owned()),
        "-H" | "--header" | "-w" | "--write-out" => {
            let value = value()?;
            if value.starts_with('@') || value.contains("%output{") {
                return not_run(format!("`{argument} {value}`: no files"));
            }
            transfer.flags.extend([argument.to_owned(), value.to_owned()]);
        }
        "-A" | "-m" => {
            let value = value()?.to_owned();
            transfer.flags.extend([argument.to_owned(), value]);
        }
        long if VALUES.contains(&long) => {
            let value = value()?.to_owned();
            transfer.flags.extend([long.to_owned(), value]);
        }
        long if SWITCHES.contains(&long) => transfer.flags.push(long.to_owned()),
        flag if flag.starts_with('-') => {
            let letters = flag.trim_start_matches('-');
            if flag.starts_with("--")
                || letters.is_empty()
                || !letters.chars().all(|letter| SHORT_SWITCHES.contains(letter))
            {
                return not_run(format!("flag `{flag}`"));
            }
            transfer.flags.push(flag.to_owned());
        }
        url => transfer.urls.push(url.to_owned()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_stands_for_each_of_its_urls() {
        for (url, expected) in [
            ("http://a:1/", vec!["http://a:1/"]),
            ("http://[1-3]@{a:1/x\\,y,b:2/}", vec!["http://[1-3]@a:1/x,y", "http://[1-3]@b:2/"]),
            ("http://a:1/\\{x\\}", vec!["http://a:1/\\{x\\}"]),
            ("http://{a", vec!["http://{a"]),
        ] {
            assert_eq!(alternatives(url), expected, "{url}");
        }
    }

    #[test]
    fn the_host_is_what_stands_before_the_port() {
        for (url, expected) in [
            ("http://boards:8080/shareditems#[1-3]", "boards"),
            ("https://boards.microservices-demo.svc.cluster.local/", "boards.microservices-demo.svc.cluster.local"),
            ("http://[1-1200].probe.invalid:[1-2]/", "[1-1200].probe.invalid"),
            ("http://boards@example.org:80/", "example.org"),
            ("HTTP://10.244.0.6:8080", "10.244.0.6"),
            ("gopher://[1-9]@boards-mongodb:27017/_line", "boards-mongodb"),
        ] {
            assert_eq!(host(url), Ok(expected), "{url}");
        }
        assert!(host("file:///etc/passwd").is_err());
        assert!(host("boards:8080/").is_err());
    }
}
