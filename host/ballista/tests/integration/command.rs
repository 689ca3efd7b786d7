//! The binary as an operator meets it: starts, says what answers, refuses with a code, ends at a signal.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use ballista_core::BALLISTA_PROTOCOL_VERSION;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    ExecuteQueryParams, ExecutorRegistration, ExecutorSpecification, RegisterExecutorParams,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(60);

fn scheduler(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ballista-policy-scheduler"));
    command.args(["--bind-host", "127.0.0.1", "--bind-port", "0"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs it to its end.
async fn ended(arguments: &[&str]) -> Output {
    tokio::time::timeout(PATIENCE, scheduler(arguments).output()).await.expect("it ends").unwrap()
}

/// Starts it and waits until it listens; returns what it has logged.
async fn listening(arguments: &[&str]) -> (Child, String) {
    let mut child = scheduler(arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let logged = async {
        let mut log = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            log += &line;
            log.push('\n');
            if line.contains("listening on 127.0.0.1:") {
                return log;
            }
        }
        panic!("it ended: {log}");
    };
    let log = tokio::time::timeout(PATIENCE, logged).await.expect("it listens");
    // Read on, so that it never waits for a full pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, log)
}

fn receipt(plugins: &Path) -> String {
    std::fs::read_to_string(plugins.join(".policy-host/receipt.json")).unwrap_or_default()
}

#[tokio::test]
async fn help_has_an_example_and_version_names_ballista() {
    let help = ended(&["--help"]).await;
    let text = String::from_utf8_lossy(&help.stdout);
    assert!(help.status.success() && text.contains("Example:\n  ballista-policy-scheduler "), "{text}");
    assert!(text.contains("--plugins <DIR>") && text.contains("--scheduler-policy"), "{text}");
    let version = ended(&["--version"]).await;
    assert!(String::from_utf8_lossy(&version.stdout).contains("for Ballista 55"));
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_a_code() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("plugins.d");
    std::fs::write(&file, "").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let cases = [
        (vec!["--plugins", file.to_str().unwrap()], "error[not-a-directory]: "),
        (vec!["--bind-port", &port], "error[cannot-listen]: 127.0.0.1:"),
    ];
    for (arguments, message) in cases {
        // The later of two ports counts.
        let mut command = Command::new(env!("CARGO_BIN_EXE_ballista-policy-scheduler"));
        command.args(["--bind-host", "127.0.0.1"]).args(&arguments).kill_on_drop(true);
        if !arguments.contains(&"--bind-port") {
            command.args(["--bind-port", "0"]);
        }
        let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && stderr.starts_with(message), "{arguments:?}: {stderr}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn it_says_what_answers_and_ends_at_a_signal() {
    let directory = tempfile::tempdir().unwrap();
    let plugins = directory.path().join("plugins.d");
    let path = plugins.to_str().unwrap().to_owned();
    let mut last = String::new();
    for (arguments, signal, said) in [
        (vec![], "TERM", "no --plugins DIR: the built-in policy answers every round policy=\"bias\""),
        (vec!["--plugins", &path], "INT", "the plugin directory is not there"),
        (
            vec!["--plugins", &path, "--task-distribution", "round-robin"],
            "TERM",
            "no active.json in the plugin directory",
        ),
    ] {
        let (mut child, log) = listening(&arguments).await;
        assert!(log.contains(said), "{log}");
        if signal == "INT" {
            std::fs::create_dir(&plugins).unwrap();
            // The directory was picked up when there is a receipt in it.
            let written = async {
                let mut looks = tokio::time::interval(Duration::from_millis(20));
                while receipt(&plugins).is_empty() {
                    looks.tick().await;
                }
            };
            tokio::time::timeout(PATIENCE, written).await.expect("a directory that appears is picked up");
        }
        let pid = child.id().unwrap().to_string();
        assert!(Command::new("kill").args([format!("-{signal}"), pid.clone()]).status().await.unwrap().success());
        let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).await.unwrap();
        assert!(status.success(), "{arguments:?} {signal}: {status}: {stderr}");
        last = pid;
    }
    let receipt = receipt(&plugins);
    assert!(
        receipt.contains(&format!("\"pid\": {last}")),
        "the last one's, for it had the directory to itself: {receipt}"
    );
}

/// Executors and clients of another version are refused by Ballista, in its words; the scheduler goes on.
#[tokio::test]
async fn executors_and_clients_of_another_version_get_ballistas_own_message() {
    let (_scheduler, log) = listening(&[]).await;
    let listens = log.lines().find_map(|line| line.split_once("listening on ")).expect("it says where").1;
    let address = listens.split_whitespace().next().unwrap();
    let mut client = SchedulerGrpcClient::connect(format!("http://{address}")).await.unwrap();
    let executor = |ballista_protocol_version| RegisterExecutorParams {
        metadata: Some(ExecutorRegistration {
            id: "of-another-version".into(),
            host: Some("127.0.0.1".into()),
            specification: Some(ExecutorSpecification { resources: Vec::new() }),
            ballista_protocol_version,
            ..ExecutorRegistration::default()
        }),
    };
    let other = BALLISTA_PROTOCOL_VERSION + 1;
    let refused = client.register_executor(executor(other)).await.expect_err("another version of the protocol");
    let words = format!("protocol version mismatch: scheduler={BALLISTA_PROTOCOL_VERSION}, executor={other}");
    assert_eq!(refused.message(), words);
    // A client from before versions were sent.
    let refused = client.execute_query(ExecuteQueryParams::default()).await.expect_err("a client without a version");
    assert!(refused.message().contains("no `ballista-version` header"), "{refused}");
    let fits = client.register_executor(executor(BALLISTA_PROTOCOL_VERSION)).await;
    assert!(!fits.is_err_and(|e| e.message().contains("version")), "one of this version is not turned away for it");
}
