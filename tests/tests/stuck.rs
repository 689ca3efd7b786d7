//! Threads that are stuck in plugin code, counted: over a whole process, so in one of its own.

use policy_host::{EventKind, HostOptions};

#[path = "integration/hosted.rs"]
#[allow(dead_code, reason = "shared with the other tests, which use all of it")]
mod hosted;
#[path = "integration/rounds.rs"]
mod rounds;
#[path = "integration/sandbox.rs"]
#[allow(dead_code, reason = "shared with the other tests, which use all of it")]
mod sandbox;

use hosted::Hosted;
use rounds::{jobs_round, round};

async fn resumed(hosted: &mut Hosted) {
    hosted.wait_for("another instance", |kind| matches!(kind, EventKind::Resumed { .. }).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_thread_counts_once_however_many_rounds_waited_for_it_and_the_cap_is_for_what_is_loaded() {
    let mut hosted = Hosted::over(sandbox::Sandbox::new(), HostOptions::default());
    hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    hosted.bind(1).await;
    let active = r#"{ "policy": "hostile", "config": { "job": "trap", "bind": "sleep", "sleep_ms": 600000 },
                      "deadline_ms": 300, "guard": { "misses": 1000 } }"#;
    hosted.bring_up("fixture_hostile", active, "hostile").await;
    let trap = || jobs_round(4, 2, &[("trap", "team-a", 5)]);

    // Twenty rounds at a time, one of which does not return.
    let hung = tokio::join!(hosted.host.bind(trap()), async {
        let behind = (0..19).map(|_| hosted.host.bind(round(4, 2, 3)));
        let mut plans = Vec::new();
        // All of them are asked before any is waited for.
        let mut all: Vec<_> = behind.map(Box::pin).collect();
        std::future::poll_fn(|cx| {
            all.retain_mut(|bind| match bind.as_mut().poll(cx) {
                std::task::Poll::Ready(plan) => {
                    plans.push(plan);
                    false
                }
                std::task::Poll::Pending => true,
            });
            if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        plans
    });
    assert_eq!(hung.0.fallback().map(|f| f.code), Some("deadline-exceeded"));
    for plan in &hung.1 {
        assert_eq!((plan.policy(), plan.fallback()), ("bias", None), "the standby answers those behind it");
    }
    resumed(&mut hosted).await;
    let receipt = hosted.host.receipt();
    assert_eq!((receipt.fallback_rounds, receipt.stuck_threads), (1, 1), "{receipt:#?}");
    assert_eq!(receipt.active.map(|a| (a.missed_deadlines, a.instances_written_off)), Some((1, 1)));

    // One thread more each time, until there are too many of them.
    while hosted.host.active().policy() == "hostile" {
        let plan = hosted.host.bind(trap()).await;
        assert_eq!(plan.fallback().map(|f| f.code), Some("deadline-exceeded"));
        let next = hosted
            .wait_for("another instance, or none", |kind| match kind {
                EventKind::Resumed { .. } => Some(true),
                EventKind::Quarantined { .. } => Some(false),
                _ => None,
            })
            .await;
        if !next {
            break;
        }
    }
    hosted.receipted("bias").await;
    assert_eq!(hosted.host.receipt().stuck_threads, policy_host::limits::MAX_STUCK_THREADS as u64);
    let refusal = hosted.host.switch(r#"{ "policy": "bias" }"#).await.expect_err("loaded, with a thread of its own");
    assert_eq!(refusal.code, "too-many-stuck-threads");
    let inline = hosted.host.switch(r#"{ "policy": "bias", "lane": "inline" }"#).await;
    assert_eq!(inline.map(|info| info.policy().to_owned()), Ok("bias".to_owned()));
    let built_in = hosted.host.switch(r#"{ "policy": "round-robin", "lane": "thread" }"#).await;
    assert_eq!(built_in.map(|info| info.library().to_owned()), Ok("(built-in)".to_owned()));
    assert_eq!(hosted.bind(3).await.policy(), "round-robin");
}
