//! The workload file: what is written is read back, and what is wrong is refused with its place.

use std::path::PathBuf;

use policy_sim::evaluate::{metric, recorded_figures};
use policy_sim::workload::{ClusterDefaults, WorkloadError, file, parse_source};

const HEADER: &str = r#"{"format":"policy-host-workload","version":1,"network_mib_per_s":1000,"executors":[{"id":"e0","vcores":4,"memory_mib":100}]}"#;

fn read(text: &str) -> Result<policy_sim::workload::Workload, WorkloadError> {
    file::from_reader(text.as_bytes(), "w.jsonl", &ClusterDefaults::uniform(2, 3))
}

fn refusal(jobs: &str) -> (&'static str, String) {
    let error = read(&format!("{HEADER}\n{jobs}")).unwrap_err();
    (error.code(), error.to_string())
}

#[test]
fn the_example_of_the_format_reads_as_it_says() {
    let text = concat!(
        r#"{"format":"policy-host-workload","version":1,"network_mib_per_s":500,"executors":[{"id":"e0","vcores":4,"memory_mib":8192,"rack":"r1","speed":1.0,"labels":{"gpu":"none"}}]}"#,
        "\n",
        r#"{"id":"j1","tenant":"team-a","submit_us":12500,"priority":0,"stages":[{"id":0,"depends_on":[],"tasks":[{"duration_us":10000,"vcores":1,"memory_mib":0,"inputs":[{"executor":"e0","bytes":1048576}],"key":"part-00001","pin":null}]}]}"#,
        "\n"
    );
    let workload = read(text).unwrap();
    assert_eq!(workload.header.network_mib_per_s, 500);
    let executor = &workload.header.executors[0];
    assert_eq!((executor.vcores, executor.memory_mib, executor.rack.as_deref()), (4, 8192, Some("r1")));
    assert_eq!(executor.labels, [("gpu".to_owned(), "none".to_owned())]);
    let (job, task) = (&workload.jobs[0], &workload.jobs[0].stages[0].tasks[0]);
    assert_eq!((job.id.as_str(), &*job.tenant, job.submit_us), ("j1", "team-a", 12_500));
    assert_eq!((task.duration_us, task.key.as_deref(), task.pin.as_deref()), (10_000, Some("part-00001"), None));
    let mut written = Vec::new();
    file::to_writer(&mut written, &workload).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), text);
}

#[test]
fn what_is_left_out_has_its_default() {
    let text = concat!(
        r#"{"format":"policy-host-workload","version":1}"#,
        "\n",
        r#"{"id":"j","submit_us":0,"stages":[{"id":0,"tasks":[{"duration_us":5}]}]}"#,
        "\n\n"
    );
    let workload = read(text).unwrap();
    assert_eq!(workload.header.network_mib_per_s, 1000);
    assert_eq!(workload.header.executors, ClusterDefaults::uniform(2, 3).cluster.executors);
    let job = &workload.jobs[0];
    assert_eq!((&*job.tenant, job.priority, job.stages[0].depends_on.len()), ("default", 0, 0));
    let task = &job.stages[0].tasks[0];
    assert_eq!((task.vcores, task.memory_mib, task.inputs.len(), task.key.is_none()), (1, 0, 0, true));
}

#[test]
fn every_kind_of_workload_reads_back() {
    let spec = "synthetic:jobs=50,vcores=uniform:1:3,memory_mib=exp:20,pin=0.3,priorities=3";
    let workload = parse_source(spec, &ClusterDefaults::uniform(4, 4)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.jsonl");
    file::write(&path, &workload).unwrap();
    let read = parse_source(&path.display().to_string(), &ClusterDefaults::uniform(1, 1)).unwrap();
    assert_eq!(read, workload);
}

#[test]
fn broken_lines_are_refused_with_line_and_column() {
    let cases = [
        ("{\"id\":\"j\",\"submit_us\":0", "w.jsonl:2:", "EOF"),
        ("{\"id\":\"j\",\"submit_us\":-5}", "w.jsonl:2:24", "invalid value"),
        ("{\"id\":\"j\"}", "w.jsonl:2:10", "missing field `submit_us`"),
        ("{\"id\":\"j\",\"submit_us\":0,\"colour\":1}", "w.jsonl:2:32", "unknown field `colour`"),
        (
            "{\"id\":\"j\",\"submit_us\":0,\"stages\":[{\"id\":0,\"tasks\":[{\"duration_us\":1,\"gpus\":1}]}]}",
            "w.jsonl:2:",
            "unknown field `gpus`",
        ),
        ("{\"id\":\"j\",\"submit_us\":0}\nnonsense", "w.jsonl:3:", "expected"),
        ("\n{\"id\":\"j\",\"submit_us\":0}", "w.jsonl:2:1", "an empty line"),
    ];
    for (jobs, place, reason) in cases {
        let (code, message) = refusal(jobs);
        assert_eq!(code, "workload-malformed", "{message}");
        assert!(message.starts_with(place) && message.contains(reason), "{message}: not {place} … {reason}");
    }
}

#[test]
fn workloads_that_make_no_sense_are_refused_with_their_line() {
    let job = |id: &str, submit: u64, stages: &str| {
        format!("{{\"id\":\"{id}\",\"submit_us\":{submit},\"stages\":[{stages}]}}\n")
    };
    let fine = job("a", 5, "");
    let stage = |id: u32, depends: &str| format!("{{\"id\":{id},\"depends_on\":[{depends}]}}");
    let task = |task: &str| format!("{{\"id\":0,\"tasks\":[{{\"duration_us\":1,{task}}}]}}");
    let cases = [
        (job("b", 4, ""), "jobs-out-of-order", "job `b` is submitted at 4 us"),
        (job("a", 5, ""), "duplicate-job", "`a`"),
        (job("b", 5, &stage(0, "1")), "bad-stages", "stage 0 depends on stage 1, which does not exist"),
        (job("b", 5, &format!("{},{}", stage(0, "1"), stage(1, "0"))), "bad-stages", "circle"),
        (job("b", 5, &stage(0, "0")), "bad-stages", "circle"),
        (job("b", 5, &format!("{},{}", stage(0, ""), stage(0, ""))), "bad-stages", "two stages 0"),
        (job("b", 5, &task("\"vcores\":5")), "task-never-fits", "takes 5 vcores"),
        (job("b", 5, &task("\"memory_mib\":101")), "task-never-fits", "101 MiB"),
        (job("b", 5, &task("\"pin\":\"e9\"")), "unknown-executor", "`e9`"),
        (job("b", 5, &task("\"vcores\":0")), "out-of-range", "vcores is 0"),
        (job("b", u64::MAX, ""), "out-of-range", "submit_us"),
    ];
    for (bad, code, part) in cases {
        let (found, message) = refusal(&format!("{fine}{bad}"));
        assert_eq!(found, code, "{message}");
        assert!(message.starts_with("w.jsonl:3: ") && message.contains(part), "{message}: not … {part}");
    }
}

#[test]
fn headers_that_make_no_sense_are_refused() {
    let cases = [
        ("", "workload-malformed", "empty"),
        ("job0\t49\t49", "workload-malformed", "w.jsonl:1:1"),
        ("{\"format\":\"other\",\"version\":1}", "workload-format", "`other`"),
        ("{\"format\":\"policy-host-workload\",\"version\":2,\"new\":1}", "workload-version", "version is 2"),
        ("{\"format\":\"policy-host-workload\",\"version\":1,\"net\":1}", "workload-malformed", "`net`"),
        (
            "{\"format\":\"policy-host-workload\",\"version\":1,\"network_mib_per_s\":0}",
            "out-of-range",
            "network_mib_per_s is 0",
        ),
        (
            "{\"format\":\"policy-host-workload\",\"version\":1,\"executors\":[{\"id\":\"e\",\"speed\":0}]}",
            "out-of-range",
            "speed is 0",
        ),
        (
            "{\"format\":\"policy-host-workload\",\"version\":1,\"executors\":[{\"id\":\"e\"},{\"id\":\"e\"}]}",
            "duplicate-executor",
            "`e`",
        ),
    ];
    for (text, code, part) in cases {
        let error = read(text).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}: not … {part}");
    }
}

#[test]
fn sources_that_make_no_sense_are_refused() {
    let cases = [
        ("nowhere.jsonl", "workload-unreadable"),
        ("swim:nowhere.tsv", "workload-unreadable"),
        ("swim:nowhere.tsv?colour=1", "bad-workload-source"),
        ("openb:pods.csv", "bad-workload-source"),
        ("openb:pods.csv,nodes.csv", "workload-unreadable"),
        ("synthetic:jobs=many", "bad-workload-source"),
        ("synthetic:job=1", "bad-workload-source"),
    ];
    for (source, code) in cases {
        assert_eq!(parse_source(source, &ClusterDefaults::default()).unwrap_err().code(), code, "{source}");
    }
}

#[test]
fn the_sample_workloads_are_valid() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/workloads");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "jsonl") {
            parse_source(&path.display().to_string(), &ClusterDefaults::default()).unwrap();
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn what_was_recorded_is_passed_over_by_simulations_and_read_by_who_asks() {
    let header = r#"{"format":"policy-host-workload","version":1,"executors":[{"id":"e0"},{"id":"e1"}],"recorded":{"by":"x","jobs_left_out":2}}"#;
    let ran = |executor: &str, end: u64| {
        format!(
            r#""ran":{{"executor":"{executor}","task":0,"bound_us":10,"start_us":11,"end_us":{end},"reported_us":{end},"round":7}}"#
        )
    };
    let task = |executor: &str, end: u64| {
        let inputs = r#""inputs":[{"executor":"e0","bytes":30},{"executor":"e1","bytes":10}]"#;
        format!(r#"{{"duration_us":5,{inputs},{}}}"#, ran(executor, end))
    };
    let job = |tasks: &str| {
        let whole = r#""ran":{"policy":"bias","end_us":60,"rounds":[{"round":7,"at_us":10,"free":{"e0":1,"e1":1}}]}"#;
        format!(r#"{{"id":"j","submit_us":10,"stages":[{{"id":0,"tasks":[{tasks}]}}],{whole}}}"#)
    };
    let text = format!("{header}\n{}\n", job(&[task("e0", 50), task("e1", 60)].join(",")));
    let workload = read(&text).unwrap();
    let plain = concat!(
        r#"{"format":"policy-host-workload","version":1,"executors":[{"id":"e0"},{"id":"e1"}]}"#,
        "\n",
        r#"{"id":"j","submit_us":10,"stages":[{"id":0,"tasks":[{"duration_us":5,"inputs":[{"executor":"e0","bytes":30},{"executor":"e1","bytes":10}]},{"duration_us":5,"inputs":[{"executor":"e0","bytes":30},{"executor":"e1","bytes":10}]}]}]}"#
    );
    assert_eq!(workload, read(plain).unwrap());
    assert_eq!(file::recorded_from_reader(plain.as_bytes(), "w").unwrap(), None);
    let recorded = file::recorded_from_reader(text.as_bytes(), "w").unwrap().unwrap();
    assert_eq!(recorded.origin.as_ref().map(|o| (o.by.as_str(), o.jobs_left_out, o.cut)), Some(("x", 2, false)));
    assert_eq!(recorded.jobs[0].run.rounds[0].free["e1"], 1);
    assert_eq!(recorded.jobs[0].stages[0][1].as_ref().map(|t| (t.executor.as_str(), t.round)), Some(("e1", Some(7))));
    assert_eq!((recorded.makespan_us(&workload), recorded.local_and_all_bytes(&workload)), (50, (40, 80)));
    let figures = recorded_figures(&workload, &recorded);
    let value = |name| figures.values[metric(name).unwrap()];
    assert_eq!((value("jct_us.mean"), value("locality_bytes_share")), (50.0, 0.5));
    assert!(value("decision_us.p50").is_nan(), "nobody measured it");
    let misspelt = text.replace("\"bound_us\"", "\"bound\"");
    assert_eq!(read(&misspelt).unwrap_err().code(), "workload-malformed");
}
