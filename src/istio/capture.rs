//! Which ports and calls of a pod its sidecar captures, for snapshots of pods.
//!
//! What is redirected is decided when the pod starts, by the arguments of `istio-init` (or of `istio-validation` where
//! the CNI plug-in redirects). Annotations only ask for it: those of the injection template are not there, and those of
//! a running pod have no effect (BY-31).

use crate::domain::mesh::{Capture, Destinations, OutboundCapture};
use std::collections::BTreeMap;

/// What is captured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redirection {
    pub inbound: Capture,
    pub outbound: OutboundCapture,
    pub dual_stack: bool,
    /// Whether nothing is redirected: Envoy itself listens where a `Sidecar` object says so.
    pub is_off: bool,
}

impl Redirection {
    /// Of a proxy in `interceptionMode: NONE`.
    pub fn off() -> Self {
        Self { inbound: Capture::Nothing, is_off: true, ..Self::default() }
    }
}

/// From the arguments of `istio-init` or `istio-validation`.
pub fn from_arguments(arguments: &[String]) -> Redirection {
    let value = |short: &str, long: &str| option(arguments, short, long);
    let inbound = match (value("-m", "--istio-inbound-interception-mode"), value("-b", "--istio-inbound-ports")) {
        (Some("NONE"), _) => Capture::Nothing,
        (_, Some("*")) => match ports(value("-d", "--istio-local-exclude-ports")) {
            excluded if excluded.is_empty() => Capture::All,
            excluded => Capture::AllBut(excluded),
        },
        (_, only) => match ports(only) {
            only if only.is_empty() => Capture::Nothing,
            only => Capture::Only(only),
        },
    };
    let destinations = match value("-i", "--istio-service-cidr") {
        None | Some("*") => Destinations::All,
        Some(ranges) => Destinations::Only(words(ranges)),
    };
    let outbound = OutboundCapture {
        excluded_ports: ports(value("-o", "--istio-local-outbound-ports-exclude")),
        destinations,
        excluded_ranges: words(value("-x", "--istio-service-exclude-cidr").unwrap_or_default()),
        as_proxy: Vec::new(),
    };
    let dual_stack = arguments.iter().any(|argument| argument == "--dual-stack" || argument == "--dual-stack=true");
    Redirection { is_off: is_none(value("-m", "--istio-inbound-interception-mode")), inbound, outbound, dual_stack }
}

/// From the annotations of a pod (BY-1, BY-2, BY-4, BY-7).
pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Redirection {
    const PREFIX: &str = "traffic.sidecar.istio.io/";
    let value = |key: &str| annotations.get(key).map(|text| text.trim());
    let traffic = |name: &str| value(&format!("{PREFIX}{name}"));
    let inbound = if value("sidecar.istio.io/interceptionMode") == Some("NONE")
        || value("ambient.istio.io/bypass-inbound-capture") == Some("true")
    {
        Capture::Nothing
    } else {
        match (traffic("includeInboundPorts"), ports(traffic("excludeInboundPorts"))) {
            (Some(""), _) => Capture::Nothing,
            (Some(only), _) if only != "*" => Capture::Only(ports(Some(only))),
            (_, excluded) if excluded.is_empty() => Capture::All,
            (_, excluded) => Capture::AllBut(excluded),
        }
    };
    let destinations = match traffic("includeOutboundIPRanges") {
        None | Some("*") => Destinations::All,
        Some(ranges) => Destinations::Only(words(ranges)),
    };
    let outbound = OutboundCapture {
        excluded_ports: ports(traffic("excludeOutboundPorts")),
        destinations,
        excluded_ranges: words(traffic("excludeOutboundIPRanges").unwrap_or_default()),
        as_proxy: Vec::new(),
    };
    let is_off = is_none(value("sidecar.istio.io/interceptionMode"));
    Redirection { inbound, outbound, dual_stack: false, is_off }
}

fn is_none(mode: Option<&str>) -> bool {
    mode == Some("NONE")
}

/// The value of an option: `-b *`, `-b=*`, `--istio-inbound-ports=*`.
fn option<'a>(arguments: &'a [String], short: &str, long: &str) -> Option<&'a str> {
    arguments.iter().enumerate().find_map(|(index, argument)| {
        if argument == short || argument == long {
            return arguments.get(index + 1).map(String::as_str);
        }
        let assigned = argument.strip_prefix(short).or_else(|| argument.strip_prefix(long))?;
        assigned.strip_prefix('=')
    })
}

fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn ports(text: Option<&str>) -> Vec<u16> {
    words(text.unwrap_or_default()).iter().filter_map(|port| port.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Redirection {
        from_arguments(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn inbound_ports_of_the_arguments() {
        let usual = "istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x";
        for (rest, expected) in [
            ("-b * -d 15090,15021,15020", Capture::AllBut(vec![15090, 15021, 15020])),
            ("-b * -d 15090,9102", Capture::AllBut(vec![15090, 9102])),
            ("-b *", Capture::All),
            ("-b 8080,9090 -d 15090", Capture::Only(vec![8080, 9090])),
            ("--istio-inbound-ports=* --istio-local-exclude-ports=9102", Capture::AllBut(vec![9102])),
            ("-d 15090", Capture::Nothing),
        ] {
            // An empty value is an argument of its own.
            let found = arguments(&format!("{usual}  {rest}"));
            assert_eq!(found.inbound, expected, "{rest}");
            assert_eq!(found.outbound, OutboundCapture::default(), "{rest}");
        }
        assert_eq!(arguments("istio-iptables -m NONE -b *").inbound, Capture::Nothing);
    }

    #[test]
    fn outbound_calls_of_the_arguments() {
        let found =
            arguments("istio-iptables -i 10.0.0.0/8,172.16.0.0/12 -x 10.1.0.0/16 -b * -o 8080,3306 --dual-stack");
        let expected = OutboundCapture {
            excluded_ports: vec![8080, 3306],
            destinations: Destinations::Only(vec!["10.0.0.0/8".into(), "172.16.0.0/12".into()]),
            excluded_ranges: vec!["10.1.0.0/16".into()],
            as_proxy: Vec::new(),
        };
        assert_eq!((found.outbound, found.dual_stack), (expected, true));
    }

    #[test]
    fn annotations_ask_for_it() {
        let key = |name: &str| format!("traffic.sidecar.istio.io/{name}");
        let rows: [(&[(String, &str)], Capture); 6] = [
            (&[], Capture::All),
            (&[(key("excludeInboundPorts"), "8080, 9090")], Capture::AllBut(vec![8080, 9090])),
            (&[(key("includeInboundPorts"), "8080")], Capture::Only(vec![8080])),
            (&[(key("includeInboundPorts"), "")], Capture::Nothing),
            (&[(key("includeInboundPorts"), "*"), (key("excludeInboundPorts"), "1")], Capture::AllBut(vec![1])),
            (&[("sidecar.istio.io/interceptionMode".to_owned(), "NONE")], Capture::Nothing),
        ];
        for (annotations, expected) in rows {
            let annotations = annotations.iter().map(|(key, value)| (key.clone(), (*value).to_owned())).collect();
            assert_eq!(from_annotations(&annotations).inbound, expected, "{annotations:?}");
        }
        let outbound = [(key("includeOutboundIPRanges"), String::new())].into();
        assert_eq!(from_annotations(&outbound).outbound.destinations, Destinations::Only(Vec::new()));
    }
}
