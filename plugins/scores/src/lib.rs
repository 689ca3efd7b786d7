//! Plugin with the scores `least-allocated`, `most-allocated`, `alignment`, `local-bytes` and `preferred-labels`, for
//! the policy `composite`. See the crate's README.

pub mod alignment;
pub mod allocated;
pub mod labels;
pub mod local_bytes;

policy_plugin_api::export_policy! {
    scores: [
        allocated::LeastAllocated,
        allocated::MostAllocated,
        alignment::Alignment,
        local_bytes::LocalBytes,
        labels::PreferredLabels,
    ],
}
