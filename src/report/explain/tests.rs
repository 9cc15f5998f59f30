//! Snapshots of the sentences for each kind of verdict.

use super::*;

fn sample(exit_code: i32, http_status: Option<u16>) -> SampleReport {
    SampleReport {
        exit_code,
        message: (exit_code == 56).then(|| "Recv failure: Connection reset by peer".to_owned()),
        http_status,
        connected: exit_code != 7,
        bytes: u64::from(http_status.unwrap_or_default()),
        from_sidecar: http_status == Some(503),
        connect_seconds: 0.001,
        seconds: 0.002,
    }
}

fn policy(level: &str, name: &str, mode: Option<ModeKind>) -> PolicyReport {
    let namespace = if level == "mesh" { "istio-system" } else { "shop" };
    PolicyReport { level: level.to_owned(), namespace: namespace.to_owned(), name: name.to_owned(), mode }
}

fn answer(verdict: VerdictKind, reason: Option<&'static str>, message: &str) -> VerdictReport {
    VerdictReport { verdict, reason, message: message.to_owned(), remedy: reason.map(|_| "look at the application") }
}

fn endpoint(mode: Option<ModeKind>, policies: Vec<PolicyReport>, samples: Vec<SampleReport>) -> EndpointReport {
    EndpointReport {
        address: "10.0.0.1:8080".to_owned(),
        pod: Some("web-1".to_owned()),
        data_plane: "sidecar".to_owned(),
        mode,
        policies,
        unguarded: None,
        answer: answer(VerdictKind::Accepted, None, "HTTP 200"),
        samples,
        hello: None,
        proxy: None,
    }
}

fn explained(answer: VerdictReport, endpoints: Vec<EndpointReport>) -> String {
    let namespace = NamespaceReport { namespace: "shop".to_owned(), ..NamespaceReport::default() };
    let samples = endpoints.first().map(|endpoint| endpoint.samples.clone()).unwrap_or_default();
    let result = TargetReport {
        target: "web:80".to_owned(),
        service: "web".to_owned(),
        port: 80,
        answer,
        expected: None,
        as_expected: None,
        endpoints,
        samples,
        control: None,
        not_ready: vec!["10.0.0.9".to_owned()],
        body: None,
    };
    target(&namespace, &result).join("\n")
}

#[test]
fn an_acceptance_names_the_exception_that_lets_plaintext_in() {
    let policies = vec![
        policy("mesh", "default", Some(ModeKind::Permissive)),
        policy("namespace", "default", Some(ModeKind::Strict)),
        policy("port", "web-open", Some(ModeKind::Permissive)),
    ];
    let open = endpoint(Some(ModeKind::Permissive), policies, vec![sample(0, Some(200)), sample(0, Some(503))]);
    insta::assert_snapshot!(explained(answer(VerdictKind::Accepted, None, "HTTP 200"), vec![open]), @r"
    A throwaway pod without the mesh's certificates, in namespace shop, sent plaintext to web:80: 2 requests through the Service's address, 2 straight to 1 ready endpoint, each on a connection of its own.
    10.0.0.1:8080 (pod web-1, sidecar): 1 of 2 answered with HTTP 200; 1 of 2 answered with HTTP 503 by the sidecar itself.
    Its mode is PERMISSIVE, which shop/web-open decides for the port, over istio-system/default (PERMISSIVE) and shop/default (STRICT).
    Not ready, so it was not asked and does not count: 10.0.0.9.
    The target answered a client without a certificate: accepted (HTTP 200).
    Mode STRICT in shop/web-open, which makes the exception, would close it.
    ");
}

#[test]
fn a_rejection_names_the_certificate_that_proves_it() {
    let resets = vec![sample(56, None), sample(56, None)];
    let closed = EndpointReport {
        hello: Some(HelloReport {
            exit_code: 16,
            certificate_requested: true,
            certificates: 2,
            spiffe: Some("spiffe://cluster.local/ns/shop/sa/web".to_owned()),
            issuer: Some("O=cluster.local".to_owned()),
            expires: Some("2026-01-02T00:00:00Z".to_owned()),
            refused: None,
        }),
        ..endpoint(Some(ModeKind::Strict), vec![policy("namespace", "default", Some(ModeKind::Strict))], resets)
    };
    insta::assert_snapshot!(explained(answer(VerdictKind::Rejected, None, "every connection was reset"), vec![closed]), @r"
    A throwaway pod without the mesh's certificates, in namespace shop, sent plaintext to web:80: 2 requests through the Service's address, 2 straight to 1 ready endpoint, each on a connection of its own.
    10.0.0.1:8080 (pod web-1, sidecar): 2 of 2 connected and got not a byte of an answer (curl 56: Recv failure: Connection reset by peer).
    Its mode is STRICT, which shop/default decides for the namespace.
    An ordinary TLS hello got the certificate of spiffe://cluster.local/ns/shop/sa/web, which verifies against the mesh root (issued by O=cluster.local, valid until 2026-01-02T00:00:00Z); it asked for a client certificate.
    Not ready, so it was not asked and does not count: 10.0.0.9.
    No endpoint answered a byte, and the mesh refused: every connection was reset.
    A policy of mode PERMISSIVE for the namespace, the workload or the port would let plaintext in again (`secure-traffic disable-mtls -n shop`).
    ");
}

#[test]
fn an_inconclusive_verdict_ends_with_the_remedy() {
    let unguarded = EndpointReport {
        unguarded: Some("web-1 has no sidecar".to_owned()),
        hello: Some(HelloReport {
            exit_code: 60,
            certificate_requested: false,
            certificates: 1,
            spiffe: None,
            issuer: None,
            expires: None,
            refused: Some("is signed by somebody else".to_owned()),
        }),
        ..endpoint(Some(ModeKind::Strict), vec![], vec![sample(7, None), sample(56, None)])
    };
    let unknown = endpoint(None, vec![], vec![]);
    let reason = Some("reset-without-evidence");
    insta::assert_snapshot!(explained(answer(VerdictKind::Inconclusive, reason, "reset"), vec![unguarded, unknown]), @r"
    A throwaway pod without the mesh's certificates, in namespace shop, sent plaintext to web:80: 2 requests through the Service's address, 2 straight to 2 ready endpoints, each on a connection of its own.
    10.0.0.1:8080 (pod web-1, sidecar): 1 of 2 did not connect (curl 7); 1 of 2 connected and got not a byte of an answer (curl 56: Recv failure: Connection reset by peer).
    Its mode is STRICT, the mesh's default: no policy says otherwise.
    Nothing enforces that mode there: web-1 has no sidecar.
    An ordinary TLS hello got a certificate that is not the mesh's for this pod: the certificate is signed by somebody else.
    10.0.0.1:8080 (pod web-1, sidecar): no record of its answers arrived.
    Its mode is not known: policies that could decide it cannot be read.
    Not ready, so it was not asked and does not count: 10.0.0.9.
    No conclusion: inconclusive (reset-without-evidence): reset.
    To find out: look at the application.
    ");
    insta::assert_snapshot!(explained(answer(VerdictKind::Inconclusive, Some("image-pull"), "no image"), vec![]), @r"
    web:80 was not asked: no probe pod came to work in namespace shop.
    Not ready, so it was not asked and does not count: 10.0.0.9.
    No conclusion: inconclusive (image-pull): no image.
    To find out: look at the application.
    ");
}

#[test]
fn an_endpoint_without_a_sidecar_needs_one_instead_of_a_policy() {
    let open = EndpointReport {
        unguarded: Some("no sidecar at web-1, so no proxy applies the policy".to_owned()),
        ..endpoint(
            Some(ModeKind::Strict),
            vec![policy("namespace", "default", Some(ModeKind::Strict))],
            vec![sample(0, Some(200))],
        )
    };
    let text = explained(answer(VerdictKind::Accepted, None, "HTTP 200"), vec![open]);
    assert!(text.ends_with("No policy changes that: web-1 needs a sidecar that captures the port."), "{text}");
}
