//! What happens to files: deleted while active, directory deleted and recreated, links swapped, read-only directories.

use std::fs;

use policy_host::{EventKind, HostOptions, PolicyHost, StartError};

use crate::hosted::Hosted;
use crate::sandbox::{Sandbox, artifact, library, variant};

#[tokio::test]
async fn a_plugin_file_deleted_while_active_keeps_running_and_status_says_so() {
    let mut hosted = Hosted::start();
    hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    fs::remove_file(hosted.sandbox.path(&library("policy_bias"))).unwrap();
    let (code, message) = hosted.refused(&library("policy_bias")).await;
    assert_eq!(code, "plugin-file-deleted");
    assert!(message.contains("keeps running"), "{message}");
    assert_eq!(hosted.bind(3).await.policy(), "bias");
    // Asked for anew, it cannot be found; what is active stays active.
    hosted.sandbox.activate(r#"{ "policy": "bias", "deadline_ms": 77 }"#);
    hosted
        .wait_for("answer", |kind| match kind {
            EventKind::Receipted { policy, .. } if policy == "bias" => Some(()),
            _ => None,
        })
        .await;
    assert_eq!(hosted.bind(3).await.policy(), "bias");
}

#[tokio::test]
async fn a_deleted_active_file_leaves_things_as_they_are() {
    let mut hosted = Hosted::start();
    hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    fs::remove_file(hosted.sandbox.path("active.json")).unwrap();
    assert_eq!(hosted.refused("active.json").await.0, "active-file-deleted");
    assert_eq!(hosted.bind(3).await.policy(), "bias");
}

#[tokio::test]
async fn a_directory_deleted_and_recreated_is_picked_up_again() {
    let mut hosted = Hosted::start();
    hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    fs::remove_dir_all(hosted.sandbox.plugins()).unwrap();
    hosted.wait_for("directory gone", |k| matches!(k, EventKind::Directory { present: false }).then_some(())).await;
    assert_eq!(hosted.bind(3).await.policy(), "bias");
    assert!(!hosted.sandbox.plugins().exists(), "the host does not bring back what an operator deleted");
    fs::create_dir(hosted.sandbox.plugins()).unwrap();
    hosted.wait_for("directory back", |k| matches!(k, EventKind::Directory { present: true }).then_some(())).await;
    hosted.bring_up("policy_round_robin", r#"{ "policy": "round-robin" }"#, "round-robin").await;
    assert_eq!(hosted.bind(3).await.policy(), "round-robin");
}

#[tokio::test]
async fn a_directory_that_appears_later_is_picked_up() {
    let sandbox = Sandbox::new();
    fs::remove_dir(sandbox.plugins()).unwrap();
    let mut hosted = Hosted::over(sandbox, HostOptions::default());
    assert_eq!(hosted.bind(3).await.policy(), "round-robin");
    fs::create_dir(hosted.sandbox.plugins()).unwrap();
    hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_swapped_data_link_brings_new_files() {
    use std::os::unix::fs::symlink;
    // As Kubernetes mounts a ConfigMap: files are links through ..data, which is replaced by a rename.
    let sandbox = Sandbox::new();
    let version = |name: &str, bias: &[u8], active: &str| {
        let dir = sandbox.path(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(library("policy_bias")), bias).unwrap();
        fs::write(dir.join("active.json"), active).unwrap();
    };
    let swap = |name: &str| {
        symlink(name, sandbox.path("..data_tmp")).unwrap();
        fs::rename(sandbox.path("..data_tmp"), sandbox.path("..data")).unwrap();
    };
    version("..v1", &fs::read(artifact("policy_bias")).unwrap(), r#"{ "policy": "bias" }"#);
    swap("..v1");
    for file in [library("policy_bias"), "active.json".into()] {
        symlink(format!("..data/{file}"), sandbox.path(&file)).unwrap();
    }
    version("..v2", &variant("policy_bias", 22), r#"{ "policy": "bias", "deadline_ms": 99 }"#);
    let mut hosted = Hosted::over(sandbox, HostOptions::default());
    hosted.receipted("bias").await;
    let first = hosted.host.active();
    symlink("..v2", hosted.sandbox.path("..data_tmp")).unwrap();
    fs::rename(hosted.sandbox.path("..data_tmp"), hosted.sandbox.path("..data")).unwrap();
    while hosted.host.active().deadline.as_millis() != 99 || hosted.host.active().sha256() == first.sha256() {
        hosted.receipted("bias").await;
    }
}

#[tokio::test]
async fn a_read_only_plugin_directory_works_with_a_state_directory_elsewhere() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_bias");
    sandbox.activate(r#"{ "policy": "bias" }"#);
    let state = sandbox.root().join("state");
    let options = HostOptions { state_dir: Some(state.clone()), ..HostOptions::default() };
    let mut hosted = Hosted::over(sandbox, options);
    hosted.receipted("bias").await;
    assert!(state.join("receipt.json").is_file() || hosted.host.receipt().active.is_some());
    assert!(!hosted.sandbox.path(".policy-host").exists());
}

#[tokio::test]
async fn two_hosts_do_not_share_a_state_directory() {
    let hosted = Hosted::start();
    let second = PolicyHost::start(HostOptions::default().plugins(hosted.sandbox.plugins()));
    let error = second.expect_err("in use");
    assert!(matches!(error, StartError::InUse { .. }), "{error}");
    assert_eq!(error.code(), "state-dir-in-use");
}

#[tokio::test]
async fn names_that_begin_with_a_dot_and_other_files_are_nobodys_business() {
    let mut hosted = Hosted::start();
    hosted.sandbox.rename_in(".hidden.so", b"text");
    hosted.sandbox.rename_in("README.md", b"text");
    hosted.sandbox.rename_in("notes.so.txt", b"text");
    // What comes after them is seen, and they were not.
    hosted.sandbox.rename_in("marker.so", b"text");
    let file = hosted
        .wait_for("refusal", |kind| match kind {
            EventKind::Refused { file, .. } => Some(file.clone()),
            _ => None,
        })
        .await;
    assert_eq!(file, "marker.so");
}

#[tokio::test]
async fn a_file_that_keeps_growing_is_refused_and_admitted_once_it_rests() {
    use std::io::Write;
    let mut hosted = Hosted::start();
    let bytes = fs::read(artifact("policy_bias")).unwrap();
    let mut file = fs::File::create(hosted.sandbox.path(&library("policy_bias"))).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        let (head, mut tail) = bytes.split_at(bytes.len() / 2);
        file.write_all(head).unwrap();
        // A byte a millisecond, until told to write the rest.
        while stopped.recv_timeout(std::time::Duration::from_millis(1)).is_err() {
            let (byte, rest) = tail.split_at(1);
            file.write_all(byte).unwrap();
            tail = rest;
        }
        file.write_all(tail).unwrap();
    });
    let (code, _) = hosted.refused(&library("policy_bias")).await;
    assert_eq!(code, "still-changing");
    stop.send(()).unwrap();
    writer.join().unwrap();
    hosted.admitted(&library("policy_bias")).await;
}
