//! `evaluate --out`: a page that is complete, loads nothing, lies about nothing, and is bounded; and refusals before any
//! work is done.

use std::fs;
use std::path::Path;

use roxmltree::{Document, Node, ParsingOptions};
use serde_json::{Value, json};

use crate::binary::run;
use crate::evaluate::workload;
use crate::sandbox::{Sandbox, workspace};

/// Every section, in order.
const SECTIONS: [&str; 13] = [
    "findings",
    "results",
    "differences",
    "completion",
    "slowdown",
    "groups",
    "load",
    "fairness",
    "executors",
    "locality",
    "decisions",
    "libraries",
    "reading",
];

/// Runs `evaluate --json --out`; returns the page and the figures.
pub(crate) fn report(out: &Path, arguments: &[&str]) -> (String, Value) {
    let mut all = vec!["evaluate", "--json", "--out", out.to_str().unwrap()];
    all.extend(arguments);
    let (code, stdout, err) = run(&all);
    assert_eq!(code, 0, "{arguments:?}: {err}");
    (fs::read_to_string(out).unwrap(), serde_json::from_str(&stdout).unwrap())
}

/// The page as a tree: it must be well-formed.
fn tree(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).unwrap_or_else(|e| panic!("not well-formed: {e}"))
}

fn texts(node: Node<'_, '_>) -> String {
    node.descendants().filter(Node::is_text).filter_map(|n| n.text()).collect()
}

fn section<'a, 'i>(document: &'a Document<'i>, id: &str) -> Node<'a, 'i> {
    let found = document.descendants().find(|n| n.has_tag_name("section") && n.attribute("id") == Some(id));
    found.unwrap_or_else(|| panic!("no section {id}"))
}

/// Nothing is loaded and nothing runs: every address is one within the page.
fn assert_self_contained(page: &str, document: &Document<'_>) {
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("@import"));
    for node in document.descendants().filter(Node::is_element) {
        let name = node.tag_name().name();
        assert!(
            !["script", "link", "img", "iframe", "object", "image", "use", "foreignObject"].contains(&name),
            "{name}"
        );
        for attribute in node.attributes() {
            let (name, value) = (attribute.name(), attribute.value());
            assert!(!name.starts_with("on") && !["src", "srcset", "style", "data"].contains(&name), "{name}={value}");
            assert!(name != "href" || value.starts_with('#'), "{name}={value}");
            assert!(!value.contains("url(") || value.starts_with("url(#"), "{name}={value}");
        }
    }
    let style = document.descendants().find(|n| n.has_tag_name("style")).map(texts).unwrap();
    assert!(!style.contains("url(") && style.contains("@media print") && style.contains("prefers-color-scheme"));
}

/// Drawings say what they show, and whatever they refer to is on the page once.
fn assert_drawings_are_sound(document: &Document<'_>) {
    let ids: Vec<&str> = document.descendants().filter_map(|n| n.attribute("id")).collect();
    let distinct: std::collections::HashSet<&&str> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "an id twice");
    let referred = document.descendants().flat_map(|n| n.attributes()).filter_map(|a| a.value().strip_prefix("url(#"));
    let referred: Vec<&str> = referred.map(|r| r.trim_end_matches(')')).collect();
    assert!(referred.len() > 10 && referred.iter().all(|r| distinct.contains(r)), "{referred:?}");
    let charts: Vec<_> = document.descendants().filter(|n| n.attribute("class") == Some("chart")).collect();
    assert!(charts.len() > 10, "{}", charts.len());
    for chart in charts {
        let child = |name: &str| chart.children().find(|n| n.has_tag_name(name)).map(texts).unwrap_or_default();
        assert!(!child("title").is_empty() && child("desc").len() > 10, "{}", child("title"));
        assert!(chart.attribute("role") == Some("img") && chart.attribute("viewBox").is_some());
        let drawn = chart.descendants().flat_map(|n| n.attributes()).map(|a| a.value());
        assert!(drawn.into_iter().all(|v| !v.contains("NaN") && !v.contains("inf")), "{}", child("title"));
        assert!(chart.descendants().any(|n| n.has_tag_name("path")), "{} is empty", child("title"));
    }
}

#[test]
fn the_page_is_complete_and_its_figures_are_those_of_the_json() {
    let sandbox = Sandbox::new();
    ["policy_bias", "policy_data_locality", "policy_round_robin"].iter().for_each(|a| drop(sandbox.drop_in(a)));
    let file = workspace().join("examples/workloads/two-tenants.jsonl");
    let plugins = sandbox.plugins();
    let (page, figures) = report(
        &sandbox.root().join("report.html"),
        &[
            "--plugins",
            plugins.to_str().unwrap(),
            "--workload",
            file.to_str().unwrap(),
            "--policy",
            "bias",
            "round-robin",
            "data-locality",
            "--seeds",
            "3",
        ],
    );
    let document = tree(&page);
    assert_self_contained(&page, &document);
    assert_drawings_are_sound(&document);
    let ids: Vec<&str> =
        document.descendants().filter(|n| n.has_tag_name("section")).filter_map(|n| n.attribute("id")).collect();
    assert_eq!(ids, SECTIONS);
    let results = section(&document, "results");
    let rows: Vec<_> = results.descendants().filter(|n| n.has_tag_name("tr")).collect();
    let shown = |label: &str, metric: &str| -> f64 {
        let row = |n: &&Node<'_, '_>| {
            n.first_element_child().is_some_and(|th| texts(th) == label)
                && n.descendants().any(|td| td.attribute("data-metric") == Some(metric))
        };
        let row = rows.iter().find(row).unwrap_or_else(|| panic!("no {metric} of {label}"));
        let cell = row.descendants().find(|n| n.attribute("data-metric") == Some(metric)).unwrap();
        assert!(!texts(cell).is_empty());
        cell.attribute("data-value").unwrap().parse().unwrap()
    };
    let mut compared = 0;
    for row in ["policies", "references"].iter().flat_map(|k| figures[k].as_array().unwrap()) {
        let label = row["label"].as_str().unwrap();
        let named = ["makespan_us.mean", "jct_us.mean", "jct_us.p99", "queue_wait_us.mean", "utilisation"];
        for path in named {
            let value = path.split('.').fold(&row["metrics"], |v, key| &v[key]).as_f64().unwrap();
            let metric = path.trim_start_matches("makespan_us.mean");
            let metric = if metric.is_empty() { "makespan_us" } else { metric };
            let shown = shown(label, metric);
            assert!((shown - value).abs() <= 1e-12 * value.abs(), "{label} {path}: {shown}, {value}");
            compared += 1;
        }
        let sha256 = row["sha256"].as_str().unwrap_or("");
        assert!(page.contains(sha256) && (row["kind"] == "bound" || sha256.len() == 64 || label == "random"));
    }
    assert_eq!(compared, 25, "three policies, random, the bound");
    let difference = figures["differences"].as_array().unwrap().iter();
    let difference =
        difference.into_iter().find(|d| d["policy"] == "data-locality" && d["baseline"] == "bias").unwrap();
    let mean = difference["metrics"]["jct_us.mean"]["mean"].as_f64().unwrap();
    let shown = shown("data-locality", "difference.jct_us.mean");
    assert!((shown - mean).abs() <= 1e-12 * mean.abs(), "{shown}, {mean}");
    let findings = texts(section(&document, "findings"));
    assert!(findings.contains("data-locality vs bias: ") && findings.contains("JCT mean"), "{findings}");
    assert!(findings.contains("Every seed has the same workload"), "{findings}");
    assert!(page.contains("policy-host evaluate --plugins ") && page.contains("--seeds 3"));
    for id in ["completion", "load", "executors", "decisions"] {
        let text = texts(section(&document, id));
        assert!(["bias", "round-robin", "data-locality", "random"].iter().all(|p| text.contains(p)), "{id}: {text}");
    }
}

#[test]
fn names_from_outside_stay_text() {
    let sandbox = Sandbox::new();
    let (tenant, executor) = ("<script>alert('t')</script>", "e\"><img src=x onerror=alert(1)>&amp;]]>");
    let header = json!({ "executors": [{ "id": executor }, { "id": "plain $a$ name" }] });
    let job = |id: &str, tenant: &str| {
        json!({ "id": id, "tenant": tenant, "submit_us": 0, "stages": [{ "id": 0, "tasks": [
            { "duration_us": 500 }, { "duration_us": 700 }, { "duration_us": 900, "fails_after_us": [50] }] }] })
    };
    let jobs = [job("</title><script>", tenant), job("b", "other\u{1}\u{7}")];
    let file = workload(&sandbox, header, jobs);
    let weird = sandbox.root().join("a&b <i>'c'.jsonl");
    fs::rename(file, &weird).unwrap();
    let (page, _) = report(
        &sandbox.root().join("report.html"),
        &["--workload", weird.to_str().unwrap(), "--policy", "bias", "round-robin", "--seeds", "2"],
    );
    let document = tree(&page);
    assert_self_contained(&page, &document);
    let (fairness, executors) = (texts(section(&document, "fairness")), texts(section(&document, "executors")));
    assert!(fairness.contains(tenant) && fairness.contains("other\u{fffd}\u{fffd}"), "{fairness}");
    assert!(executors.contains("e\"><img src=x onerror=ale") && executors.contains("plain $a$ name"), "{executors}");
    assert!(texts(document.root()).contains("a&b <i>'c'.jsonl"));
}

#[test]
fn the_same_inputs_give_the_same_bytes_but_for_decision_times() {
    let sandbox = Sandbox::new();
    let lasting = |directory: &str, threads: &str| {
        fs::create_dir(sandbox.root().join(directory)).unwrap();
        let arguments = ["--workload", "synthetic:jobs=60", "--faults", "random:3s:500ms", "--policy", "bias"];
        let more = ["round-robin", "--seeds", "3", "--threads", threads];
        let out = sandbox.root().join(directory).join("report.html");
        let (page, _) = report(&out, &[&arguments[..], &more[..]].concat());
        let (before, rest) = page.split_once("<section id=\"decisions\">").unwrap();
        let (measured, after) = rest.split_once("</section>").unwrap();
        assert!(measured.contains("measured on the machine"));
        assert!(!before.contains("decision_us") && !after.contains("decision_us"));
        format!("{before}{after}")
    };
    let (one, four) = (lasting("one", "1"), lasting("four", "4"));
    assert!(one.len() > 50_000);
    assert!(one == four);
}

#[test]
fn many_policies_and_tasks_stay_within_bounds() {
    let sandbox = Sandbox::new();
    let quota = |n: u32| {
        let quotas = json!({ "quotas": { "team-a": n } });
        json!({ "policy": "bias", "filters": [{ "policy": "tenant-quota", "config": quotas }] }).to_string()
    };
    sandbox.drop_in("policy_tenant_quota");
    let (plugins, quotas) = (sandbox.plugins(), [4, 5, 6, 7, 8, 9, 10, 11, 12].map(quota));
    let mut arguments = vec!["--plugins", plugins.to_str().unwrap(), "--workload", "synthetic:jobs=700,tenants=12"];
    arguments.extend(["--executors", "60", "--seeds", "1", "--policy", "bias", "round-robin", "consistent-hash"]);
    arguments.extend(quotas.iter().map(String::as_str));
    let (page, figures) = report(&sandbox.root().join("report.html"), &arguments);
    assert!(figures["workload"]["tasks"].as_u64().unwrap() > 8_000);
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    let document = tree(&page);
    assert_self_contained(&page, &document);
    assert_drawings_are_sound(&document);
    assert!(texts(section(&document, "executors")).contains("Thinned"));
    assert!(texts(section(&document, "fairness")).contains("7 are not"), "twelve tenants, five are drawn");
    let (results, findings) = (texts(section(&document, "results")), texts(section(&document, "findings")));
    let labels: Vec<&str> =
        figures["policies"].as_array().unwrap().iter().map(|r| r["label"].as_str().unwrap()).collect();
    assert_eq!(labels.len(), 12);
    assert!(labels.iter().all(|l| results.contains(l)), "{labels:?}");
    assert!(findings.contains("One seed gives no interval"));
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_anything_runs() {
    let sandbox = Sandbox::new();
    let events = sandbox.root().join("events.jsonl");
    let missing = sandbox.root().join("nowhere").join("report.html");
    for (option, code) in [("--out", "report-unwritable"), ("--csv", "csv-unwritable")] {
        for (out, part) in [(missing.as_path(), "No such file"), (sandbox.root(), "it is a directory")] {
            let arguments = ["evaluate", "--workload", "synthetic:jobs=5", "--policy", "bias", "--events"];
            let more = [events.to_str().unwrap(), option, out.to_str().unwrap()];
            let (exit, stdout, err) = run(&[&arguments[..], &more[..]].concat());
            assert_eq!((exit, stdout.as_str()), (1, ""), "{err}");
            assert!(err.contains(&format!("error[{code}]: ")) && err.contains(part), "{err}");
            assert!(err.contains(out.to_str().unwrap()) && err.contains("name a file in a directory"), "{err}");
            assert!(!events.exists(), "nothing has run");
        }
    }
}

/// A device is written to and stays what it is.
#[cfg(unix)]
#[test]
fn a_device_is_not_replaced_by_a_file() {
    let arguments = ["evaluate", "--workload", "synthetic:jobs=5", "--policy", "bias", "--csv", "/dev/stdout"];
    let (exit, stdout, err) = run(&[&arguments[..], &["--seeds", "1"]].concat());
    assert_eq!(exit, 0, "{err}");
    assert!(stdout.starts_with("policy,seed,"), "{stdout}");
}

#[test]
fn an_earlier_report_stays_until_the_next_is_complete() {
    let sandbox = Sandbox::new();
    let directory = sandbox.root().join("reports");
    fs::create_dir(&directory).unwrap();
    let out = directory.join("report.html");
    fs::write(&out, "earlier").unwrap();
    let evaluate = |more: &[&str]| {
        let arguments = ["evaluate", "--workload", "synthetic:jobs=5", "--out", out.to_str().unwrap(), "--policy"];
        run(&[&arguments[..], more].concat())
    };
    assert_eq!(evaluate(&["nobody"]).0, 1);
    assert_eq!(fs::read_to_string(&out).unwrap(), "earlier");
    let (code, _, err) = evaluate(&["bias", "round-robin", "--fail-if", "makespan_us > 0"]);
    assert!(code == 1 && err.contains("error[condition-holds]"), "{err}");
    assert!(
        fs::read_to_string(&out).unwrap().starts_with("<!DOCTYPE html>"),
        "a gate that fails needs its report most"
    );
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left beside it");
}
