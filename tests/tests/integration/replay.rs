//! `run --record`, `replay` and `evaluate` on what was recorded, as an operator uses them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::binary::{Running, over, run};
use crate::evaluate::{evaluate, figure, row, workload};
use crate::hosted::PATIENCE;
use crate::sandbox::Sandbox;

/// Runs `replay --json`; it must end well.
fn replay(file: &Path, arguments: &[&str]) -> Value {
    let mut all = vec!["replay", file.to_str().unwrap(), "--json"];
    all.extend(arguments);
    let (code, out, err) = run(&all);
    assert_eq!(code, 0, "{arguments:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

fn plugins(sandbox: &Sandbox) -> String {
    sandbox.plugins().to_str().unwrap().to_owned()
}

/// A cluster of two racks' worth of unequal executors; jobs of two stages with input on one of them, one a time.
fn small_workload(sandbox: &Sandbox, jobs: u64) -> String {
    let executors: Vec<Value> = (0..4)
        .map(|i| serde_json::json!({ "id": format!("e{i}"), "vcores": 2, "speed": if i == 3 { 0.5 } else { 1.0 } }))
        .collect();
    let job = |i: u64| {
        let tasks: Vec<Value> = (0..5)
            .map(|t| {
                let holder = format!("e{}", (i + t) % 4);
                serde_json::json!({
                    "duration_us": 20_000 + 1_000 * t,
                    "inputs": [{ "executor": holder, "bytes": 4 << 20 }],
                    "key": format!("part-{}", (i * 5 + t) % 7),
                })
            })
            .collect();
        let reduce: Vec<Value> = (0..2).map(|_| serde_json::json!({ "duration_us": 15_000 })).collect();
        serde_json::json!({
            "id": format!("live-{i:03}"), "tenant": format!("team-{}", i % 2), "submit_us": i * 25_000,
            "stages": [{ "id": 0, "tasks": tasks }, { "id": 1, "depends_on": [0], "tasks": reduce }],
        })
    };
    let header = serde_json::json!({ "network_mib_per_s": 500, "executors": executors });
    workload(sandbox, header, (0..jobs).map(job))
}

/// A whole run of a small workload, recorded; every round is answered by the policy that the host starts with.
fn recorded() -> (Sandbox, PathBuf, Value) {
    let sandbox = Sandbox::new();
    let workload = small_workload(&sandbox, 40);
    let file = sandbox.root().join("run.rec");
    let more = ["--workload", &workload, "--record", file.to_str().unwrap()];
    let mut running = Running::start(&sandbox, &more);
    let (code, summary) = running.finish();
    assert_eq!(code, 0, "{summary}");
    (sandbox, file, summary)
}

/// Waits until a policy has answered so many rounds.
fn answered(sandbox: &Sandbox, policy: &str, rounds: u64) {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let (_, out, _) = over(sandbox, &["status", "--json"]);
        let status: Value = serde_json::from_str(&out).unwrap_or_default();
        let active = &status["active"];
        if active["policy"] == policy && active["rounds_answered"].as_u64().is_some_and(|n| n >= rounds) {
            return;
        }
        assert!(std::time::Instant::now() < until, "{policy}: {status}");
    }
}

#[test]
fn the_policy_that_was_recorded_agrees_and_another_does_not() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_bias");
    sandbox.drop_in("policy_round_robin");
    sandbox.activate(r#"{ "policy": "bias" }"#);
    let file = sandbox.root().join("run.rec");
    let mut running = Running::start(&sandbox, &["--record", file.to_str().unwrap()]);
    running.wait_for("receipt    bias");
    // Live, there and back: each of the generations of round-robin deals from where it stands.
    for policy in ["round-robin", "bias", "round-robin"] {
        assert_eq!(over(&sandbox, &["switch", policy]).0, 0);
        answered(&sandbox, policy, 10);
    }
    let (code, summary) = running.stop();
    assert_eq!(code, 0);
    let told = &summary["recording"];
    assert_eq!(
        (&told["rounds"], &told["rounds_missed"], &told["stopped"]),
        (&summary["rounds"], &0.into(), &"closed".into())
    );
    assert_eq!(told["bytes"], std::fs::metadata(&file).unwrap().len());

    let plugins = plugins(&sandbox);
    let itself = replay(&file, &["--plugins", &plugins]);
    assert_eq!(itself["placements"]["agreement"], 1, "{itself:#}");
    assert_eq!(itself["placements"]["rounds_equal"], summary["rounds"]);
    assert!(itself["placements"]["recorded"].as_u64().unwrap() > 0);
    assert_eq!((&itself["recording"]["ending"], &itself["simulation"]), (&"closed".into(), &Value::Null));
    let generations = itself["generations"].as_array().unwrap();
    assert!(generations.len() >= 4 && generations.iter().all(|g| g["same_policy"] == true), "{generations:#?}");

    let other = replay(&file, &["--plugins", &plugins, "--policy", "round-robin", "--show", "3"]);
    assert!(other["placements"]["agreement"].as_f64().unwrap() < 1.0);
    assert!(other["placements"]["moved"].as_u64().unwrap() > 0, "{other:#}");
    let differences = other["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 3);
    for key in ["round", "now_us", "job", "stage", "task", "recorded_on", "replayed_on"] {
        assert!(differences[0].get(key).is_some(), "{key}: {differences:?}");
    }
    assert_ne!(differences[0]["recorded_on"], differences[0]["replayed_on"]);
    for generation in other["generations"].as_array().unwrap() {
        let same = generation["same_policy"] == true;
        assert_eq!(same, generation["policy"] == "round-robin" && generation["sha256"] != "", "{generation}");
        assert!(!same || generation["agreement"] == 1, "its own rounds, with its own state: {generation}");
    }
    let (_, text, _) = run(&["replay", file.to_str().unwrap(), "--plugins", &plugins, "--policy", "round-robin"]);
    for part in ["agreement", "The first placements that differ", "load_imbalance", "Simulated from beginning to end"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_simulation_of_a_whole_recording_gives_what_the_workload_itself_gives() {
    let (sandbox, file, summary) = recorded();
    sandbox.drop_in("policy_data_locality");
    let (plugins, source) = (plugins(&sandbox), small_workload(&sandbox, 40));
    assert_eq!(summary["tasks_completed"], 280);
    let compare = ["--policy", "round-robin", "data-locality", "--seeds", "1", "--plugins", &plugins];
    let of = |workload: &str| evaluate(&[&["--workload", workload], &compare[..]].concat());
    let (original, again) = (of(&source), of(file.to_str().unwrap()));
    assert_eq!((&again["workload"]["tasks"], &again["workload"]["jobs"]), (&280.into(), &40.into()), "{again:#}");
    for policy in ["round-robin", "data-locality"] {
        for path in ["makespan_us.mean", "jct_us.mean", "jct_us.p99", "locality_bytes_share", "utilisation"] {
            let (a, b) = (figure(&original, policy, path), figure(&again, policy, path));
            assert!((a - b).abs() <= 1e-9 * a.abs(), "{policy} {path}: {a} against {b}");
        }
    }
    let told = &again["workload"]["reconstruction"];
    assert_eq!(told["tasks_with_median_duration"], 0, "{told}");
    assert_eq!((&told["network_assumed"], &told["rounds_missed"]), (&false.into(), &0.into()), "{told}");
    assert_eq!(told["stages_with_inferred_dependencies"], 40, "{told}");

    // The same by name, and as `replay` has it: the recorded policy is the baseline.
    let replayed = replay(&file, &["--plugins", &plugins, "--policy", "data-locality"]);
    let simulation = &replayed["simulation"];
    assert_eq!(simulation["baseline"], "round-robin", "{replayed:#}");
    let makespan = |policy: &str| &row(simulation, policy)["metrics"]["makespan_us"]["mean"];
    assert_eq!(makespan("round-robin"), &row(&again, "round-robin")["metrics"]["makespan_us"]["mean"]);
    assert_eq!(makespan("data-locality"), &row(&again, "data-locality")["metrics"]["makespan_us"]["mean"]);
    let pair = |d: &&Value| d["policy"] == "data-locality" && d["baseline"] == "round-robin";
    let difference = simulation["differences"].as_array().unwrap().iter().find(pair).expect("paired");
    assert!(difference["metrics"]["locality_bytes_share"]["mean"].as_f64().unwrap() > 0.0, "{difference}");
    let figures = &replayed["figures"];
    let share = |side: &str| figures[side]["locality_bytes_share"].as_f64().unwrap();
    assert!(share("replayed") > share("recorded"), "{figures}");
    let by_name = of(&format!("recorded:{}", file.display()));
    assert_eq!(by_name["workload"]["tasks"], 280);
}

#[test]
fn what_a_recording_lacks_is_counted() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_bias");
    sandbox.activate(r#"{ "policy": "bias" }"#);
    let file = sandbox.root().join("run.rec");
    let mut running = Running::start(&sandbox, &["--record", file.to_str().unwrap()]);
    running.wait_for("receipt    bias");
    let (code, summary) = running.stop();
    assert_eq!(code, 0);
    let unfinished = summary["tasks_unfinished"].as_u64().unwrap();
    let plugins = plugins(&sandbox);
    let result =
        evaluate(&["--workload", file.to_str().unwrap(), "--policy", "bias", "--seeds", "1", "--plugins", &plugins]);
    let told = &result["workload"]["reconstruction"];
    let count = |name: &str| told[name].as_u64().unwrap();
    let known = summary["tasks_completed"].as_u64().unwrap();
    assert_eq!(count("tasks") - count("tasks_with_median_duration"), known, "{told} {summary}");
    assert!(count("tasks_with_median_duration") + count("tasks_left_out_unknown") <= unfinished, "{told} {summary}");
    let (code, out, _) = run(&[
        "evaluate",
        "--workload",
        file.to_str().unwrap(),
        "--policy",
        "bias",
        "--seeds",
        "1",
        "--plugins",
        &plugins,
    ]);
    assert_eq!(code, 0);
    let guessed = count("tasks_with_median_duration");
    assert!(guessed == 0 || out.contains(&format!("{guessed} tasks never ended in the recording")), "{out}");
}

#[test]
fn what_is_no_recording_or_not_whole_is_told_with_its_code() {
    let (sandbox, file, _) = recorded();
    let plugins = plugins(&sandbox);
    let try_it = |bytes: &[u8]| {
        let path = sandbox.root().join("other.rec");
        std::fs::write(&path, bytes).unwrap();
        run(&["replay", path.to_str().unwrap(), "--plugins", &plugins, "--policy", "bias"])
    };
    let whole = std::fs::read(&file).unwrap();
    let last = (0..whole.len() - 4).rev().find(|&at| whole[at..].starts_with(b"FRAM")).unwrap();
    let (code, out, err) = try_it(&whole[..last + 10]);
    assert!(code == 0 && out.contains("recording-truncated") && out.contains(&format!("byte {last}")), "{out} {err}");
    let mut newer = whole.clone();
    newer[8] = 200;
    let mut damaged = whole.clone();
    let first = (0..whole.len() - 4).find(|&at| whole[at..].starts_with(b"FRAM")).unwrap();
    damaged[first + 40] ^= 1;
    let place = format!("byte {first}");
    for (bytes, code, part) in [
        (&b"# a text"[..], "not-a-recording", "policy-host run --record"),
        (&newer, "recording-version", "200"),
        (&damaged, "recording-damaged", place.as_str()),
        (&whole[..12], "recording-truncated", "byte 12"),
        (&whole[..first], "recording-truncated", "no round"),
    ] {
        let (exit, out, err) = try_it(bytes);
        assert_eq!((exit, out.as_str()), (1, ""), "{code}: {err}");
        assert!(err.contains(&format!("error[{code}]")) && err.contains(part), "{code}: {err}");
    }
    let (code, _, err) = run(&["replay", file.to_str().unwrap(), "--plugins", &plugins, "--policy", "nobody"]);
    assert!(code == 1 && err.contains("error[unknown-policy]") && err.contains("nobody"), "{err}");
    let (code, _, err) = run(&["replay", file.to_str().unwrap()]);
    assert!(code == 0 || err.contains("error[unknown-policy]"), "bias is built in, too: {err}");
    assert_eq!(run(&["replay"]).0, 2);
    let (code, _, err) = over(&sandbox, &["run", "--record", file.to_str().unwrap(), "--duration-s", "1"]);
    assert!(code == 1 && err.contains("error[recording-unwritable]"), "{err}");
    assert_eq!(std::fs::read(&file).unwrap(), whole, "nothing is written over");
    let mut running = Running::start(&sandbox, &[]);
    let nothing = sandbox.root().join("nothing.rec");
    let (code, _, err) = over(&sandbox, &["run", "--record", nothing.to_str().unwrap()]);
    assert!(code == 1 && err.contains("error[state-dir-in-use]") && !nothing.exists(), "{err}");
    assert_eq!(running.stop().0, 0);
}

/// Jobs whose tasks have keys that no compression makes small: some 2 MB of stages.
fn noisy_workload(sandbox: &Sandbox) -> String {
    let mut noise = 7u64;
    let mut key = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{noise:016x}")
    };
    let jobs: Vec<Value> = (0..80)
        .map(|i| {
            let tasks: Vec<Value> =
                (0..1_000).map(|_| serde_json::json!({ "duration_us": 1_000, "key": key() })).collect();
            let submit_us = i * 5_000;
            serde_json::json!({ "id": format!("j{i}"), "submit_us": submit_us, "stages": [{ "id": 0, "tasks": tasks }] })
        })
        .collect();
    workload(sandbox, serde_json::json!({}), jobs)
}

#[test]
fn a_recording_that_reached_its_limit_says_so() {
    let sandbox = Sandbox::new();
    let (file, workload) = (sandbox.root().join("small.rec"), noisy_workload(&sandbox));
    let record = ["--record", file.to_str().unwrap(), "--record-limit-mib", "1", "--workload", &workload];
    let more = [&record[..], &["--executors", "100", "--vcores", "16"]].concat();
    let (code, summary) = Running::start(&sandbox, &more).finish();
    let told = &summary["recording"];
    assert_eq!((code, &told["stopped"]), (0, &"limit".into()), "{summary}");
    assert!(told["rounds_after_stop"].as_u64().unwrap() > 0 && told["bytes"].as_u64().unwrap() <= 1 << 20, "{told}");
    let kinds = ["rounds", "rounds_missed", "rounds_after_stop"].map(|kind| told[kind].as_u64().unwrap());
    assert_eq!(kinds.iter().sum::<u64>(), summary["rounds"].as_u64().unwrap(), "every round is accounted for: {told}");
    assert_eq!((&summary["tasks_lost"], &summary["tasks_duplicated"]), (&0.into(), &0.into()));
    let result = replay(&file, &["--plugins", &plugins(&sandbox), "--no-simulation"]);
    assert_eq!((&result["recording"]["ending"], &result["recording"]["rounds"]), (&"limit".into(), &told["rounds"]));
    let notes = result["notes"].to_string();
    assert!(notes.contains("stopped at its limit"), "{notes}");
}

#[test]
fn the_round_that_took_a_policy_out_of_service_is_kept_and_replayed() {
    for (how, code) in
        [("panic", "policy-panicked"), ("overbook", "executor-overbooked"), ("pending-forever", "deadline-exceeded")]
    {
        // Short only where it is what the test is about: a busy machine must not look like a slow policy.
        let deadline_ms = if code == "deadline-exceeded" { "400" } else { "60000" };
        let sandbox = Sandbox::new();
        sandbox.drop_in("policy_bias");
        sandbox.drop_in("fixture_hostile");
        sandbox.activate(r#"{ "policy": "bias" }"#);
        let mut running = Running::start(&sandbox, &["--workload", &small_workload(&sandbox, 4_000)]);
        running.wait_for("receipt    bias");
        let hostile = format!(
            r#"{{ "policy": "hostile", "deadline_ms": {deadline_ms}, "guard": {{ "misses": 1 }},
                 "config": {{ "bind": "{how}", "job": "live", "after": 3 }} }}"#
        );
        sandbox.activate(&hostile);
        let line = running.wait_for("kept       the round");
        assert!(line.contains(code), "{line}");
        let (_, out, _) = over(&sandbox, &["status", "--json"]);
        let status: Value = serde_json::from_str(&out).unwrap();
        let dump = &status["dumps"][0];
        assert_eq!((&dump["code"], &dump["policy"]), (&code.into(), &"hostile".into()), "{status}");
        let file = PathBuf::from(dump["file"].as_str().unwrap());
        assert!(line.contains(dump["file"].as_str().unwrap()) && file.is_file(), "{line}");
        assert_eq!(running.stop().0, 0);

        let plugins = plugins(&sandbox);
        // What it counted before lies before the dump; a config that misbehaves at once shows the same fault.
        let at_once = format!(r#"{{ "policy": "hostile", "config": {{ "bind": "{how}", "job": "live" }} }}"#);
        let names = ["--plugins", &plugins, "--deadline-ms", deadline_ms, "--policy"];
        let again = replay(&file, &[&names[..], &[&at_once]].concat());
        assert_eq!((&again["recording"]["kind"], &again["recording"]["rounds"]), (&"dump".into(), &1.into()));
        let fault = &again["faults"][0];
        assert_eq!((&fault["recorded"]["code"], &fault["replayed"]["code"]), (&code.into(), &code.into()), "{again:#}");
        assert_eq!(again["placements"]["agreement"], 1, "the same fallback under the same limits: {again:#}");
        let well = replay(&file, &["--plugins", &plugins, "--deadline-ms", "60000", "--policy", "bias"]);
        assert_eq!(
            (&well["faults"][0]["recorded"]["code"], &well["faults"][0]["replayed"]),
            (&code.into(), &Value::Null)
        );
        assert_eq!(well["figures"]["replayed"]["fallback_rounds"], 0);
        let notes = again["notes"].to_string();
        assert!(notes.contains("its state from them is missing"), "{notes}");
    }
}
