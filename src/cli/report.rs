//! The value of `--report`: reports for CI systems, in addition to the output.

use clap::Args;
use std::path::PathBuf;
use std::str::FromStr;

/// Reports of any run that probes.
#[derive(Debug, Clone, Default, Args)]
pub struct ReportArgs {
    /// Also junit, tap, json or github
    ///
    /// Also write a report: junit=FILE, tap=FILE (- is stdout), json=FILE, or github (annotations and job summary). Can be
    /// repeated.
    #[arg(long = "report", value_name = "FORMAT[=FILE]", help_heading = "Reports")]
    pub reports: Vec<ReportTo>,
}

/// A report and its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportTo {
    /// `JUnit` XML.
    Junit(PathBuf),
    /// The JSON of `-o json`.
    Json(PathBuf),
    /// The Test Anything Protocol, version 13.
    Tap(PathBuf),
    /// The Test Anything Protocol on stdout; the other output goes to stderr.
    TapOnStdout,
    /// Workflow commands for GitHub Actions, and a table in the job's summary.
    Github,
}

impl ReportTo {
    /// The file; `None` if the report does not go to a file.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Junit(file) | Self::Json(file) | Self::Tap(file) => Some(file),
            Self::TapOnStdout | Self::Github => None,
        }
    }
}

impl FromStr for ReportTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (format, file) = match text.split_once('=') {
            Some((format, file)) => (format, Some(file)),
            None => (text, None),
        };
        match (format, file) {
            ("github", None) => Ok(Self::Github),
            ("github", Some(_)) => Err("github takes no file: the runner says where its summary is".to_owned()),
            ("junit" | "tap" | "json", None | Some("")) => Err(format!("{format} needs a file: {format}=FILE")),
            ("junit" | "json", Some("-")) => Err(format!("{format} needs a file; only tap can be written to stdout")),
            ("tap", Some("-")) => Ok(Self::TapOnStdout),
            ("junit", Some(file)) => Ok(Self::Junit(file.into())),
            ("json", Some(file)) => Ok(Self::Json(file.into())),
            ("tap", Some(file)) => Ok(Self::Tap(file.into())),
            _ => Err(format!("unknown report format {format:?}; use junit=FILE, tap=FILE, json=FILE or github")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_parsed() {
        for (text, wanted) in [
            ("junit=a.xml", ReportTo::Junit("a.xml".into())),
            ("json=out/a=b.json", ReportTo::Json("out/a=b.json".into())),
            ("tap=a.tap", ReportTo::Tap("a.tap".into())),
            ("tap=-", ReportTo::TapOnStdout),
            ("github", ReportTo::Github),
        ] {
            assert_eq!(text.parse(), Ok(wanted), "{text}");
        }
        for text in ["", "junit", "junit=", "junit=-", "json=-", "tap", "github=x", "html=x", "=x"] {
            assert!(text.parse::<ReportTo>().is_err(), "{text:?}");
        }
    }
}
