//! A policy host inside a toy scheduler: four executors, one job, one round.
//!
//! ```sh
//! cargo run -p example-embed                 # the built-in round-robin answers
//! cargo run -p example-embed -- plugins.d    # the policy that plugins.d/active.json names answers
//! ```
//! Left out, because one round needs none of it: keeping the roster and each stage's tasks for the rounds to come,
//! reporting what became of tasks (`PolicyHost::observe`), and judging new libraries in a child process
//! (`HostOptions::judge`).

use std::time::Duration;

use policy_host::round::{Clock, ExecutorSpec, JobRow, Roster, RoundBuilder, StageRow, StageTasks, UidTable};
use policy_host::{EventKind, HostOptions, PolicyHost, StartError, TaskDistributionPolicy};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    // What answers until an active.json says otherwise, and when nothing else can.
    let mut options = HostOptions::with_policy(TaskDistributionPolicy::RoundRobin);
    let plugins = std::env::args_os().nth(1);
    options.plugins = plugins.clone().map(Into::into);
    let host = PolicyHost::start(options)?;
    if plugins.is_some() {
        // A scheduler need not wait: libraries are admitted in the background. This one wants to show them.
        let _ = tokio::time::timeout(Duration::from_secs(5), first_change(&host)).await;
    }

    // The scheduler's own state, as a round: who is free, what is pending.
    let mut free_vcores = [4, 4, 2, 2];
    let names = ["e0", "e1", "e2", "e3"];
    let executors: Vec<ExecutorSpec> = names.iter().map(|name| ExecutorSpec::new(*name, 4)).collect();
    let roster = Roster::new(&executors, &mut UidTable::default());
    let mut round = RoundBuilder::new();
    round.free_vcores(&free_vcores);
    let tenant = round.tenant("team-a", 0, 0);
    round.job(JobRow { key: 1, id: "job-1", tenant, priority: 0, submit_us: 0, vcores_in_use: 0 });
    let tasks = StageTasks::uniform(7, 1);
    round.stage(StageRow { number: 0, tasks, pending: 7, running: 0, runnable_since_us: 0 }, [(0, 7)]);

    // Asked once for all tasks. The plan is legal whatever the policy did: apply all of it.
    let plan = host.bind(round.finish(&roster, Clock { now_us: 0, seed: 7, number: 0 })).await;
    for bound in plan.bindings() {
        free_vcores[bound.executor.index()] -= 1;
        println!("task {} runs on {}", bound.task.index(), plan.round().roster().name(bound.executor));
    }
    let by = plan.answered_by();
    println!("bound by {} {} from {}; free now {free_vcores:?}", plan.policy(), by.version(), by.library());
    if let Some(reason) = plan.fallback() {
        println!("the fallback had to: {} ({})", reason.message, reason.code);
    }
    host.shutdown().await;
    Ok(())
}

/// Waits until the plugin directory has changed what answers, or was refused to.
async fn first_change(host: &PolicyHost) {
    let mut events = host.events();
    while let Some(event) = events.next().await {
        match &event.kind {
            EventKind::Swapped { .. } => return,
            EventKind::Refused { file, code, message } => return println!("refused {file} ({code}): {message}"),
            _ => {}
        }
    }
}
