//! The conformance suite: what every policy, filter and score must do, whatever it decides.
//!
//! A policy is asked about the canned rounds ([`policy_wire::canned`]), which hosts use for admission too, and
//! about generated sequences of rounds ([`crate::arbitrary`]), always the same ones. It must answer legally, within the
//! limits of filters, without panic or error (declining is fine), at once, and as a second fresh instance does; take
//! observations; and hand over its state. What was generated is shrunk to the smallest rounds that show a finding.
//!
//! The suite takes about a second in a debug build. It cannot see whether decisions are good, nor how long they take
//! with many executors and tasks.

use std::panic::{AssertUnwindSafe, catch_unwind};

use policy_plugin_api::config::{self, PolicyConfig};
use policy_plugin_api::prelude::*;
use policy_plugin_api::score::MAX_SCORE;
use policy_wire::block::BlockRef;
use policy_wire::contract::Violation;
use policy_wire::{canned, observe};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::arbitrary;
use crate::asked::{TestRound, ready};
use crate::report::{Code, Finding, Report};

/// Generated sequences that a policy is asked about.
pub const SEQUENCES: u32 = 192;
/// At most this many rounds in one of them.
pub const SEQUENCE_ROUNDS: usize = 4;

/// Tests policies that `make` makes; each instance must start the same.
pub fn check_policy<P: DistributionPolicy>(make: impl Fn() -> P) -> Report {
    let mut report = Report::default();
    // What fails on a canned round needs no smaller example.
    let canned = policy_sequence(&make, &canned_rounds());
    if let Err(finding) = canned.and_then(|()| generated(|rounds| policy_sequence(&make, rounds))) {
        report.add(finding);
    }
    if let Err(finding) = state(&make) {
        report.add(finding);
    }
    report
}

/// Tests filters that `make` makes; each instance must start the same.
pub fn check_filter<F: TaskFilter>(make: impl Fn() -> F) -> Report {
    let mut report = Report::default();
    let canned = filter_sequence(&make, &canned_rounds());
    if let Err(finding) = canned.and_then(|()| generated(|rounds| filter_sequence(&make, rounds))) {
        report.add(finding);
    }
    report
}

/// Tests scores that `make` makes; each instance must start the same.
pub fn check_score<S: TaskScore>(make: impl Fn() -> S) -> Report {
    let mut report = Report::default();
    let canned = score_sequence(&make, &canned_rounds());
    if let Err(finding) = canned.and_then(|()| generated(|rounds| score_sequence(&make, rounds))) {
        report.add(finding);
    }
    report
}

/// Tests a score as a host would make it: as [`check_exported_policy`].
///
/// # Panics
/// If the constructor refuses a config that it took before.
pub fn check_exported_score<S: TaskScore + FromConfig>(config: &str) -> Report {
    match exported::<S>(config) {
        Ok(()) => check_score(|| construct::<S>(config).expect("constructed before")),
        Err(finding) => Report { findings: vec![finding] },
    }
}

/// Tests a policy as a host would make it: its name, its config as it would stand in `active.json` (`{}` for the
/// defaults), then all of [`check_policy`].
///
/// # Panics
/// If the constructor refuses a config that it took before.
pub fn check_exported_policy<P: DistributionPolicy + FromConfig>(config: &str) -> Report {
    match exported::<P>(config) {
        Ok(()) => check_policy(|| construct::<P>(config).expect("constructed before")),
        Err(finding) => Report { findings: vec![finding] },
    }
}

/// Tests a filter as a host would make it: as [`check_exported_policy`].
///
/// # Panics
/// If the constructor refuses a config that it took before.
pub fn check_exported_filter<F: TaskFilter + FromConfig>(config: &str) -> Report {
    match exported::<F>(config) {
        Ok(()) => check_filter(|| construct::<F>(config).expect("constructed before")),
        Err(finding) => Report { findings: vec![finding] },
    }
}

fn exported<T: FromConfig>(config: &str) -> Result<(), Finding> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if T::NAME.is_empty() || T::NAME.len() > 63 || !T::NAME.chars().all(allowed) {
        let message = format!("{:?}: 1 to 63 characters of lower case, digits and -", T::NAME);
        return Err(Finding::new(Code::BadName, "the export", message));
    }
    match guarded(|| construct::<T>(config)) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(message)) => Err(Finding::new(Code::ConfigRefused, "the constructor", message)),
        Err(panic) => Err(Finding::new(Code::Panics, "the constructor", panic)),
    }
}

fn construct<T: FromConfig>(text: &str) -> Result<T, String> {
    fn parsed<C: PolicyConfig>(text: &str) -> Result<C, String> {
        config::parse(text).map_err(|e| format!("{} at line {} column {}", e.message, e.line, e.column))
    }
    T::from_config(parsed(text)?).map_err(|e| e.to_string())
}

/// A round with the name it has in a finding.
struct Place {
    name: String,
    round: TestRound,
}

fn canned_rounds() -> Vec<Place> {
    let place =
        |(name, round, limits)| Place { name: format!("canned round {name}"), round: TestRound::of(round, limits) };
    canned::rounds().into_iter().map(place).collect()
}

/// Runs `check` on generated sequences; a finding comes with the smallest sequence that shows it.
fn generated(check: impl Fn(&[Place]) -> Result<(), Finding>) -> Result<(), Finding> {
    let config = Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let places = |rounds: Vec<TestRound>| -> Vec<Place> {
        let name = |i| format!("generated round {i}");
        rounds.into_iter().enumerate().map(|(i, round)| Place { name: name(i), round }).collect()
    };
    let found = runner.run(&arbitrary::sequences(SEQUENCE_ROUNDS), |rounds| {
        check(&places(rounds)).map_err(|finding| TestCaseError::fail(finding.to_string()))
    });
    match found {
        Ok(()) => Ok(()),
        Err(TestError::Fail(_, smallest)) => {
            let rounds = format!("{smallest:#?}");
            check(&places(smallest)).map_err(|finding| {
                let message = format!("{}; the smallest rounds that show it: {rounds}", finding.message);
                Finding { message, ..finding }
            })
        }
        Err(TestError::Abort(why)) => {
            Err(Finding::new(Code::Fails, "generated rounds", format!("the generator gave up: {why}")))
        }
    }
}

fn policy_sequence<P: DistributionPolicy>(make: impl Fn() -> P, rounds: &[Place]) -> Result<(), Finding> {
    let (first, second) = (make(), make());
    for place in rounds {
        let answer = answer(&first, place)?;
        let again = self::answer(&second, place)?;
        if answer != again {
            let (a, b) = (&answer, &again);
            let both = |rows: &Option<Vec<BoundTask>>| {
                rows.as_ref().map_or("declined".to_owned(), |rows| format!("{:?}", place.round.names(rows)))
            };
            let message = format!("two fresh instances answer {} and {}", both(a), both(b));
            return Err(Finding::new(Code::NotDeterministic, &place.name, message));
        }
        let batch = happenings(&place.round, answer.as_deref().unwrap_or(&[]));
        for policy in [&first, &second] {
            observed(&batch, place, |batch| policy.observe(batch))?;
        }
    }
    Ok(())
}

/// `None` for a round that was declined.
fn answer(policy: &impl DistributionPolicy, place: &Place) -> Result<Option<Vec<BoundTask>>, Finding> {
    let found = |code, message| Err(Finding::new(code, &place.name, message));
    let asked = guarded(|| place.round.with(|slots, jobs| ready(policy.bind_tasks(slots, jobs))));
    let rows = match asked {
        Err(panic) => return found(Code::Panics, panic),
        Ok(None) => return found(Code::NeverReady, "the future of the answer stays pending".to_owned()),
        Ok(Some(Err(PolicyError::Declined(_)))) => return Ok(None),
        Ok(Some(Err(error))) => return found(Code::Fails, error.to_string()),
        Ok(Some(Ok(rows))) => rows,
    };
    match place.round.check(&rows) {
        Ok(()) => Ok(Some(rows)),
        Err(limit @ (Violation::Ineligible { .. } | Violation::OverCap { .. })) => {
            found(Code::IgnoresLimits, limit.to_string())
        }
        Err(violation) => found(Code::IllegalAnswer, format!("{}: {violation}", violation.code())),
    }
}

fn filter_sequence<F: TaskFilter>(make: impl Fn() -> F, rounds: &[Place]) -> Result<(), Finding> {
    let (first, second) = (make(), make());
    for place in rounds {
        let limits = limits(&first, place)?;
        if limits != self::limits(&second, place)? {
            let message = "two fresh instances set different limits";
            return Err(Finding::new(Code::NotDeterministic, &place.name, message));
        }
        let batch = happenings(&place.round, &[]);
        for filter in [&first, &second] {
            observed(&batch, place, |batch| filter.observe(batch))?;
        }
    }
    Ok(())
}

fn limits(filter: &impl TaskFilter, place: &Place) -> Result<Limits, Finding> {
    let limits = match guarded(|| place.round.ask_filter(filter)) {
        Err(panic) => return Err(Finding::new(Code::Panics, &place.name, panic)),
        Ok(Err(error)) => return Err(Finding::new(Code::Fails, &place.name, error.to_string())),
        Ok(Ok(limits)) => limits,
    };
    let fits = guarded(|| {
        let shape = |jobs: &RunningJobs<'_>| Limits::unrestricted(jobs.stage_count(), jobs.executors().len());
        place.round.with(|_, jobs| shape(jobs).intersect(&limits));
    });
    fits.map_err(|message| Finding::new(Code::LimitsOfAnotherRound, &place.name, message))?;
    Ok(limits)
}

fn score_sequence<S: TaskScore>(make: impl Fn() -> S, rounds: &[Place]) -> Result<(), Finding> {
    let (first, second) = (make(), make());
    for place in rounds {
        let scores = scores(&first, place)?;
        // Bits, so that what is not a number is not different from itself.
        let same = scores.iter().map(|s| s.to_bits()).eq(self::scores(&second, place)?.iter().map(|s| s.to_bits()));
        if !same {
            return Err(Finding::new(Code::NotDeterministic, &place.name, "two fresh instances score differently"));
        }
        if let Some(wrong) = scores.iter().find(|score| !(0.0..=MAX_SCORE).contains(*score)) {
            let message = format!("a score of {wrong}; scores are between 0 and {MAX_SCORE}");
            return Err(Finding::new(Code::ScoreOutOfRange, &place.name, message));
        }
        let batch = happenings(&place.round, &[]);
        for score in [&first, &second] {
            observed(&batch, place, |batch| score.observe(batch))?;
        }
    }
    Ok(())
}

/// Asks about up to four tasks of each stage on every executor with something free, and about none.
fn scores(score: &impl TaskScore, place: &Place) -> Result<Vec<f32>, Finding> {
    let asked = guarded(|| {
        place.round.with(|slots, jobs| {
            let mut all = Vec::new();
            for stage in jobs.stages() {
                let tasks: Vec<u32> = stage.pending().take(4).map(|task| task.id().0 - stage.first_task().0).collect();
                let row_offsets: Vec<u32> = (0..=tasks.len()).map(|n| (n * slots.len()) as u32).collect();
                let rows = slots.repeat(tasks.len());
                // Not zero, so that a row left out shows as out of range.
                let mut scores = vec![f32::NAN; rows.len()];
                score.score(jobs, &Candidates::new(stage.id(), &tasks, &row_offsets, &rows)?, &mut scores)?;
                all.extend(scores);
                score.score(jobs, &Candidates::new(stage.id(), &[], &[0], &[])?, &mut [])?;
            }
            Ok::<_, PolicyError>(all)
        })
    });
    match asked {
        Err(panic) => Err(Finding::new(Code::Panics, &place.name, panic)),
        Ok(Err(error)) => Err(Finding::new(Code::Fails, &place.name, error.to_string())),
        Ok(Ok(scores)) => Ok(scores),
    }
}

/// What might be observed after an answer: every row started and finished, or failed; executors lost and back; and
/// things that a policy of today cannot know.
fn happenings(round: &TestRound, answer: &[BoundTask]) -> Vec<Observation> {
    let mut batch = Vec::new();
    round.with(|_, jobs| {
        let now = jobs.now_us();
        for (row, bound) in (0u64..).zip(answer) {
            let Some((stage, task)) = jobs.locate(bound.task) else { continue };
            let stage = jobs.stage(stage);
            let uid = jobs.executors().get(bound.executor).uid();
            let end = if row % 5 == 4 { ObservationKind::Failed } else { ObservationKind::Finished };
            for kind in [ObservationKind::Started, end] {
                let mut one = Observation::new(kind, uid, now + row);
                (one.job_key, one.stage_number, one.task) = (stage.job().key(), stage.number(), task);
                (one.duration_us, one.queue_wait_us, one.local_bytes) = (1_000 * row, row, row << 20);
                batch.push(one);
            }
        }
        let uid = jobs.executors().iter().next().map_or(ExecutorUid(7), |e| e.uid());
        batch.push(Observation::new(ObservationKind::ExecutorLost, uid, now));
        batch.push(Observation::new(ObservationKind::ExecutorJoined, uid, now));
        batch.push(Observation::new(ObservationKind::ExecutorLost, ExecutorUid(u32::MAX - 1), now));
        batch.push(Observation::new(ObservationKind::Other(1_000), uid, u64::MAX));
    });
    batch
}

fn observed(batch: &[Observation], place: &Place, observe: impl Fn(&Observations<'_>)) -> Result<(), Finding> {
    let block = observe::encode(batch);
    let batch = Observations::from_block(BlockRef::new(&block)).expect("a block of observations");
    guarded(|| observe(&batch)).map_err(|panic| Finding::new(Code::PanicsAtObservations, &place.name, panic))
}

/// State after the canned rounds must be taken by a fresh instance and come out the same; what nobody can know must be
/// refused.
fn state<P: DistributionPolicy>(make: impl Fn() -> P) -> Result<(), Finding> {
    let (old, new) = (make(), make());
    for place in canned_rounds() {
        answer(&old, &place)?;
    }
    let place = "the hand-over of state";
    let found = |code, message: String| Finding::new(code, place, message);
    let panicked = |panic| found(Code::PanicsAtState, panic);
    let exported = guarded(|| old.export_state()).map_err(panicked)?;
    let unknown = PolicyState { version: u32::MAX, bytes: vec![0xff; 33] };
    if guarded(|| make().import_state(&unknown)).map_err(panicked)?.is_ok() {
        return Err(found(Code::AcceptsUnknownState, format!("takes version {} with nonsense", unknown.version)));
    }
    let Some(state) = exported else { return Ok(()) };
    let nonsense = PolicyState { version: state.version, bytes: vec![0xff; 33] };
    // Whether its own version with nonsense is refused is its business; that it does not panic is not.
    let _ = guarded(|| make().import_state(&nonsense)).map_err(panicked)?;
    if let Err(error) = guarded(|| new.import_state(&state)).map_err(panicked)? {
        return Err(found(Code::RefusesOwnState, error.to_string()));
    }
    match guarded(|| new.export_state()).map_err(panicked)? {
        Some(again) if again == state => Ok(()),
        again => Err(found(Code::LosesState, format!("exported {state:?}, imported it, exported {again:?}"))),
    }
}

fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        // A payload may panic when it is dropped; what that raises is leaked rather than risked again.
        if let Err(again) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
            std::mem::forget(again);
        }
        text.unwrap_or_else(|| "a panic without text".to_owned())
    })
}

/// One `#[test]` that asks for conformance of an exported policy: with its default config, or with configs by name.
///
/// ```
/// # use policy_plugin_api::prelude::*;
/// # struct MyPolicy;
/// policy_testkit::policy_conformance!(MyPolicy);
/// policy_testkit::policy_conformance!(MyPolicy, patient = r#"{"wait_ms": 300}"#);
/// ```
#[macro_export]
macro_rules! policy_conformance {
    ($policy:ty) => {
        $crate::policy_conformance!($policy, conformance = "{}");
    };
    ($policy:ty, $($name:ident = $config:expr),+ $(,)?) => {
        $(#[test]
        fn $name() {
            $crate::conformance::check_exported_policy::<$policy>($config).assert_clean();
        })+
    };
}

/// As [`policy_conformance!`](crate::policy_conformance), for filters.
#[macro_export]
macro_rules! filter_conformance {
    ($filter:ty) => {
        $crate::filter_conformance!($filter, conformance = "{}");
    };
    ($filter:ty, $($name:ident = $config:expr),+ $(,)?) => {
        $(#[test]
        fn $name() {
            $crate::conformance::check_exported_filter::<$filter>($config).assert_clean();
        })+
    };
}

/// As [`policy_conformance!`](crate::policy_conformance), for scores.
#[macro_export]
macro_rules! score_conformance {
    ($score:ty) => {
        $crate::score_conformance!($score, conformance = "{}");
    };
    ($score:ty, $($name:ident = $config:expr),+ $(,)?) => {
        $(#[test]
        fn $name() {
            $crate::conformance::check_exported_score::<$score>($config).assert_clean();
        })+
    };
}
