//! `check` judges whatever it is given, in a child process: an exit code and a code, never a crash, never a hang.

use std::fs;

use serde_json::Value;

use crate::binary::run;
use crate::refusals::BAD_FILES;
use crate::sandbox::{Sandbox, artifact};

#[test]
fn good_plugins_pass_with_their_metadata() {
    for (name, kind, policy) in [("policy_bias", "policy", "bias"), ("policy_tenant_quota", "filter", "tenant-quota")] {
        let file = artifact(name);
        let (code, out, err) = run(&["check", "--json", file.to_str().unwrap()]);
        assert_eq!(code, 0, "{err}");
        let verdicts: Value = serde_json::from_str(&out).unwrap();
        let verdict = &verdicts[0];
        assert_eq!((&verdict["ok"], &verdict["code"]), (&true.into(), &"ok".into()));
        assert_eq!(verdict["sha256"].as_str().unwrap().len(), 64);
        let told = &verdict["policies"][0];
        assert_eq!((&told["name"], &told["kind"]), (&policy.into(), &kind.into()));
        assert_eq!((&told["version"], &told["api_version"]), (&"0.1.0".into(), &"2.0".into()));
        assert_eq!(told["config_schema"]["type"], "object");
    }
}

#[test]
fn every_bad_file_gets_its_code() {
    let sandbox = Sandbox::new();
    for (name, make, code) in BAD_FILES {
        let file = format!("{name}.so");
        make(&sandbox, &file);
        let (exit, out, err) = run(&["check", "--json", "--time-limit-s", "20", sandbox.path(&file).to_str().unwrap()]);
        let verdicts: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((exit, &verdicts[0]["code"]), (1, &Value::from(*code)), "{name}: {err}");
        assert!(err.contains(&format!("error[{code}]")) && err.contains(&file), "{name}: {err}");
    }
    let (exit, _, err) = run(&["check", sandbox.path("nothing.so").to_str().unwrap()]);
    assert_eq!(exit, 1);
    assert!(err.contains("error[no-such-file]"), "{err}");
}

#[test]
fn what_hangs_is_cut_off() {
    let file = artifact("fixture_init_hang");
    let (exit, _, err) = run(&["check", "--time-limit-s", "1", file.to_str().unwrap()]);
    assert_eq!(exit, 1);
    assert!(err.contains("error[hangs]"), "{err}");
}

#[test]
fn a_plugin_that_fails_its_default_config_is_found_out() {
    let (exit, out, _) = run(&["check", "--json", artifact("fixture_hostile").to_str().unwrap()]);
    let verdicts: Value = serde_json::from_str(&out).unwrap();
    // The fixture's second policy misbehaves under the empty config.
    assert_eq!((exit, &verdicts[0]["code"]), (1, &"canned-round-failed".into()), "{verdicts}");
}

#[test]
fn a_file_that_keeps_growing_is_told_so() {
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};
    let sandbox = Sandbox::new();
    let path = sandbox.rename_in("growing.so", b"begin");
    let over = AtomicBool::new(false);
    let (exit, err) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::File::options().append(true).open(&path).unwrap();
            while !over.load(Ordering::Relaxed) {
                file.write_all(b"more").unwrap();
                std::thread::yield_now();
            }
        });
        let (exit, _, err) = run(&["check", path.to_str().unwrap()]);
        over.store(true, Ordering::Relaxed);
        (exit, err)
    });
    assert_eq!(exit, 1);
    assert!(err.contains("error[still-changing]"), "{err}");
}

/// A small generator, so that the positions are the same in every run (splitmix64; Steele, Lea, Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn flipped_bits_never_crash_or_hang_the_command() {
    let sandbox = Sandbox::new();
    let good = fs::read(artifact("policy_bias")).unwrap();
    let mut seed = 1;
    let mut files = Vec::new();
    for number in 0..48 {
        let mut bad = good.clone();
        // Half of them in the headers, where it hurts; half anywhere.
        let room = if number % 2 == 0 { 4_096 } else { bad.len() as u64 };
        let flips = if number % 3 == 0 { 1 } else { 16 };
        for _ in 0..flips {
            let at = next(&mut seed);
            bad[(at % room) as usize] ^= 1 << (at >> 60 & 7);
        }
        files.push(sandbox.rename_in(&format!("flipped{number}.so"), &bad));
    }
    let mut arguments = vec!["check", "--json", "--time-limit-s", "20"];
    arguments.extend(files.iter().map(|f| f.to_str().unwrap()));
    let (exit, out, _) = run(&arguments);
    let verdicts: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(verdicts.len(), files.len());
    let refused = verdicts.iter().filter(|v| v["ok"] == false).count();
    assert_eq!(exit, 1);
    // A bit that no loader and no code reads is nobody's loss; those in the headers are found.
    assert!(refused >= files.len() / 3, "{refused} of {} were refused", files.len());
    assert!(verdicts.iter().all(|v| v["ok"] == true || !v["code"].as_str().unwrap().is_empty()));
}
