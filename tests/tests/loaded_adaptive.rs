//! Linked in and loaded, `adaptive` is the same. A test binary of its own: see `integration/loaded`.

#[path = "integration/hosted.rs"]
#[allow(dead_code, reason = "shared with the other tests, which use all of it")]
mod hosted;
#[path = "integration/rounds.rs"]
mod rounds;
#[path = "integration/loaded/same.rs"]
mod same;
#[path = "integration/sandbox.rs"]
#[allow(dead_code, reason = "shared with the other tests, which use all of it")]
mod sandbox;

use policy_adaptive::policy::Adaptive;

#[tokio::test]
async fn adaptive_answers_loaded_as_it_does_linked_in() {
    same::same::<Adaptive>("{}").await;
}
