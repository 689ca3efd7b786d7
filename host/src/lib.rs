//! Loads, swaps, guards and validates task-distribution policies while work keeps flowing.
