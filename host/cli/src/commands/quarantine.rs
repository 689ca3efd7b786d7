//! `quarantine`: the libraries that failed in service, and putting them back. With a running host through a request in
//! its state directory, without one in the list itself.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use policy_host::receipt::{CLEAR_FILE, ClearRequest, LOCK_FILE, Listed, QUARANTINE_FILE, Quarantined, StateDir};

use super::short;
use crate::facts::print_json;
use crate::failure::Failure;
use crate::paths::Place;
use crate::say;

/// A library that failed in service stays out of it until mended bytes arrive or an operator puts it back.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  policy-host quarantine list --plugins plugins.d\n  policy-host quarantine clear my-policy --plugins plugins.d"
)]
pub(crate) struct Quarantine {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List what is out of service, with the code of what it did.
    List {
        #[command(flatten)]
        place: Place,
        /// Print an array as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put libraries back in service: they can be activated again, and `switch` does it.
    Clear {
        /// Policies, filters or scores by name, libraries by file name, or by the first characters of their SHA-256.
        #[arg(value_name = "WHAT", required_unless_present = "all")]
        what: Vec<String>,
        /// Everything that is out of service.
        #[arg(long, conflicts_with = "what")]
        all: bool,
        #[command(flatten)]
        place: Place,
        /// How long to wait for a running host.
        #[arg(long, default_value_t = 10_000, value_name = "MS")]
        timeout_ms: u64,
    },
}

/// The fewest characters of a SHA-256 that name a library.
const FEWEST_DIGITS: usize = 6;

impl Quarantine {
    pub(crate) fn execute(&self) -> Result<(), Failure> {
        match &self.what {
            What::List { place, json } => list(place, *json),
            What::Clear { what, all, place, timeout_ms } => {
                let state = StateDir::of(&place.plugins, place.state_dir.as_deref());
                let quarantined = read(&state)?;
                let chosen = choose(&state, &quarantined, what, *all)?;
                let sha256 = chosen.iter().map(|q| q.sha256.clone()).collect();
                clear(&state, ClearRequest { sha256, ..ClearRequest::default() }, *timeout_ms)?;
                for q in chosen {
                    say!("back in service: {} {} (was out for {})", q.file, short(&q.sha256), q.code);
                }
                Ok(())
            }
        }
    }
}

fn list(place: &Place, json: bool) -> Result<(), Failure> {
    let quarantined = read(&StateDir::of(&place.plugins, place.state_dir.as_deref()))?;
    if json {
        print_json(&quarantined);
        return Ok(());
    }
    if quarantined.is_empty() {
        say!("nothing is out of service");
    }
    for q in quarantined {
        say!("{:24} {:12}  {}", q.file, short(&q.sha256), q.code);
    }
    Ok(())
}

fn read(state: &StateDir) -> Result<Vec<Quarantined>, Failure> {
    let path = state.path().join(QUARANTINE_FILE);
    state.quarantined().map_err(|e| Failure::because("quarantine-unreadable", path.display(), &e))
}

/// The entries that an operator means.
fn choose<'a>(
    state: &StateDir,
    quarantined: &'a [Quarantined],
    what: &[String],
    all: bool,
) -> Result<Vec<&'a Quarantined>, Failure> {
    if all {
        return Ok(quarantined.iter().collect());
    }
    let listed: Vec<Listed> = state.listed().unwrap_or_default();
    let mut chosen: Vec<&Quarantined> = Vec::new();
    for wanted in what {
        let is_name = |q: &Quarantined| listed.iter().any(|l| l.name == *wanted && l.sha256 == q.sha256);
        let is_hash = |q: &Quarantined| wanted.len() >= FEWEST_DIGITS && q.sha256.starts_with(wanted.as_str());
        let found: Vec<_> = quarantined.iter().filter(|q| q.file == *wanted || is_name(q) || is_hash(q)).collect();
        if found.is_empty() {
            let there: Vec<&str> = quarantined.iter().map(|q| q.file.as_str()).collect();
            let there = if there.is_empty() { "nothing".to_owned() } else { there.join(", ") };
            return Err(Failure::new(
                "not-quarantined",
                format!("{wanted} is not out of service; out of service: {there}"),
            ));
        }
        chosen.extend(found);
    }
    Ok(chosen)
}

/// Puts libraries back in service and waits until a running host has done so.
pub(crate) fn clear(state: &StateDir, request: ClearRequest, timeout_ms: u64) -> Result<(), Failure> {
    if request.sha256.is_empty() && !request.all {
        return Ok(());
    }
    if !state.host_is_running() {
        return clear_in_the_list(state, &request);
    }
    let until = Instant::now() + Duration::from_millis(timeout_ms);
    let late = || Failure::new("timeout", format!("the host did not put it back in service within {timeout_ms} ms"));
    while !leave_request(state, &request)? {
        wait_a_little(until).map_err(|()| late())?;
    }
    let is_out = |q: &Quarantined| request.all || request.sha256.contains(&q.sha256);
    // The host writes its list a moment after it has taken the request.
    while state.path().join(CLEAR_FILE).exists() || read(state)?.iter().any(is_out) {
        wait_a_little(until).map_err(|()| late())?;
    }
    Ok(())
}

fn wait_a_little(until: Instant) -> Result<(), ()> {
    if Instant::now() >= until {
        return Err(());
    }
    std::thread::sleep(Duration::from_millis(5));
    Ok(())
}

/// Leaves a request where the host looks; `false` while another one lies there.
fn leave_request(state: &StateDir, request: &ClearRequest) -> Result<bool, Failure> {
    let path = state.path().join(CLEAR_FILE);
    let unwritable = |e: std::io::Error| Failure::because("quarantine-unwritable", path.display(), &e);
    let text = serde_json::to_vec_pretty(request).map_err(|e| unwritable(e.into()))?;
    let mut beside = tempfile::Builder::new().prefix(".writing-").tempfile_in(state.path()).map_err(unwritable)?;
    beside.write_all(&text).map_err(unwritable)?;
    match beside.persist_noclobber(&path) {
        Ok(_) => Ok(true),
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(unwritable(e.error)),
    }
}

/// Without a host: in the list itself, with the lock held that a host would hold.
fn clear_in_the_list(state: &StateDir, request: &ClearRequest) -> Result<(), Failure> {
    let lock = File::options().write(true).open(state.path().join(LOCK_FILE));
    if let Ok(lock) = &lock
        && lock.try_lock().is_err()
    {
        return Err(Failure::new("state-dir-in-use", "a host has just started: try again"));
    }
    let mut list = read(state)?;
    list.retain(|q| !request.all && !request.sha256.contains(&q.sha256));
    state
        .write_quarantined(&list)
        .map_err(|e| Failure::because("quarantine-unwritable", state.path().join(QUARANTINE_FILE).display(), &e))
}
