//! The texts of `demo`: its steps and its summary.

use crate::sanitize;
use colored::Colorize;
use std::fmt::Write as _;

/// One step of the demo.
pub struct DemoStep {
    pub title: &'static str,
    /// What happens next, in one or two sentences.
    pub text: String,
    /// The commands by which a user does the same.
    pub commands: Vec<String>,
}

const WIDTH: usize = 78;

/// The text of a step: title, sentences and commands.
pub fn step(number: usize, of: usize, step: &DemoStep) -> String {
    let title = format!("── {number} of {of} · {} ", step.title);
    let rule = "─".repeat(WIDTH.saturating_sub(title.chars().count()));
    let mut text = format!("\n{}\n{}\n", format!("{title}{rule}").cyan().bold(), sanitize::text(&step.text));
    for command in &step.commands {
        let _ = writeln!(text, "  {} {}", "$".dimmed(), sanitize::text(command));
    }
    text + "\n"
}

/// The steps: probe, enable, probe, disable, probe.
pub fn steps(namespace: &str, target: &str, services: &[String]) -> [DemoStep; 5] {
    let rogue = || {
        format!(
            "oc run curl-rogue -n {namespace} --attach --rm --restart=Never --image=appropriate/curl \\\n      \
             --labels=sidecar.istio.io/inject=false -- http://{target}"
        )
    };
    let apply = |policy: &str, rules: &str| vec![format!("oc apply -f {policy}"), format!("oc apply -f {rules}")];
    let names = services.join(", ");
    [
        DemoStep {
            title: "A rogue asks, and is served",
            text: format!("A pod without the mesh's certificates asks for {target}, in plaintext."),
            commands: vec![rogue()],
        },
        DemoStep {
            title: "Turn strict mutual TLS on",
            text: format!(
                "First every client learns to send mutual TLS ({names}),\nthen the policy makes every server demand it. In this order no call is lost."
            ),
            commands: apply("destinationrules-mtls.yaml", "policy-default-enablemtls.yaml"),
        },
        DemoStep {
            title: "The same rogue asks again",
            text: "Nothing about the rogue has changed. Now the mesh resets its connections: the sidecar's\n\
                   certificate is verified against the mesh root, which shows that it was the sidecar."
                .to_owned(),
            commands: vec![rogue()],
        },
        DemoStep {
            title: "Put things back the way they were",
            text: "The other way round: first the policy lets plaintext in again, then the rules go.".to_owned(),
            commands: apply("policy-default-disablemtls.yaml", "destinationrules.yaml"),
        },
        DemoStep { title: "And the rogue is served again", text: "The last time.".to_owned(), commands: vec![rogue()] },
    ]
}

/// The steps in a namespace that is STRICT already: probe, disable, probe, restore.
pub fn steps_from_strict(target: &str) -> [DemoStep; 4] {
    [
        DemoStep {
            title: "A rogue asks, and is refused",
            text: format!("A pod without the mesh's certificates asks for {target}, in plaintext."),
            commands: Vec::new(),
        },
        DemoStep {
            title: "Turn strict mutual TLS off",
            text: "First the policy lets plaintext in, then the rules of the clients change.".to_owned(),
            commands: Vec::new(),
        },
        DemoStep {
            title: "The same rogue asks again",
            text: "Nothing about the rogue has changed. Now it is served.".to_owned(),
            commands: Vec::new(),
        },
        DemoStep {
            title: "Put things back the way they were",
            text: "The policy and the rules get their former state, so that STRICT applies again.".to_owned(),
            commands: Vec::new(),
        },
    ]
}

/// The text at the end. `rows` are the moments with what was observed; `as_told` is whether that is as expected.
pub fn summary(rows: &[(&str, String)], as_told: bool) -> String {
    let mut text = format!("\n{}\n", format!("── What was seen {}", "─".repeat(WIDTH - 16)).cyan().bold());
    let width = rows.iter().map(|(when, _)| when.chars().count()).max().unwrap_or_default();
    for (when, what) in rows {
        let _ = writeln!(text, "  {when:<width$}   {}", sanitize::line(what));
    }
    if as_told {
        text.push_str(
            "\nNo code was changed, no network was rebuilt: the platform encrypts, and refuses what does not.\n",
        );
    }
    text
}
