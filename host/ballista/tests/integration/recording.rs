//! What a recorder makes of a run: a workload that the simulator reads and runs, with placements that agree with what
//! was bound; and what the command says and leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ballista::prelude::SessionContextExt;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::extension::SessionConfigExt;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use policy_ballista::record::{DEFAULT_NETWORK_MIB_PER_S, Recorder};
use policy_ballista::{DEFAULT_TENANT, PolicyOptions};
use policy_host::{HostOptions, PolicyHost, TaskDistributionPolicy};
use policy_sim::cluster::ClusterOptions;
use policy_sim::outcome::End;
use policy_sim::virtual_time;
use policy_sim::workload::{ClusterDefaults, Recorded, Workload, file};

use crate::cluster::{Cluster, PATIENCE, QUERIES, answer, data, with_tables};

/// Runs the queries one after another under `round-robin`; returns the recording, and tasks and rounds that were bound.
async fn recorded(mode: TaskSchedulingPolicy) -> (Workload, Recorded, u64) {
    let directory = tempfile::tempdir().unwrap();
    let tables = data(directory.path()).await;
    let path = directory.path().join("run.jsonl");
    let recorder = Recorder::create(&path, DEFAULT_NETWORK_MIB_PER_S).unwrap();
    let cluster = Cluster::watched(directory.path(), None, mode, Some(&recorder)).await;
    let context = with_tables(SessionContext::remote(&cluster.url).await.unwrap(), &tables).await;
    for sql in QUERIES {
        answer(&context, sql).await;
    }
    let recording = recorder.finish().unwrap();
    assert_eq!((recording.jobs, recording.jobs_left_out, recording.cut), (3, 0, false));
    let tasks = cluster.adapter.counts().tasks;
    let workload = file::read(&path, &ClusterDefaults::uniform(1, 1)).unwrap();
    let recorded = file::read_recorded(&path).unwrap().unwrap();
    (workload, recorded, tasks)
}

fn agrees_with_what_was_bound(workload: &Workload, recorded: &Recorded, bound: u64) {
    let names: Vec<(&str, u32)> = workload.header.executors.iter().map(|e| (e.name.as_str(), e.vcores)).collect();
    assert_eq!(names, [("e0", 4), ("e1", 4)]);
    let mut ballista_tasks = BTreeSet::new();
    let (mut bytes, mut keys, mut waits) = (0, 0, 0);
    for (job, ran) in workload.jobs.iter().zip(&recorded.jobs) {
        assert_eq!(ran.run.policy, "round-robin");
        assert!(ran.run.end_us > job.submit_us, "{ran:?}");
        assert_eq!(job.stages.iter().filter(|s| s.depends_on.is_empty() && s.tasks.len() > 1).count().min(1), 1);
        for (stage, runs) in job.stages.iter().zip(&ran.stages) {
            waits += stage.depends_on.len();
            for (task, run) in stage.tasks.iter().zip(runs) {
                let run = run.as_ref().expect("every task ran");
                ballista_tasks.insert((&job.id, stage.id, run.task));
                assert!(names.iter().any(|n| n.0 == run.executor), "{run:?}");
                assert!(task.duration_us > 0 && task.vcores == 1, "{task:?}");
                assert!(job.submit_us <= run.bound_us && run.bound_us <= run.reported_us, "{run:?}");
                assert!(run.start_us <= run.end_us && run.reported_us <= ran.run.end_us, "{run:?}");
                bytes += task.inputs.iter().map(|i| i.bytes).sum::<u64>();
                keys += usize::from(task.key.is_some());
            }
        }
    }
    assert_eq!(ballista_tasks.len() as u64, bound, "each task that was bound, once");
    assert!(bytes > 0 && keys > 0 && waits > 0, "{bytes} bytes, {keys} keys, {waits} dependencies");
}

/// The simulator runs what was recorded, to its end.
async fn runs_again(workload: Workload) {
    let tasks = workload.task_count();
    let host = PolicyHost::start(HostOptions::with_policy(TaskDistributionPolicy::RoundRobin)).unwrap();
    let cluster = policy_sim::cluster::Cluster::new(Arc::new(workload), ClusterOptions::default()).unwrap();
    let outcome = virtual_time::run(cluster, &host, Default::default()).await.unwrap();
    assert_eq!((outcome.end, outcome.counts.completed), (End::WorkloadDone, tasks));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_run_is_a_workload_that_says_where_its_tasks_ran() {
    let (workload, recorded, bound) = recorded(TaskSchedulingPolicy::PushStaged).await;
    agrees_with_what_was_bound(&workload, &recorded, bound);
    for ran in &recorded.jobs {
        // Vcores by round and executor.
        let mut taken: BTreeMap<(u64, &str), u32> = BTreeMap::new();
        for run in ran.stages.iter().flatten().flatten() {
            let round = run.round.expect("a round placed it");
            *taken.entry((round, &run.executor)).or_default() += 1;
        }
        assert!(!taken.is_empty());
        for ((round, executor), vcores) in taken {
            let seen = ran.run.rounds.iter().find(|r| r.round == round).expect("the round is recorded");
            let free = seen.free.get(executor).copied().unwrap_or(0);
            assert!(vcores <= free, "round {round} placed {vcores} on {executor}, {free} free");
        }
    }
    runs_again(workload).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_mode_is_recorded_too_but_for_its_rounds() {
    let (workload, recorded, bound) = recorded(TaskSchedulingPolicy::PullStaged).await;
    agrees_with_what_was_bound(&workload, &recorded, bound);
    assert!(recorded.jobs.iter().all(|j| j.run.rounds.is_empty()));
    runs_again(workload).await;
}

/// A client says whose its jobs are in settings of its session, or in the name of a job, which goes before.
#[tokio::test(flavor = "multi_thread")]
async fn tenant_and_priority_come_from_the_session_or_the_jobs_name() {
    let directory = tempfile::tempdir().unwrap();
    let tables = data(directory.path()).await;
    let path = directory.path().join("run.jsonl");
    let recorder = Recorder::create(&path, DEFAULT_NETWORK_MIB_PER_S).unwrap();
    let mode = TaskSchedulingPolicy::PushStaged;
    let cluster = Cluster::watched(directory.path(), None, mode, Some(&recorder)).await;
    let stock = with_tables(SessionContext::remote(&cluster.url).await.unwrap(), &tables).await;
    answer(&stock, QUERIES[0]).await;
    let knows = SessionConfig::new_with_ballista().with_option_extension(PolicyOptions::default());
    let state = SessionStateBuilder::new().with_config(knows).with_default_features().build();
    let context = with_tables(SessionContext::remote_with_state(&cluster.url, state).await.unwrap(), &tables).await;
    context.sql("SET policy.tenant = 'team-a'").await.unwrap();
    context.sql("SET policy.priority = 7").await.unwrap();
    answer(&context, QUERIES[0]).await;
    context.sql("SET ballista.job.name = '[tenant=team-b] nightly'").await.unwrap();
    answer(&context, QUERIES[0]).await;
    assert_eq!(recorder.finish().unwrap().jobs, 3);
    let workload = file::read(&path, &ClusterDefaults::uniform(1, 1)).unwrap();
    let jobs: Vec<_> = workload.jobs.iter().map(|j| (&*j.tenant, j.priority)).collect();
    assert_eq!(jobs, [(DEFAULT_TENANT, 0), ("team-a", 7), ("team-b", 7)]);
}

fn scheduler(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ballista-policy-scheduler"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn refused(arguments: &[&str], code: &str) {
    let Output { status, stderr, .. } = scheduler(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.code() == Some(1) && stderr.contains(code), "{status}, {stderr}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_recording_that_cannot_be_opened_is_refused_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let start = |file: &str, code: &str| {
        let own = ["--bind-host", "127.0.0.1", "--bind-port", "0", "--record", file];
        refused(&own, code);
    };
    start(text(&directory.path().join("none/run.jsonl")), "[recording-unwritable]");
    let there = directory.path().join("there.jsonl");
    std::fs::write(&there, "precious").unwrap();
    start(text(&there), "[recording-exists]");
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "precious");
    let cut = directory.path().join("cut.jsonl");
    std::fs::write(directory.path().join("cut.jsonl.part"), "precious").unwrap();
    start(text(&cut), "[recording-unfinished]");
    refused(&["--finish-recording", text(&cut)], "[recording-broken]");
    refused(&["--finish-recording", text(&directory.path().join("none"))], "[recording-missing]");
}

/// Told to stop, it leaves a workload file; killed, what `--finish-recording` makes one of.
#[cfg(unix)]
#[test]
fn a_scheduler_that_ends_leaves_a_workload_file_and_a_killed_one_what_becomes_one() {
    let directory = tempfile::tempdir().unwrap();
    for signal in ["TERM", "KILL"] {
        let file = directory.path().join(format!("{signal}.jsonl"));
        let part = directory.path().join(format!("{signal}.jsonl.part"));
        let own = ["--bind-host", "127.0.0.1", "--bind-port", "0", "--record", text(&file)];
        let mut child = scheduler(&own).stdout(Stdio::null()).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while std::fs::metadata(&part).map_or(0, |m| m.len()) == 0 {
            assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "it does not record");
            std::thread::sleep(Duration::from_millis(5));
        }
        let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let status = child.wait().unwrap();
        if signal == "KILL" {
            assert!(!file.exists() && !status.success());
            let finished = scheduler(&["--finish-recording", text(&file)]).output().unwrap();
            assert!(finished.status.success() && !finished.stdout.is_empty(), "{finished:?}");
        }
        assert!(!part.exists());
        let workload = file::read(&file, &ClusterDefaults::uniform(1, 1)).unwrap();
        assert_eq!((workload.jobs.len(), workload.header.network_mib_per_s), (0, DEFAULT_NETWORK_MIB_PER_S));
    }
}
