use crate::helpers::{command, finish, run, shows};

#[test]
fn the_whole_story() {
    let run = run("demo");
    assert!(!run.all().contains('\u{1b}'), "no colour where nobody looks");
    shows!(run, @"");
}

#[test]
fn colour_where_it_is_asked_for() {
    let always = run("demo --color always --target userprofile:8080/");
    assert_eq!(always.code, Some(0), "{always}");
    assert!(always.stdout.contains("\u{1b}["), "{always}");
    let mut no_color = command();
    no_color.env("NO_COLOR", "1").args(["probe", "--sandbox", "boards", "--attempts", "1"]);
    assert!(!finish(no_color).all().contains('\u{1b}'));
    let mut both = command();
    both.env("NO_COLOR", "1").args(["probe", "--sandbox", "boards", "--attempts", "1", "--color", "always"]);
    assert!(finish(both).stdout.contains("\u{1b}["), "the flag is the later word");
}

#[test]
fn a_target_that_is_not_there_is_found_out_before_the_story() {
    shows!(run("demo --target nosuch:8080/"), @"");
}
