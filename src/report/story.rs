//! The texts of `demo`: its steps and its summary.

use super::screen::{DemoStep, title_row};
use crate::sanitize;
use std::fmt::Write as _;

/// The steps: probe, enable, probe, disable, probe.
pub fn steps(namespace: &str, target: &str) -> [DemoStep; 5] {
    let [again, off, last] = later_steps(namespace, target);
    [
        DemoStep {
            number: "Step 1 of 5",
            title: "A rogue asks, and is served",
            text: format!("The rogue is a pod without the mesh's certificates. It asks for {target}, in plaintext."),
            command: rogue(namespace, target),
        },
        DemoStep {
            number: "Step 2 of 5",
            title: "Turn strict mutual TLS on",
            text:
                "First DestinationRules make every client send mutual TLS, then the policy makes every server demand \
                   it. In this order no call is lost."
                    .to_owned(),
            command: apply(namespace, "destinationrules-mtls.yaml", "policy-default-enablemtls.yaml"),
        },
        DemoStep { title: "The same rogue asks again", ..again },
        off,
        last,
    ]
}

/// The steps in a namespace that is STRICT already: the last three, and one that restores STRICT.
pub fn steps_from_strict(namespace: &str, target: &str) -> [DemoStep; 4] {
    let [refused, off, last] = later_steps(namespace, target);
    [
        DemoStep {
            text: format!(
                "The rogue is a pod without the mesh's certificates. It asks for {target}, in plaintext, and the \
                 namespace is STRICT."
            ),
            ..refused
        },
        off,
        last,
        DemoStep {
            number: "After step 5",
            title: "Restore STRICT",
            text: "The rules and the policy get their former state, so that STRICT applies again.".to_owned(),
            command: String::new(),
        },
    ]
}

/// Steps 3 to 5.
fn later_steps(namespace: &str, target: &str) -> [DemoStep; 3] {
    [
        DemoStep {
            number: "Step 3 of 5",
            title: "A rogue asks, and is refused",
            text: "Nothing about the rogue has changed. Now the mesh resets its connections.".to_owned(),
            command: rogue(namespace, target),
        },
        DemoStep {
            number: "Step 4 of 5",
            title: "Turn strict mutual TLS off",
            text: "The other way round: first the policy admits plaintext, then the rules change.".to_owned(),
            command: apply(namespace, "policy-default-disablemtls.yaml", "destinationrules.yaml"),
        },
        DemoStep {
            number: "Step 5 of 5",
            title: "The rogue is served again",
            text: "The rogue is still the same. Without STRICT, the servers answer it again.".to_owned(),
            command: rogue(namespace, target),
        },
    ]
}

fn rogue(namespace: &str, target: &str) -> String {
    format!(
        "oc run curl-rogue -n {namespace} --attach --rm --restart=Never --image=appropriate/curl \
         --labels=sidecar.istio.io/inject=false -- http://{target}"
    )
}

fn apply(namespace: &str, first: &str, second: &str) -> String {
    format!("oc apply -f {first} -f {second} -n {namespace}")
}

/// The text at the end. `rows` are the steps with what was observed; `as_told` is whether that is as expected.
pub fn summary(rows: &[(&str, String)], as_told: bool) -> String {
    let mut text = title_row("What was seen");
    let width = rows.iter().map(|(when, _)| when.chars().count()).max().unwrap_or_default();
    for (when, what) in rows {
        let _ = writeln!(text, "  {when:<width$}   {}", sanitize::line(what));
    }
    if as_told {
        text.push_str("\nNo code was changed. The mesh encrypts its calls, and refuses plaintext.\n");
    }
    text
}
