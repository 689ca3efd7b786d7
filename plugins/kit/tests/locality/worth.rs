//! How long waiting is worth it.

use policy_kit::data_locality::DataLocalityConfig;
use policy_testkit::spec::{executor, job, round, stage};

use super::policy;

#[test]
fn nobody_waits_longer_than_it_takes_to_fetch_the_bytes() {
    const MIB: u64 = 1 << 20;
    let bound = |bytes: u64, network_mib_per_s: u32| -> Vec<usize> {
        let ours = policy(DataLocalityConfig { network_mib_per_s, ..DataLocalityConfig::default() });
        let spec = round().executor(executor("holder", 4).free(0)).executor(executor("other", 4));
        let at = |ms: u64| {
            let stage = stage(2).each(|_, task| task.holder("holder", bytes));
            spec.clone().number(ms / 10).job(job("j").stage(stage)).build()
        };
        [0, 10, 40, 200, 300].map(|ms| at(ms).ask(&ours).unwrap().len()).into()
    };
    assert_eq!(bound(9 * MIB, 1_000), [2, 2, 2, 2, 2], "9 ms are not waited for");
    assert_eq!(bound(50 * MIB, 1_000), [0, 0, 0, 2, 2], "50 ms and no longer");
    assert_eq!(bound(9 * MIB, 100), [0, 0, 0, 2, 2], "on a slower network they are 90 ms");
    assert_eq!(bound(1 << 50, 1_000), [0, 0, 0, 0, 2], "`wait_ms` is the most");
    assert_eq!(bound(1, 0), [0, 0, 0, 0, 2], "unless bytes do not matter");
}
