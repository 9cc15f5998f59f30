//! The only code that writes to the streams: results, messages, prompts, progress and report files.

mod ascii;
pub mod confirm;
pub mod live;
pub mod printer;
pub mod progress;
pub mod report_file;
pub mod rows;
mod terminal;
