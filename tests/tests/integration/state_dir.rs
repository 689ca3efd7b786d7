//! The state directory: the host deletes only what it made there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::binary::run;
use crate::sandbox::Sandbox;

/// Runs a host over the sandbox for a moment, with its state directory at `state`.
fn run_over(sandbox: &Sandbox, state: &Path) -> (i32, String, String) {
    let (plugins, state) = (sandbox.plugins(), state.to_str().unwrap().to_owned());
    run(&["run", "--plugins", plugins.to_str().unwrap(), "--state-dir", &state, "--duration-s", "0.1"])
}

/// A state directory with a `staged` in it.
fn state_with_staged(sandbox: &Sandbox) -> (PathBuf, PathBuf) {
    let state = sandbox.root().join("state");
    let staged = state.join("staged");
    fs::create_dir_all(&staged).unwrap();
    (state, staged)
}

fn staged_name() -> String {
    format!("{}{}", "5a".repeat(32), std::env::consts::DLL_SUFFIX)
}

#[test]
fn only_copies_that_the_host_made_are_deleted() {
    let sandbox = Sandbox::new();
    let (state, staged) = state_with_staged(&sandbox);
    let outside = sandbox.root().join("outside.txt");
    fs::write(&outside, "not the host's").unwrap();
    let hex = "5a".repeat(32);
    let upper = format!("{}{}", "5A".repeat(32), std::env::consts::DLL_SUFFIX);
    let long = format!("{hex}0{}", std::env::consts::DLL_SUFFIX);
    let kept =
        ["notes.txt", "policy.so", hex.as_str(), upper.as_str(), long.as_str(), ".staging-", ".staging-notes.txt"];
    kept.iter().for_each(|name| fs::write(staged.join(name), "not the host's").unwrap());
    fs::create_dir(staged.join(format!("{}{}", "6b".repeat(32), std::env::consts::DLL_SUFFIX))).unwrap();
    let gone = [staged_name(), ".staging-aB3dE6".to_owned()];
    gone.iter().for_each(|name| fs::write(staged.join(name), "an earlier host's copy").unwrap());
    let (code, _, err) = run_over(&sandbox, &state);
    assert_eq!(code, 0, "{err}");
    for name in kept {
        assert!(staged.join(name).is_file(), "{name} is not the host's, and was deleted");
    }
    assert!(staged.join(format!("{}{}", "6b".repeat(32), std::env::consts::DLL_SUFFIX)).is_dir());
    for name in gone {
        assert!(!staged.join(&name).exists(), "{name} of an earlier host is left behind");
    }
    assert!(outside.exists());
}

#[cfg(unix)]
#[test]
fn links_in_staged_are_not_followed() {
    let sandbox = Sandbox::new();
    let (state, staged) = state_with_staged(&sandbox);
    let outside = sandbox.root().join("outside");
    fs::write(&outside, "not the host's").unwrap();
    std::os::unix::fs::symlink(&outside, staged.join(staged_name())).unwrap();
    let (code, _, err) = run_over(&sandbox, &state);
    assert_eq!(code, 0, "{err}");
    assert!(outside.is_file(), "the host followed a link and deleted what it leads to");
    assert!(staged.join(staged_name()).is_symlink(), "a link is not a copy that the host made");
}

#[cfg(unix)]
#[test]
fn a_link_in_place_of_staged_is_refused_and_nothing_behind_it_deleted() {
    let sandbox = Sandbox::new();
    let (state, staged) = state_with_staged(&sandbox);
    let elsewhere = sandbox.root().join("elsewhere");
    fs::rename(&staged, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &staged).unwrap();
    fs::write(elsewhere.join(staged_name()), "not the host's").unwrap();
    let (code, _, err) = run_over(&sandbox, &state);
    assert!(elsewhere.join(staged_name()).is_file(), "the host followed a link");
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("error[state-dir-unsafe]") && err.contains("staged"), "{err}");
}

/// Runs over the state directory and expects it to be refused; returns what is said.
#[cfg(unix)]
fn refused(sandbox: &Sandbox, state: &Path) -> String {
    let (code, out, err) = run_over(sandbox, state);
    assert_eq!(code, 1, "{out}{err}");
    assert!(err.contains("error[state-dir-unsafe]"), "{err}");
    err
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

/// Another user's number, where this test may give files away.
#[cfg(unix)]
fn another_user() -> Option<u32> {
    if rustix::process::geteuid().is_root() {
        return Some(65_534);
    }
    eprintln!("skipped: only root can give files to another user");
    None
}

#[cfg(unix)]
#[test]
fn what_others_can_write_is_refused_with_the_command_that_mends_it() {
    let sandbox = Sandbox::new();
    let (state, staged) = state_with_staged(&sandbox);
    let dumps = state.join("dumps");
    fs::create_dir(&dumps).unwrap();
    let (lock, above) = (state.join("host.lock"), sandbox.root().join("above"));
    fs::write(&lock, "").unwrap();
    for (path, bad, good) in
        [(&staged, 0o777, 0o755), (&dumps, 0o702, 0o700), (&lock, 0o666, 0o644), (&state, 0o777, 0o700)]
    {
        set_mode(path, bad);
        let err = refused(&sandbox, &state);
        assert!(err.contains(&format!("chmod go-w {}", path.display())), "{err}");
        set_mode(path, good);
        let (code, _, err) = run_over(&sandbox, &state);
        assert_eq!(code, 0, "mended, it is refused still: {err}");
    }
    // A directory above: who can write there can put another state directory in its place.
    fs::create_dir(&above).unwrap();
    let state = above.join("state");
    assert_eq!(run_over(&sandbox, &state).0, 0);
    set_mode(&above, 0o777);
    let err = refused(&sandbox, &state);
    assert!(err.contains(&format!("chmod go-w {}", above.display())), "{err}");
    // Where only owners rename what is theirs, it is safe.
    set_mode(&above, 0o1777);
    assert_eq!(run_over(&sandbox, &state).0, 0);
    // But such a directory is not itself a state directory, and nobody should be told to close /tmp.
    let err = refused(&sandbox, &above);
    assert!(!err.contains("chmod") && err.contains(&above.join("policy-host").display().to_string()), "{err}");
}

#[cfg(unix)]
#[test]
fn what_another_user_owns_is_refused_with_the_command_that_mends_it() {
    let Some(other) = another_user() else { return };
    let sandbox = Sandbox::new();
    let (state, staged) = state_with_staged(&sandbox);
    let lock = state.join("host.lock");
    fs::write(&lock, "").unwrap();
    for path in [&staged, &lock, &state, &sandbox.root().to_owned()] {
        std::os::unix::fs::chown(path, Some(other), None).unwrap();
        let err = refused(&sandbox, &state);
        let command = format!("chown 0 {}", path.display());
        assert!(err.contains(&command) && err.contains(&other.to_string()), "{err}");
        std::os::unix::fs::chown(path, Some(0), None).unwrap();
    }
    // A group in which there are others.
    std::os::unix::fs::chown(&state, None, Some(other)).unwrap();
    set_mode(&state, 0o770);
    assert!(refused(&sandbox, &state).contains("chmod go-w"));
    // The user's own group.
    std::os::unix::fs::chown(&state, None, Some(0)).unwrap();
    let (code, _, err) = run_over(&sandbox, &state);
    assert_eq!(code, 0, "{err}");
}

#[cfg(unix)]
#[test]
fn links_in_place_of_the_hosts_own_files_are_refused() {
    use std::os::unix::fs::symlink;
    let sandbox = Sandbox::new();
    let (state, _) = state_with_staged(&sandbox);
    let elsewhere = sandbox.root().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("file"), "not the host's").unwrap();
    for (name, target) in [("dumps", "."), ("host.lock", "file"), ("quarantine.json", "file"), ("host.lock", "nothing")]
    {
        symlink(elsewhere.join(target), state.join(name)).unwrap();
        let err = refused(&sandbox, &state);
        assert!(err.contains(&format!("{name}: is a symbolic link")), "{err}");
        fs::remove_file(state.join(name)).unwrap();
    }
    assert!(!elsewhere.join("nothing").exists());
    // A link to the whole state directory is the operator's choice, unless somebody else can turn it.
    let link = sandbox.root().join("link");
    symlink(&state, &link).unwrap();
    let (code, _, err) = run_over(&sandbox, &link);
    assert_eq!(code, 0, "{err}");
    if let Some(other) = another_user() {
        std::os::unix::fs::lchown(&link, Some(other), None).unwrap();
        assert!(refused(&sandbox, &link).contains(&other.to_string()));
    }
}

#[cfg(unix)]
#[test]
fn a_state_directory_is_made_for_the_hosts_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_bias");
    let state = sandbox.root().join("new").join("state");
    let mut running = crate::binary::Running::start(&sandbox, &["--state-dir", state.to_str().unwrap()]);
    running.wait_for("discovered policy bias");
    assert_eq!(running.stop().0, 0);
    for path in [state.clone(), state.join("staged"), sandbox.root().join("new")] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700, "{}", path.display());
    }
}
