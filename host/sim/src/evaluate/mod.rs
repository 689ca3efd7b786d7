//! What a policy did to a workload, in figures: of one run ([`RunFigures`]), over seeds ([`Row`], with confidence
//! intervals), against another policy ([`Difference`], paired by seed), and against what no policy could beat
//! ([`lower_bound`]), beside what was measured where the workload was recorded ([`recorded_figures`]). [`Condition`]
//! turns figures into a verdict. Pure: the caller decides what runs and where
//! results go.
//!
//! Every figure has one name ([`METRICS`]), used in JSON, CSV and conditions alike.

mod bound;
mod condition;
mod curve;
mod figures;
mod metric;
mod random;
mod recorded;
mod rows;
mod stats;

pub use bound::lower_bound;
pub use condition::{Broken, Condition};
pub use curve::{Curve, jct_curve, least_jct_curve, reads_inputs};
pub use figures::{Group, RunFigures, SizeBin, Spread};
pub use metric::{METRICS, Metric, Over, metric};
pub use random::Random;
pub use recorded::recorded_figures;
pub use rows::{Difference, Row, number};
pub use stats::{Interval, interval, mean};
