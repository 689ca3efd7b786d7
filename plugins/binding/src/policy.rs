//! The policy: [`policy_kit::binding`].
#![forbid(unsafe_code)]

pub use policy_kit::Binding;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Write;
    use std::sync::Once;

    use policy_plugin_api::prelude::*;
    use policy_testkit::spec::{RoundSpec, job, round, stage};

    use super::*;

    policy_testkit::policy_conformance!(
        Binding,
        defaults = "{}",
        rules = r#"{"rules": [
            {"job": "job-*1", "executors": ["executor-1*"]},
            {"tenant": "team-0", "key": "part-*", "labels": {"disk": "ssd"}},
            {"executors": ["executor-2", "executor-3"], "labels": {"disk": "hdd"}}
        ]}"#,
        fail_over = r#"{"when_gone": "fail-over", "rules": [{"executors": ["executor-9"]}]}"#,
        report = r#"{"when_gone": "report", "rules": [{"stage": 1, "executors": ["executor-9"]}]}"#,
    );

    fn binding(config: &str) -> Binding {
        Binding::from_config(policy_plugin_api::config::parse(config).unwrap()).unwrap()
    }

    fn counts(spec: &RoundSpec, policy: &Binding) -> Vec<usize> {
        spec.clone().build().counts(policy).into_iter().map(|(_, count)| count).collect()
    }

    #[test]
    fn a_rule_may_concern_one_stage_only() {
        let spec = round().executors(2, 8).job(job("j").stage(stage(3)).stage(stage(2)));
        let policy = binding(r#"{"rules": [{"job": "j", "stage": 1, "executors": ["executor-1"]}]}"#);
        assert_eq!(counts(&spec, &policy), [3, 2]);
        let policy =
            binding(r#"{"rules": [{"stage": 0, "executors": ["executor-1"]}, {"executors": ["executor-0"]}]}"#);
        assert_eq!(counts(&spec, &policy), [2, 3], "the first rule that fits counts");
    }

    thread_local! {
        static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }

    /// Writes to what is logged on this thread.
    struct Lines;

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            LOGGED.with_borrow_mut(|logged| logged.write(bytes))
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is logged while `f` runs, line by line.
    fn logged(f: impl FnOnce()) -> Vec<String> {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Lines).init());
        LOGGED.take();
        f();
        String::from_utf8(LOGGED.take()).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_waits_for_executors_that_are_gone_is_reported_once_a_stage() {
        let pinned = |task: policy_testkit::spec::TestTask| task.pin("gone");
        let spec = round()
            .executors(1, 8)
            .job(job("j").stage(stage(9).each(|_, task| pinned(task))).stage(stage(4)).stage(stage(1)));
        let rules = r#""rules": [{"stage": 1, "executors": ["nobody"]}]"#;
        let policy = binding(&format!(r#"{{"when_gone": "report", {rules}}}"#));
        let lines = logged(|| (0..5).for_each(|_| assert_eq!(counts(&spec, &policy), [1], "they wait")));
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines[0].contains("WARN") && lines[0].contains("executor of the pin is gone"), "{}", lines[0]);
        assert!(lines[0].contains(r#"job="j" stage=0 task=0"#), "{}", lines[0]);
        assert!(lines[1].contains("no executor fits the rule") && lines[1].contains("stage=1"), "{}", lines[1]);
        for quiet in ["wait", "fail-over"] {
            let policy = binding(&format!(r#"{{"when_gone": "{quiet}", {rules}}}"#));
            assert_eq!(logged(|| drop(counts(&spec, &policy))), [""; 0], "{quiet}");
        }
    }

    #[test]
    fn reports_do_not_pile_up() {
        let jobs = policy_kit::binding::MAX_REPORTED + 10;
        let policy = binding(r#"{"when_gone": "report"}"#);
        let lost = |name: String| job(name).stage(stage(1).each(|_, task| task.pin("gone")));
        let spec = (0..jobs).fold(round().executors(1, 1), |round, i| round.job(lost(format!("job-{i}"))));
        let lines = logged(|| assert_eq!(counts(&spec, &policy), [0]));
        assert_eq!(lines.len(), jobs);
    }

    #[test]
    fn senseless_configs_are_refused() {
        let many = vec![r#"{"executors": ["a"]}"#; 257].join(",");
        for (config, message) in [
            (format!(r#"{{"rules": [{many}]}}"#), "rules has 257 entries: at most 256"),
            (r#"{"rules": [{"stage": 1}]}"#.to_owned(), "rules[0] names neither executors nor labels"),
        ] {
            let config = policy_plugin_api::config::parse(&config).unwrap();
            assert_eq!(Binding::from_config(config).err(), Some(PolicyError::invalid_config(message)));
        }
        for config in [r#"{"when_gone": "panic"}"#, r#"{"rules": [{"stages": 1}]}"#, r#"{"rule": []}"#] {
            assert!(
                policy_plugin_api::config::parse::<policy_kit::binding::BindingConfig>(config).is_err(),
                "{config}"
            );
        }
    }
}
