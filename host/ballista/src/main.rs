//! `ballista-policy-scheduler`: a drop-in for `ballista-scheduler`, with `--plugins DIR [--state-dir DIR]` beside its
//! flags.

fn main() -> std::process::ExitCode {
    policy_ballista::command::main()
}
