//! Turns, as a table of what happens when: every time is an input.

use super::*;

#[derive(Debug, PartialEq, Eq)]
struct Asked(&'static str);

impl Job for Asked {
    fn kind(&self) -> Kind {
        if self.0 == "hand over" { Kind::HandOver } else { Kind::Round }
    }

    fn begins(&self) {}
}

const DEADLINE: Duration = Duration::from_millis(50);

/// Turns of a lane with a thread of its own, and a clock that stands at 0 ms.
fn turns(misses: u32) -> (Turns<Asked>, impl Fn(u64) -> Instant) {
    let guard = Guard { misses, ..Guard::default() };
    let start = Instant::now();
    (Turns::new(DEADLINE, guard, true), move |ms| start + Duration::from_millis(ms))
}

fn ask(turns: &mut Turns<Asked>, name: &'static str) -> Ticket {
    turns.submit(Asked(name)).expect("it is taken")
}

fn begun(turns: &mut Turns<Asked>, now: Instant) -> Option<&'static str> {
    turns.begin(now).map(|(_, job)| job.0)
}

fn dropped(turns: &mut Turns<Asked>) -> Vec<&'static str> {
    std::mem::take(&mut turns.dropped).into_iter().map(|job| job.0).collect()
}

#[test]
fn one_call_at_a_time_in_the_order_of_asking() {
    let (mut turns, at) = turns(3);
    ask(&mut turns, "a");
    ask(&mut turns, "b");
    assert_eq!(begun(&mut turns, at(0)), Some("a"));
    assert_eq!(begun(&mut turns, at(1)), None, "a is in its call");
    assert!(turns.finish(0, at(2)));
    assert_eq!((begun(&mut turns, at(2)), begun(&mut turns, at(2))), (Some("b"), None));
}

#[test]
fn a_late_call_counts_once_and_those_behind_it_are_given_back() {
    let (mut turns, at) = turns(3);
    let a = ask(&mut turns, "a");
    let behind: Vec<Ticket> = (0..20).map(|_| ask(&mut turns, "behind")).collect();
    begun(&mut turns, at(0));
    assert_eq!(turns.place(a, at(0), at(0)), Place::Wait(at(50)));
    assert_eq!(turns.place(behind[7], at(0), at(10)), Place::Wait(at(50)), "it looks when the call before it is due");
    // Whoever looks first finds it late; all the others hear of it.
    assert_eq!(turns.place(behind[7], at(0), at(51)), Place::Done);
    assert_eq!(dropped(&mut turns).len(), 20);
    let Place::Late(fault) = turns.place(a, at(0), at(51)) else { panic!("its own caller hears of it") };
    assert!(fault.message.contains("missed deadline 1 of 3") && !fault.ejects(), "{}", fault.message);
    assert!(turns.is_held_up() && turns.submit(Asked("later")).is_err(), "nobody waits for a late call");
    turns.look(at(60));
    assert_eq!((turns.counts(at(60)), turns.written_off), ([1, 1, 0, 0], 0));
    // It returns: the generation goes on.
    assert!(turns.finish(0, at(90)));
    assert!(!turns.is_held_up());
    let news = turns.take_news().0;
    assert!(matches!(&news[..], [News::Missed(Some(_)), News::Returned(took)] if *took == at(90) - at(0)), "{news:?}");
}

#[test]
fn a_call_that_is_not_back_after_one_more_deadline_is_written_off_with_its_thread() {
    let (mut turns, at) = turns(3);
    let a = ask(&mut turns, "a");
    begun(&mut turns, at(0));
    assert!(matches!(turns.place(a, at(0), at(50)), Place::Late(_)));
    turns.leave(a);
    assert_eq!(turns.look(at(99)), Some(at(100)));
    assert_eq!(turns.look(at(100)), None);
    assert_eq!((turns.written_off, turns.is_vacant(), turns.is_held_up()), (1, true, true));
    turns.look(at(1_000));
    assert_eq!(turns.written_off, 1, "a thread counts once");
    assert!(turns.install() && !turns.install());
    ask(&mut turns, "b");
    assert_eq!(begun(&mut turns, at(1_000)), Some("b"));
    assert!(!turns.finish(0, at(1_001)), "the old thread is back after all, and is not this lane's any more");
    assert!(turns.finish(1, at(1_002)), "the new one is");
}

#[test]
fn the_miss_that_ejects_closes_the_lane_and_its_caller_is_told() {
    let (mut turns, at) = turns(1);
    let (a, b) = (ask(&mut turns, "a"), ask(&mut turns, "b"));
    begun(&mut turns, at(0));
    assert_eq!(turns.place(b, at(0), at(50)), Place::Done, "given back");
    assert_eq!((turns.is_closed(), turns.written_off), (true, 1));
    assert_eq!(turns.take_news().1, None, "its caller tells it");
    assert!(matches!(turns.place(a, at(0), at(55)), Place::Late(fault) if fault.ejects()));
}

#[test]
fn the_call_of_a_caller_that_left_is_looked_after() {
    let (mut turns, at) = turns(1);
    let a = ask(&mut turns, "a");
    begun(&mut turns, at(0));
    turns.leave(a);
    assert!(turns.nudge, "the control task is told to look");
    assert_eq!(turns.look(at(10)), Some(at(50)), "leaving is no fault");
    assert_eq!(turns.take_news(), (Vec::new(), None));
    turns.look(at(50));
    let (news, eject) = turns.take_news();
    assert!(matches!(news[..], [News::Missed(Some(_))]) && eject.is_some_and(|fault| fault.ejects()));
}

#[test]
fn a_caller_that_leaves_before_it_heard_of_an_ejection_leaves_it_to_the_control_task() {
    let (mut turns, at) = turns(1);
    let (a, b) = (ask(&mut turns, "a"), ask(&mut turns, "b"));
    begun(&mut turns, at(0));
    turns.place(b, at(0), at(50));
    assert_eq!(turns.take_news().1, None);
    turns.leave(a);
    assert!(turns.take_news().1.is_some());
}

#[test]
fn a_job_whose_caller_left_never_begins() {
    let (mut turns, at) = turns(3);
    let (a, b) = (ask(&mut turns, "a"), ask(&mut turns, "b"));
    ask(&mut turns, "c");
    begun(&mut turns, at(0));
    turns.leave(b);
    assert_eq!(dropped(&mut turns), ["b"]);
    turns.finish(0, at(1));
    turns.leave(a);
    assert_eq!(begun(&mut turns, at(1)), Some("c"));
}

#[test]
fn whoever_looks_too_late_cannot_judge() {
    // When the caller looks (ms), and what it finds: a deadline of 50 ms, and a call that does not return.
    for (looks, counted) in [
        // On time, or late by no more than the deadline.
        (vec![50], Some(true)),
        (vec![100], Some(true)),
        // Later: this process was held up. The deadline begins anew.
        (vec![101], None),
        (vec![300, 349], None),
        (vec![300, 350], Some(true)),
        (vec![300, 600, 650], Some(true)),
        // Held up every time: the round falls back, and nothing counts.
        (vec![300, 600, 900, 1_200], Some(false)),
    ] {
        let (mut turns, at) = turns(1);
        let a = ask(&mut turns, "a");
        begun(&mut turns, at(0));
        let last = looks.iter().map(|ms| turns.place(a, at(0), at(*ms))).last();
        let found = match last {
            Some(Place::Late(fault)) => Some(fault.ejects()),
            Some(Place::Wait(_)) => None,
            other => panic!("{looks:?}: {other:?}"),
        };
        assert_eq!(found, counted, "{looks:?}");
        assert_eq!(turns.counts(at(2_000))[0], u64::from(counted == Some(true)), "{looks:?}");
    }
}

#[test]
fn a_round_that_nobody_begins_is_taken_back_and_counts_against_nobody() {
    let (mut turns, at) = turns(1);
    let a = ask(&mut turns, "a");
    let patience = DEADLINE + PICKUP_GRACE;
    assert_eq!(turns.place(a, at(0), at(10)), Place::Wait(at(60)), "begun now, it would be due then");
    assert_eq!(turns.place(a, at(0), at(2_040)), Place::Wait(at(0) + patience));
    assert_eq!(turns.place(a, at(0), at(0) + patience), Place::NotTaken);
    assert_eq!(dropped(&mut turns), ["a"]);
    assert_eq!((turns.counts(at(0)), turns.is_held_up()), ([0; 4], false));
}

#[test]
fn a_hand_over_is_the_last_call_until_it_is_released() {
    for replaced in [true, false] {
        let (mut turns, at) = turns(1);
        ask(&mut turns, "a");
        let hand_over = ask(&mut turns, "hand over");
        ask(&mut turns, "b");
        begun(&mut turns, at(0));
        turns.finish(0, at(1));
        assert_eq!(begun(&mut turns, at(1)), Some("hand over"), "after the rounds before it");
        assert!(turns.exported(0));
        assert_eq!(begun(&mut turns, at(2)), None, "nothing is learnt after it");
        turns.release(Some(hand_over + 7), false);
        assert_eq!(begun(&mut turns, at(2)), None, "another hand-over is another's to release");
        turns.release(Some(hand_over), replaced);
        assert_eq!(begun(&mut turns, at(3)), if replaced { None } else { Some("b") });
        assert_eq!(dropped(&mut turns), if replaced { vec!["b"] } else { vec![] });
        assert_eq!(turns.counts(at(3)), [0; 4]);
    }
}

#[test]
fn a_slow_hand_over_is_no_miss_and_rounds_go_elsewhere_meanwhile() {
    let (mut turns, at) = turns(1);
    let hand_over = ask(&mut turns, "hand over");
    begun(&mut turns, at(0));
    let b = ask(&mut turns, "b");
    assert_eq!(turns.place(b, at(5), at(5)), Place::Wait(at(50)));
    assert_eq!(turns.place(b, at(5), at(50)), Place::Done, "given back");
    assert!(turns.is_held_up());
    turns.look(at(400));
    assert_eq!((turns.counts(at(400)), turns.written_off), ([0; 4], 0));
    assert!(turns.exported(0));
    turns.release(Some(hand_over), true);
    assert!(!turns.is_held_up() && turns.take_news().0.is_empty());
}

#[test]
fn an_export_that_does_not_return_is_written_off_when_it_is_released() {
    let (mut turns, at) = turns(1);
    let hand_over = ask(&mut turns, "hand over");
    begun(&mut turns, at(0));
    turns.leave(hand_over);
    turns.release(Some(hand_over), true);
    assert_eq!((turns.written_off, turns.is_vacant()), (1, true));
    assert!(!turns.exported(0), "back after all");
    assert_eq!(turns.take_news().1, None, "nobody is ejected for that");
}

#[test]
fn a_call_on_its_callers_task_ends_with_its_caller_and_is_judged_by_it_alone() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut turns = Turns::<Asked>::new(DEADLINE, Guard::default(), false);
    let a = turns.begin_at_once(at(0)).expect("nobody else is there");
    assert_eq!(turns.begin_at_once(at(1)), None);
    let b = ask(&mut turns, "b");
    assert_eq!(turns.place(b, at(10), at(55)), Place::Wait(at(60)), "it waits as long as its own deadline");
    assert_eq!(turns.place(b, at(10), at(60)), Place::NotTaken);
    assert_eq!(turns.counts(at(60))[0], 0, "a call that blocks its caller is not for others to judge");
    assert!(matches!(turns.place(a, at(0), at(61)), Place::Late(fault) if !fault.ejects()));
    turns.end(a);
    assert!(turns.begin_at_once(at(62)).is_some());
    assert_eq!(turns.written_off, 0);
}
