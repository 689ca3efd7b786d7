//! The `policy-host` command, built for the integration tests.

fn main() -> std::process::ExitCode {
    policy_host_cli::main()
}
