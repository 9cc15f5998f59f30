//! The only code that writes to the streams. It knows no domain type.

pub mod confirm;
pub mod printer;
pub mod progress;
pub mod report_file;
