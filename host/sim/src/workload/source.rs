//! What `--workload` names: a file, or an importer or the generator with its argument. Chooses; reads nothing itself.

use std::path::Path;

use super::swim::SwimOptions;
use super::synthetic::SyntheticSpec;
use super::{ClusterDefaults, Recorded, Workload, WorkloadError, file, openb, recorded, swim};

/// Loads what `source` names:
/// - `swim:FILE[?OPTIONS]`: a SWIM Hadoop trace ([`swim`]);
/// - `openb:PODS.csv,NODES.csv`: the Alibaba GPU trace of 2023 ([`openb`]); its nodes are the executors;
/// - `recorded:FILE`, or simply the name of such a file: a recording of a host ([`recorded`]); its executors are the
///   cluster;
/// - `synthetic:SPEC`: the seeded generator ([`synthetic`](super::synthetic)); an empty SPEC is the default one;
/// - anything else: a workload file ([`file`](mod@file)).
///
/// Paths are relative to the working directory.
///
/// # Errors
/// When the source cannot be read, breaks its format, or makes a workload that cannot run. Nothing is left half read.
pub fn parse_source(source: &str, defaults: &ClusterDefaults) -> Result<Workload, WorkloadError> {
    if let Some(rest) = source.strip_prefix("swim:") {
        let (path, options) = match rest.split_once('?') {
            Some((path, options)) => (path, SwimOptions::parse(options)?),
            None => (rest, SwimOptions::default()),
        };
        return swim::read(Path::new(path), &options, defaults);
    }
    if let Some(rest) = source.strip_prefix("openb:") {
        let Some((pods, nodes)) = rest.split_once(',') else {
            let reason = "two files are needed: openb:PODS.csv,NODES.csv".to_owned();
            return Err(WorkloadError::BadSource { spec: source.to_owned(), reason });
        };
        return openb::read(Path::new(pods), Path::new(nodes), defaults);
    }
    if source.starts_with(SYNTHETIC) {
        return parse_seeded(source, defaults, 0);
    }
    match recording(source) {
        Some(path) => Ok(recorded::read(path, defaults)?.0),
        None => file::read(Path::new(source), defaults),
    }
}

/// The file that `source` names, if it is one that a host recorded.
#[must_use]
pub fn recording(source: &str) -> Option<&Path> {
    let path = Path::new(source);
    source.strip_prefix("recorded:").map(Path::new).or_else(|| policy_host::record::is_recording(path).then_some(path))
}

const SYNTHETIC: &str = "synthetic:";

/// Whether `source` is drawn from a seed: then [`parse_seeded`] gives another workload for each number.
#[must_use]
pub fn is_seeded(source: &str) -> bool {
    source.starts_with(SYNTHETIC)
}

/// How the jobs of `source` ran, where it is a workload file that says so of all of them.
///
/// # Errors
/// As [`file::read_recorded`].
pub fn parse_recorded(source: &str) -> Result<Option<Recorded>, WorkloadError> {
    let is_other = [SYNTHETIC, "swim:", "openb:"].iter().any(|prefix| source.starts_with(prefix));
    match is_other || recording(source).is_some() {
        true => Ok(None),
        false => file::read_recorded(Path::new(source)),
    }
}

/// As [`parse_source`], `number` seeds after the one that a generated workload names; other workloads are what they are.
///
/// # Errors
/// As [`parse_source`].
pub fn parse_seeded(source: &str, defaults: &ClusterDefaults, number: u64) -> Result<Workload, WorkloadError> {
    let Some(rest) = source.strip_prefix(SYNTHETIC) else { return parse_source(source, defaults) };
    let mut spec = rest.parse::<SyntheticSpec>()?;
    spec.seed = spec.seed.wrapping_add(number);
    spec.generate(defaults)
}
