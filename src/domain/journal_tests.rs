use super::*;

const LABELS: &str = r#"{"annotations":{},"labels":{}}"#;

fn state(uid: &str, spec: &str) -> State {
    State { uid: uid.into(), spec: spec.into(), metadata: LABELS.into() }
}

fn now(uid: &str, spec: &str) -> Now {
    Now { state: state(uid, spec), created: 100, is_ours: true }
}

fn changed(former: &State, written: &[&str]) -> Entry {
    Entry { former: Some(former.clone()), ..made(None, written) }
}

fn made(uid: Option<&str>, written: &[&str]) -> Entry {
    Entry {
        target: Target::Rule,
        name: "web".into(),
        former: None,
        written: written.iter().map(|&spec| spec.to_owned()).collect(),
        made: uid.map(str::to_owned),
    }
}

fn run(entry: Entry) -> Run {
    Run {
        id: "x".into(),
        command: "enable-mtls".into(),
        by: "me".into(),
        begun: String::new(),
        created: 100,
        stage: Stage::Done,
        entries: vec![entry],
    }
}

/// What undoing does to the one object.
fn undone(entries: &[Entry], present: Option<&Now>) -> (Step, Option<Left>) {
    let runs: Vec<Run> = entries.iter().cloned().map(run).collect();
    let mut undone = undo(&runs, |_, _| present.cloned());
    assert_eq!(undone.len(), 1);
    let one = undone.remove(0);
    (one.step, one.left)
}

fn put_back(spec: &str) -> (Step, Option<Left>) {
    (Step::PutBack(spec.into()), None)
}

#[test]
fn what_was_there_is_put_back_where_it_is_as_we_left_it() {
    let entry = changed(&state("1", "F"), &["P", "S"]);
    for (present, expected) in [
        (Some(now("1", "S")), put_back("F")),
        // Cut short on the way by PERMISSIVE.
        (Some(now("1", "P")), put_back("F")),
        (Some(now("1", "F")), (Step::Nothing, None)),
        (Some(now("1", "X")), (Step::Nothing, Some(Left::Changed))),
        (Some(now("2", "S")), (Step::Nothing, Some(Left::MadeAnew))),
        (Some(now("2", "F")), (Step::Nothing, Some(Left::MadeAnew))),
        (None, (Step::Nothing, Some(Left::Gone))),
    ] {
        assert_eq!(undone(std::slice::from_ref(&entry), present.as_ref()), expected, "{present:?}");
    }
}

#[test]
fn labels_that_somebody_changed_are_theirs_and_are_named() {
    let entry = changed(&state("1", "F"), &["S"]);
    let mut relabelled = now("1", "S");
    relabelled.state.metadata = r#"{"annotations":{},"labels":{"a":"b"}}"#.into();
    let expected = (Step::PutBack("F".into()), Some(Left::Relabelled));
    assert_eq!(undone(&[entry], Some(&relabelled)), expected);
}

#[test]
fn what_a_run_made_is_deleted_where_it_is_still_the_same() {
    for (uid, present, expected) in [
        (Some("1"), Some(now("1", "S")), (Step::Delete, None)),
        (Some("1"), Some(now("2", "S")), (Step::Nothing, Some(Left::MadeAnew))),
        (Some("1"), Some(now("1", "X")), (Step::Nothing, Some(Left::Changed))),
        (Some("1"), None, (Step::Nothing, None)),
        // The run was cut short before it could note what the server called its object.
        (None, Some(now("1", "S")), (Step::Delete, None)),
        (None, None, (Step::Nothing, None)),
        (None, Some(Now { created: 99, ..now("1", "S") }), (Step::Nothing, Some(Left::MadeAnew))),
        (None, Some(Now { is_ours: false, ..now("1", "S") }), (Step::Nothing, Some(Left::MadeAnew))),
    ] {
        assert_eq!(undone(&[made(uid, &["S"])], present.as_ref()), expected, "{uid:?} {present:?}");
    }
}

#[test]
fn several_runs_lead_back_to_the_state_before_the_first() {
    let before = state("1", "F");
    let on_and_off = [changed(&before, &["S"]), changed(&state("1", "S"), &["P"])];
    assert_eq!(undone(&on_and_off, Some(&now("1", "P"))), put_back("F"));
    // The second was undone before, or never got to its write.
    assert_eq!(undone(&on_and_off, Some(&now("1", "S"))), put_back("F"));
    assert_eq!(undone(&on_and_off, Some(&now("1", "F"))), (Step::Nothing, None));
    let made_then_changed = [made(Some("1"), &["S"]), changed(&state("1", "S"), &["P"])];
    assert_eq!(undone(&made_then_changed, Some(&now("1", "P"))), (Step::Delete, None));
    assert_eq!(undone(&made_then_changed, None), (Step::Nothing, None));
}

#[test]
fn a_change_of_somebody_else_between_two_runs_is_as_far_back_as_it_goes() {
    let runs = [changed(&state("1", "F"), &["S"]), changed(&state("1", "theirs"), &["S2"])];
    assert_eq!(undone(&runs, Some(&now("1", "S2"))), (Step::PutBack("theirs".into()), Some(Left::Between)));
    let made_anew = [made(Some("1"), &["S"]), changed(&state("2", "S"), &["P"])];
    assert_eq!(undone(&made_anew, Some(&now("2", "P"))), (Step::PutBack("S".into()), Some(Left::Between)));
    // Theirs led back to what was there before the first run.
    let back_by_hand = [changed(&state("1", "F"), &["S"]), changed(&state("1", "F"), &["S"])];
    assert_eq!(undone(&back_by_hand, Some(&now("1", "S"))), put_back("F"));
}

#[test]
fn policies_come_first_and_each_object_once() {
    let mut policy = changed(&state("1", "F"), &["S"]);
    policy.target = Target::Policy;
    let mut first = run(made(None, &["S"]));
    first.entries.push(policy);
    let undone = undo(&[first, run(changed(&state("1", "S"), &["P"]))], |_, _| None);
    let order: Vec<_> = undone.iter().map(|one| (one.target, one.name.as_str())).collect();
    assert_eq!(order, [(Target::Policy, "web"), (Target::Rule, "web")]);
}

#[test]
fn a_story_ends_with_a_way_back_or_a_restore() {
    let with = |command: &str, stage| Run { command: command.into(), stage, ..run(made(None, &[])) };
    for (former, next, ends) in [
        (with("enable-mtls", Stage::Done), "enable-mtls", false),
        (with("enable-mtls", Stage::Done), "disable-mtls", false),
        (with("disable-mtls", Stage::Done), "enable-mtls", true),
        (with("disable-mtls", Stage::Done), "disable-mtls", false),
        (with("disable-mtls", Stage::Begun), "enable-mtls", false),
        (with("enable-mtls", Stage::Undone), "enable-mtls", true),
        (with("enable-mtls", Stage::Undone), "disable-mtls", true),
    ] {
        assert_eq!(former.closes_session(next), ends, "{} {:?}, then {next}", former.command, former.stage);
    }
}

#[test]
fn an_entry_of_a_second_look_keeps_what_was_there_before_the_run() {
    let first = changed(&state("1", "F"), &["P"]);
    // Our own write is what the second look found.
    let again = changed(&state("1", "P"), &["S"]).after(Some(&first));
    assert_eq!((again.former, again.written), (Some(state("1", "F")), vec!["P".to_owned(), "S".to_owned()]));
    // Somebody else's is what was there.
    let theirs = changed(&state("1", "X"), &["S"]).after(Some(&first));
    assert_eq!(theirs.former, Some(state("1", "X")));
    let made_by_us = changed(&state("7", "P"), &["S"]).after(Some(&made(None, &["P"])));
    assert_eq!((made_by_us.former, made_by_us.made.as_deref()), (None, Some("7")));
    assert_eq!(first.clone().after(None), first);
}

#[test]
fn going_back_to_a_run_undoes_it_and_all_that_came_after() {
    let named = |id: &str| Run { id: id.into(), ..run(made(None, &[])) };
    let runs = [named("a"), named("b"), named("c")];
    let ids = |wanted| back_to(&runs, wanted).map(|runs| runs.iter().map(|run| run.id.as_str()).collect::<Vec<_>>());
    assert_eq!(ids(None), Some(vec!["a", "b", "c"]));
    assert_eq!(ids(Some("b")), Some(vec!["b", "c"]));
    assert_eq!(ids(Some("x")), None);
    // A way back that came to its end closes what was before it.
    let off = Run { command: "disable-mtls".into(), ..named("b") };
    let stories = [named("a"), off, named("c"), named("d")];
    assert_eq!(session_start(&stories), 2);
    assert_eq!(back_to(&stories, None).map(<[Run]>::len), Some(2));
    assert_eq!(back_to(&stories, Some("a")).map(<[Run]>::len), Some(4));
    assert_eq!(session_start(&[]), 0);
}
