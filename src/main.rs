//! Parse, run, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(secure_traffic::run(std::env::args_os()))
}
