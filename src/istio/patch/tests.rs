//! Tables: the object before, the edits, the `spec` after; and that nothing else changes.

use super::*;
use ClientTls::{Disable, Mutual, Simple};
use MtlsMode::{Permissive, Strict};

fn object(spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "7", "annotations": {"a": "b"}},
        "spec": spec, "status": {"kept": true},
    })
}

fn check(name: &str, before: &Value, edited: Result<Edited, Stale>, expected: &Value) {
    let Edited { patch, object } = edited.expect(name);
    let mut after = before.clone();
    json_patch::patch(&mut after, &patch).unwrap_or_else(|error| panic!("{name}: {error}\n{patch}"));
    let mut whole = before.clone();
    whole["spec"] = expected.clone();
    assert_eq!(after.to_string(), whole.to_string(), "{name}\n{patch}");
    assert_eq!(object, after, "{name}");
    // The first operation ties the patch to this very version of the object.
    let mut newer = before.clone();
    newer["metadata"]["resourceVersion"] = json!("8");
    assert!(json_patch::patch(&mut newer, &patch).is_err(), "{name}: another version is patched");
    let writes = patch.iter().filter(|operation| !matches!(operation, PatchOperation::Test(_))).count();
    assert!(writes > 0 && patch.len() > writes, "{name}: tests come with writes");
    assert!(!after.to_string().contains(r#""tls":{}"#), "{name}");
}

fn set(place: TlsPlace, from: Option<ClientTls>) -> TlsEdit {
    TlsEdit::Set { place, from }
}

fn remove(places: &[TlsPlace]) -> Vec<TlsEdit> {
    places.iter().map(|place| TlsEdit::Remove { place: *place }).collect()
}

fn mutual() -> Value {
    json!({"mode": "ISTIO_MUTUAL"})
}

#[test]
fn tls_is_set_and_everything_else_stays() {
    let pool = json!({"tcp": {"maxConnections": 3}});
    for (name, spec, edit, expected) in [
        (
            "no policy",
            json!({"host": "a"}),
            set(TlsPlace::Top, None),
            json!({"host": "a", "trafficPolicy": {"tls": mutual()}}),
        ),
        (
            "other settings",
            json!({"trafficPolicy": {"connectionPool": pool}}),
            set(TlsPlace::Top, None),
            json!({"trafficPolicy": {"connectionPool": pool, "tls": mutual()}}),
        ),
        (
            "DISABLE keeps its other fields",
            json!({"trafficPolicy": {"tls": {"mode": "DISABLE", "sni": "x"}}}),
            set(TlsPlace::Top, Some(Disable)),
            json!({"trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL", "sni": "x"}}}),
        ),
        (
            "an empty tls is DISABLE",
            json!({"trafficPolicy": {"tls": {}}}),
            set(TlsPlace::Top, Some(Disable)),
            json!({"trafficPolicy": {"tls": mutual()}}),
        ),
        (
            "SIMPLE goes whole",
            json!({"trafficPolicy": {"tls": {"mode": "SIMPLE", "caCertificates": "x"}}}),
            set(TlsPlace::Top, Some(Simple)),
            json!({"trafficPolicy": {"tls": mutual()}}),
        ),
        (
            "a port entry",
            json!({"trafficPolicy": {"portLevelSettings": [{"port": {"number": 80}}, {"port": {"number": 81}, "connectionPool": pool}]}}),
            set(TlsPlace::Port(1), None),
            json!({"trafficPolicy": {"portLevelSettings": [{"port": {"number": 80}}, {"port": {"number": 81}, "connectionPool": pool, "tls": mutual()}]}}),
        ),
        (
            "a subset",
            json!({"subsets": [{"name": "v1"}, {"name": "v2", "trafficPolicy": {"tls": {"mode": "MUTUAL", "clientCertificate": "x"}}}]}),
            set(TlsPlace::Subset(1), Some(Mutual)),
            json!({"subsets": [{"name": "v1"}, {"name": "v2", "trafficPolicy": {"tls": mutual()}}]}),
        ),
        (
            "a subset's port",
            json!({"subsets": [{"name": "v1", "trafficPolicy": {"portLevelSettings": [{"port": {"number": 1}, "tls": {"mode": "DISABLE"}}]}}]}),
            set(TlsPlace::SubsetPort(0, 0), Some(Disable)),
            json!({"subsets": [{"name": "v1", "trafficPolicy": {"portLevelSettings": [{"port": {"number": 1}, "tls": mutual()}]}}]}),
        ),
    ] {
        let before = object(&spec);
        check(name, &before, edit_tls(&before, &[edit]), &expected);
    }
}

#[test]
fn tls_is_removed_with_the_parents_that_it_leaves_empty() {
    let pool = json!({"tcp": {"maxConnections": 3}});
    let entry = |number: u16| json!({"port": {"number": number}, "tls": mutual()});
    let entry_with_pool = json!({"port": {"number": 9}, "tls": mutual(), "connectionPool": pool});
    let pool_alone = json!({"port": {"number": 9}, "connectionPool": pool});
    let disabled = json!({"port": {"number": 8}, "tls": {"mode": "DISABLE"}});
    for (name, spec, places, expected) in [
        (
            "nothing else",
            json!({"host": "a", "trafficPolicy": {"tls": mutual()}}),
            &[TlsPlace::Top][..],
            json!({"host": "a"}),
        ),
        (
            "other settings",
            json!({"trafficPolicy": {"tls": mutual(), "connectionPool": pool}}),
            &[TlsPlace::Top],
            json!({"trafficPolicy": {"connectionPool": pool}}),
        ),
        (
            "top and every port",
            json!({"host": "a", "trafficPolicy": {"tls": mutual(), "portLevelSettings": [entry(80), entry(81)]}}),
            &[TlsPlace::Top, TlsPlace::Port(0), TlsPlace::Port(1)],
            json!({"host": "a"}),
        ),
        (
            "some ports of a list",
            json!({"trafficPolicy": {"portLevelSettings": [entry(80), disabled, entry_with_pool, entry(81)]}}),
            &[TlsPlace::Port(0), TlsPlace::Port(2), TlsPlace::Port(3)],
            json!({"trafficPolicy": {"portLevelSettings": [disabled, pool_alone]}}),
        ),
        (
            "subsets stay",
            json!({"subsets": [{"name": "v1", "labels": {"v": "1"}, "trafficPolicy": {"tls": mutual(), "portLevelSettings": [entry(1)]}}, {"name": "v2", "trafficPolicy": {"tls": mutual()}}]}),
            &[TlsPlace::Subset(0), TlsPlace::SubsetPort(0, 0), TlsPlace::Subset(1)],
            json!({"subsets": [{"name": "v1", "labels": {"v": "1"}}, {"name": "v2"}]}),
        ),
    ] {
        let before = object(&spec);
        check(name, &before, edit_tls(&before, &remove(places)), &expected);
    }
}

#[test]
fn the_mode_is_set_in_either_api() {
    let strict = json!({"mtls": {"mode": "STRICT"}});
    for (name, spec, (from, to), expected) in [
        ("a mode", json!({"mtls": {"mode": "PERMISSIVE"}}), (Some(Permissive), Strict), strict.clone()),
        ("unset", json!({"mtls": {"mode": "UNSET"}}), (None, Strict), strict.clone()),
        ("no mode", json!({"mtls": {}}), (None, Strict), strict.clone()),
        ("no mtls", json!({}), (None, Strict), strict.clone()),
        ("null", json!({"mtls": null}), (None, Strict), strict),
    ] {
        let before = object(&spec);
        check(name, &before, set_mode(&before, from, to), &expected);
    }
    let jwt = json!({"jwt": {"issuer": "x"}});
    let peer = |mode: &str| json!({"mtls": {"mode": mode}});
    for (name, spec, (from, to), expected) in [
        (
            "a mode",
            json!({"peers": [peer("STRICT")]}),
            (Some(Strict), Permissive),
            json!({"peers": [peer("PERMISSIVE")]}),
        ),
        (
            "empty is STRICT",
            json!({"peers": [{"mtls": {}}]}),
            (Some(Strict), Permissive),
            json!({"peers": [peer("PERMISSIVE")]}),
        ),
        (
            "null is STRICT",
            json!({"peers": [{"mtls": null}]}),
            (Some(Strict), Permissive),
            json!({"peers": [peer("PERMISSIVE")]}),
        ),
        (
            "jwt first",
            json!({"peers": [jwt, peer("PERMISSIVE")]}),
            (Some(Permissive), Strict),
            json!({"peers": [jwt, peer("STRICT")]}),
        ),
        (
            "jwt alone",
            json!({"peers": [jwt]}),
            (Some(MtlsMode::Disable), Strict),
            json!({"peers": [jwt, peer("STRICT")]}),
        ),
        ("no peer", json!({"peers": []}), (Some(MtlsMode::Disable), Strict), json!({"peers": [peer("STRICT")]})),
        (
            "nothing",
            json!({"origins": []}),
            (Some(MtlsMode::Disable), Strict),
            json!({"origins": [], "peers": [peer("STRICT")]}),
        ),
        (
            "plaintext only",
            json!({"peers": [peer("STRICT"), jwt, peer("STRICT")]}),
            (Some(Strict), MtlsMode::Disable),
            json!({"peers": [jwt]}),
        ),
        ("no peer is left", json!({"peers": [peer("STRICT")]}), (Some(Strict), MtlsMode::Disable), json!({})),
    ] {
        let mut before = object(&spec);
        before["apiVersion"] = json!("authentication.istio.io/v1alpha1");
        check(name, &before, set_mode(&before, from, to), &expected);
    }
}

#[test]
fn a_policy_without_a_spec_gets_one() {
    let before = json!({"apiVersion": "security.istio.io/v1", "metadata": {"resourceVersion": "7"}});
    let edited = set_mode(&before, None, Strict).expect("an edit");
    assert_eq!(edited.object["spec"], json!({"mtls": {"mode": "STRICT"}}));
}

#[test]
fn an_object_that_changed_is_not_patched() {
    let disabled = object(&json!({"trafficPolicy": {"tls": {"mode": "DISABLE"}}}));
    for (name, edit) in [
        ("another tls", set(TlsPlace::Top, None)),
        ("no longer mutual", TlsEdit::Remove { place: TlsPlace::Top }),
        ("no such port", set(TlsPlace::Port(0), None)),
        ("no such subset", set(TlsPlace::Subset(0), None)),
        ("no such subset port", TlsEdit::Remove { place: TlsPlace::SubsetPort(1, 1) }),
    ] {
        assert!(edit_tls(&disabled, &[edit]).is_err(), "{name}");
    }
    assert!(set_mode(&disabled, Some(Strict), Permissive).is_err(), "another mode");
}

#[test]
fn a_spec_is_put_back_by_a_patch_of_what_differs() {
    let mut live = object(&json!({"host": "web", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}));
    live["metadata"]["uid"] = json!("u1");
    let former = json!({"host": "web", "trafficPolicy": {"tls": {"mode": "DISABLE"}}});
    assert_eq!(
        json!(put_spec(&live, &former)),
        json!([
            {"op": "test", "path": "/metadata/uid", "value": "u1"},
            {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
            {"op": "replace", "path": "/spec/trafficPolicy/tls/mode", "value": "DISABLE"},
        ])
    );
    // A legacy policy may have no spec at all.
    assert_eq!(json!(put_spec(&live, &Value::Null).0[2]), json!({"op": "remove", "path": "/spec"}));
}
