//! Parses values of the command line and checks their limits.

use crate::domain::address::server_url;
use crate::domain::evidence::Sources;
use crate::domain::expectation::Expectation;
use crate::domain::label::is_dns_label;
use crate::domain::mesh::{MtlsMode, PortRef};
use crate::domain::placement::node_label;
use crate::domain::plan::{RuleChoice, RuleScope};
use crate::domain::probe::Target;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, ValueEnum};
use jiff::fmt::friendly::SpanParser;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::str::FromStr;
use std::time::Duration;
use url::Url;

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The state in which a sandbox starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SandboxState {
    /// As the command needs it.
    #[value(hide = true)]
    Auto,
    /// Plaintext is accepted.
    Permissive,
    /// Plaintext is rejected.
    Strict,
    /// A cluster with only the legacy Policy API, plaintext accepted.
    Legacy,
}

/// `-o`, which means the same for every command that reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// A table, or paragraphs where there is little to print.
    #[default]
    Table,
    /// Every line, with more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// One line for each target: its name and the result.
    Name,
}

/// `--evidence`.
impl ValueEnum for Sources {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Network, Self::Proxy]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Auto => {
                ("auto", "The certificate shown, and the endpoint's own proxy where you may port-forward to it")
            }
            Self::Network => ("network", "The certificate shown and the policy only"),
            Self::Proxy => ("proxy", "What the endpoint's own proxy has loaded only"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

/// `--until`: an answer that the samples of a stream can show.
pub fn awaited_answer() -> impl TypedValueParser<Value = Expectation> {
    PossibleValuesParser::new([
        PossibleValue::new("rejected").help("Plaintext is rejected"),
        PossibleValue::new("accepted").help("Plaintext is accepted"),
    ])
    .map(|name| if name == "rejected" { Expectation::Rejected } else { Expectation::Accepted })
}

/// `--for` of `rehearse`.
pub fn rehearsal_duration(text: &str) -> Result<Duration, String> {
    let limits = Duration::from_secs(5)..=Duration::from_hours(24);
    let duration = duration(text)?;
    if limits.contains(&duration) { Ok(duration) } else { Err(format!("{text:?} is not between 5s and 24h")) }
}

/// `--expect` of `enable-mtls`.
pub fn proof_expectation() -> impl TypedValueParser<Value = Expectation> {
    PossibleValuesParser::new([
        PossibleValue::new("policy").help("Each port does what its own policy says; exceptions are named"),
        PossibleValue::new("rejected").help("Every port rejects plaintext, without exception"),
    ])
    .map(|name| if name == "rejected" { Expectation::Rejected } else { Expectation::Policy })
}

/// `--expect`.
impl ValueEnum for Expectation {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Rejected, Self::Accepted, Self::Policy]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Rejected => "Plaintext must be rejected",
            Self::Accepted => "Plaintext must be accepted",
            Self::Policy => "What the policies ask for, port by port: rejected under STRICT, accepted otherwise",
        };
        Some(PossibleValue::new(self.as_str()).help(help))
    }
}

/// `--destination-rules`.
impl ValueEnum for RuleChoice {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Always, Self::Auto, Self::Never]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            // What applies without the flag.
            Self::WhereRead => return None,
            Self::Always => ("always", "One for every Service, as the walk-through does"),
            Self::Auto => ("auto", "Only where they are needed: auto mTLS off, or the legacy API"),
            Self::Never => ("never", "None"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

/// `--scope`.
impl ValueEnum for RuleScope {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Service, Self::Namespace]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Service => ("service", "One rule a Service"),
            Self::Namespace => ("namespace", "One wildcard rule for the namespace"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

/// `--mode` of `disable-mtls`.
pub fn off_mode() -> impl TypedValueParser<Value = MtlsMode> {
    PossibleValuesParser::new([
        PossibleValue::new("permissive").help("Mutual TLS or plaintext"),
        PossibleValue::new("disable").help("Plaintext only"),
    ])
    .map(|name| if name == "disable" { MtlsMode::Disable } else { MtlsMode::Permissive })
}

/// A DNS label, which is all that a namespace or Service name can be.
pub fn namespace(text: &str) -> Result<String, String> {
    label(text).map(str::to_owned)
}

fn label(text: &str) -> Result<&str, String> {
    if is_dns_label(text) {
        Ok(text)
    } else {
        Err("not a valid name: lower-case letters, digits and '-', at most 63, with a letter or digit at both ends"
            .into())
    }
}

/// The longest duration that an option accepts.
const LONGEST_DURATION: Duration = Duration::from_hours(7 * 24);

/// A duration as kubectl writes it: parts of a number and a unit, such as `30s`, `1m30s`, `1.5h30m` or `500ms`, in any
/// order. A bare number is seconds. A negative duration and one of more than seven days are errors.
pub fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds
        .or_else(|| sum_of_parts(text))
        .filter(|duration| *duration <= LONGEST_DURATION)
        .ok_or_else(|| format!("invalid duration {text:?}; examples: 30s, 1m30s, 500ms, 2h (at most 7 days)"))
}

/// The sum of the parts of a duration. jiff's friendly format reads each part, because in the whole it allows a fraction
/// only in the last part and the units only from the largest to the smallest.
fn sum_of_parts(text: &str) -> Option<Duration> {
    let parser = SpanParser::new();
    let mut total = Duration::ZERO;
    let mut rest = text;
    loop {
        let unit = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let next = rest[unit..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |length| unit + length);
        total = total.checked_add(parser.parse_unsigned_duration(&rest[..next]).ok()?)?;
        rest = &rest[next..];
        if rest.is_empty() {
            return Some(total);
        }
    }
}

/// A parser of a value that may contain a password: its error does not repeat the value.
#[derive(Debug, Clone, Copy)]
pub struct Unechoed<T>(fn(&str) -> Result<T, &'static str>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Unechoed<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        (self.0)(value.to_str().unwrap_or_default()).map_err(|reason| {
            let option = arg.map(ToString::to_string).unwrap_or_default();
            let message = format!("invalid value for '{option}': {reason}\n\nFor more information, try '--help'.\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

/// `--prometheus`: the URL of an HTTP server, which may contain a user and a password.
pub fn http_url() -> Unechoed<Url> {
    Unechoed(http_server)
}

fn http_server(text: &str) -> Result<Url, &'static str> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let is_plain = text.chars().all(|c| c.is_ascii_graphic());
    host.filter(|host| is_plain && !host.is_empty() && !host.starts_with('/'))
        .and_then(|_| Url::parse(text).ok())
        .ok_or("write http://HOST:PORT or https://HOST:PORT")
}

/// `--server`: a URL, or `HOST[:PORT]`, whose scheme depends on the kubeconfig.
pub fn server() -> Unechoed<String> {
    Unechoed(|text| server_url(text, "https").map(|_| text.to_owned()))
}

/// `--check-url`: the URL of a page that is polled during a change.
pub fn check_url() -> Unechoed<Url> {
    Unechoed(page_url)
}

fn page_url(text: &str) -> Result<Url, &'static str> {
    const WRITE: &str = "write http://HOST/PATH or https://HOST/PATH";
    // `Url::parse` accepts blanks and missing slashes, which are mistakes here.
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(WRITE);
    }
    let mut url = Url::parse(text).map_err(|_| WRITE)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must hold no user name or password: ask a page that needs none");
    }
    url.set_fragment(None);
    Ok(url)
}

impl FromStr for Target {
    type Err = String;

    /// `SERVICE`, `SERVICE:PORT`, `SERVICE:PORT/PATH`, or an `http://` URL of a Service of the namespace.
    fn from_str(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => {
                return Err(format!("{scheme}:// is not plaintext HTTP: the question is whether http:// gets in"));
            }
            None => text,
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => (&rest[..at], Some(&rest[at..])),
            None => (rest, None),
        };
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        // `domain::probe` compares the domain with the namespace of the command, which is not known here.
        let (service, domain) = match host.split_once('.') {
            Some((service, domain)) => (service, Some(domain.strip_suffix('.').unwrap_or(domain))),
            None => (host, None),
        };
        for name in std::iter::once(service).chain(domain.into_iter().flat_map(|domain| domain.split('.'))) {
            label(name).map_err(|error| format!("{name:?}: {error}"))?;
        }
        let port = port.map(port_ref).transpose()?;
        let port = if text.contains("://") { port.or(Some(PortRef::Number(80))) } else { port };
        let path = path.map(checked_path).transpose()?;
        Ok(Self { service: service.to_owned(), domain: domain.map(str::to_owned), port, path })
    }
}

/// A target to leave out: a Service, or one of its ports.
pub fn without_path(text: &str) -> Result<Target, String> {
    let target: Target = text.parse()?;
    if target.path.is_some() || text.contains("://") {
        return Err("write SERVICE or SERVICE:PORT: a port is left out whole".to_owned());
    }
    Ok(target)
}

/// A port to except: a Service of the command's namespace, or one of its ports.
pub fn exception(text: &str) -> Result<Target, String> {
    let target = without_path(text)?;
    if target.domain.is_some() {
        return Err("write SERVICE or SERVICE:PORT, with the short name of the Service".to_owned());
    }
    Ok(target)
}

/// The `matchLabels` of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchLabels(pub BTreeMap<String, String>);

impl FromStr for MatchLabels {
    type Err = String;

    /// Parses `KEY=VALUE,KEY=VALUE`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut labels = BTreeMap::new();
        for part in text.split(',').map(str::trim) {
            let is_equality = part.contains('=') && !part.contains("!=") && !part.contains("==");
            if !is_equality {
                let reason = "a PeerAuthentication selects its pods by equality only";
                return Err(format!("{part:?}: write KEY=VALUE, or several with commas: {reason}"));
            }
            let (key, value) = node_label(part)?;
            if labels.insert(key.clone(), value).is_some() {
                return Err(format!("the label {key:?} is there twice"));
            }
        }
        Ok(Self(labels))
    }
}

fn port_ref(text: &str) -> Result<PortRef, String> {
    match text.parse::<u32>() {
        Ok(number) => match u16::try_from(number) {
            Ok(number) if number > 0 => Ok(PortRef::Number(number)),
            _ => Err(format!("port {number} is not between 1 and 65535")),
        },
        Err(_) => {
            label(text).map(|name| PortRef::Name(name.to_owned())).map_err(|error| format!("port {text:?}: {error}"))
        }
    }
}

/// Checks a path, which is sent unchanged: visible ASCII without a fragment.
fn checked_path(path: &str) -> Result<String, String> {
    if path.len() > 2048 {
        return Err("the path is longer than 2048 characters".to_owned());
    }
    match path.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '#' | '"' | '<' | '>' | '`' | '|' | '^')) {
        Some(bad) => Err(format!("the path holds {bad:?}, which a URL must write as %XX")),
        None => Ok(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_parsed() {
        let number = |port| Some(PortRef::Number(port));
        let rows: [(&str, &str, Option<PortRef>, Option<&str>); 8] = [
            ("boards", "boards", None, None),
            ("boards:8080", "boards", number(8080), None),
            ("boards:http", "boards", Some(PortRef::Name("http".into())), None),
            ("boards:8080/shareditems", "boards", number(8080), Some("/shareditems")),
            ("boards/x?y=1&z=%20", "boards", None, Some("/x?y=1&z=%20")),
            ("http://boards:8080/shareditems", "boards", number(8080), Some("/shareditems")),
            ("http://boards", "boards", number(80), None),
            ("HTTP://boards:8080/", "boards", number(8080), Some("/")),
        ];
        for (text, service, port, path) in rows {
            let target: Target = text.parse().unwrap();
            let path = path.map(str::to_owned);
            assert_eq!(target, Target { service: service.into(), domain: None, port, path }, "{text}");
        }
        for (text, domain) in [
            ("http://boards.demo.svc:8080/", "demo.svc"),
            ("boards.demo:8080/", "demo"),
            ("boards.demo.svc.cluster.local.:8080/", "demo.svc.cluster.local"),
        ] {
            let target: Target = text.parse().unwrap();
            let (domain, path) = (Some(domain.to_owned()), Some("/".to_owned()));
            assert_eq!(target, Target { service: "boards".into(), domain, port: number(8080), path }, "{text}");
        }
    }

    #[test]
    fn labels_of_a_policy_are_pairs_of_key_and_value() {
        let labels: MatchLabels = "app=boards, tier=front".parse().unwrap();
        let expected = [("app", "boards"), ("tier", "front")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(labels, MatchLabels(expected.into()));
        for text in ["", "app", "app!=x", "app==x", "app in (x)", "!app", "app=x,", "app=x,app=y", "=x", "app=ü"] {
            assert!(text.parse::<MatchLabels>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_exception_is_a_service_of_the_namespace_or_one_of_its_ports() {
        assert_eq!(exception("boards").map(|target| target.port), Ok(None));
        assert_eq!(exception("boards:8080").map(|target| target.port), Ok(Some(PortRef::Number(8080))));
        for text in ["boards.shop", "boards:8080/path", "http://boards", ":8080", "boards:0"] {
            assert!(exception(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn malformed_targets_are_refused() {
        for text in [
            "",
            ":80",
            "Boards",
            "boards:0",
            "boards:65536",
            "https://boards",
            "boards:80/a b",
            "boards:80/#x",
            "-x",
            "a_b",
            "boards:\n",
            "boards.",
            "boards..svc",
            "boards.Demo",
            "boards.demo.svc..",
            "boards/\u{1b}[31m",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn check_urls_are_http_urls_without_passwords() {
        for (text, url) in [
            ("http://shop.example", "http://shop.example/"),
            ("HTTPS://shop.example:8443/a?token=x#part", "https://shop.example:8443/a?token=x"),
            ("http://[::1]:8080/healthz", "http://[::1]:8080/healthz"),
        ] {
            assert_eq!(page_url(text).map(String::from), Ok(url.to_owned()), "{text}");
        }
        for text in [
            "",
            "shop.example",
            "http:shop.example",
            "http://",
            "http://:80",
            "http://256.1.1.1",
            "http://shop.example:99999",
            "ftp://shop.example",
            "file:///etc/passwd",
            "http://shop .example",
            "http://shop.example/\u{1b}[31m",
            "https://me@shop.example",
            "https://me:secret@shop.example",
            "https://:secret@shop.example",
        ] {
            assert!(page_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn http_urls_are_accepted() {
        for text in ["http://127.0.0.1:9090", "https://me:secret@prometheus.example/path"] {
            assert!(http_server(text).is_ok(), "{text}");
        }
        for text in ["", "prometheus:9090", "ftp://host", "http://", "http:///x", "http://ho st", "http://host:99999"] {
            assert!(http_server(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn durations_as_kubectl_writes_them() {
        for (text, millis) in [
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("2h", 7_200_000),
            ("7", 7000),
            ("0", 0),
            ("0s", 0),
            ("1.5s", 1500),
            ("0.001h", 3600),
            ("168h", 604_800_000),
            ("604800", 604_800_000),
            ("30s1m", 90_000),
            ("1.5h30m", 7_200_000),
            ("1.5s500ms", 2000),
            ("30s30s", 60_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "5x",
            "1m30",
            "-1",
            "-1s",
            "9999h",
            "168h1ms",
            "604801",
            "167h60m1s",
            "18446744073709551615",
            "18446744073709551615s",
            "18446744073709551615h1s",
            "1e9s",
            "1d ago",
            "1h-30m",
            "x5s",
            "1h30",
        ] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }
}
