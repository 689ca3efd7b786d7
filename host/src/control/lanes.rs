//! Lanes, as the control task looks after them: deadlines of calls that nobody waits for, late calls that return or do not,
//! and new instances in the place of those that were written off.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Control, Message};
use crate::control::admit::{self, AdmitError};
use crate::core::event::EventKind;
use crate::core::guard::Fault;
use crate::core::limits::MAX_STUCK_THREADS;
use crate::core::text::chain;
use crate::facade::Outcome;
use crate::serving::lane::{Looked, News, stuck_threads};
use crate::serving::slot::Active;

/// What became of a new instance.
#[derive(Debug)]
pub(crate) struct Replaced {
    generation: u64,
    result: Result<bool, AdmitError>,
}

impl Control {
    /// Looks at every lane whose calls may be late, and takes what happened there.
    pub(super) fn look_at_lanes(&mut self, now: Instant) {
        let lineup = self.shared.slot.load();
        let all = lineup.all();
        self.look_again = None;
        for active in &all {
            self.look_at(active, now);
        }
        // Those that left have no successor of their own; but their threads are written off all the same.
        for gone in &self.retired {
            let again = gone.lane.look(now).again;
            self.look_again = self.look_again.into_iter().chain(again).min();
        }
        self.give_up_replacements(now);
    }

    fn look_at(&mut self, active: &Arc<Active>, now: Instant) {
        let Looked { news, eject, vacant, again } = active.lane.look(now);
        self.look_again = self.look_again.into_iter().chain(again).min();
        let (policy, generation) = (active.info.policy.clone(), active.info.generation);
        for news in news {
            self.books.touch();
            self.tell(match news {
                News::Missed(strike) => {
                    let message = Fault::deadline(active.info.deadline, strike).message;
                    EventKind::MissedDeadline { policy: policy.clone(), generation, message }
                }
                News::Returned(took) => {
                    let message = format!("its late call returned after {} ms; it answers again", took.as_millis());
                    EventKind::Resumed { policy: policy.clone(), generation, message }
                }
            });
        }
        if let Some(fault) = eject {
            self.eject_now(active, &fault);
        } else if vacant && !active.is_suspended() {
            let is_active = self.shared.slot.load().active.info.generation == generation;
            match active.lane.is_replaceable() {
                true => self.replace(active, now),
                // What stands by would not answer any more: nothing is lost, and nobody is to blame.
                false if !is_active => {}
                false => self.eject_now(active, &does_not_return()),
            }
        }
    }

    /// Takes a generation out of service for a fault that none of its rounds reported.
    fn eject_now(&mut self, active: &Arc<Active>, fault: &Fault) {
        active.suspended.store(true, Ordering::Release);
        self.eject(active.info.generation, fault);
    }

    /// Has another instance made in the same generation. Runs plugin code, on a thread that may be thrown away.
    fn replace(&mut self, active: &Arc<Active>, now: Instant) {
        let generation = active.info.generation;
        if self.replacing.iter().any(|(replaced, _)| *replaced == generation) {
            return;
        }
        let stuck = stuck_threads();
        let Some(recipe) = active.recipe.clone() else { return self.eject_now(active, &does_not_return()) };
        if stuck >= MAX_STUCK_THREADS {
            return self.cannot_replace(generation, &format!("{stuck} threads are stuck in plugin code already"));
        }
        self.replacing.push((generation, now + self.options.admission_deadline));
        let (shared, active) = (Arc::clone(&self.shared), Arc::clone(active));
        let inbox = self.shared.inbox.clone();
        let spawned = self.makers.run(move || {
            let policy = recipe.policy.0.name.clone();
            let name = policy.clone();
            let note = move |message: String| {
                shared.post(Outcome::Note { policy: policy.clone(), generation, message });
            };
            let result = admit::construct(&recipe, note).and_then(|pipeline| {
                active.lane.replace(pipeline).map_err(|source| AdmitError::Thread { name, source })
            });
            drop(active);
            let _ = inbox.blocking_send(Message::Replaced(Replaced { generation, result }));
        });
        if let Err(source) = spawned {
            self.cannot_replace(generation, &format!("no thread for another instance: {}", chain(&source)));
        }
    }

    pub(super) fn take_replaced(&mut self, replaced: Replaced) {
        let Replaced { generation, result } = replaced;
        let expected = self.replacing.iter().any(|(expected, _)| *expected == generation);
        match result {
            // Given up in the meantime; the generation is out of service.
            _ if !expected => {}
            Err(error) => self.cannot_replace(generation, &chain(&error)),
            Ok(taken) => {
                self.replacing.retain(|(replaced, _)| *replaced != generation);
                let lineup = self.shared.slot.load();
                let all = lineup.all();
                if let Some(active) = all.iter().find(|a| taken && a.info.generation == generation) {
                    let message = "its late call has not returned: its thread is written off, and another instance of \
                                   it answers, which starts cold"
                        .to_owned();
                    self.tell(EventKind::Resumed { policy: active.info.policy.clone(), generation, message });
                    self.books.touch();
                }
            }
        }
    }

    fn give_up_replacements(&mut self, now: Instant) {
        let late: Vec<u64> = self.replacing.iter().filter(|(_, until)| *until <= now).map(|(g, _)| *g).collect();
        for generation in late {
            let seconds = self.options.admission_deadline.as_secs_f32();
            self.cannot_replace(generation, &format!("another instance was not ready after {seconds} s"));
        }
    }

    fn cannot_replace(&mut self, generation: u64, reason: &str) {
        self.replacing.retain(|(replaced, _)| *replaced != generation);
        let lineup = self.shared.slot.load();
        if let Some(active) = lineup.all().iter().find(|a| a.info.generation == generation) {
            let message = format!("its call does not return, and no other instance takes its place: {reason}");
            self.eject_now(active, &Fault::ejecting("deadline-exceeded", message));
        }
    }
}

fn does_not_return() -> Fault {
    Fault::ejecting("deadline-exceeded", String::from("its call does not return"))
}
