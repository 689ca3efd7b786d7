//! Every state meets every input, and random histories keep what is promised.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::control::activation::Activation;

/// A recipe, a generation and a library are numbers here.
type In = Input<u32, u64, u32>;
type Out = Effect<u32, u64, u32>;

fn request(cause: Cause, reply: Option<u64>) -> Request {
    let activation = Activation::parse(br#"{"policy":"p"}"#).unwrap();
    Request { reply: reply.map(ReplyTo), ..Request::new(activation, cause, "active.json", Instant::now()) }
}

fn refusal() -> Refusal {
    Refusal::new("no", "no")
}

/// A machine and the moment that it lives in.
struct World {
    machine: Machine<u32>,
    now: Moment,
}

impl World {
    fn new() -> Self {
        let now = Moment { at: Instant::now(), rounds: 0 };
        Self { machine: Machine::new(1, "active.json", now), now }
    }

    fn step(&mut self, input: In) -> Vec<Out> {
        self.machine.step(input, self.now)
    }

    fn after(mut self, inputs: impl IntoIterator<Item = In>) -> Self {
        for input in inputs {
            self.step(input);
        }
        self
    }

    fn later(&mut self, by: Duration) {
        self.now.at += by;
    }
}

fn asked(reply: u64) -> In {
    Input::Asked(request(Cause::Api, Some(reply)))
}

fn found(reply: u64, found: Found<u32>) -> In {
    Input::Resolved(request(Cause::Api, Some(reply)), found)
}

fn ready(reply: u64, generation: u64) -> In {
    found(reply, Found::Ready { generation, recipe: 7 })
}

/// The states that differ in what they do with an input: name, machine.
fn states() -> Vec<(&'static str, World)> {
    let answered = || World::new().after([Input::Answered { generation: 1, at: Instant::now() }]);
    vec![
        ("started", World::new()),
        ("idle", answered()),
        ("waiting", answered().after([found(1, Found::Wait)])),
        ("building", answered().after([ready(1, 2)])),
        ("building, next queued", answered().after([ready(1, 2), asked(2)])),
        ("awaiting", answered().after([ready(1, 2), Input::Built { generation: 2, made: Ok(2) }])),
    ]
}

/// What is to be done, in short.
fn short(effects: &[Out]) -> String {
    let name = |effect: &Out| match effect {
        Effect::Resolve(_) => "resolve".to_owned(),
        Effect::Compare(_) => "compare".to_owned(),
        Effect::Construct { generation, .. } => format!("construct {generation}"),
        Effect::SwapIn(made) => format!("swap in {made}"),
        Effect::Discard(made) => format!("discard {made}"),
        Effect::Release => "release".to_owned(),
        Effect::Refuse { reply, .. } => format!("refuse {:?}", reply.as_ref().map(|r| r.0)),
        Effect::AlreadyServes { reply, .. } => format!("serves {:?}", reply.as_ref().map(|r| r.0)),
        Effect::Reply(to, refusal) => format!("{} {}", refusal.code, to.0),
        Effect::Receipt { generation, answered, .. } => {
            format!("receipt {generation}{}", if answered.is_some() { "" } else { " idle" })
        }
        Effect::RollBack { generation, reply } => format!("roll back {generation} {:?}", reply.as_ref().map(|r| r.0)),
    };
    effects.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// For each input, what it does in each of [`states`], in their order.
#[test]
fn every_state_takes_every_input() {
    let nothing = "";
    let resolve = "resolve";
    type Make = fn() -> In;
    let table: [(&str, Make, [&str; 6]); 17] = [
        ("asked", || asked(9), [resolve, resolve, "superseded 1, resolve", nothing, "superseded 2", resolve]),
        (
            "a library renews it",
            || Input::Asked(request(Cause::NewLibrary, None)),
            [resolve, resolve, nothing, nothing, nothing, resolve],
        ),
        ("resolved: wait", || found(9, Found::Wait), [nothing; 6]),
        ("resolved: unknown", || found(9, Found::Unknown(refusal())), [nothing; 6]),
        ("resolved: refused", || found(9, Found::Refused(refusal())), ["refuse Some(9)"; 6]),
        ("resolved: serves", || found(9, Found::Serves), ["serves Some(9)"; 6]),
        ("resolved: ready", || ready(9, 5), ["construct 5"; 6]),
        ("names changed", || Input::NamesChanged, [nothing, nothing, resolve, nothing, nothing, nothing]),
        ("arrived", || Input::Arrived(3), ["compare", "compare", "compare", nothing, nothing, "compare"]),
        ("compared: no news", || Input::Compared(None), [nothing; 6]),
        (
            "built",
            || Input::Built { generation: 2, made: Ok(2) },
            ["discard 2", "discard 2", "discard 2", "swap in 2", "swap in 2, resolve", "discard 2"],
        ),
        (
            "not built",
            || Input::Built { generation: 2, made: Err(refusal()) },
            [nothing, nothing, nothing, "refuse Some(1)", "refuse Some(1), resolve", nothing],
        ),
        ("another built", || Input::Built { generation: 8, made: Ok(8) }, ["discard 8"; 6]),
        (
            "overdue",
            || Input::Overdue { generation: 2, refusal: refusal() },
            [nothing, nothing, nothing, "refuse Some(1), release", "refuse Some(1), release, resolve", nothing],
        ),
        (
            "answered",
            || Input::Answered { generation: 2, at: Instant::now() },
            [nothing, nothing, nothing, nothing, nothing, "receipt 2"],
        ),
        (
            "ejected",
            || Input::Ejected { generation: 2 },
            [nothing, nothing, nothing, nothing, nothing, "roll back 2 Some(1)"],
        ),
        (
            "the first ejected",
            || Input::Ejected { generation: 1 },
            [
                "roll back 1 None",
                "roll back 1 None",
                "roll back 1 None",
                "roll back 1 None",
                "roll back 1 None",
                nothing,
            ],
        ),
    ];
    for (input, make, expected) in table {
        for ((state, mut world), expected) in states().into_iter().zip(expected) {
            // The answer to an effect comes at once, where nothing else waits.
            if input.starts_with("resolved") && !world.machine.is_idle() {
                continue;
            }
            assert_eq!(short(&world.step(make())), expected, "{state} + {input}");
        }
    }
}

#[test]
fn a_name_that_nobody_gives_is_waited_for_and_then_refused() {
    let mut world = World::new().after([Input::Answered { generation: 1, at: Instant::now() }]);
    world.step(found(1, Found::Unknown(refusal())));
    assert_eq!(short(&world.step(Input::Tick)), "");
    world.later(UNKNOWN_NAME_GRACE);
    let effects = world.step(Input::Tick);
    assert!(matches!(&effects[..], [Effect::Resolve(_)]), "{effects:?}");
    let Some(Effect::Resolve(request)) = effects.into_iter().next() else { return };
    let effects = world.step(Input::Resolved(request, Found::Unknown(refusal())));
    assert_eq!(short(&effects), "refuse Some(1)");
}

#[test]
fn a_swap_counts_as_done_by_its_rehearsal_only_while_no_rounds_flow() {
    let mut world = World::new();
    world.later(IDLE_AFTER);
    world.now.rounds = 1;
    assert_eq!(short(&world.step(Input::Tick)), "", "rounds flow: one of them will be answered");
    world.now.rounds = 0;
    assert_eq!(short(&world.step(Input::Tick)), "receipt 1 idle");
    assert_eq!(short(&world.step(Input::Tick)), "");
}

#[test]
fn libraries_that_come_during_a_construction_are_compared_one_after_the_other() {
    let mut world = World::new().after([ready(1, 2)]);
    assert_eq!(short(&world.step(Input::Arrived(3))), "");
    assert_eq!(short(&world.step(Input::Arrived(4))), "");
    assert_eq!(short(&world.step(Input::Built { generation: 2, made: Ok(2) })), "swap in 2, compare");
    assert_eq!(short(&world.step(Input::Compared(None))), "compare");
    assert_eq!(short(&world.step(Input::Compared(None))), "");
}

/// What happens next in a random history.
#[derive(Clone, Debug)]
enum Happening {
    Ask(bool),
    Arrive,
    NamesChange,
    Build(bool),
    GiveUp,
    LateBuild,
    Answer,
    Eject,
    Tick(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        any::<bool>().prop_map(Happening::Ask),
        Just(Happening::Arrive),
        Just(Happening::NamesChange),
        any::<bool>().prop_map(Happening::Build),
        Just(Happening::GiveUp),
        Just(Happening::LateBuild),
        Just(Happening::Answer),
        Just(Happening::Eject),
        (0u64..400).prop_map(Happening::Tick),
    ]
}

/// A driver as simple as it can be, which checks what is promised.
struct Checked {
    world: World,
    /// What names mean, in turn.
    meanings: Vec<u8>,
    resolved: usize,
    generations: u64,
    constructing: Option<u64>,
    given_up: Vec<u64>,
    active: u64,
    answered: BTreeSet<u64>,
    callers: BTreeSet<u64>,
    asked: u64,
}

impl Checked {
    fn drive(&mut self, input: In) {
        let mut effects: std::collections::VecDeque<Out> = self.world.step(input).into();
        while let Some(effect) = effects.pop_front() {
            if let Some(input) = self.carry_out(effect) {
                self.world.step(input).into_iter().rev().for_each(|effect| effects.push_front(effect));
            }
        }
    }

    fn reply(&mut self, to: Option<ReplyTo>) {
        if let Some(ReplyTo(caller)) = to {
            assert!(self.callers.remove(&caller), "caller {caller} is answered twice");
        }
    }

    fn carry_out(&mut self, effect: Out) -> Option<In> {
        match effect {
            Effect::Resolve(request) => {
                self.resolved += 1;
                let found = match self.meanings[self.resolved % self.meanings.len()] % 5 {
                    0 => Found::Wait,
                    1 => Found::Unknown(refusal()),
                    2 => Found::Refused(refusal()),
                    3 => Found::Serves,
                    _ => {
                        self.generations += 1;
                        Found::Ready { generation: self.generations, recipe: 7 }
                    }
                };
                return Some(Input::Resolved(request, found));
            }
            Effect::Compare(library) => {
                let renews = (library % 2 == 0).then(|| request(Cause::NewLibrary, None));
                return Some(Input::Compared(renews));
            }
            Effect::Construct { generation, .. } => {
                assert_eq!(self.constructing, None, "two constructions at once");
                self.constructing = Some(generation);
            }
            Effect::SwapIn(made) => {
                assert_ne!(made, self.active, "in service already");
                self.active = made;
            }
            Effect::Discard(made) => assert_ne!(made, self.active, "what is in service is discarded"),
            Effect::Release => {}
            Effect::Refuse { reply, .. } | Effect::AlreadyServes { reply, .. } => self.reply(reply),
            Effect::Reply(to, _) => self.reply(Some(to)),
            Effect::Receipt { generation, answered, awaited } => {
                assert_eq!(generation, self.active, "a receipt of what does not answer");
                assert!(answered.is_none() || self.answered.contains(&generation), "a receipt ahead of its answer");
                self.reply(awaited.reply);
            }
            Effect::RollBack { generation, reply } => {
                assert_eq!(generation, self.active);
                self.reply(reply);
                self.active = 1;
                return Some(Input::RolledBack { generation: 1 });
            }
        }
        None
    }

    fn happen(&mut self, what: &Happening) {
        match *what {
            Happening::Ask(waits) => {
                self.asked += 1;
                let reply = waits.then_some(self.asked);
                self.callers.extend(reply);
                self.drive(Input::Asked(request(if waits { Cause::Api } else { Cause::ActiveFile }, reply)));
            }
            Happening::Arrive => self.drive(Input::Arrived(self.resolved as u32)),
            Happening::NamesChange => self.drive(Input::NamesChanged),
            Happening::Build(well) => {
                if let Some(generation) = self.constructing.take() {
                    self.drive(Input::Built { generation, made: if well { Ok(generation) } else { Err(refusal()) } });
                }
            }
            Happening::GiveUp => {
                if let Some(generation) = self.constructing.take() {
                    self.given_up.push(generation);
                    self.drive(Input::Overdue { generation, refusal: refusal() });
                }
            }
            Happening::LateBuild => {
                if let Some(generation) = self.given_up.pop() {
                    self.drive(Input::Built { generation, made: Ok(generation) });
                }
            }
            Happening::Answer => {
                self.answered.insert(self.active);
                self.drive(Input::Answered { generation: self.active, at: self.world.now.at });
            }
            Happening::Eject => {
                if self.active != 1 {
                    self.drive(Input::Ejected { generation: self.active });
                }
            }
            Happening::Tick(ms) => {
                self.world.later(Duration::from_millis(ms));
                self.drive(Input::Tick);
            }
        }
    }
}

proptest! {
    /// Never two constructions, never a receipt ahead of an answer, one answer to each caller, and every caller gets it.
    #[test]
    fn random_histories_keep_what_is_promised(
        history in proptest::collection::vec(happening(), 1..80),
        meanings in proptest::collection::vec(any::<u8>(), 1..8),
    ) {
        let mut checked = Checked {
            world: World::new(),
            meanings,
            resolved: 0,
            generations: 1,
            constructing: None,
            given_up: Vec::new(),
            active: 1,
            answered: BTreeSet::new(),
            callers: BTreeSet::new(),
            asked: 0,
        };
        history.iter().for_each(|what| checked.happen(what));
        // Everything settles once names are known and time passes.
        checked.meanings = vec![4];
        // Each library that came may ask for one construction more.
        for _ in 0..2 * history.len() + 4 {
            for what in [Happening::NamesChange, Happening::Build(true), Happening::Answer, Happening::Tick(10_000)] {
                checked.happen(&what);
            }
        }
        prop_assert!(checked.callers.is_empty(), "these wait for ever: {:?}", checked.callers);
        prop_assert!(checked.world.machine.is_idle());
    }
}
