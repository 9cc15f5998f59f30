//! Shows the current work on a terminal.

use crate::progress::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// A spinner with a line of text and, where the work can be counted, a bar.
pub struct Bar {
    bar: ProgressBar,
    unicode: bool,
}

const SPINNER: &str = "{spinner} {msg}";
const COUNTED: &str = "{spinner} {msg} {wide_bar} {pos}/{len}";

impl Bar {
    /// The bar is visible only if stderr is a terminal, outside CI and without `--quiet`.
    pub fn new(quiet: bool, ci: bool, unicode: bool) -> Self {
        let visible = !quiet && !ci && std::io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let progress = Self { bar, unicode };
        progress.set_style(SPINNER);
        progress
    }

    fn set_style(&self, template: &str) {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
        self.bar.set_style(if self.unicode { style } else { style.tick_chars(r"-\|/ ").progress_chars("#. ") });
    }
}

impl Progress for Bar {
    fn begin(&self, what: &str, count: Option<u64>) {
        self.bar.reset();
        self.set_style(if count.is_some() { COUNTED } else { SPINNER });
        self.bar.set_length(count.unwrap_or(0));
        self.bar.set_message(crate::sanitize::line(what).into_owned());
        self.bar.enable_steady_tick(Duration::from_millis(100));
    }

    fn step(&self) {
        self.bar.inc(1);
    }

    fn update(&self, what: &str) {
        self.bar.set_message(crate::sanitize::text(what).into_owned());
    }

    fn end(&self) {
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
    }
}
