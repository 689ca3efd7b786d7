//! The `policy-host` binary.

fn main() -> std::process::ExitCode {
    policy_host_cli::main()
}
