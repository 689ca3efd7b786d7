//! Memory over many switches, in a process of its own: what other tests allocate meanwhile would be counted, too.

use std::time::Duration;

use policy_host::{HostOptions, LaneKind, PolicyHost};

#[allow(dead_code, reason = "shared with the other test binary, which uses all of it")]
#[path = "integration/rounds.rs"]
mod rounds;
#[allow(dead_code, reason = "shared with the other test binary, which uses all of it")]
#[path = "integration/sandbox.rs"]
mod sandbox;

/// Resident set size in KiB; `None` where the system does not tell.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Switches, with rounds flowing until the new generation has answered one.
async fn switch(host: &PolicyHost, policy: &str) {
    let json = format!(r#"{{ "policy": "{policy}" }}"#);
    let mut switched = std::pin::pin!(host.switch(&json));
    loop {
        tokio::select! {
            done = &mut switched => break assert_eq!(done.expect("switched").policy(), policy),
            () = tokio::time::sleep(Duration::from_micros(100)) => drop(host.bind(rounds::round(4, 2, 4)).await),
        }
    }
}

#[tokio::test]
async fn a_thousand_switches_between_two_libraries_cost_no_memory() {
    let sandbox = sandbox::Sandbox::new();
    for artifact in ["policy_bias", "policy_round_robin"] {
        sandbox.drop_in(artifact);
    }
    let options = HostOptions { lane: LaneKind::Inline, ..HostOptions::default().plugins(sandbox.plugins()) };
    let host = PolicyHost::start(options).expect("it starts");
    let both = async |times: usize| {
        for _ in 0..times {
            switch(&host, "bias").await;
            switch(&host, "round-robin").await;
        }
    };
    // The allocator settles within the first two thousand.
    both(1_000).await;
    let before = resident_kib();
    both(500).await;
    let after = resident_kib();
    let Some((before, after)) = before.zip(after) else {
        return eprintln!("skipped: this system does not tell a process its resident memory");
    };
    // A retired generation holds some kilobytes: a thousand of them that are not dropped show.
    assert!(after.saturating_sub(before) < 1_024, "resident memory grew from {before} to {after} KiB");
    host.shutdown().await;
}
