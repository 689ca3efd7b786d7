//! The report of an evaluation: one HTML file that loads nothing, with drawings as inline SVG. Everything but the section
//! of decision times is the same bytes for the same inputs.

mod chart;
mod curves;
mod figures;
mod gantt;
mod html;
mod marks;
mod over_time;
mod page;

pub(super) use html::shell_word;

use std::io::Write;
use std::path::{Path, PathBuf};

use policy_sim::workload::Workload;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::View;
use crate::failure::Failure;

/// What the report says besides figures.
pub(super) struct Setting {
    /// The command that gives the same figures.
    pub(super) command: String,
    /// Names and vcores, in the order of the workload.
    pub(super) executors: Vec<(String, u32)>,
    /// Whether any task reads anything.
    pub(super) reads_inputs: bool,
    /// Whether every seed has the same workload.
    pub(super) fixed: bool,
}

impl Setting {
    pub(super) fn new(command: String, workload: &Workload, fixed: bool) -> Self {
        let executors = workload.header.executors.iter().map(|e| (e.name.clone(), e.vcores)).collect();
        Self { command, executors, reads_inputs: policy_sim::evaluate::reads_inputs(workload), fixed }
    }
}

/// Where the report goes: a file beside it that takes its name when it is complete.
pub(super) struct Target {
    path: PathBuf,
    file: NamedTempFile,
}

impl Target {
    /// Makes sure, before anything is simulated, that the report can be written.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let unwritable = |reason: String| {
            let advice = "name a file in a directory that is there and can be written";
            Failure::new("report-unwritable", format!("{}: {reason}; {advice}", path.display()))
        };
        if path.is_dir() {
            return Err(unwritable("it is a directory".to_owned()));
        }
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".report-").suffix(".html");
        // As an ordinary file has it; a temporary one would be its owner's alone.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(directory).map_err(|e| unwritable(e.to_string()))?;
        Ok(Self { path: path.to_owned(), file })
    }

    pub(super) fn write(mut self, view: &View<'_>, facts: &Value, setting: &Setting) -> Result<(), Failure> {
        let page = page::Page::new(view, facts, setting).markup();
        let unwritable = |e: std::io::Error| Failure::new("report-unwritable", format!("{}: {e}", self.path.display()));
        self.file.write_all(page.as_bytes()).and_then(|()| self.file.as_file().sync_all()).map_err(unwritable)?;
        self.file.persist(&self.path).map_err(|e| unwritable(e.error))?;
        Ok(())
    }
}
