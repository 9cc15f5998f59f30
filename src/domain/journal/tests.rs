use super::*;
use crate::domain::testing::json;

fn state(uid: &str, spec: &str) -> ObjectState {
    ObjectState { uid: uid.into(), spec: json(spec), metadata: json("labels") }
}

fn live(uid: &str, spec: &str) -> LiveObject {
    LiveObject { state: state(uid, spec), created: 100, is_ours: true }
}

fn changed(former: &ObjectState, written: &[&str]) -> Entry {
    Entry { former: Some(former.clone()), ..created(None, written) }
}

fn created(uid: Option<&str>, written: &[&str]) -> Entry {
    Entry {
        kind: ObjectKind::Rule,
        name: "web".into(),
        former: None,
        written: written.iter().map(|spec| json(spec)).collect(),
        created_uid: uid.map(str::to_owned),
        deletes: false,
    }
}

fn run(entry: Entry) -> Run {
    Run {
        id: "x".into(),
        command: "enable-mtls".into(),
        started_by: "me".into(),
        started_at: String::new(),
        recorded_at: 100,
        stage: Stage::Done,
        entries: vec![entry],
    }
}

/// What undoing does to the one object.
fn undone(entries: &[Entry], present: Option<&LiveObject>) -> (UndoStep, Option<NotRestored>) {
    let runs: Vec<Run> = entries.iter().cloned().map(run).collect();
    let mut undone = undo(&runs, |_, _| present.cloned());
    assert_eq!(undone.len(), 1);
    let undo = undone.remove(0);
    (undo.step, undo.not_restored)
}

fn put_back(spec: &str) -> (UndoStep, Option<NotRestored>) {
    (UndoStep::PutBack(json(spec)), None)
}

#[test]
fn a_spec_is_put_back_where_the_object_is_as_a_run_wrote_it() {
    let entry = changed(&state("1", "F"), &["P", "S"]);
    for (present, expected) in [
        (Some(live("1", "S")), put_back("F")),
        // The run ended early, at PERMISSIVE.
        (Some(live("1", "P")), put_back("F")),
        (Some(live("1", "F")), (UndoStep::Nothing, None)),
        (Some(live("1", "X")), (UndoStep::Nothing, Some(NotRestored::Changed))),
        (Some(live("2", "S")), (UndoStep::Nothing, Some(NotRestored::Recreated))),
        (Some(live("2", "F")), (UndoStep::Nothing, Some(NotRestored::Recreated))),
        (None, (UndoStep::Nothing, Some(NotRestored::Deleted))),
    ] {
        assert_eq!(undone(std::slice::from_ref(&entry), present.as_ref()), expected, "{present:?}");
    }
}

#[test]
fn labels_that_somebody_changed_stay_and_are_reported() {
    let entry = changed(&state("1", "F"), &["S"]);
    let mut relabelled = live("1", "S");
    relabelled.state.metadata = json("other labels");
    let expected = (UndoStep::PutBack(json("F")), Some(NotRestored::Relabelled));
    assert_eq!(undone(&[entry], Some(&relabelled)), expected);
}

#[test]
fn a_created_object_is_deleted_where_it_is_still_the_same() {
    for (uid, present, expected) in [
        (Some("1"), Some(live("1", "S")), (UndoStep::Delete, None)),
        (Some("1"), Some(live("2", "S")), (UndoStep::Nothing, Some(NotRestored::Recreated))),
        (Some("1"), Some(live("1", "X")), (UndoStep::Nothing, Some(NotRestored::Changed))),
        (Some("1"), None, (UndoStep::Nothing, None)),
        // The run ended before it recorded the UID of its object.
        (None, Some(live("1", "S")), (UndoStep::Delete, None)),
        (None, None, (UndoStep::Nothing, None)),
        (None, Some(LiveObject { created: 99, ..live("1", "S") }), (UndoStep::Nothing, Some(NotRestored::Recreated))),
        (
            None,
            Some(LiveObject { is_ours: false, ..live("1", "S") }),
            (UndoStep::Nothing, Some(NotRestored::Recreated)),
        ),
        // A planted journal names an object that the user created.
        (
            Some("1"),
            Some(LiveObject { is_ours: false, ..live("1", "S") }),
            (UndoStep::Nothing, Some(NotRestored::NotOurs)),
        ),
    ] {
        assert_eq!(undone(&[created(uid, &["S"])], present.as_ref()), expected, "{uid:?} {present:?}");
    }
}

#[test]
fn several_runs_are_undone_to_the_state_before_the_first() {
    let before = state("1", "F");
    let on_and_off = [changed(&before, &["S"]), changed(&state("1", "S"), &["P"])];
    assert_eq!(undone(&on_and_off, Some(&live("1", "P"))), put_back("F"));
    // The second was undone already, or ended before its write.
    assert_eq!(undone(&on_and_off, Some(&live("1", "S"))), put_back("F"));
    assert_eq!(undone(&on_and_off, Some(&live("1", "F"))), (UndoStep::Nothing, None));
    let created_then_changed = [created(Some("1"), &["S"]), changed(&state("1", "S"), &["P"])];
    assert_eq!(undone(&created_then_changed, Some(&live("1", "P"))), (UndoStep::Delete, None));
    assert_eq!(undone(&created_then_changed, None), (UndoStep::Nothing, None));
}

#[test]
fn undoing_stops_at_a_change_of_somebody_else_between_two_runs() {
    let runs = [changed(&state("1", "F"), &["S"]), changed(&state("1", "theirs"), &["S2"])];
    assert_eq!(
        undone(&runs, Some(&live("1", "S2"))),
        (UndoStep::PutBack(json("theirs")), Some(NotRestored::ChangedBetweenRuns))
    );
    let recreated = [created(Some("1"), &["S"]), changed(&state("2", "S"), &["P"])];
    assert_eq!(
        undone(&recreated, Some(&live("2", "P"))),
        (UndoStep::PutBack(json("S")), Some(NotRestored::ChangedBetweenRuns))
    );
    // Somebody else restored the state before the first run.
    let back_by_hand = [changed(&state("1", "F"), &["S"]), changed(&state("1", "F"), &["S"])];
    assert_eq!(undone(&back_by_hand, Some(&live("1", "S"))), put_back("F"));
}

#[test]
fn policies_come_first_and_each_object_comes_once() {
    let mut policy = changed(&state("1", "F"), &["S"]);
    policy.kind = ObjectKind::Policy;
    let mut first = run(created(None, &["S"]));
    first.entries.push(policy);
    let undone = undo(&[first, run(changed(&state("1", "S"), &["P"]))], |_, _| None);
    let order: Vec<_> = undone.iter().map(|undo| (undo.kind, undo.name.as_str())).collect();
    assert_eq!(order, [(ObjectKind::Policy, "web"), (ObjectKind::Rule, "web")]);
}

#[test]
fn a_session_ends_with_a_disable_or_a_restore() {
    let with = |command: &str, stage| Run { command: command.into(), stage, ..run(created(None, &[])) };
    for (former, next, ends) in [
        (with("enable-mtls", Stage::Done), "enable-mtls", false),
        (with("enable-mtls", Stage::Done), "disable-mtls", false),
        (with("disable-mtls", Stage::Done), "enable-mtls", true),
        (with("disable-mtls", Stage::Done), "disable-mtls", false),
        (with("disable-mtls", Stage::Started), "enable-mtls", false),
        (with("enable-mtls", Stage::Undone), "enable-mtls", true),
        (with("enable-mtls", Stage::Undone), "disable-mtls", true),
    ] {
        assert_eq!(former.closes_session(next), ends, "{} {:?}, then {next}", former.command, former.stage);
    }
}

#[test]
fn a_second_entry_keeps_the_state_before_the_run() {
    let first = changed(&state("1", "F"), &["P"]);
    // The second read finds this run's own write.
    let again = changed(&state("1", "P"), &["S"]).merged_into(Some(&first));
    assert_eq!((again.former, again.written), (Some(state("1", "F")), vec![json("P"), json("S")]));
    // The second read finds somebody else's write, which is the former state.
    let theirs = changed(&state("1", "X"), &["S"]).merged_into(Some(&first));
    assert_eq!(theirs.former, Some(state("1", "X")));
    let created_by_us = changed(&state("7", "P"), &["S"]).merged_into(Some(&created(None, &["P"])));
    assert_eq!((created_by_us.former, created_by_us.created_uid.as_deref()), (None, Some("7")));
    assert_eq!(first.clone().merged_into(None), first);
}

#[test]
fn undoing_a_run_undoes_all_later_ones_too() {
    let named = |id: &str| Run { id: id.into(), ..run(created(None, &[])) };
    let runs = [named("a"), named("b"), named("c")];
    let ids =
        |wanted| runs_to_undo(&runs, wanted).map(|runs| runs.iter().map(|run| run.id.as_str()).collect::<Vec<_>>());
    assert_eq!(ids(None), Some(vec!["a", "b", "c"]));
    assert_eq!(ids(Some("b")), Some(vec!["b", "c"]));
    assert_eq!(ids(Some("x")), None);
    // A disable-mtls that made every change closes the session.
    let off = Run { command: "disable-mtls".into(), ..named("b") };
    let sessions = [named("a"), off, named("c"), named("d")];
    assert_eq!(session_start(&sessions), 2);
    assert_eq!(runs_to_undo(&sessions, None).map(<[Run]>::len), Some(2));
    assert_eq!(runs_to_undo(&sessions, Some("a")).map(<[Run]>::len), Some(4));
    assert_eq!(session_start(&[]), 0);
}

#[test]
fn an_object_that_a_run_deleted_is_created_again() {
    let former = state("1", "S");
    let deletion = || Entry { deletes: true, ..changed(&former, &[]) };
    let create = || (UndoStep::Create(Box::new(former.clone())), None);
    assert_eq!(undone(&[deletion()], None), create());
    // The run ended before the deletion.
    assert_eq!(undone(&[deletion()], Some(&live("1", "S"))), (UndoStep::Nothing, None));
    // Somebody created another one since.
    assert_eq!(undone(&[deletion()], Some(&live("2", "S"))), (UndoStep::Nothing, Some(NotRestored::Recreated)));
    // The object came with an earlier run that is undone, too.
    assert_eq!(undone(&[created(Some("1"), &["S"]), deletion()], None), (UndoStep::Nothing, None));
    // A deletion by somebody else is not undone.
    let theirs = [changed(&state("1", "F"), &["S"])];
    assert_eq!(undone(&theirs, None), (UndoStep::Nothing, Some(NotRestored::Deleted)));
}
