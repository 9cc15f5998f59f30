use super::*;
use crate::domain::mesh::{ClientTls, MtlsMode};
use crate::domain::plan::{PolicyAction, PolicyChange, RuleAction, RuleChange, TlsEdit, TlsPlace};
use crate::istio::kinds::{PolicyApi, RuleApi};

const APIS: Apis = Apis { policy: PolicyApi::V1, rule: RuleApi::V1 };

fn policy_change(action: PolicyAction) -> Change {
    Change::Policy(PolicyChange { namespace: "shop".into(), name: "web".into(), action })
}

fn rule_change(action: RuleAction) -> Change {
    Change::Rule(RuleChange { namespace: "shop".into(), name: "web".into(), action })
}

/// The texts that are stored.
fn texts(specs: &[ObjectJson]) -> Vec<String> {
    specs.iter().map(|spec| spec.value().to_string()).collect()
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
fn an_entry_has_every_spec_that_is_written() {
    let creation = policy_change(PolicyAction::Create { mode: MtlsMode::Permissive });
    let strict = policy_change(PolicyAction::SetMode { from: Some(MtlsMode::Permissive), to: MtlsMode::Strict });
    let recorded = entry(APIS, None, &[&creation, &strict]).expect("an entry");
    assert_eq!(recorded.former, None);
    assert_eq!(texts(&recorded.written), [r#"{"mtls":{"mode":"PERMISSIVE"}}"#, r#"{"mtls":{"mode":"STRICT"}}"#]);

    let tls = TlsEdit::Set { place: TlsPlace::Top, from: Some(ClientTls::Disable) };
    let edited = entry(APIS, Some(&rule()), &[&rule_change(RuleAction::Edit(vec![tls]))]).expect("an entry");
    let former = edited.former.expect("a former object");
    assert_eq!(former.uid, "u1");
    assert_eq!(former.metadata.value().to_string(), r#"{"annotations":{},"labels":{"a":"1","b":"2"}}"#);
    let pool = r#"{"host":"web","trafficPolicy":{"connectionPool":{"http":{"maxRetries":3}},"tls":{"mode":"#;
    assert_eq!(former.spec.value().to_string(), format!("{pool}\"DISABLE\"}}}}}}"));
    assert_eq!(texts(&edited.written), [format!("{pool}\"ISTIO_MUTUAL\"}}}}}}")]);
    assert_eq!(entry(APIS, Some(&rule()), &[&rule_change(RuleAction::Unchanged)]), None);
}

#[test]
fn lines_are_read_as_they_were_written() {
    let entries_of = |uid: Option<&str>| {
        let entry = |name: &str, former| Entry {
            kind: ObjectKind::Rule,
            name: name.into(),
            former,
            written: vec![json!({"host": "a\nb"}).into()],
            created_uid: None,
            deletes: false,
        };
        let created = Entry { created_uid: uid.map(str::to_owned), ..entry("created", None) };
        let deleted = Entry { deletes: true, ..entry("deleted", Some(state(&rule()))) };
        vec![created, deleted, entry("web", Some(state(&rule())))]
    };
    let text = lines(&entries_of(None));
    assert_eq!(entries(&text), Ok(entries_of(None)));
    let with_uid = text + &created_lines(&[(ObjectKind::Rule, "created".into(), "u9".into())]);
    assert_eq!(entries(&with_uid), Ok(entries_of(Some("u9"))));
    // A later entry for the same object replaces the former.
    assert_eq!(entries(&(with_uid + &lines(&entries_of(None)))), Ok(entries_of(None)));
    for broken in [
        "{",
        "{\"kind\":\"rule\",\"written\":[]}",
        "{\"kind\":\"rule\",\"name\":\"x\",\"written\":[],\"former\":{\"uid\":\"1\"}}",
        "{\"kind\":\"pod\"}",
        "{\"kind\":\"rule\",\"name\":\"x\",\"made\":\"1\"}",
    ] {
        assert!(entries(broken).is_err(), "{broken}");
    }
}

#[test]
fn a_head_is_read_as_it_was_written_and_a_broken_one_is_an_error() {
    let run = Run {
        id: "bcdfg".into(),
        command: "enable-mtls".into(),
        started_by: "ann@host, pid 7".into(),
        started_at: "2026-01-02T03:04:05Z".into(),
        recorded_at: 0,
        stage: Stage::Done,
        entries: Vec::new(),
    };
    let whole = head(&run, 3);
    assert_eq!(read_head(&whole), Ok((run, 3)));
    for broken in [
        "{}",
        &whole.replace("done", "paused"),
        &whole.replace("parts", "pieces"),
        &whole.replace("\"by\"", "\"from\""),
    ] {
        assert!(read_head(broken).is_err(), "{broken}");
    }
    assert!(read_head(r#"{"version":2}"#).is_err_and(|error| error.to_string().contains("version 2")));
}

#[test]
fn pieces_are_small_enough_and_join_to_the_whole() {
    let text = "aé€😀".repeat(50);
    for limit in [4, 5, 7, 100, 10_000] {
        let pieces = pieces(&text, limit);
        assert!(pieces.iter().all(|piece| piece.len() <= limit));
        assert_eq!(pieces.concat(), text);
    }
    assert_eq!(pieces("", 10), [""]);
}

#[test]
fn only_a_policy_for_single_pods_that_this_tool_created_is_created_again() {
    let former = |labels: Value, spec: Value| ObjectState {
        uid: "1".into(),
        spec: spec.into(),
        metadata: json!({"labels": labels, "annotations": {}}).into(),
    };
    let ours = || json!({MANAGED_BY.0: MANAGED_BY.1});
    let selector = json!({"matchLabels": {"app": "web"}});
    let step = json!({"selector": selector, "mtls": {"mode": "STRICT"}});
    let unknown = |kind, labels, spec: &Value| unknown_fields(kind, &former(labels, spec.clone()));
    assert_eq!(unknown(ObjectKind::Policy, ours(), &step), Vec::<String>::new());
    let exception = json!({"selector": selector, "portLevelMtls": {"8080": {"mode": "PERMISSIVE"}}});
    assert_eq!(unknown(ObjectKind::Policy, ours(), &exception), Vec::<String>::new());
    assert_eq!(unknown(ObjectKind::Policy, json!({}), &step), [".metadata.labels.app.kubernetes.io/managed-by"]);
    assert_eq!(unknown(ObjectKind::Policy, ours(), &json!({"mtls": {"mode": "DISABLE"}})), [".spec.selector"]);
    assert_eq!(unknown(ObjectKind::Policy, ours(), &json!({"selector": selector, "jwt": 1})), [".spec.jwt"]);
    assert_eq!(unknown(ObjectKind::Rule, ours(), &step), [".kind"]);
}
