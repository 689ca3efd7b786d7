//! Recordings as an embedder makes and reads them: nothing is lost on the way through the file, whatever the rounds;
//! what is cut, damaged, foreign or newer is told as such.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use policy_host::record::{Ending, Entry, Reader, RecordOptions, RecordedRound, RecordingError, is_recording};
use policy_host::round::{Block, ExecutorUid, Observation, ObservationKind, Round};
use policy_host::{HostOptions, Plan, PolicyHost, RecordingReceipt, TaskDistributionPolicy};
use policy_testkit::arbitrary;
use policy_wire::observe;
use proptest::prelude::*;

use crate::hosted::PATIENCE;
use crate::rounds::round;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Binds these rounds in a recording host, with an observation before each second one.
fn record(file: &Path, limit_bytes: u64, rounds: &[Arc<Round>]) -> (Vec<Plan>, RecordingReceipt) {
    let options = RecordOptions { limit_bytes, ..RecordOptions::new(file) };
    let host = PolicyHost::start(HostOptions::with_policy(TaskDistributionPolicy::RoundRobin).record(options)).unwrap();
    runtime().block_on(async {
        let mut plans = Vec::new();
        for (at, round) in rounds.iter().enumerate() {
            if at % 2 == 1 {
                host.observe(vec![observed(at as u64)]);
            }
            plans.push(host.bind(Arc::clone(round)).await);
        }
        host.observe(vec![observed(u64::MAX)]);
        let receipt = host.finish_recording().await.expect("it records");
        host.shutdown().await;
        (plans, receipt)
    })
}

fn observed(at_us: u64) -> Observation {
    let mut observation = Observation::new(ObservationKind::Finished, ExecutorUid(1), at_us);
    (observation.job_key, observation.duration_us) = (at_us, 7);
    observation
}

/// Rounds, what was observed after the last of them, and the end.
type Whole = (Vec<RecordedRound>, Vec<Block>, Option<Ending>);

/// Everything that a recording holds.
fn read(file: &Path) -> Result<Whole, RecordingError> {
    let mut reader = Reader::open(file)?;
    let (mut rounds, mut batches) = (Vec::new(), Vec::new());
    while let Some(entry) = reader.read_next()? {
        match entry {
            Entry::Round(round) => rounds.push(*round),
            Entry::Observed(batch) => batches.push(batch),
            _ => {}
        }
    }
    Ok((rounds, batches, reader.ending()))
}

fn same_round(a: &Round, b: &Round) {
    assert_eq!((a.clock(), a.body(), a.roster().block()), (b.clock(), b.body(), b.roster().block()));
    let words = |round: &Round| -> Vec<Vec<u64>> { round.stage_refs().iter().map(|s| s.words().to_vec()).collect() };
    assert_eq!(words(a), words(b));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_is_what_was_asked_and_answered(rounds in arbitrary::sequences(6)) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rounds.rec");
        let rounds: Vec<Arc<Round>> = rounds.iter().map(|r| Arc::clone(r.round())).collect();
        let (plans, receipt) = record(&file, 1 << 28, &rounds);
        let told = (receipt.rounds, receipt.rounds_missed, receipt.stopped.as_str());
        prop_assert_eq!(told, (rounds.len() as u64, 0, "closed"));
        prop_assert_eq!(receipt.bytes, std::fs::metadata(&file).unwrap().len());
        let (read, batches, ending) = read(&file).unwrap();
        prop_assert_eq!((read.len(), ending), (rounds.len(), Some(Ending::Closed)));
        for (at, ((recorded, round), plan)) in read.iter().zip(&rounds).zip(&plans).enumerate() {
            same_round(&recorded.round, round);
            prop_assert_eq!(recorded.rows.as_slice(), plan.bindings());
            let batch = (at % 2 == 1).then(|| observe::encode(&[observed(at as u64)]));
            prop_assert_eq!(&recorded.observations, &batch);
            prop_assert_eq!((&recorded.fault, &recorded.limits, recorded.undecided), (&None, &None, false));
            prop_assert_eq!(recorded.generation.policy.as_str(), "round-robin");
        }
        prop_assert_eq!(batches, [observe::encode(&[observed(u64::MAX)])], "what no policy has seen is there, too");
    }
}

/// A recording of so many rounds, in several frames.
fn recording(directory: &Path, rounds: usize) -> PathBuf {
    let file = directory.join("run.rec");
    let mut seed = 7;
    let rounds: Vec<Arc<Round>> = (0..rounds).map(|_| noisy(&mut seed, 20_000)).collect();
    let (_, receipt) = record(&file, 1 << 28, &rounds);
    assert_eq!(receipt.rounds, rounds.len() as u64);
    file
}

#[test]
fn a_file_that_was_cut_is_good_up_to_its_last_whole_frame() {
    let directory = tempfile::tempdir().unwrap();
    let file = recording(directory.path(), 50);
    let bytes = std::fs::read(&file).unwrap();
    let frames: Vec<usize> = (0..bytes.len() - 4).filter(|&at| bytes[at..].starts_with(b"FRAM")).collect();
    assert!(frames.len() >= 3, "several frames: {frames:?}");
    let cut = directory.path().join("cut.rec");
    let mut before = 0;
    for (number, &at) in frames.iter().enumerate() {
        for end in [at, at + 3, at + 23, at + 40] {
            std::fs::write(&cut, &bytes[..end]).unwrap();
            let (rounds, _, ending) = read(&cut).unwrap();
            assert_eq!(ending, Some(Ending::Cut { at: at as u64 }), "cut at {end}");
            assert!(rounds.len() >= before && (number > 0 || rounds.is_empty()), "frame {number}");
            before = rounds.len();
        }
    }
    assert!(before > 0);
    for end in [9, 15, 17, frames[0] - 1] {
        std::fs::write(&cut, &bytes[..end]).unwrap();
        let error = read(&cut).unwrap_err();
        assert_eq!(error.code(), "recording-truncated", "cut at {end}: {error}");
        assert!(error.to_string().contains(&format!("byte {end}")), "{error}");
    }
}

#[test]
fn a_byte_that_changed_is_found_and_said_where() {
    let directory = tempfile::tempdir().unwrap();
    let file = recording(directory.path(), 20);
    let bytes = std::fs::read(&file).unwrap();
    let frames: Vec<usize> = (0..bytes.len() - 4).filter(|&at| bytes[at..].starts_with(b"FRAM")).collect();
    let changed = directory.path().join("changed.rec");
    for at in (8..bytes.len()).step_by(bytes.len() / 40).chain([
        20,
        frames[1] + 1,
        frames[1] + 5,
        frames[1] + 17,
        bytes.len() - 1,
    ]) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&changed, &bytes).unwrap();
        let error = read(&changed).expect_err("no change goes unnoticed");
        let place = frames.iter().rev().find(|&&frame| frame <= at).copied().unwrap_or(0);
        match at {
            8..12 => assert_eq!(error.code(), "recording-version", "byte {at}: {error}"),
            12..16 => assert!(["recording-damaged", "recording-truncated"].contains(&error.code()), "{at}: {error}"),
            _ => {
                assert_eq!(error.code(), "recording-damaged", "byte {at}: {error}");
                assert!(error.to_string().contains(&format!("at byte {place}:")), "byte {at}: {error}");
            }
        }
    }
}

#[test]
fn other_files_are_not_recordings() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("other");
    for content in
        [&b""[..], b"PHREC", b"{\"format\":\"policy-host-workload\"}\n", b"\x7fELF and more than sixteen bytes"]
    {
        std::fs::write(&file, content).unwrap();
        assert_eq!(read(&file).unwrap_err().code(), "not-a-recording");
        assert!(!is_recording(&file));
    }
    assert_eq!(read(&directory.path().join("nothing")).unwrap_err().code(), "recording-unreadable");
    assert_eq!(read(directory.path()).unwrap_err().code(), "recording-unreadable");
}

#[test]
fn a_file_that_is_there_is_not_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mine");
    std::fs::write(&file, "precious").unwrap();
    let options = HostOptions::default().record(RecordOptions::new(&file));
    let error = PolicyHost::start(options).unwrap_err();
    assert_eq!(error.code(), "recording-unwritable");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn at_its_limit_recording_stops_and_rounds_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("small.rec");
    let limit_bytes = 64 * 1024;
    let options = RecordOptions { limit_bytes, ..RecordOptions::new(&file) };
    let host = PolicyHost::start(HostOptions::default().record(options)).unwrap();
    let receipt = runtime().block_on(async {
        let until = Instant::now() + PATIENCE;
        let mut seed = 1u32;
        while host.recording().unwrap().stopped.is_empty() {
            assert!(Instant::now() < until, "{:?}", host.recording());
            let noisy = noisy(&mut seed, 1_000);
            assert!(!host.bind(noisy).await.bindings().is_empty());
        }
        for _ in 0..5 {
            assert_eq!(host.bind(round(2, 2, 3)).await.bindings().len(), 3);
        }
        host.finish_recording().await.unwrap()
    });
    assert_eq!(receipt.stopped, "limit");
    assert!(receipt.rounds_after_stop >= 5, "{receipt:?}");
    let size = std::fs::metadata(&file).unwrap().len();
    assert!(size <= limit_bytes && size == receipt.bytes, "{size}: {receipt:?}");
    let (rounds, _, ending) = read(&file).unwrap();
    assert_eq!((rounds.len() as u64, ending), (receipt.rounds, Some(Ending::Limit)));
}

/// A round of executors whose free vcores look random: no compression makes it small.
fn noisy(seed: &mut u32, executors: u32) -> Arc<Round> {
    use policy_host::round::{Clock, ExecutorSpec, JobRow, Roster, RoundBuilder, StageRow, StageTasks, UidTable};
    let mut free = Vec::new();
    for _ in 0..executors {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        free.push(*seed >> 12);
    }
    let specs: Vec<_> = (0..executors).map(|i| ExecutorSpec::new(format!("e{i:05}"), 1 << 20)).collect();
    let roster = Roster::new(&specs, &mut UidTable::default());
    let mut builder = RoundBuilder::new();
    builder.free_vcores(&free);
    let tenant = builder.tenant("team-a", 0, 0);
    builder.job(JobRow { key: 1, id: "j", tenant, priority: 0, submit_us: 0, vcores_in_use: 0 });
    let tasks = StageTasks::uniform(10, 1);
    builder.stage(StageRow { number: 0, tasks, pending: 10, running: 0, runnable_since_us: 0 }, [(0, 10)]);
    builder.finish(&roster, Clock { now_us: 0, seed: u64::from(*seed), number: 1 })
}

#[test]
fn a_host_that_is_dropped_closes_its_recording() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dropped.rec");
    let host = PolicyHost::start(HostOptions::default().record(RecordOptions::new(&file))).unwrap();
    runtime().block_on(async { assert_eq!(host.bind(round(2, 2, 3)).await.bindings().len(), 3) });
    drop(host);
    let until = Instant::now() + PATIENCE;
    loop {
        let (rounds, _, ending) = read(&file).unwrap();
        if ending == Some(Ending::Closed) {
            assert_eq!(rounds.len(), 1);
            return;
        }
        assert!(Instant::now() < until, "{ending:?}");
        std::thread::yield_now();
    }
}
