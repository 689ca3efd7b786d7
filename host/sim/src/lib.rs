//! The embedded cluster: workloads, executors and time for the policy host.
