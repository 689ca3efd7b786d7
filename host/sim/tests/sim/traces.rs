//! The importers on the real traces, where they are at hand. None of the data is part of this repository.

use std::path::PathBuf;

use policy_sim::workload::{ClusterDefaults, Workload, parse_source};

/// A trace in `../shared/traces`, seen from the root of the workspace; `None`, and a line that says so, without it.
fn trace(name: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces").join(name);
    if path.is_file() {
        return Some(path.display().to_string());
    }
    println!("skipped: no trace {name} in ../shared/traces");
    None
}

fn figures(name: &str, workload: &Workload) {
    println!(
        "{name}: {} jobs, {} tasks, {:.0} vcore seconds, last job at {} s",
        workload.jobs.len(),
        workload.task_count(),
        workload.work_vcore_us() as f64 / 1e6,
        workload.last_submit_us() / 1_000_000
    );
}

fn input_bytes(workload: &Workload) -> u64 {
    let tasks = workload.jobs.iter().flat_map(|j| &j.stages).flat_map(|s| &s.tasks);
    tasks.flat_map(|t| &t.inputs).map(|i| i.bytes).sum()
}

#[test]
fn the_day_of_2009_fits_32_vcores() {
    let Some(path) = trace("swim-fb2009-sample0.tsv") else { return };
    let workload = parse_source(&format!("swim:{path}"), &ClusterDefaults::uniform(8, 4)).unwrap();
    figures("swim 2009", &workload);
    assert_eq!(workload.jobs.len(), 5894);
    assert!(workload.jobs.iter().flat_map(|j| &j.stages).all(|s| (1..=1000).contains(&s.tasks.len())));
    let share = workload.work_vcore_us() as f64 / (32.0 * workload.last_submit_us() as f64);
    assert!((0.2..0.5).contains(&share), "{share} of what 32 vcores do in that time");
    // The cap on tasks drops no byte.
    let text = std::fs::read_to_string(&path).unwrap();
    let total: u64 = text.lines().map(|l| l.split('\t').nth(3).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(input_bytes(&workload), total);
}

#[test]
fn the_trace_of_2010_has_keys_and_shared_blocks() {
    let Some(path) = trace("swim-fb2010-paths-first12000.tsv") else { return };
    let workload = parse_source(&format!("swim:{path}?scale=0.05"), &ClusterDefaults::uniform(8, 4)).unwrap();
    figures("swim 2010, scaled to 5%", &workload);
    assert_eq!(workload.jobs.len(), 12_000);
    let mut holders = std::collections::HashMap::new();
    let mut shared = 0;
    for task in workload.jobs.iter().flat_map(|j| &j.stages[0].tasks) {
        let key = task.key.clone().expect("every job has a path");
        let Some(input) = task.inputs.first() else { continue };
        if let Some(before) = holders.insert(key, input.executor.clone()) {
            assert_eq!(before, input.executor, "one block lies in one place");
            shared += 1;
        }
    }
    assert!(shared > 3000, "{shared} tasks read a block that another one reads");
    let whole = parse_source(&format!("swim:{path}?max_tasks=100"), &ClusterDefaults::uniform(8, 4)).unwrap();
    figures("swim 2010, 100 tasks a stage", &whole);
}

#[test]
fn the_gpu_trace_has_all_its_pods_and_nodes() {
    let (Some(pods), Some(nodes)) = (trace("openb-pods-default.csv"), trace("openb-nodes.csv")) else { return };
    let workload = parse_source(&format!("openb:{pods},{nodes}"), &ClusterDefaults::default()).unwrap();
    figures("openb", &workload);
    assert_eq!((workload.jobs.len(), workload.header.executors.len()), (8152, 1523));
    assert_eq!(workload.task_count(), 8152);
    let gpu_nodes = workload.header.executors.iter().filter(|e| e.labels.iter().any(|(k, _)| k == "model"));
    assert_eq!(gpu_nodes.count(), 1213);
}

#[test]
fn jobs_that_read_the_same_belong_to_one_tenant() {
    let Some(path) = trace("swim-fb2010-paths-first12000.tsv") else { return };
    let read =
        |options: &str| parse_source(&format!("swim:{path}?{options}"), &ClusterDefaults::uniform(8, 4)).unwrap();
    assert!(read("jobs=500").jobs.iter().all(|j| &*j.tenant == "default"));
    let workload = read("jobs=500&tenants=5");
    let mut tenants = std::collections::HashMap::new();
    for job in &workload.jobs {
        let path = job.stages[0].tasks[0].key.as_deref().expect("every job has a path").split('#').next().unwrap();
        let before = tenants.insert(path.to_owned(), job.tenant.clone());
        assert!(before.is_none_or(|before| before == job.tenant), "{path}");
    }
    let named: std::collections::BTreeSet<_> = tenants.values().map(|t| t.to_string()).collect();
    assert_eq!(named, (0..5).map(|i| format!("team-{i}")).collect());
}
