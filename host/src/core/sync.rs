//! The seam for model checking: what hand-shakes between threads are made of. They are the standard library's; a model
//! checker's take their place here, and nowhere else.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
