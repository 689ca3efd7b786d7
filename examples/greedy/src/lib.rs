//! The policy of the demo: fills executors one after the other.
