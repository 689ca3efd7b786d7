//! Catching panics on the plugin's side of the boundary: of calls, of futures while polled and while dropped.

use std::any::Any;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::panics::{Panic, Watch};

/// Runs `call`; a panic becomes its message, with its place where the library's panic hook has seen it.
pub(super) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Panic> {
    let _watch = Watch::begin();
    catch_unwind(AssertUnwindSafe(call)).map_err(caught)
}

fn caught(payload: Box<dyn Any + Send>) -> Panic {
    let panic = Panic::of(&*payload);
    // A payload may panic when it is dropped; what that raises is leaked rather than risked again.
    if let Err(again) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        std::mem::forget(again);
    }
    panic
}

/// A future whose panics come out as `Err`, while polled, and go to `on_drop_panic` while dropped.
pub(super) struct GuardedFuture<F> {
    inner: ManuallyDrop<F>,
    on_drop_panic: fn(Panic),
}

impl<F> GuardedFuture<F> {
    pub(super) fn new(inner: F, on_drop_panic: fn(Panic)) -> Self {
        Self { inner: ManuallyDrop::new(inner), on_drop_panic }
    }
}

impl<F: Future> Future for GuardedFuture<F> {
    type Output = Result<F::Output, Panic>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `inner` is pinned with `self`: it is never moved out, and is dropped in place by `Drop` below.
        let inner: Pin<&mut F> = unsafe { self.map_unchecked_mut(|this| &mut *this.inner) };
        match guarded(|| inner.poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(answer)) => Poll::Ready(Ok(answer)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

impl<F> Drop for GuardedFuture<F> {
    fn drop(&mut self) {
        let inner = &mut self.inner;
        // SAFETY: called once, by `Drop` itself; nobody can touch `inner` afterwards.
        let dropped = guarded(|| unsafe { ManuallyDrop::drop(inner) });
        if let Err(panic) = dropped {
            (self.on_drop_panic)(panic);
        }
    }
}

/// A value whose destructor's panic goes to `on_drop_panic`.
pub(super) struct GuardedValue<T> {
    inner: ManuallyDrop<T>,
    on_drop_panic: fn(Panic),
}

impl<T> GuardedValue<T> {
    pub(super) fn new(inner: T, on_drop_panic: fn(Panic)) -> Self {
        Self { inner: ManuallyDrop::new(inner), on_drop_panic }
    }
}

impl<T> std::ops::Deref for GuardedValue<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> Drop for GuardedValue<T> {
    fn drop(&mut self) {
        let inner = &mut self.inner;
        // SAFETY: called once, by `Drop` itself; nobody can touch `inner` afterwards.
        let dropped = guarded(|| unsafe { ManuallyDrop::drop(inner) });
        if let Err(panic) = dropped {
            (self.on_drop_panic)(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    thread_local! {
        static DROPPED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    fn note(panic: Panic) {
        DROPPED.with_borrow_mut(|d| d.push(panic.message));
    }

    /// What a call says that panicked; nothing has installed the hook here.
    fn message<T: std::fmt::Debug>(call: impl FnOnce() -> T) -> String {
        let panic = guarded(call).unwrap_err();
        assert_eq!(panic.place, None);
        panic.message
    }

    struct PanicsOnDrop;
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            std::panic::panic_any(String::from("in drop"));
        }
    }

    #[test]
    fn panics_become_messages() {
        assert_eq!(guarded(|| 7), Ok(7));
        assert_eq!(message(|| -> () { panic!("plain") }), "plain");
        assert_eq!(message(|| -> () { panic!("with {}", 1) }), "with 1");
        assert!(message(|| -> () { std::panic::panic_any(PanicsOnDrop) }).contains("not text"));
    }

    #[test]
    fn a_future_is_guarded_while_polled_and_while_dropped() {
        let answer = futures_executor::block_on(GuardedFuture::new(async { panic!("polled") as u8 }, note));
        assert_eq!(answer.map_err(|panic| panic.message), Err("polled".into()));
        let held = PanicsOnDrop;
        drop(GuardedFuture::new(async move { std::mem::drop(held) }, note));
        drop(GuardedValue::new(PanicsOnDrop, note));
        assert_eq!(DROPPED.with_borrow(Clone::clone), ["in drop", "in drop"]);
    }
}
