//! A whole cluster in this process: a scheduler on hosted policies, stock executors, a stock client, loopback ports that
//! the system chose. Policies are swapped by file while queries run; results must be single-node DataFusion's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ballista::prelude::SessionContextExt;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::config::SchedulerConfig;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use policy_ballista::record::Recorder;
use policy_ballista::{PolicyAdapter, install, serve};
use policy_host::{EventKind, Events, HostOptions, PolicyHost, TaskDistributionPolicy};
use tokio::task::JoinSet;

/// Every wait in here ends with this at the latest.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const QUERIES: [&str; 3] = [
    "SELECT k % 17 AS g, count(*) AS n, sum(v) AS s FROM facts GROUP BY k % 17 ORDER BY g",
    "SELECT d.name, sum(f.v) AS s, max(f.k) AS m FROM facts f JOIN dimension d ON f.k % 40 = d.id \
     GROUP BY d.name ORDER BY d.name",
    "SELECT count(*) AS n, min(v) AS a, max(v) AS z FROM facts WHERE k % 3 = 1",
];

/// Scheduler and executors; dropped, they end.
pub(crate) struct Cluster {
    pub(crate) adapter: Arc<PolicyAdapter>,
    pub(crate) url: String,
    _services: JoinSet<()>,
}

impl Cluster {
    async fn start(directory: &Path, plugins: Option<PathBuf>, policy: TaskSchedulingPolicy) -> Self {
        Self::watched(directory, plugins, policy, None).await
    }

    /// A cluster, with a recorder looking on.
    pub(crate) async fn watched(
        directory: &Path,
        plugins: Option<PathBuf>,
        policy: TaskSchedulingPolicy,
        recorder: Option<&Arc<Recorder>>,
    ) -> Self {
        let mut options = HostOptions::with_policy(TaskDistributionPolicy::RoundRobin);
        options.plugins = plugins;
        let host = Arc::new(PolicyHost::start(options).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config =
            SchedulerConfig { external_host: "127.0.0.1".into(), bind_port: port, ..SchedulerConfig::default() }
                .with_scheduler_policy(policy);
        let (adapter, mut cluster, config) = install(Arc::clone(&host), config);
        if let Some(recorder) = recorder {
            cluster = recorder.watch(&cluster, move || host.active().policy().to_owned());
        }
        let mut services = JoinSet::new();
        let scheduler = serve(Arc::clone(&adapter), cluster, config, listener);
        services.spawn(async { scheduler.await.expect("the scheduler runs until the test ends") });
        for name in ["e0", "e1"] {
            let work = directory.join(name);
            std::fs::create_dir(&work).unwrap();
            let executor = ExecutorProcessConfig {
                executor_id: name.into(),
                external_host: Some("127.0.0.1".into()),
                port: free_port(),
                grpc_port: free_port(),
                scheduler_host: "127.0.0.1".into(),
                scheduler_port: port,
                scheduler_connect_timeout_seconds: 30,
                vcores: 4,
                task_scheduling_policy: policy,
                work_dir: Some(work.to_string_lossy().into_owned()),
                ..ExecutorProcessConfig::default()
            };
            services.spawn(async { start_executor_process(Arc::new(executor)).await.expect("an executor runs") });
        }
        Self { adapter, url: format!("df://127.0.0.1:{port}"), _services: services }
    }
}

/// A port that nobody listens on right now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Two tables as files, the larger one in several.
pub(crate) async fn data(directory: &Path) -> (PathBuf, PathBuf) {
    let (facts, dimension) = (directory.join("facts"), directory.join("dimension"));
    let context = SessionContext::new();
    for part in 0..6 {
        let sql = format!("SELECT value * 6 + {part} AS k, (value * 7919) % 1009 AS v FROM range(0, 2000)");
        write(&context, &sql, &facts.join(format!("{part}.parquet"))).await;
    }
    let sql = "SELECT value AS id, concat('name-', value % 5) AS name FROM range(0, 40)";
    write(&context, sql, &dimension.join("0.parquet")).await;
    (facts, dimension)
}

async fn write(context: &SessionContext, sql: &str, file: &Path) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let frame = context.sql(sql).await.unwrap();
    frame.write_parquet(file.to_str().unwrap(), DataFrameWriteOptions::new(), None).await.unwrap();
}

pub(crate) async fn with_tables(context: SessionContext, tables: &(PathBuf, PathBuf)) -> SessionContext {
    for (name, path) in [("facts", &tables.0), ("dimension", &tables.1)] {
        context.register_parquet(name, path.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
    }
    context
}

pub(crate) async fn answer(context: &SessionContext, sql: &str) -> String {
    let rows = async { context.sql(sql).await.unwrap().collect().await.unwrap() };
    let rows = tokio::time::timeout(PATIENCE, rows).await.unwrap_or_else(|_| panic!("no answer to {sql}"));
    pretty_format_batches(&rows).unwrap().to_string()
}

async fn expected(tables: &(PathBuf, PathBuf)) -> Vec<String> {
    let single = with_tables(SessionContext::new(), tables).await;
    let mut answers = Vec::new();
    for sql in QUERIES {
        answers.push(answer(&single, sql).await);
    }
    answers
}

/// Where cargo put the shared libraries of the dev-dependencies: beside the test binary.
fn library(name: &str) -> PathBuf {
    let file = format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let path = std::env::current_exe().unwrap().with_file_name(file);
    assert!(path.is_file(), "{} is not built", path.display());
    path
}

/// Writes beside, renames.
pub(crate) fn put(directory: &Path, name: &str, bytes: &[u8]) {
    let beside = directory.join(format!(".{name}.new"));
    std::fs::write(&beside, bytes).unwrap();
    std::fs::rename(beside, directory.join(name)).unwrap();
}

pub(crate) fn drop_in(directory: &Path, artifact: &str) {
    let path = library(artifact);
    put(directory, path.file_name().unwrap().to_str().unwrap(), &std::fs::read(&path).unwrap());
}

/// Waits until a policy of this name has answered, or proved idle.
async fn receipted(events: &mut Events, wanted: &str) {
    let seen = async {
        while let Some(event) = events.next().await {
            match &event.kind {
                EventKind::Receipted { policy, .. } if policy == wanted => return,
                EventKind::FallbackRound { message, .. } => panic!("{message}"),
                _ => {}
            }
        }
        panic!("the host is gone");
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("{wanted} was not activated"));
}

/// Queries run while six policies follow each other.
async fn swaps_under_load(mode: TaskSchedulingPolicy) {
    let directory = tempfile::tempdir().unwrap();
    let tables = data(directory.path()).await;
    let expected = expected(&tables).await;
    let plugins = directory.path().join("plugins.d");
    std::fs::create_dir(&plugins).unwrap();
    let cluster = Cluster::start(directory.path(), Some(plugins.clone()), mode).await;
    let mut events = cluster.adapter.host().events();
    let context = with_tables(SessionContext::remote(&cluster.url).await.unwrap(), &tables).await;
    assert_eq!(answer(&context, QUERIES[0]).await, expected[0], "before any plugin");

    let swapped = AtomicBool::new(false);
    let swaps = async {
        for artifact in ["policy_bias", "policy_round_robin"] {
            drop_in(&plugins, artifact);
        }
        for policy in ["bias", "round-robin", "bias", "round-robin", "bias", "round-robin"] {
            put(&plugins, "active.json", format!(r#"{{"policy":"{policy}","deadline_ms":5000}}"#).as_bytes());
            receipted(&mut events, policy).await;
        }
        swapped.store(true, Ordering::SeqCst);
    };
    let queries = async {
        let mut answered = 0;
        while !swapped.load(Ordering::SeqCst) || answered < QUERIES.len() {
            for (sql, expected) in QUERIES.iter().zip(&expected) {
                assert_eq!(&answer(&context, sql).await, expected, "{sql}");
                answered += 1;
            }
        }
    };
    tokio::join!(swaps, queries);

    let counts = cluster.adapter.counts();
    assert_eq!(counts.fallback_rounds, 0, "{counts:?}");
    assert!(counts.tasks >= 8 && counts.partitions >= counts.tasks, "{counts:?}");
    let active = cluster.adapter.host().active();
    let file = library("policy_round_robin");
    assert_eq!(active.library(), file.file_name().unwrap().to_string_lossy(), "a plugin file answers");
    while let Some(event) = events.try_next() {
        assert!(!matches!(event.kind, EventKind::FallbackRound { .. }), "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_swapped_while_queries_run_in_push_mode() {
    swaps_under_load(TaskSchedulingPolicy::PushStaged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_swapped_while_queries_run_in_pull_mode() {
    swaps_under_load(TaskSchedulingPolicy::PullStaged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_plugins_the_built_in_answers_and_a_directory_that_appears_is_picked_up() {
    let directory = tempfile::tempdir().unwrap();
    let tables = data(directory.path()).await;
    let expected = expected(&tables).await;
    let plugins = directory.path().join("later.d");
    let cluster = Cluster::start(directory.path(), Some(plugins.clone()), TaskSchedulingPolicy::PushStaged).await;
    let mut events = cluster.adapter.host().events();
    let context = with_tables(SessionContext::remote(&cluster.url).await.unwrap(), &tables).await;
    assert_eq!(answer(&context, QUERIES[1]).await, expected[1]);
    assert_eq!(cluster.adapter.host().active().policy(), "round-robin");

    std::fs::create_dir(&plugins).unwrap();
    drop_in(&plugins, "policy_bias");
    put(&plugins, "active.json", br#"{"policy":"bias","deadline_ms":5000}"#);
    receipted(&mut events, "bias").await;
    assert_eq!(answer(&context, QUERIES[2]).await, expected[2]);
    assert_eq!(cluster.adapter.counts().fallback_rounds, 0);
}

/// Behaves in the rounds of its admission. Ballista's job ids begin with a zero: ids made of the time.
const HOSTILE: &[u8] = br#"{"policy":"hostile","config":{"bind":"error","job":"0"},"deadline_ms":5000}"#;

/// The hostile policy breaks the contract in every round: it costs fallback rounds, no query.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_plugin_costs_no_query() {
    let directory = tempfile::tempdir().unwrap();
    let tables = data(directory.path()).await;
    let expected = expected(&tables).await;
    let plugins = directory.path().join("plugins.d");
    std::fs::create_dir(&plugins).unwrap();
    drop_in(&plugins, "fixture_hostile");
    put(&plugins, "active.json", HOSTILE);
    let cluster = Cluster::start(directory.path(), Some(plugins), TaskSchedulingPolicy::PushStaged).await;
    let mut events = cluster.adapter.host().events();
    let activated = async {
        while let Some(event) = events.next().await {
            if matches!(&event.kind, EventKind::Swapped { to, .. } if to == "hostile") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, activated).await.expect("the hostile policy is activated");
    let context = with_tables(SessionContext::remote(&cluster.url).await.unwrap(), &tables).await;
    for (sql, expected) in QUERIES.iter().zip(&expected) {
        assert_eq!(&answer(&context, sql).await, expected, "{sql}");
    }
    assert!(cluster.adapter.counts().fallback_rounds > 0);
}
