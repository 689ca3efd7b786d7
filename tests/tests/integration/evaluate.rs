//! `evaluate` as a person or a script uses it: rows, references, differences, gates, logs, refusals.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::binary::run;
use crate::sandbox::Sandbox;

/// Runs `evaluate --json`; it must end well.
pub(crate) fn evaluate(arguments: &[&str]) -> Value {
    let mut all = vec!["evaluate", "--json"];
    all.extend(arguments);
    let (code, out, err) = run(&all);
    assert_eq!(code, 0, "{arguments:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

/// The row of a policy, of those asked for or of the references.
pub(crate) fn row<'a>(result: &'a Value, label: &str) -> &'a Value {
    let rows = ["policies", "references"].into_iter().flat_map(|k| result[k].as_array().unwrap());
    rows.into_iter().find(|r| r["label"] == label).unwrap_or_else(|| panic!("no {label}: {result}"))
}

/// One figure of a row, by its path.
pub(crate) fn figure(result: &Value, label: &str, path: &str) -> f64 {
    let metrics = &row(result, label)["metrics"];
    let value = path.split('.').fold(metrics, |value, key| &value[key]);
    value.as_f64().unwrap_or_else(|| panic!("{label} has no {path}: {metrics}"))
}

/// A workload file in a sandbox.
pub(crate) fn workload(sandbox: &Sandbox, header: Value, jobs: impl IntoIterator<Item = Value>) -> String {
    let mut header = header;
    header["format"] = "policy-host-workload".into();
    header["version"] = 1.into();
    let lines: Vec<String> = [header].into_iter().chain(jobs).map(|v| v.to_string()).collect();
    let path = sandbox.root().join("workload.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

fn plugins(artifacts: &[&str]) -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    artifacts.iter().for_each(|a| drop(sandbox.drop_in(a)));
    let path = sandbox.plugins().to_str().unwrap().to_owned();
    (sandbox, path)
}

/// Figures without those that the machine has a part in.
fn lasting(result: &Value) -> Value {
    let mut result = result.clone();
    for key in ["policies", "references"] {
        for row in result[key].as_array_mut().unwrap() {
            row["metrics"].as_object_mut().unwrap().remove("decision_us");
            row["ci95"].as_object_mut().unwrap().retain(|name, _| !name.starts_with("decision_us"));
        }
    }
    for difference in result["differences"].as_array_mut().unwrap() {
        difference["metrics"].as_object_mut().unwrap().retain(|name, _| !name.starts_with("decision_us"));
    }
    result
}

#[test]
fn a_row_a_policy_with_references_and_paired_differences() {
    let (_sandbox, plugins) = plugins(&["policy_bias", "policy_round_robin", "policy_tenant_quota"]);
    let quota = r#"{"policy":"bias","filters":[{"policy":"tenant-quota","config":{"quotas":{"team-a":2}}}]}"#;
    let workload = "synthetic:jobs=40,seed=3";
    let arguments =
        ["--plugins", &plugins, "--workload", workload, "--policy", "bias", "round-robin", quota, "--seeds", "3"];
    let result = evaluate(&arguments);
    let names: Vec<&str> =
        result["policies"].as_array().unwrap().iter().map(|r| r["policy"].as_str().unwrap()).collect();
    assert_eq!(names, ["bias", "round-robin", "bias"]);
    for (at, key) in [(0, "seeds"), (1, "metrics"), (2, "by_tenant"), (0, "by_size")] {
        assert!(result["policies"][at].get(key).is_some(), "{key}");
    }
    let metrics = &result["policies"][0]["metrics"];
    assert_eq!(metrics["makespan_us"]["ci95"].as_array().unwrap().len(), 2);
    for name in ["jct_us", "queue_wait_us", "bounded_slowdown"] {
        for part in ["mean", "p50", "p95", "p99"] {
            assert!(metrics[name][part].is_number(), "{name}.{part}: {metrics}");
        }
    }
    for name in ["utilisation", "locality_bytes_share", "jain_tenants", "oldest_wait_us"] {
        assert!(metrics[name].is_number(), "{name}: {metrics}");
    }
    assert_eq!((&metrics["invalid_bindings"], &metrics["fallback_rounds"]), (&0.into(), &0.into()));
    assert!(["p50", "p99", "max"].iter().all(|p| metrics["decision_us"][p].as_f64().unwrap() > 0.0));
    assert_eq!(result["policies"][0]["sha256"].as_str().unwrap().len(), 64, "the plugin, not the built-in");
    // Nobody beats the bound; a quota of 2 on one team of three costs time.
    let all: Vec<&Value> = ["policies", "references"].iter().flat_map(|k| result[k].as_array().unwrap()).collect();
    assert_eq!(all.len(), 5);
    for r in &all {
        let label = r["label"].as_str().unwrap();
        for path in ["makespan_us.mean", "jct_us.mean", "jct_us.p50", "jct_us.p99"] {
            assert!(figure(&result, label, path) >= figure(&result, "lower-bound", path), "{label} {path}");
        }
    }
    let capped = all.iter().find(|r| r["spec"]["filters"].is_array()).unwrap()["label"].as_str().unwrap();
    assert!(figure(&result, capped, "jct_us.mean") > figure(&result, "bias", "jct_us.mean"));
    assert_eq!(result["differences"].as_array().unwrap().len(), 6, "every pair of four");
    let difference = result["differences"].as_array().unwrap().iter().find(|d| d["policy"] == capped).unwrap();
    let mean = difference["metrics"]["jct_us.mean"]["mean"].as_f64().unwrap();
    let direct = figure(&result, capped, "jct_us.mean") - figure(&result, "bias", "jct_us.mean");
    assert!((mean - direct).abs() < 1e-6 * direct.abs());
    let jobs = |groups: &Value| groups.as_f64().unwrap();
    let tenants = result["policies"][0]["by_tenant"].as_object().unwrap();
    assert_eq!(tenants.values().map(|t| jobs(&t["jobs"])).sum::<f64>().round(), 40.0);
    let sizes = result["policies"][0]["by_size"].as_array().unwrap();
    assert!(sizes.len() > 1 && sizes.iter().all(|s| s["to_vcore_us"].as_f64() > s["from_vcore_us"].as_f64()));
}

#[test]
fn figures_and_logs_depend_on_neither_threads_nor_linking() {
    let (sandbox, plugins) = plugins(&["policy_bias", "policy_round_robin", "policy_data_locality"]);
    let log = |name: &str| sandbox.root().join(name);
    let events = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    let run = |threads: &str, file: &str, plugins: Option<&str>, policies: &[&str]| {
        let file = log(file);
        let mut arguments = vec!["--workload", "synthetic:jobs=60,vcores=uniform:1:3,priorities=2,pin=0.1"];
        arguments.extend(["--faults", "random:3s:500ms", "--seeds", "3", "--threads", threads, "--policy"]);
        arguments.extend(policies);
        arguments.extend(["--events", file.to_str().unwrap()]);
        arguments.extend(plugins.iter().flat_map(|p| ["--plugins", *p]));
        evaluate(&arguments)
    };
    let loaded = ["bias", "round-robin", "data-locality"];
    let (one, four) = (run("1", "one", Some(&plugins), &loaded), run("4", "four", Some(&plugins), &loaded));
    assert_eq!(lasting(&one), lasting(&four));
    let linked = run("2", "linked", None, &loaded[..2]);
    for (a, b, c) in [("one", "four", "linked"), ("one-round-robin", "four-round-robin", "linked-round-robin")] {
        let (a, b, c) = (events(log(a)), events(log(b)), events(log(c)));
        assert!(a.contains("requeued") && a.lines().count() > 500, "there is something to differ in");
        assert!(a == b && a == c);
    }
    assert_eq!(events(log("one-data-locality")), events(log("four-data-locality")));
    let library = |result: &Value| row(result, "bias")["library"].as_str().unwrap().to_owned();
    assert_ne!(library(&one), library(&linked), "one is loaded, the other linked in");
    assert_eq!(row(&one, "bias")["metrics"]["jct_us"], row(&linked, "bias")["metrics"]["jct_us"]);
}

#[test]
fn a_gate_fails_with_the_sentence() {
    let slow = r#"{"policy":"hostile","config":{"at_round":0}}"#;
    assert_eq!(run(&["evaluate", "--workload", "synthetic:jobs=9", "--policy", slow]).0, 1, "nobody provides it");
    let base = ["evaluate", "--workload", "synthetic:jobs=50", "--seeds", "2", "--policy", "bias", "round-robin"];
    let gate = |condition: &str| {
        let mut arguments = base.to_vec();
        arguments.extend(["--fail-if", condition]);
        run(&arguments)
    };
    assert_eq!(gate("p99_jct_us > 1.5 * baseline").0, 0);
    let (code, out, err) = gate("p99_jct_us > 0.5 * baseline");
    assert_eq!(code, 1);
    assert!(out.contains("round-robin"), "the table is there all the same: {out}");
    assert!(
        err.contains("error[condition-holds]: round-robin: `p99_jct_us > 0.5 * baseline` holds: p99_jct_us = "),
        "{err}"
    );
    assert!(!err.contains("bias:"), "the baseline is not compared with itself: {err}");
    assert_eq!(gate("makespan_us < lower_bound.makespan_us || fallback_rounds > 0").0, 0);
    assert_eq!(gate("p98_jct_us > 3").0, 2, "wrong usage");
    let alone = ["evaluate", "--workload", "synthetic:", "--policy", "bias", "--fail-if", "makespan_us > baseline"];
    assert_eq!(run(&alone).0, 2);
}

#[test]
fn wrong_answers_are_counted_and_named() {
    let (_sandbox, plugins) = plugins(&["fixture_hostile"]);
    let spec = r#"{"policy":"hostile","config":{"bind":"unknown-task","job":"j5"}}"#;
    let (code, out, err) = run(&[
        "evaluate",
        "--json",
        "--plugins",
        &plugins,
        "--workload",
        "synthetic:jobs=30",
        "--seeds",
        "2",
        "--policy",
        spec,
        "--fail-if",
        "invalid_bindings > 0",
    ]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("invalid_bindings = 2"), "one a run: {err}");
    let result: Value = serde_json::from_str(&out).unwrap();
    let fault = &row(&result, "hostile")["out_of_service"];
    assert_eq!((&fault["code"], &fault["seed"]), (&"unknown-task".into(), &0.into()));
    assert!(fault["round"].as_u64().unwrap() > 0, "{fault}");
    assert!(figure(&result, "hostile", "fallback_rounds") > 10.0, "others answer from there on");
    assert_eq!(figure(&result, "hostile", "tasks_unfinished"), 0.0);
}

/// Figures of a policy that did not answer to the end, or not for all tasks, pass no gate, whatever they are.
#[test]
fn a_gate_lets_through_neither_who_was_taken_out_nor_who_left_work_undone() {
    let (_sandbox, plugins) = plugins(&["fixture_hostile", "policy_tenant_quota"]);
    let gate = |spec: &str| {
        let arguments = ["evaluate", "--plugins", &plugins, "--workload", "synthetic:jobs=30", "--seeds", "1"];
        run(&[&arguments[..], &["--policy", "bias", spec, "--fail-if", "p99_jct_us > 100 * baseline"]].concat())
    };
    assert_eq!(gate("round-robin").0, 0);
    let (code, out, err) = gate(r#"{"policy":"hostile","config":{"bind":"panic","job":"j5"}}"#);
    assert_eq!(code, 1, "{out}");
    assert!(err.contains("error[condition-holds]: hostile was taken out of service in round "), "{err}");
    assert!(err.contains("[policy-panicked]: its figures are the fallback's"), "{err}");
    let quota = r#""filters":[{"policy":"tenant-quota","config":{"quotas":{"team-a":0}}}]"#;
    let (code, out, err) = gate(&format!(r#"{{"policy":"bias",{quota}}}"#));
    assert_eq!(code, 1, "{out}");
    assert!(err.contains(" left ") && err.contains(" tasks unfinished, the baseline 0"), "{err}");
}

#[test]
fn seeds_regenerate_what_is_generated_and_nothing_else() {
    let synthetic = evaluate(&["--workload", "synthetic:jobs=20,seed=5", "--policy", "bias", "--seeds", "2"]);
    let second = evaluate(&["--workload", "synthetic:jobs=20,seed=6", "--policy", "bias", "--seeds", "1"]);
    let first = evaluate(&["--workload", "synthetic:jobs=20,seed=5", "--policy", "bias", "--seeds", "1"]);
    let makespan = |r: &Value| figure(r, "bias", "makespan_us.mean");
    assert_ne!(makespan(&first), makespan(&second));
    assert_eq!(makespan(&synthetic), (makespan(&first) + makespan(&second)) / 2.0);
    assert_eq!(row(&first, "bias")["metrics"]["makespan_us"]["ci95"], Value::Null, "one seed has no interval");
    let sandbox = Sandbox::new();
    let tasks: Vec<Value> = (1..40).map(|d| json!({ "duration_us": d * 1000 })).collect();
    let job = json!({ "id": "j", "submit_us": 0, "stages": [{ "id": 0, "tasks": tasks }] });
    let file = workload(&sandbox, json!({}), [job]);
    let fixed = evaluate(&["--workload", &file, "--policy", "bias", "random", "--seeds", "4", "--executors", "3"]);
    let ends = |label: &str| row(&fixed, label)["metrics"]["makespan_us"]["ci95"].clone();
    let bias = figure(&fixed, "bias", "makespan_us.mean");
    assert_eq!(ends("bias"), json!([bias, bias].map(|x| x as u64)), "no chance in it");
    assert_eq!(fixed["references"].as_array().unwrap().len(), 1, "random was asked for");
}

#[test]
fn one_line_a_run_as_csv() {
    let sandbox = Sandbox::new();
    let csv = sandbox.root().join("runs.csv");
    let workload = "synthetic:jobs=20";
    evaluate(&["--workload", workload, "--policy", "bias", "--seeds", "3", "--csv", csv.to_str().unwrap()]);
    let text = std::fs::read_to_string(csv).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split(',').collect()).collect();
    assert_eq!(lines.len(), 1 + 3 * 3, "bias, random, lower-bound: {text}");
    assert_eq!(&lines[0][..3], ["policy", "seed", "makespan_us"]);
    assert!(lines.iter().all(|l| l.len() == lines[0].len()));
    let bias: Vec<&str> = lines.iter().filter(|l| l[0] == "bias").map(|l| l[1]).collect();
    assert_eq!(bias, ["0", "1", "2"]);
}

#[test]
fn executors_that_go_and_tasks_that_fail_are_told_and_run_again() {
    let sandbox = Sandbox::new();
    let header = json!({
        "executors": [{ "id": "e0" }, { "id": "e1" }],
        "faults": [{ "executor": "e0", "lost_us": 500, "back_us": 900 }],
    });
    let tasks = json!([{ "duration_us": 1000 }, { "duration_us": 100, "fails_after_us": [30, 40] }]);
    let job = json!({ "id": "j", "submit_us": 0, "stages": [{ "id": 0, "tasks": tasks }] });
    let file = workload(&sandbox, header, [job]);
    let log = sandbox.root().join("events.jsonl");
    let result =
        evaluate(&["--workload", &file, "--policy", "round-robin", "--seeds", "1", "--events", log.to_str().unwrap()]);
    // Task 1 fails at 30 and 70 and ends at 170 on e1; task 0 loses its executor at 500 and starts anew on e1.
    assert_eq!(figure(&result, "round-robin", "makespan_us.mean"), 1500.0);
    assert_eq!(figure(&result, "round-robin", "retries"), 3.0);
    assert_eq!(figure(&result, "round-robin", "wasted_vcore_us"), 570.0);
    assert_eq!(figure(&result, "round-robin", "tasks_completed"), 2.0);
    let text = std::fs::read_to_string(log).unwrap();
    let happened = |event: &str| -> Vec<u64> {
        let lines = text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        lines.filter(|l| l["event"] == event).map(|l| l["t_us"].as_u64().unwrap()).collect()
    };
    assert_eq!(happened("failed"), [30, 70]);
    assert_eq!(
        (happened("executor-lost"), happened("requeued"), happened("executor-joined")),
        (vec![500], vec![500], vec![900])
    );
    assert_eq!(happened("finished"), [170, 1500]);
    let faults = ["--faults", "e1@200us..300us", "--seeds", "1"];
    let more = evaluate(&[&["--workload", &file, "--policy", "round-robin"], &faults[..]].concat());
    assert_eq!(more["workload"]["outages"], 2);
    assert_eq!(figure(&more, "round-robin", "retries"), 3.0, "nothing runs on e1 then");
    assert_eq!(run(&["evaluate", "--workload", &file, "--policy", "bias", "--faults", "e9@5s"]).0, 1);
    assert_eq!(run(&["evaluate", "--workload", &file, "--policy", "bias", "--faults", "e1"]).0, 2);
}

#[test]
fn bytes_of_the_own_rack_come_faster_where_the_workload_says_so() {
    let sandbox = Sandbox::new();
    let executor = |id: &str, rack: &str| json!({ "id": id, "rack": rack });
    let time = |rack_mib_per_s: Value, holder: &str| {
        let mut header = json!({
            "network_mib_per_s": 100,
            "executors": [executor("e0", "r0"), executor("e1", "r0"), executor("e2", "r1")],
        });
        if !rack_mib_per_s.is_null() {
            header["rack_mib_per_s"] = rack_mib_per_s;
        }
        let task = json!({ "duration_us": 5, "pin": "e0", "inputs": [{ "executor": holder, "bytes": 1 << 20 }] });
        let job = json!({ "id": "j", "submit_us": 0, "stages": [{ "id": 0, "tasks": [task] }] });
        let file = workload(&sandbox, header, [job]);
        let result = evaluate(&["--workload", &file, "--policy", "binding", "--seeds", "1"]);
        figure(&result, "binding", "makespan_us.mean")
    };
    assert_eq!(time(Value::Null, "e1"), 10_005.0);
    assert_eq!(time(1000.into(), "e1"), 1_005.0);
    assert_eq!(time(1000.into(), "e2"), 10_005.0);
    assert_eq!(time(1000.into(), "elsewhere"), 10_005.0);
    assert_eq!(time(1000.into(), "e0"), 5.0);
}

#[test]
fn the_help_has_an_example_and_people_get_a_table() {
    let (code, out, _) = run(&["evaluate", "--help"]);
    assert!(code == 0 && out.contains("Example:"), "{out}");
    let (code, out, err) = run(&["evaluate", "--workload", "synthetic:jobs=9", "--policy", "bias", "--seeds", "2"]);
    assert_eq!((code, err.as_str()), (0, ""), "no bar without a terminal");
    for part in ["makespan", "bias", "random", "lower-bound", "Difference to bias", "2 seeds"] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[test]
fn what_cannot_be_run_is_refused_with_its_place_and_reason() {
    let sandbox = Sandbox::new();
    let bad = sandbox.root().join("bad.jsonl");
    std::fs::write(&bad, "{\"format\":\"policy-host-workload\",\"version\":1}\n{\"id\":\"j\",\"submit_us\":x}\n")
        .unwrap();
    for (arguments, code, part) in [
        (vec!["--workload", bad.to_str().unwrap(), "--policy", "bias"], 1, "bad.jsonl:2:23: expected value"),
        (vec!["--workload", "synthetic:jbos=2", "--policy", "bias"], 1, "jbos"),
        (vec!["--workload", "synthetic:", "--policy", "nobody"], 1, "error[unknown-policy]"),
        (
            vec!["--workload", "synthetic:", "--policy", r#"{"policy":"bias","config":{"x":1}}"#],
            1,
            "error[invalid-config]",
        ),
        (vec!["--workload", "synthetic:", "--policy", r#"{"policy":"#], 1, "--policy:1:10: EOF"),
        (vec!["--workload", "synthetic:", "--policy", "no-such.json"], 1, "error[spec-unreadable]"),
        (vec!["--workload", "synthetic:", "--policy", r#"{"policy":"random","config":{"a":1}}"#], 1, "takes no config"),
        (vec!["--workload", "synthetic:", "--policy", "bias", "--plugins", "/nonexistent"], 1, "directory-unreadable"),
        (vec!["--workload", "synthetic:", "--policy", "bias", "--baseline", "random-robin"], 2, "none of the policies"),
        (vec!["--workload", "synthetic:"], 2, "--policy"),
    ] {
        let (found, out, err) = run(&[&["evaluate"], &arguments[..]].concat());
        assert_eq!((found, out.as_str()), (code, ""), "{arguments:?}: {err}");
        assert!(err.contains(part), "{arguments:?}: {err}");
    }
}

#[test]
fn a_workload_runs_on_the_cluster_of_another_file() {
    let sandbox = Sandbox::new();
    let own = json!({ "executors": [{ "id": "e0" }] });
    let jobs = (0..4).map(|i| {
        json!({ "id": format!("j{i}"), "submit_us": 0,
        "stages": [{ "id": 0, "tasks": [{ "duration_us": 1000 }] }] })
    });
    let file = workload(&sandbox, own, jobs);
    // As a person would write it: over several lines.
    let there = sandbox.root().join("there.json");
    let header = json!({ "format": "policy-host-workload", "version": 1,
        "executors": [{ "id": "a", "vcores": 2, "speed": 0.5 }, { "id": "b", "vcores": 2, "speed": 0.5 }],
        "faults": [{ "executor": "b", "lost_us": 1 }] });
    std::fs::write(&there, serde_json::to_string_pretty(&header).unwrap()).unwrap();
    let there = there.to_str().unwrap();
    let makespan = |extra: &[&str]| {
        let arguments = [&["--workload", &file, "--seeds", "1", "--policy", "bias"], extra].concat();
        let result = evaluate(&arguments);
        (result["workload"]["vcores"].as_u64().unwrap(), figure(&result, "bias", "makespan_us.mean"))
    };
    assert_eq!(makespan(&[]), (1, 4000.0));
    // Two of the four begin on `b`, which is gone a microsecond later; `a` does two at a time, in 2000 us.
    assert_eq!(makespan(&["--cluster", there]), (4, 4000.0));
    assert_eq!(makespan(&["--cluster", &file]), (1, 4000.0), "jobs in it are ignored");
    for (text, says) in [
        ("{\"format\":\"policy-host-workload\",\"version\":1}", "no-executors"),
        ("{\"format\":\"policy-host-workload\",\n\"version\":1, \"executors\":[{\"id\":\"a\",\"vcorse\":3}]}", "2:"),
        ("", "workload-malformed"),
        ("{\"format\":\"else\",\"version\":1}", "workload-format"),
        ("{\"format\":\"policy-host-workload\",\"version\":1,\"executors\":[{\"id\":\"a\",\"vcores\":0}]}", "vcores"),
    ] {
        let bad = sandbox.root().join("bad.json");
        std::fs::write(&bad, text).unwrap();
        let (code, _, err) =
            run(&["evaluate", "--workload", &file, "--policy", "bias", "--cluster", bad.to_str().unwrap()]);
        assert!(code == 1 && err.contains(says), "{text}: {code} {err}");
    }
    let (code, _, err) =
        run(&["evaluate", "--workload", &file, "--policy", "bias", "--cluster", there, "--vcores", "3"]);
    assert!(code == 2 && err.contains("cannot be used with"), "{code} {err}");
}

#[test]
fn what_was_recorded_stands_beside_the_simulations() {
    let sandbox = Sandbox::new();
    let ran = |executor: &str, start: u64| {
        let (end, round) = (start + 90, 1);
        json!({ "executor": executor, "task": 0, "bound_us": start, "start_us": start, "end_us": end,
                "reported_us": end, "round": round })
    };
    let inputs = json!([{ "executor": "e0", "bytes": 60 }, { "executor": "e1", "bytes": 40 }]);
    let task = |executor: &str, start| json!({ "duration_us": 100, "inputs": inputs, "ran": ran(executor, start) });
    let round = json!({ "round": 1, "at_us": 0, "free": { "e0": 1, "e1": 1 } });
    let job = json!({ "id": "j", "submit_us": 0, "ran": { "policy": "bias", "end_us": 200, "rounds": [round] },
                      "stages": [{ "id": 0, "tasks": [task("e0", 0), task("e1", 0), task("e0", 100)] }] });
    let header = json!({ "executors": [{ "id": "e0" }, { "id": "e1" }], "recorded": { "by": "test" } });
    let path = workload(&sandbox, header, [job]);
    let result = evaluate(&["--workload", &path, "--policy", "bias", "--seeds", "2"]);
    assert_eq!(
        (row(&result, "recorded")["kind"].as_str(), figure(&result, "recorded", "makespan_us.mean")),
        (Some("recorded"), 200.0)
    );
    assert!((figure(&result, "recorded", "locality_bytes_share") - 160.0 / 300.0).abs() < 1e-9);
    assert_eq!(row(&result, "recorded")["policy"], "bias");
    assert!(row(&result, "recorded")["metrics"]["decision_us"]["p50"].is_null(), "nobody measured it");
    let (code, out, err) = run(&["evaluate", "--workload", &path, "--policy", "bias", "round-robin"]);
    assert_eq!(code, 0, "{err}");
    let told = out.split_once("Simulated against recorded; it ran under bias:").expect("it says how far off it is").1;
    assert!(told.contains("bias: makespan") && told.contains("round-robin: makespan"), "{out}");
    let plain = evaluate(&["--workload", "synthetic:jobs=3", "--policy", "bias", "--seeds", "1"]);
    assert!(plain["references"].as_array().unwrap().iter().all(|r| r["kind"] != "recorded"));
}
