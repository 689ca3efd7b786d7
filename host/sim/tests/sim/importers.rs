//! The importers on a few rows written here: how bytes, pods and nodes become tasks and executors.

use std::fs;

use policy_sim::workload::swim::{self, SwimOptions};
use policy_sim::workload::{ClusterDefaults, Workload, WorkloadError, parse_source};

const MIB: u64 = 1 << 20;

fn import(text: &str, options: &str) -> Result<Workload, WorkloadError> {
    let options = SwimOptions::parse(options).unwrap();
    swim::from_text(text, "t.tsv", &options, &ClusterDefaults::uniform(4, 2))
}

#[test]
fn a_job_with_a_shuffle_has_maps_and_reduces() {
    let (input, shuffle, output) = (300 * MIB, 1025 * MIB, 64 * MIB);
    let workload = import(&format!("job0\t49\t49\t{input}\t{shuffle}\t{output}\n"), "").unwrap();
    let job = &workload.jobs[0];
    assert_eq!((job.id.as_str(), job.submit_us), ("job0", 49_000_000));
    let (maps, reduces) = (&job.stages[0], &job.stages[1]);
    assert_eq!((maps.tasks.len(), reduces.tasks.len(), &reduces.depends_on[..]), (3, 2, &[0][..]));
    // 100 MiB at 64 MiB/s, after half a second; then 512.5 MiB of shuffle and 32 MiB of output.
    assert_eq!(maps.tasks[0].duration_us, 500_000 + 1_562_500);
    assert_eq!(reduces.tasks[0].duration_us, 500_000 + 8_507_813);
    assert_eq!(maps.tasks.iter().flat_map(|t| &t.inputs).map(|i| i.bytes).sum::<u64>(), input);
    assert!(maps.tasks.iter().all(|t| t.key.is_none()) && reduces.tasks.iter().all(|t| t.inputs.is_empty()));
}

#[test]
fn a_job_without_a_shuffle_writes_in_its_maps() {
    let workload = import("a\t0\t0\t0\t0\t0\nb\t1\t1\t67108864\t0\t268435456\n", "").unwrap();
    let stages = |job: usize| &workload.jobs[job].stages;
    assert_eq!((stages(0).len(), stages(0)[0].tasks.len(), stages(0)[0].tasks[0].duration_us), (1, 1, 500_000));
    assert_eq!((stages(1).len(), stages(1)[0].tasks.len()), (1, 2));
    assert_eq!(stages(1)[0].tasks[0].duration_us, 500_000 + 2_500_000);
}

#[test]
fn a_path_gives_keys_and_places_to_all_that_read_it() {
    let row = |job: &str| format!("{job}\t0\t0\t{}\t0\t0\tinputPath1\t\t\n", 256 * MIB);
    let workload = import(&(row("a") + &row("b")), "").unwrap();
    let tasks = |job: usize| &workload.jobs[job].stages[0].tasks;
    assert_eq!(tasks(0), tasks(1));
    assert_eq!(tasks(0)[1].key.as_deref(), Some("inputPath1#1"));
}

#[test]
fn the_cap_on_tasks_drops_no_work() {
    let text = format!("a\t0\t0\t{}\t0\t0\n", 1280 * MIB);
    let (whole, capped) = (import(&text, "startup_ms=0").unwrap(), import(&text, "startup_ms=0&max_tasks=4").unwrap());
    assert_eq!((whole.task_count(), capped.task_count()), (10, 4));
    assert_eq!(whole.work_vcore_us(), capped.work_vcore_us());
    let scaled = import(&text, "startup_ms=0&scale=0.5").unwrap();
    assert_eq!((scaled.task_count(), scaled.work_vcore_us() * 2), (5, whole.work_vcore_us()));
    assert_eq!(import(&(text.clone() + &text.replace('a', "b")), "jobs=1").unwrap().jobs.len(), 1);
}

#[test]
fn rows_of_another_shape_are_refused_with_line_and_column() {
    for (row, told) in [
        ("a\t0\t0", "t.tsv:2:6: 3 fields, at least 6"),
        ("a\t0\t0\tmany\t0\t0", "t.tsv:2:7: map input bytes is `many`"),
        ("a\t 1s\t0\t1\t0\t0", "t.tsv:2:4: submit is `1s`"),
    ] {
        let error = import(&format!("ok\t0\t0\t1\t1\t1\n{row}\n"), "").unwrap_err();
        assert_eq!(error.code(), "workload-malformed");
        assert!(error.to_string().starts_with(told), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let nodes = file("n.csv", "sn,cpu_milli,memory_mib,gpu,model\nn0,4000,1024,0,\n");
    let head = "name,cpu_milli,memory_mib,qos,creation_time,deletion_time,scheduled_time";
    let pods = file("p.csv", &format!("{head}\np0,1000,1,LS,0,9,1\np1,1000\n"));
    let error = parse_source(&format!("openb:{pods},{nodes}"), &ClusterDefaults::default()).unwrap_err().to_string();
    assert!(error.contains("p.csv:3: 2 fields, the line before has 7"), "{error}");
}

#[test]
fn pods_become_jobs_and_nodes_executors() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let nodes = file("n.csv", "sn,cpu_milli,memory_mib,gpu,model\nn0,32000,2048,0,\nn1,96000,4096,8,G2\n");
    let columns =
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time";
    let rows = "late,6500,100,1,460,,LS,Running,30,90,40\nnever,0,1,0,0,,BE,Pending,10,15,";
    let pods = file("p.csv", &format!("{columns}\n{rows}\n"));
    let workload = parse_source(&format!("openb:{pods},{nodes}"), &ClusterDefaults::default()).unwrap();
    let executors = &workload.header.executors;
    assert_eq!((executors[1].vcores, executors[1].memory_mib), (96, 4096));
    assert_eq!(executors[1].labels, [("gpu".into(), "8".into()), ("model".into(), "G2".into())]);
    let seen = workload.jobs.iter().map(|j| {
        let task = &j.stages[0].tasks[0];
        (j.id.as_str(), &*j.tenant, j.submit_us, task.duration_us, task.vcores, task.memory_mib)
    });
    let wanted = [("never", "BE", 10_000_000, 5_000_000, 1, 1), ("late", "LS", 30_000_000, 50_000_000, 7, 100)];
    assert_eq!(seen.collect::<Vec<_>>(), wanted);
    let broken = file("b.csv", &format!("{columns}\nx,many,1,0,0,,BE,Pending,10,15,\n"));
    let error = parse_source(&format!("openb:{broken},{nodes}"), &ClusterDefaults::default()).unwrap_err();
    assert_eq!(error.code(), "workload-malformed");
    assert!(error.to_string().contains("b.csv:2"), "{error}");
}
