//! Explains a verdict in sentences, for `--explain` and the details of test cases: the requests, the answer of each
//! endpoint, the policy that decides the mode, the certificate that proves it, and what would change the verdict.

use super::kinds::{ModeKind, VerdictKind};
use super::model::{
    ControlReport, EndpointReport, HelloReport, NamespaceReport, PolicyReport, ProxyEvidence, SampleReport,
    TargetReport, VerdictReport,
};
use super::plural::count;

/// `accepted`, or `inconclusive (dns)`.
pub fn verdict_word(answer: &VerdictReport) -> String {
    match answer.reason {
        Some(reason) => format!("{} ({reason})", answer.verdict),
        None => answer.verdict.to_string(),
    }
}

/// The sentences for one target. Names from the cluster are not escaped yet.
pub fn target(report: &NamespaceReport, result: &TargetReport) -> Vec<String> {
    let mut sentences = vec![requests(report, result)];
    for endpoint in &result.endpoints {
        sentences.push(answers(endpoint));
        sentences.push(mode(endpoint));
        sentences
            .extend(endpoint.unguarded.as_ref().map(|reason| format!("Nothing enforces that mode there: {reason}.")));
        sentences.extend(endpoint.hello.as_ref().map(hello));
        sentences.extend(endpoint.proxy.as_ref().map(proxy));
    }
    sentences.extend(result.control.as_ref().map(control));
    if !result.not_ready.is_empty() {
        let addresses = result.not_ready.join(", ");
        sentences.push(format!("Not ready, so it was not asked and does not count: {addresses}."));
    }
    sentences.push(conclusion(result));
    sentences.extend(what_would_change_it(report, result));
    sentences
}

fn requests(report: &NamespaceReport, result: &TargetReport) -> String {
    let place = report.probe_namespace.as_ref().unwrap_or(&report.namespace);
    let of_endpoints = result.endpoints.iter().map(|endpoint| endpoint.samples.len()).sum::<usize>();
    if result.samples.is_empty() && of_endpoints == 0 {
        if result.is_empty() {
            return format!("{} was not asked: it has no ready endpoint.", result.target);
        }
        return format!(
            "{} was not asked: no probe pod came to work in namespace {}.",
            result.target, report.namespace
        );
    }
    let straight = match result.endpoints.len() {
        0 => "; there was no ready endpoint to ask".to_owned(),
        endpoints => {
            format!(
                ", {of_endpoints} straight to {}, each on a connection of its own",
                count(endpoints, "ready endpoint")
            )
        }
    };
    format!(
        "A throwaway pod without the mesh's certificates, in namespace {place}, sent plaintext to {}: {} through the \
         Service's address{straight}.",
        result.target,
        count(result.samples.len(), "request"),
    )
}

fn answers(endpoint: &EndpointReport) -> String {
    let pod = endpoint.pod.as_ref().map_or_else(|| "no pod".to_owned(), |pod| format!("pod {pod}"));
    let seen = match groups(&endpoint.samples).as_slice() {
        [] => "no record of its answers arrived".to_owned(),
        groups => groups.join("; "),
    };
    format!("{} ({pod}, {}): {seen}.", endpoint.address, endpoint.data_plane)
}

/// The results of samples, equal ones counted.
fn groups(samples: &[SampleReport]) -> Vec<String> {
    let mut groups: Vec<(String, usize)> = Vec::new();
    for description in samples.iter().map(describe) {
        match groups.iter_mut().find(|(known, _)| *known == description) {
            Some((_, number)) => *number += 1,
            None => groups.push((description, 1)),
        }
    }
    groups.into_iter().map(|(description, number)| format!("{number} of {} {description}", samples.len())).collect()
}

fn describe(sample: &SampleReport) -> String {
    let source = if sample.from_sidecar { " by the sidecar itself" } else { "" };
    let curl = sample.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    match sample.http_status {
        Some(status) => format!("answered with HTTP {status}{source}"),
        None if sample.bytes > 0 => format!("answered with {} bytes that are not HTTP", sample.bytes),
        // As for the verdict: an answer in HTTP/0.9, and an invalid header.
        None if sample.connected && matches!(sample.exit_code, 1 | 8) => {
            format!("answered with something that is not HTTP (curl {}{curl})", sample.exit_code)
        }
        None if !sample.connected => format!("did not connect (curl {}{curl})", sample.exit_code),
        None => format!("connected and got not a byte of an answer (curl {}{curl})", sample.exit_code),
    }
}

fn mode(endpoint: &EndpointReport) -> String {
    let Some(mode) = endpoint.mode else {
        return "Its mode is not known: policies that could decide it cannot be read.".to_owned();
    };
    let Some(decides) = endpoint.policies.iter().rposition(|policy| policy.mode.is_some()) else {
        return format!("Its mode is {mode}, the mesh's default: no policy says otherwise.");
    };
    let overridden: Vec<String> = endpoint.policies[..decides]
        .iter()
        .filter_map(|policy| Some(format!("{} ({})", policy_name(policy), policy.mode?)))
        .collect();
    let over = if overridden.is_empty() { String::new() } else { format!(", over {}", overridden.join(" and ")) };
    let policy = &endpoint.policies[decides];
    format!("Its mode is {mode}, which {} decides for the {}{over}.", policy_name(policy), policy.level)
}

fn policy_name(policy: &PolicyReport) -> String {
    if policy.namespace.is_empty() { policy.name.clone() } else { format!("{}/{}", policy.namespace, policy.name) }
}

fn hello(hello: &HelloReport) -> String {
    let asked = if hello.certificate_requested { "it asked for" } else { "it did not ask for" };
    match (&hello.spiffe, &hello.refused) {
        (Some(spiffe), _) => format!(
            "An ordinary TLS hello got the certificate of {spiffe}, which verifies against the mesh root (issued by {}, \
             valid until {}); {asked} a client certificate.",
            hello.issuer.as_deref().unwrap_or("nobody"),
            hello.expires.as_deref().unwrap_or("an unknown time"),
        ),
        (None, Some(reason)) => {
            format!(
                "An ordinary TLS hello got a certificate that is not the mesh's for this pod: the certificate {reason}."
            )
        }
        (None, None) if hello.certificates == 0 => "An ordinary TLS hello got no certificate.".to_owned(),
        (None, None) => {
            "An ordinary TLS hello got a certificate, but the mesh root to verify it against is not known.".to_owned()
        }
    }
}

fn proxy(proxy: &ProxyEvidence) -> String {
    match proxy.refuses_plaintext {
        Some(_) => format!("Its proxy reports: {}.", proxy.message),
        None => format!("Its proxy could not be queried: {}.", proxy.message),
    }
}

fn control(control: &ControlReport) -> String {
    let result = match control.got_through {
        Some(true) => "gets through",
        Some(false) => "does not get through either",
        None => "may or may not get through",
    };
    format!("A client in the mesh {result}: {}.", control.message)
}

fn conclusion(result: &TargetReport) -> String {
    let answer = &result.answer;
    match answer.verdict {
        VerdictKind::Accepted => {
            format!("The target answered a client without a certificate: accepted ({}).", answer.message)
        }
        VerdictKind::Rejected => {
            format!("No endpoint answered a byte, and the mesh refused: {}.", answer.message)
        }
        VerdictKind::Inconclusive => format!("No conclusion: {}: {}.", verdict_word(answer), answer.message),
    }
}

fn what_would_change_it(report: &NamespaceReport, result: &TargetReport) -> Option<String> {
    let namespace = &report.namespace;
    if let Some(remedy) = result.answer.remedy {
        return Some(format!("To find out: {remedy}."));
    }
    if result.answer.verdict == VerdictKind::Rejected {
        return Some(format!(
            "A policy of mode PERMISSIVE for the namespace, the workload or the port would let plaintext in again \
             (`secure-traffic disable-mtls -n {namespace}`)."
        ));
    }
    if let Some(endpoint) = result.endpoints.iter().find(|endpoint| endpoint.unguarded.is_some()) {
        let pod = endpoint.pod.as_deref().unwrap_or(&endpoint.address);
        return Some(format!("No policy changes that: {pod} needs a sidecar that captures the port."));
    }
    let open = result.endpoints.iter().find(|endpoint| endpoint.mode.is_some_and(|mode| mode != ModeKind::Strict))?;
    let exception = open.policies.iter().rev().find(|policy| policy.mode.is_some());
    Some(match exception.filter(|policy| matches!(policy.level.as_str(), "workload" | "port")) {
        Some(policy) => format!("Mode STRICT in {}, which makes the exception, would close it.", policy_name(policy)),
        None => format!("Mode STRICT would close it (`secure-traffic enable-mtls -n {namespace}`)."),
    })
}

#[cfg(test)]
mod tests;
