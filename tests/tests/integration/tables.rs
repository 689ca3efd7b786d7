//! How a minor version adds functions: a table that both sides ask for by name and read as far as both know it. Every pair of
//! an older and a newer side, as real libraries.

use policy_host::load;
use policy_host::vet::{self, StagingDir};
use policy_plugin_api::abi::table::Table;

use crate::binary::run;
use crate::sandbox::artifact;

#[path = "../../fixtures/table-v2/src/sums.rs"]
mod newer;
#[path = "../../fixtures/table-v1/src/sums.rs"]
mod older;

/// The table as an older and as a newer host know it.
type Older = older::Sums;
type Newer = newer::Sums;

fn table<T: Table>(library: &str) -> Option<T> {
    let staging = tempfile::tempdir().unwrap();
    let vetted = vet::vet(&artifact(library), &StagingDir::under(staging.path())).unwrap();
    load::load(&vetted).unwrap().module().table()
}

#[test]
fn an_older_and_a_newer_side_use_what_both_have() {
    for library in ["fixture_table_v1", "fixture_table_v2"] {
        let older: Older = table(library).expect("both versions have the table");
        assert_eq!(older.double.map(|double| double(4)), Some(8), "{library}");
    }
    let newer: Newer = table("fixture_table_v1").expect("an older table is one");
    assert_eq!((newer.head.version, newer.double.map(|double| double(4))), (1, Some(8)));
    assert!(newer.triple.is_none(), "the plugin is too old for it");
    let newer: Newer = table("fixture_table_v2").expect("the table");
    assert_eq!((newer.head.version, newer.triple.map(|triple| triple(4))), (2, Some(12)));
    assert!(table::<Newer>("policy_bias").is_none(), "a plugin that offers no table");
}

#[test]
fn a_host_that_knows_no_such_table_takes_the_plugins_all_the_same() {
    for library in ["fixture_table_v1", "fixture_table_v2"] {
        let (exit, out, err) = run(&["check", &artifact(library).to_string_lossy()]);
        assert_eq!(exit, 0, "{library}: {out}{err}");
    }
}

#[test]
fn an_instance_says_that_it_does_not_know_what_it_is_asked() {
    let staging = tempfile::tempdir().unwrap();
    let vetted = vet::vet(&artifact("policy_bias"), &StagingDir::under(staging.path())).unwrap();
    let policy = load::load(&vetted).unwrap().module().create_policy("bias", "{}", 1).unwrap();
    assert_eq!(policy.ask("counters", &[1, 2, 3]), Ok(None));
    policy.close().unwrap();
}
