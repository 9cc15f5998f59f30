//! The only code that writes to the streams: results, messages, prompts, progress and report files.

pub mod confirm;
pub mod printer;
pub mod progress;
pub mod report_file;
