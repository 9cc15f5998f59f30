//! `--report`: opens the reports for CI systems before the command runs, and writes them when it has ended, also after an
//! error.

use crate::cli::Reporting;
use crate::cli::report::ReportTo;
use crate::cli::values::OutputFormat;
use crate::error::{self, Error, UsageError};
use crate::exit::ExitStatus;
use crate::report::RenderError;
use crate::report::front_door::FrontDoorReport;
use crate::report::model::{CallsReport, ChangeReport, PhaseReport, ProbeReport, RunError};
use crate::report::rehearsal::RehearsalReport;
use crate::report::run::RunReport;
use crate::report::{github, json, junit, tap, yaml};
use crate::ui::printer::Printer;
use crate::ui::report_file::{self, ReportFile};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Junit,
    Json,
    Yaml,
    Tap,
}

/// Where a report is written.
#[derive(Debug)]
enum Outlet {
    File(Format, ReportFile),
    /// `--report tap=-`, or `-o json|yaml` of a run that changes a namespace.
    Stdout(Format),
    /// Annotations, and the file of the job's summary.
    Github(Option<PathBuf>),
}

/// The reports of a run.
#[derive(Debug)]
pub struct Reports {
    outlets: Vec<Outlet>,
    command: &'static str,
    report: Mutex<RunReport>,
}

impl Reports {
    /// Opens all reports, so that a file that cannot be written is an error before any request.
    pub fn open(options: &Reporting<'_>, summary: Option<&Path>) -> Result<Self, UsageError> {
        let mut report = ProbeReport::empty(options.command, jiff::Timestamp::now().to_string());
        if let Some(namespace) = options.namespace {
            report.namespace_mut(namespace);
        }
        let rehearsal = (options.command == "rehearse")
            .then(|| RehearsalReport::empty(options.command, options.namespace, report.started_at.clone()));
        let report = RunReport { probe: report, rehearsal };
        check(options)?;
        let outlets = options.reports.iter().map(|to| {
            let file = |format, path: &Path| {
                let opened =
                    text(format, &report).map_err(Error::from).and_then(|text| Ok(ReportFile::open(path, &text)?));
                opened.map(|file| Outlet::File(format, file)).map_err(|error| UsageError {
                    message: format!("the report {} cannot be written: {error}", path.display()),
                    hint: Some("the directory must be there, and writable".to_owned()),
                })
            };
            match to {
                ReportTo::Junit(path) => file(Format::Junit, path),
                ReportTo::Json(path) => file(Format::Json, path),
                ReportTo::Tap(path) => file(Format::Tap, path),
                ReportTo::TapOnStdout => Ok(Outlet::Stdout(Format::Tap)),
                ReportTo::Github => Ok(Outlet::Github(summary.map(Path::to_owned))),
            }
        });
        let mut outlets = outlets.collect::<Result<Vec<_>, _>>()?;
        outlets.extend(document_format(options).map(Outlet::Stdout));
        Ok(Self { outlets, command: options.command, report: Mutex::new(report) })
    }

    /// The command of the run.
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// Adds the results of a probe. A command that probes several times reports all of them.
    pub fn add_probe(&self, probe: &ProbeReport) {
        let report = &mut self.lock().probe;
        let first = report.results().next().is_none();
        let expected = if first || report.expected == probe.expected { probe.expected } else { None };
        let (started_at, namespaces) = (std::mem::take(&mut report.started_at), std::mem::take(&mut report.namespaces));
        *report = ProbeReport { started_at, expected, namespaces, ..probe.clone() };
        for probed in &probe.namespaces {
            let entry = report.namespace_mut(&probed.namespace);
            entry.probe_namespace.clone_from(&probed.probe_namespace);
            entry.results.extend_from_slice(&probed.results);
            entry.not_probed.clone_from(&probed.not_probed);
        }
    }

    /// What the run did and found so far.
    pub fn probe(&self) -> ProbeReport {
        self.lock().probe.clone()
    }

    /// Sets the result of a rehearsal.
    pub fn add_rehearsal(&self, rehearsal: &RehearsalReport) {
        let mut report = self.lock();
        report.probe.cluster.clone_from(&rehearsal.cluster);
        for rehearsed in &rehearsal.namespaces {
            report.probe.namespace_mut(&rehearsed.namespace);
        }
        report.probe.started_at.clone_from(&rehearsal.started_at);
        report.rehearsal = Some(rehearsal.clone());
    }

    fn lock(&self) -> MutexGuard<'_, RunReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds objects of a namespace that were written: name, and action as kubectl prints it.
    pub fn add_changes(&self, namespace: &str, objects: &[(String, &'static str)]) {
        let mut report = self.lock();
        let entry = report.probe.namespace_mut(namespace);
        entry.changes.extend(objects.iter().map(|(object, action)| ChangeReport { object: object.clone(), action }));
    }

    /// Marks the run as a dry run, whose reports must not pass for a proof.
    pub fn mark_dry_run(&self) {
        self.lock().probe.dry_run = true;
    }

    /// Adds the results of `--check-url`.
    pub fn add_front_doors(&self, namespace: &str, doors: &[FrontDoorReport]) {
        self.lock().probe.namespace_mut(namespace).front_doors.extend_from_slice(doors);
    }

    /// Adds a phase of a change.
    pub fn add_phase(&self, namespace: &str, phase: PhaseReport) {
        self.lock().probe.namespace_mut(namespace).phases.push(phase);
    }

    /// Adds to the last phase after how many seconds it was in force at how many endpoints.
    pub fn set_in_force(&self, namespace: &str, seconds: Option<f64>, endpoints: usize) {
        if let Some(phase) = self.lock().probe.namespace_mut(namespace).phases.last_mut() {
            (phase.in_force_seconds, phase.endpoints) = (seconds, Some(endpoints));
        }
    }

    /// Sets the calls in the mesh during a change; `None` where none were counted.
    pub fn set_calls(&self, namespace: &str, calls: Option<CallsReport>) {
        self.lock().probe.namespace_mut(namespace).calls = calls;
    }

    /// Writes all reports. Returns the result of the run, whose status covers a report that could not be written.
    pub fn close(&self, printer: Printer, result: error::Result<ExitStatus>) -> error::Result<ExitStatus> {
        let mut run = self.lock().clone();
        let (code, error) = match &result {
            Ok(status) => (status.code(), None),
            Err(error) => {
                (error.exit_status().code(), Some(RunError { message: error.to_string(), hint: error.hint() }))
            }
        };
        run.probe.ended_at = jiff::Timestamp::now().to_string();
        (run.probe.exit_code, run.probe.error) = (Some(code), error);
        if let Some(rehearsal) = &mut run.rehearsal {
            rehearsal.ended_at.clone_from(&run.probe.ended_at);
            (rehearsal.exit_code, rehearsal.error) = (Some(code), run.probe.error.clone());
        }
        let mut written = ExitStatus::Success;
        for outlet in &self.outlets {
            if let Err(error) = outlet.write(printer, &run) {
                printer.warn(&format!("{} could not be written: {error}", outlet.name()));
                written = ExitStatus::LeftBehind;
            }
        }
        result.map(|status| status.and(written))
    }
}

impl Outlet {
    /// What is written, and where.
    fn name(&self) -> String {
        match self {
            Self::File(_, file) => format!("the report {}", file.path().display()),
            Self::Github(Some(summary)) => format!("the summary {}", summary.display()),
            Self::Stdout(_) | Self::Github(None) => "the report on stdout".to_owned(),
        }
    }

    fn write(&self, printer: Printer, report: &RunReport) -> error::Result<()> {
        match self {
            Self::File(format, file) => file.write(&text(*format, report)?)?,
            Self::Stdout(format) => printer.document(&text(*format, report)?)?,
            Self::Github(summary) => {
                printer.annotations(&github::annotations(report));
                if let Some(file) = summary {
                    report_file::append(file, &github::summary(report))?;
                }
            }
        }
        Ok(())
    }
}

/// The format of the document that the run prints when it has ended.
fn document_format(options: &Reporting<'_>) -> Option<Format> {
    match options.output {
        OutputFormat::Json if options.prints_document => Some(Format::Json),
        OutputFormat::Yaml if options.prints_document => Some(Format::Yaml),
        _ => None,
    }
}

fn text(format: Format, report: &RunReport) -> Result<String, RenderError> {
    Ok(match format {
        Format::Junit => junit::junit(report)?,
        Format::Json => match &report.rehearsal {
            Some(rehearsal) => json::document(rehearsal)?,
            None => json::document(&report.probe)?,
        },
        Format::Yaml => yaml::document(&report.probe)?,
        Format::Tap => tap::tap(report),
    })
}

/// Rejects two writers of the same file, or of stdout.
fn check(options: &Reporting<'_>) -> Result<(), UsageError> {
    let usage_error = |message: String| Err(UsageError { message, hint: None });
    let mut files = BTreeSet::new();
    for to in options.reports {
        if let Some(file) = to.file().filter(|file| !files.insert(*file)) {
            return usage_error(format!("two reports cannot go to the same file: {}", file.display()));
        }
    }
    if matches!(options.output, OutputFormat::Json | OutputFormat::Yaml | OutputFormat::Name)
        && options.reports.contains(&ReportTo::TapOnStdout)
    {
        return usage_error("--report tap=- and -o both want stdout: write one of them to a file".to_owned());
    }
    Ok(())
}
