//! Answers that are known without a simulator, asked of the command: workload files in, JSON out. Scheduling theory's
//! are exact; queueing theory's hold within a band of the mean over five seeds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::evaluate::{evaluate, figure, row, workload};
use crate::sandbox::Sandbox;

/// A job of one stage of tasks of these durations.
fn job(id: &str, submit_us: u64, durations: impl IntoIterator<Item = u64>) -> Value {
    let tasks: Vec<Value> = durations.into_iter().map(|d| json!({ "duration_us": d })).collect();
    json!({ "id": id, "submit_us": submit_us, "stages": [{ "id": 0, "tasks": tasks }] })
}

/// One seed of a workload file on `executors` of one vcore each.
fn once(file: &str, executors: u64, policies: &[&str]) -> Value {
    let executors = executors.to_string();
    let arguments = ["--workload", file, "--seeds", "1", "--executors", &executors, "--vcores", "1", "--policy"];
    evaluate(&[&arguments, policies].concat())
}

fn makespan(executors: u64, job: Value) -> u64 {
    let sandbox = Sandbox::new();
    let file = workload(&sandbox, json!({}), [job]);
    let result = once(&file, executors, &["round-robin", "bias"]);
    let of = |label: &str| figure(&result, label, "makespan_us.mean") as u64;
    assert_eq!(of("round-robin"), of("bias"), "equal executors");
    assert_eq!(of("round-robin"), of("random"), "equal executors");
    of("bias")
}

#[test]
fn list_scheduling_meets_grahams_bound() {
    // Graham 1966: m(m-1) unit jobs, then one of m, take 2m-1 where m would do.
    for m in [2u64, 3, 5, 8] {
        let worst = vec![1; (m * (m - 1)) as usize].into_iter().chain([m]);
        assert_eq!(makespan(m, job("j", 0, worst)), 2 * m - 1);
        let best = [m].into_iter().chain(vec![1; (m * (m - 1)) as usize]);
        assert_eq!(makespan(m, job("j", 0, best)), m);
    }
}

#[test]
fn longest_first_meets_its_bound() {
    // Graham 1969: two each of 2m-1 down to m+1, and three of m, take 4m-1 where 3m would do.
    for m in [2u64, 3, 5, 8] {
        let twice = (m + 1..2 * m).rev().flat_map(|d| [d, d]);
        assert_eq!(makespan(m, job("j", 0, twice.chain([m, m, m]))), 4 * m - 1);
    }
}

/// Nine tasks in the order of the list, each a stage of its own.
fn graham(times: [u64; 9], before: &[(u32, u32)]) -> Value {
    let stage = |(at, time): (u32, u64)| {
        let depends_on: Vec<u32> = before.iter().filter(|(_, after)| *after == at).map(|(first, _)| *first).collect();
        json!({ "id": at, "depends_on": depends_on, "tasks": [{ "duration_us": time }] })
    };
    let stages: Vec<Value> = (1..).zip(times).map(stage).collect();
    json!({ "id": "j", "submit_us": 0, "stages": stages })
}

#[test]
fn grahams_anomalies_come_out() {
    // Graham 1969, figures 3 to 6: more machines, shorter tasks and fewer constraints each make it later.
    let times = [3, 2, 2, 2, 4, 4, 4, 4, 9];
    let before = [(1, 9), (4, 5), (4, 6), (4, 7), (4, 8)];
    assert_eq!(makespan(3, graham(times, &before)), 12);
    assert_eq!(makespan(4, graham(times, &before)), 15);
    assert_eq!(makespan(3, graham(times.map(|t| t - 1), &before)), 13);
    assert_eq!(makespan(3, graham(times, &[(1, 9), (4, 7), (4, 8)])), 16);
}

#[test]
fn precedence_costs_at_most_grahams_factor() {
    // List scheduling ends by work / m + (1 - 1/m) x critical path, whatever the constraints.
    let mut state = 7u64;
    let mut draw = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for m in [2u64, 3, 7] {
        let mut ends: Vec<u64> = Vec::new();
        let (mut work, mut stages) = (0, Vec::new());
        for at in 0..60u64 {
            let depends_on: BTreeSet<u64> = (0..draw(3)).filter(|_| at > 0).map(|_| draw(at.max(1))).collect();
            let tasks: Vec<u64> = (0..1 + draw(4)).map(|_| 1 + draw(1000)).collect();
            let begin = depends_on.iter().map(|&d| ends[d as usize]).max().unwrap_or(0);
            ends.push(begin + tasks.iter().max().unwrap());
            work += tasks.iter().sum::<u64>();
            let tasks: Vec<Value> = tasks.into_iter().map(|d| json!({ "duration_us": d })).collect();
            stages.push(json!({ "id": at, "depends_on": depends_on, "tasks": tasks }));
        }
        let path = *ends.iter().max().unwrap();
        let found = makespan(m, json!({ "id": "j", "submit_us": 0, "stages": stages }));
        assert!(found * m <= work + (m - 1) * path, "{found} on {m}: work {work}, path {path}");
        assert!(found >= path && found * m >= work);
    }
}

#[test]
fn first_fit_decreasing_meets_its_instance() {
    // Sizes of which 11 bins are filled where 9 would do (Johnson 1973), here with bins of 100.
    let of = |count: usize, size: u64| vec![size; count];
    let decreasing = [of(6, 51), of(6, 27), of(6, 26), of(12, 23)].concat();
    let packed = [[51, 26, 23].repeat(6), [27, 27, 23, 23].repeat(3)].concat();
    let sandbox = Sandbox::new();
    let bins = |sizes: &[u64], executors: u64| {
        let tasks: Vec<Value> = sizes.iter().map(|v| json!({ "duration_us": 10, "vcores": v })).collect();
        let job = json!({ "id": "j", "submit_us": 0, "stages": [{ "id": 0, "tasks": tasks }] });
        let file = workload(&sandbox, json!({}), [job]);
        let (log, executors) = (sandbox.root().join("events"), executors.to_string());
        let log = log.to_str().unwrap();
        let all =
            ["--workload", &file, "--seeds", "1", "--executors", &executors, "--vcores", "100", "--policy", "bias"];
        let result = evaluate(&[&all[..], &["--events", log]].concat());
        let started = happened(log, "started");
        let used: BTreeSet<String> =
            started.iter().filter(|l| l["t_us"] == 0).map(|l| l["executor"].to_string()).collect();
        (used.len(), figure(&result, "bias", "makespan_us.mean"))
    };
    assert_eq!(bins(&decreasing, 12), (11, 10.0));
    assert_eq!(bins(&decreasing, 9), (9, 20.0), "what does not fit comes later");
    assert_eq!(bins(&packed, 9), (9, 10.0));
}

/// Lines of an event log of one kind.
fn happened(log: &str, event: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).filter(|l| l["event"] == event).collect()
}

/// Tasks that start at time 0 under `tenant-fair`, by tenant; the id of a job is its tenant.
fn fair_shares(executor: Value, config: Value, demands: &[(&str, Value)]) -> BTreeMap<String, u64> {
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_tenant_fair");
    let jobs = demands.iter().map(|(tenant, task)| {
        json!({ "id": tenant, "tenant": tenant, "submit_us": 0, "stages": [{ "id": 0, "tasks": vec![task; 60] }] })
    });
    let file = workload(&sandbox, json!({ "executors": [executor] }), jobs);
    let log = sandbox.root().join("events");
    let (log, plugins) = (log.to_str().unwrap(), sandbox.plugins());
    let spec = json!({ "policy": "tenant-fair", "config": config }).to_string();
    let arguments = ["--plugins", plugins.to_str().unwrap(), "--workload", &file, "--seeds", "1", "--policy", &spec];
    evaluate(&[&arguments[..], &["--events", log]].concat());
    let mut shares = BTreeMap::new();
    for line in happened(log, "started").iter().filter(|l| l["t_us"] == 0) {
        *shares.entry(line["job"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    shares
}

#[test]
fn dominant_resource_fairness_gives_what_the_paper_gives() {
    // Ghodsi et al. 2011, section 4.1: 9 CPUs and 18 GB; A asks <1, 4>, B <3, 1>: 3 tasks of A, 2 of B.
    let task =
        |vcores: u64, memory_mib: u64| json!({ "duration_us": 1000, "vcores": vcores, "memory_mib": memory_mib });
    let executor = json!({ "id": "e0", "vcores": 9, "memory_mib": 18 });
    let shares = fair_shares(executor, json!({}), &[("a", task(1, 4)), ("b", task(3, 1))]);
    assert_eq!(shares, BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 2)]));
    // One resource and weights 2 to 1: 20 and 10 of 30.
    let executor = json!({ "id": "e0", "vcores": 30 });
    let weights = json!({ "weights": { "a": 2.0 } });
    let shares = fair_shares(executor, weights, &[("b", task(1, 0)), ("a", task(1, 0))]);
    assert_eq!(shares, BTreeMap::from([("a".to_owned(), 20), ("b".to_owned(), 10)]));
}

#[test]
fn jains_index_has_its_known_answers() {
    for (work, index) in [(vec![1u64, 1, 1, 0], 0.75), (vec![1, 2, 3, 4], 0.8333), (vec![5, 5], 1.0)] {
        let sandbox = Sandbox::new();
        let jobs = work.iter().enumerate().map(|(i, &w)| {
            let mut job = job(&format!("j{i}"), 0, [w * 1000]);
            job["tenant"] = format!("t{i}").into();
            job
        });
        let file = workload(&sandbox, json!({}), jobs);
        let result = once(&file, 2, &["bias"]);
        assert!((figure(&result, "bias", "jain_tenants") - index).abs() < 1e-4, "{work:?}");
    }
}

#[test]
fn littles_law_and_the_books_hold_for_every_policy() {
    let sandbox = Sandbox::new();
    for artifact in ["policy_tenant_fair", "policy_data_locality"] {
        sandbox.drop_in(artifact);
    }
    let plugins = sandbox.plugins();
    let log = sandbox.root().join("events");
    let policies = ["bias", "round-robin", "binding", "consistent-hash", "tenant-fair", "data-locality", "random"];
    // Neither inputs nor speeds: service is what the workload says.
    let source = "synthetic:jobs=150,keys=0,vcores=uniform:1:2,priorities=2,rate=40";
    let arguments = ["--plugins", plugins.to_str().unwrap(), "--workload", source, "--seeds", "1"];
    let events = ["--events", log.to_str().unwrap(), "--policy"];
    let result = evaluate(&[&arguments[..], &events[..], &policies[..]].concat());
    let work = result["workload"]["work_vcore_us"].as_f64().unwrap();
    let vcores = result["workload"]["vcores"].as_f64().unwrap();
    for policy in policies {
        let of = |path: &str| figure(&result, policy, path);
        let (makespan, jobs) = (of("makespan_us.mean"), of("jobs_completed"));
        let (l, lambda, w) = (of("jobs_in_system"), jobs / makespan, of("jct_us.mean"));
        assert!((l / (lambda * w) - 1.0).abs() < 1e-9, "{policy}: L {l}, lambda W {}", lambda * w);
        assert_eq!(of("busy_vcore_us"), work, "{policy}: busy time is service time");
        assert!((of("utilisation") * makespan * vcores / work - 1.0).abs() < 1e-9, "{policy}");
        assert!(makespan >= work / vcores && makespan >= figure(&result, "lower-bound", "makespan_us.mean"));
        assert_eq!((jobs, of("tasks_unfinished"), of("fallback_rounds")), (150.0, 0.0, 0.0), "{policy}");
    }
    // Once more from the log alone: the area under the number of jobs is the sum of their times.
    let mut times: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (event, end) in [("submitted", false), ("finished", true)] {
        for line in happened(log.to_str().unwrap(), event) {
            let (job, at) = (line["job"].to_string(), line["t_us"].as_u64().unwrap());
            let time = times.entry(job).or_insert((at, at));
            if end { time.1 = time.1.max(at) } else { time.0 = time.0.min(at) }
        }
    }
    let mean = times.values().map(|(from, to)| (to - from) as f64).sum::<f64>() / times.len() as f64;
    assert!((figure(&result, "bias", "jct_us.mean") / mean - 1.0).abs() < 1e-9);
}

/// Mean wait and the whole row of a queue of single tasks: five seeds of `jobs` each.
fn queue(jobs: u64, servers: u64, rate: f64, duration: &str) -> Value {
    let source =
        format!("synthetic:jobs={jobs},rate={rate},stages=1,tasks=1,keys=0,tenants=1,duration={duration},seed=1");
    let servers = servers.to_string();
    let arguments =
        ["--workload", &source, "--executors", &servers, "--vcores", "1", "--seeds", "5", "--policy", "random"];
    evaluate(&arguments)
}

/// Seconds.
fn seconds(result: &Value, path: &str) -> f64 {
    figure(result, "random", path) / 1e6
}

fn within(what: &str, found: f64, known: f64, band: f64) {
    assert!((found / known - 1.0).abs() < band, "{what}: {found}, known {known}");
}

/// Erlang's C: the share of arrivals that wait, at `a` erlangs on `m` servers.
fn erlang_c(m: u64, a: f64) -> f64 {
    let b = (1..=m).fold(1.0, |b, k| a * b / (k as f64 + a * b));
    let rho = a / m as f64;
    b / (1.0 - rho * (1.0 - b))
}

#[test]
fn one_server_answers_as_erlang_says() {
    let result = queue(200_000, 1, 0.8, "exp:1s");
    within("mean wait", seconds(&result, "queue_wait_us.mean"), 4.0, 0.03);
    within("mean response", seconds(&result, "jct_us.mean"), 5.0, 0.03);
    within("utilisation", figure(&result, "random", "utilisation"), 0.8, 0.01);
    within("jobs in the system", figure(&result, "random", "jobs_in_system"), 4.0, 0.03);
    // The response is exponential with mean 5.
    for (path, known) in [("jct_us.p50", 3.4657), ("jct_us.p95", 14.9787), ("jct_us.p99", 23.0259)] {
        within(path, seconds(&result, path), known, 0.05);
    }
}

#[test]
fn several_servers_answer_as_erlang_says() {
    assert!((erlang_c(2, 1.8) - 0.852_632).abs() < 1e-6);
    for (m, rate) in [(2u64, 1.8), (4, 3.2), (16, 12.8)] {
        let known = erlang_c(m, rate) / (m as f64 - rate);
        let result = queue(100_000, m, rate, "exp:1s");
        // A mean over 500,000 jobs strays by percents at such a load: the interval over the seeds says by how much.
        let interval = &row(&result, "random")["metrics"]["queue_wait_us"]["ci95"];
        let (low, high) = (interval[0].as_f64().unwrap() / 1e6, interval[1].as_f64().unwrap() / 1e6);
        assert!((high - low) / known < 0.25, "{m}: too wide to tell: {low} to {high}");
        assert!(low <= known && known <= high, "mean wait of {m}: {low} to {high}, known {known}");
    }
}

#[test]
fn other_services_wait_as_pollaczek_and_khinchine_say() {
    // rho / 2 (1 - rho) x (second moment of the service, its mean being 1), at rho 0.8.
    for (duration, second_moment) in [
        ("1s", 1.0),
        ("uniform:0s:2s", 4.0 / 3.0),
        // Median e^(-1/8), sigma 1/2: mean 1, second moment e^(1/4).
        ("lognormal:882497us:0.5", f64::exp(0.25)),
        // Moderately heavy: least 3/4, alpha 4.
        ("pareto:750ms:4", 0.75 * 0.75 * 2.0),
    ] {
        let known = 0.8 * second_moment / (2.0 * 0.2);
        let result = queue(100_000, 1, 0.8, duration);
        within(duration, seconds(&result, "queue_wait_us.mean"), known, 0.04);
    }
}

#[test]
fn an_urgent_class_waits_as_cobham_says() {
    // Two classes of 0.4/s each, service 1 s exponential, not preemptive: 0.8 / (1 - 0.4), and that / (1 - 0.8).
    let sandbox = Sandbox::new();
    let mut state = 11u64;
    let mut exponential = move |mean_us: f64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        -mean_us * (((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64).ln()
    };
    let mut now = 0.0;
    let jobs: Vec<Value> = (0..150_000u64)
        .map(|i| {
            now += exponential(1.25e6);
            let urgent = exponential(1.0) < std::f64::consts::LN_2;
            let mut job = job(&format!("j{i}"), now as u64, [exponential(1e6) as u64]);
            job["tenant"] = if urgent { "urgent" } else { "patient" }.into();
            job["priority"] = i32::from(urgent).into();
            job
        })
        .collect();
    let file = workload(&sandbox, json!({}), jobs);
    let result = once(&file, 1, &["random"]);
    let wait =
        |tenant: &str| row(&result, "random")["by_tenant"][tenant]["queue_wait_us"]["mean"].as_f64().unwrap() / 1e6;
    within("urgent", wait("urgent"), 4.0 / 3.0, 0.05);
    within("patient", wait("patient"), 20.0 / 3.0, 0.10);
}

#[test]
fn a_join_waits_for_the_last_of_its_fork() {
    // The longest of n exponentials has mean 1 + 1/2 + ... + 1/n. Jobs come so seldom that none waits.
    for n in [2u64, 4, 8] {
        let source = format!("synthetic:jobs=20000,rate=0.001,stages=1,tasks={n},keys=0,duration=exp:1s");
        let n_text = n.to_string();
        let arguments =
            ["--workload", &source, "--executors", &n_text, "--vcores", "1", "--seeds", "2", "--policy", "random"];
        let harmonic: f64 = (1..=n).map(|k| 1.0 / k as f64).sum();
        within(&format!("{n} tasks"), seconds(&evaluate(&arguments), "jct_us.mean"), harmonic, 0.02);
    }
}

#[test]
fn two_queues_fork_and_join_as_flatto_and_hahn_say() {
    // Each job has a task for either of two servers of its own: (12 - rho) / 8 of the one-server response (1984).
    let sandbox = Sandbox::new();
    let mut state = 5u64;
    let mut exponential = move |mean_us: f64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        -mean_us * (((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64).ln()
    };
    let (mut now, rho) = (0.0, 0.5);
    let jobs: Vec<Value> = (0..60_000u64)
        .map(|i| {
            now += exponential(1e6 / rho);
            let task = |pin: &str, us: f64| json!({ "duration_us": us as u64, "pin": pin });
            let tasks = [task("e0", exponential(1e6)), task("e1", exponential(1e6))];
            json!({ "id": format!("j{i}"), "submit_us": now as u64, "stages": [{ "id": 0, "tasks": tasks }] })
        })
        .collect();
    let file = workload(&sandbox, json!({ "executors": [{ "id": "e0" }, { "id": "e1" }] }), jobs);
    let result = once(&file, 2, &["binding"]);
    let known = (12.0 - rho) / 8.0 / (1.0 - rho);
    within("response", figure(&result, "binding", "jct_us.mean") / 1e6, known, 0.04);
}

#[test]
fn waiting_for_a_holder_buys_what_delay_scheduling_says() {
    // Zaharia et al. 2010, section 3.3: a slot that comes free is the holder's with probability 1/M, so that after D of
    // them the share of local launches is 1 - (1 - 1/M)^D. Here M full executors each free their one slot once a second
    // on average. The first slot that is left alone starts the budget of W, within which Poisson(M W / 1 s) more come,
    // and the first after it is taken wherever it is: 1 - (1 - 1/M)^2 e^(-W / 1 s).
    const M: u64 = 10;
    const PROBES: u64 = 2_000;
    const APART_US: u64 = 6_000_000;
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_data_locality");
    let mut state = 3u64;
    let mut exponential_us = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (-1e6 * (((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64).ln()) as u64
    };
    let executors: Vec<Value> = (0..M).map(|e| json!({ "id": format!("e{e}") })).collect();
    let backlog = job("backlog", 0, (0..M * PROBES * APART_US / 1_000_000).map(|_| exponential_us()));
    let probe = |i: u64| {
        let inputs = json!([{ "executor": format!("e{}", i % M), "bytes": 1 }]);
        let stages = json!([{ "id": 0, "tasks": [{ "duration_us": 1, "inputs": inputs }] }]);
        json!({ "id": format!("p{i}"), "submit_us": (i + 1) * APART_US, "priority": 1, "stages": stages })
    };
    let file =
        workload(&sandbox, json!({ "executors": executors }), [backlog].into_iter().chain((0..PROBES).map(probe)));
    let others = 1.0 - 1.0 / M as f64;
    let known = |wait_s: f64| if wait_s == 0.0 { 1.0 - others } else { 1.0 - others * others * f64::exp(-wait_s) };
    let waits_ms = [0u64, 300, 1_000, 3_000];
    let specs = waits_ms
        .map(|w| json!({ "policy": "data-locality", "config": { "wait_ms": w, "network_mib_per_s": 0 } }).to_string());
    let plugins = sandbox.plugins();
    let mut arguments = vec!["--plugins", plugins.to_str().unwrap(), "--workload", &file, "--seeds", "1", "--policy"];
    arguments.extend(specs.iter().map(String::as_str));
    let result = evaluate(&arguments);
    for (row, wait_ms) in result["policies"].as_array().unwrap().iter().zip(waits_ms) {
        let found = row["metrics"]["locality_bytes_share"].as_f64().unwrap();
        let known = known(wait_ms as f64 / 1e3);
        assert!((found - known).abs() < 0.035, "{wait_ms} ms: {found} local, known {known}");
    }
}
