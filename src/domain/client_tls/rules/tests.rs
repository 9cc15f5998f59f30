use super::*;
use crate::domain::client_tls::ClientKind;
use crate::domain::rule::ClientTls;
use crate::domain::testing::rule;

const HOST: &str = "web.shop.svc.cluster.local";

fn found(rules: &[DestinationRule], namespace: &str, app: &str, default_export: &[String]) -> String {
    let sorting = Sorting { root: "istio-system", cluster_domain: "cluster.local", default_export, revision: None };
    let labels = [("app".to_owned(), app.to_owned())].into();
    let client = Client { namespace, labels: &labels, kind: ClientKind::Sidecar, hbone: true };
    let visible = VisibleRules::new(rules, sorting);
    let names = |found: InForce<'_>| found.rules().iter().map(|rule| rule.name.clone()).collect::<Vec<_>>().join("+");
    visible.in_force(client, HOST, "shop").map_or_else(|| "none".to_owned(), names)
}

#[test]
fn the_mesh_can_limit_rules_to_their_namespace_by_default() {
    let rules = [rule("web", HOST, Some(ClientTls::Disable))];
    for (default_export, client, expected) in
        [(&[][..], "other", "web"), (&[".".to_owned()], "other", "none"), (&[".".to_owned()], "shop", "web")]
    {
        assert_eq!(found(&rules, client, "x", default_export), expected, "{default_export:?} {client}");
    }
}

#[test]
fn a_rule_exported_to_another_namespace_does_not_apply_in_its_own() {
    let mut elsewhere = rule("elsewhere", HOST, Some(ClientTls::Disable));
    elsewhere.export_to = vec!["other".into()];
    let rules = [elsewhere];
    for (client, expected) in [("shop", "none"), ("other", "elsewhere"), ("third", "none")] {
        assert_eq!(found(&rules, client, "x", &[]), expected, "{client}");
    }
}

/// DR-8; the expected values are what istiod's own code returns.
#[test]
fn a_private_rule_beside_one_with_a_selector_does_not_apply_to_other_clients() {
    let mut some = rule("some", HOST, None);
    some.client_selector = Some([("app".to_owned(), "batch".to_owned())].into());
    let mut private = rule("private", HOST, Some(ClientTls::IstioMutual));
    private.export_to = vec![".".into()];
    let public = rule("public", HOST, Some(ClientTls::IstioMutual));
    for (other, app, expected) in [
        (private.clone(), "batch", "some+private"),
        (private, "web", "none"),
        (public.clone(), "batch", "some"),
        (public, "web", "public"),
    ] {
        assert_eq!(found(&[some.clone(), other.clone()], "shop", app, &[]), expected, "{} {app}", other.name);
    }
}

#[test]
fn a_rule_of_another_revision_is_not_seen() {
    let mut canary = rule("canary", HOST, Some(ClientTls::Disable));
    canary.revision = Some("canary".into());
    assert_eq!(found(&[canary, rule("wide", "*.local", None)], "shop", "x", &[]), "wide");
}
