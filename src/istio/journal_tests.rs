use super::*;
use crate::domain::mesh::{ClientTls, MtlsMode};
use crate::domain::plan::{Edit, TlsPlace};
use crate::istio::kinds::{PolicyApi, RuleApi};

const APIS: Apis = Apis { policy: PolicyApi::V1, rule: RuleApi::V1 };

fn change(target: Target, mode: Option<MtlsMode>, action: Action) -> Change {
    let host = (target == Target::Rule).then(|| "web.shop.svc.cluster.local".to_owned());
    Change { target, namespace: "shop".into(), name: "web".into(), host, mode, action }
}

fn rule() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {
            "name": "web", "uid": "u1", "resourceVersion": "7", "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"b": "2", "a": "1"},
        },
        "spec": {"trafficPolicy": {"tls": {"mode": "DISABLE"}, "connectionPool": {"http": {"maxRetries": 3}}}, "host": "web"},
    })
}

#[test]
fn an_entry_knows_every_spec_that_is_written_on_the_way() {
    let off = change(Target::Policy, Some(MtlsMode::Permissive), Action::Create);
    let mode = Edit::SetMode { from: Some(MtlsMode::Permissive), to: MtlsMode::Strict };
    let on = change(Target::Policy, Some(MtlsMode::Strict), Action::Edit(vec![mode]));
    let noted = entry(APIS, None, &[&off, &on]).expect("an entry");
    assert_eq!(noted.former, None);
    assert_eq!(noted.written, [r#"{"mtls":{"mode":"PERMISSIVE"}}"#, r#"{"mtls":{"mode":"STRICT"}}"#]);

    let tls = Edit::SetTls { place: TlsPlace::Top, from: Some(ClientTls::Disable) };
    let edited = entry(APIS, Some(&rule()), &[&change(Target::Rule, None, Action::Edit(vec![tls]))]).expect("an entry");
    let former = edited.former.expect("what was there");
    assert_eq!(former.uid, "u1");
    assert_eq!(former.metadata, r#"{"annotations":{},"labels":{"a":"1","b":"2"}}"#);
    let pool = r#"{"host":"web","trafficPolicy":{"connectionPool":{"http":{"maxRetries":3}},"tls":{"mode":"#;
    assert_eq!(former.spec, format!("{pool}\"DISABLE\"}}}}}}"));
    assert_eq!(edited.written, [format!("{pool}\"ISTIO_MUTUAL\"}}}}}}")]);
    assert_eq!(entry(APIS, Some(&rule()), &[&change(Target::Rule, None, Action::Unchanged)]), None);
}

#[test]
fn what_is_written_down_is_read_again() {
    let entries_of = |made: Option<&str>| {
        let entry = |name: &str, former| Entry {
            target: Target::Rule,
            name: name.into(),
            former,
            written: vec![r#"{"host":"a\nb"}"#.into()],
            made: None,
        };
        let made = Entry { made: made.map(str::to_owned), ..entry("made", None) };
        vec![made, entry("web", Some(state(&rule())))]
    };
    let text = lines(&entries_of(None));
    assert_eq!(entries(&text), Ok(entries_of(None)));
    let noted = text + &notes(&[(Target::Rule, "made".into(), "u9".into())]);
    assert_eq!(entries(&noted), Ok(entries_of(Some("u9"))));
    // A later entry for the same object takes the place of the former.
    assert_eq!(entries(&(noted + &lines(&entries_of(None)))), Ok(entries_of(None)));
    for broken in ["{", "{\"kind\":\"pod\"}", "{\"kind\":\"rule\",\"name\":\"x\",\"made\":\"1\"}"] {
        assert!(entries(broken).is_err(), "{broken}");
    }
}

#[test]
fn a_head_is_read_again_and_a_strange_one_refused() {
    let run = Run {
        id: "bcdfg".into(),
        command: "enable-mtls".into(),
        by: "ann@host, pid 7".into(),
        begun: "2026-01-02T03:04:05Z".into(),
        created: 0,
        stage: Stage::Done,
        entries: Vec::new(),
    };
    assert_eq!(read_head(&head(&run, 3)), Ok((run, 3)));
    assert!(read_head("{}").is_err());
    assert!(read_head(r#"{"version":2}"#).is_err_and(|error| error.to_string().contains("version 2")));
}

#[test]
fn pieces_are_small_enough_and_whole_again_together() {
    let text = "aé€😀".repeat(50);
    for limit in [4, 5, 7, 100, 10_000] {
        let pieces = pieces(&text, limit);
        assert!(pieces.iter().all(|piece| piece.len() <= limit));
        assert_eq!(pieces.concat(), text);
    }
    assert_eq!(pieces("", 10), [""]);
}

#[test]
fn a_spec_is_put_back_by_as_little_as_differs() {
    let mut now = rule();
    let former = canonical(&now["spec"]);
    now["spec"]["trafficPolicy"]["tls"]["mode"] = json!("ISTIO_MUTUAL");
    let patch = patch::put_back(&now, &former).expect("a patch");
    assert_eq!(
        serde_json::to_value(&patch).expect("JSON"),
        json!([
            {"op": "test", "path": "/metadata/uid", "value": "u1"},
            {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
            {"op": "replace", "path": "/spec/trafficPolicy/tls/mode", "value": "DISABLE"},
        ])
    );
    // A legacy policy may have had no spec at all.
    let bare = patch::put_back(&now, "null").expect("a patch");
    assert_eq!(serde_json::to_value(&bare.0[2]).expect("JSON"), json!({"op": "remove", "path": "/spec"}));
}
