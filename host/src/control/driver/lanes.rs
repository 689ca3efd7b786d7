//! Looks after generations in service: faults that took them out of it, calls that nobody waits for, late calls that
//! return or do not, and new instances in the place of those that were written off.

use std::sync::Arc;
use std::time::Instant;

use super::Control;
use crate::control::admit::{self, AdmitError};
use crate::control::construction::notes;
use crate::control::machine::Input;
use crate::control::message::{Message, Replaced};
use crate::core::event::EventKind;
use crate::core::guard::Fault;
use crate::core::limits::MAX_STUCK_THREADS;
use crate::core::text::chain;
use crate::core::threads;
use crate::serving::lane::{Looked, News};
use crate::serving::slot::Active;

impl Control {
    /// Looks at every generation of the line-up, and takes what happened there.
    pub(super) fn look_at_lanes(&mut self, now: Instant) {
        self.look_again = None;
        for active in self.service.slot.load().all() {
            self.look_at(&active, now);
            self.take_up_ejection(&active);
        }
        self.give_up_replacements(now);
    }

    /// Makes official what rounds do already.
    fn take_up_ejection(&mut self, active: &Active) {
        let Some(ejection) = active.ejection().filter(|ejection| ejection.take_up()) else { return };
        self.quarantine(&active.info, &ejection.fault);
        if let Some(dump) = ejection.take_dump() {
            self.dump(dump);
        }
        self.drive(Input::Ejected { generation: active.info.generation });
    }

    fn look_at(&mut self, active: &Arc<Active>, now: Instant) {
        let Looked { news, eject, vacant, again } = active.lane.look(now);
        self.look_again = self.look_again.into_iter().chain(again).min();
        let (policy, generation) = (active.info.policy().to_owned(), active.info.generation);
        for news in news {
            self.files.touch();
            self.say(match news {
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
            self.eject(active, fault);
        } else if vacant && !active.is_suspended() {
            let is_active = self.service.slot.load().active.info.generation == generation;
            match active.lane.is_replaceable() {
                true => self.replace(active),
                // What stands by would not answer any more: nothing is lost, and nobody is to blame.
                false if !is_active => {}
                false => self.eject(active, does_not_return()),
            }
        }
    }

    /// Takes a generation out of service for a fault that none of its rounds showed.
    fn eject(&mut self, active: &Active, fault: Fault) {
        drop(active.eject(fault, &self.service.control));
        self.take_up_ejection(active);
    }

    /// Has another instance made in the same generation, on a thread that may be thrown away.
    fn replace(&mut self, active: &Arc<Active>) {
        let generation = active.info.generation;
        if self.replacing.iter().any(|(replaced, _)| *replaced == generation) {
            return;
        }
        let Some(recipe) = self.recipes.get(&generation).cloned() else { return self.eject(active, does_not_return()) };
        let stuck = threads::stuck();
        if stuck >= MAX_STUCK_THREADS {
            return self.cannot_replace(generation, &format!("{stuck} threads are stuck in plugin code already"));
        }
        let note = notes(&self.service.events, active.info.policy(), generation);
        let (active, inbox) = (Arc::downgrade(active), self.inbox.clone());
        let made = self.makers.run(move || {
            let result = admit::construct(&recipe, generation, note).and_then(|pipeline| {
                let Some(active) = active.upgrade() else { return Ok(false) };
                let name = recipe.policy.wanted.name.clone();
                active.lane.replace(pipeline).map_err(|source| AdmitError::Thread { name, source })
            });
            let _ = inbox.blocking_send(Message::Replaced(Replaced { generation, result }));
        });
        match made {
            Ok(job) => self.replacing.push((generation, job)),
            Err(source) => {
                self.cannot_replace(generation, &format!("no thread for another instance: {}", chain(&source)));
            }
        }
    }

    pub(super) fn take_replaced(&mut self, replaced: Replaced) {
        let Replaced { generation, result } = replaced;
        // Given up in the meantime, the generation is out of service.
        let Some(at) = self.replacing.iter().position(|(expected, _)| *expected == generation) else { return };
        self.replacing.swap_remove(at);
        match result {
            Err(error) => self.cannot_replace(generation, &chain(&error)),
            Ok(false) => {}
            Ok(true) => {
                if let Some(active) = self.in_lineup(generation) {
                    let message = "its late call has not returned: its thread is written off, and another instance of \
                                   it answers, which starts cold"
                        .to_owned();
                    self.say(EventKind::Resumed { policy: active.info.policy().to_owned(), generation, message });
                    self.files.touch();
                }
            }
        }
    }

    fn give_up_replacements(&mut self, now: Instant) {
        let limit = self.options.admission_deadline;
        let (late, on_time) = self.replacing.drain(..).partition(|(_, job)| job.is_overdue(now, limit));
        self.replacing = on_time;
        let late: Vec<(u64, threads::Job)> = late;
        for (generation, job) in late {
            job.give_up();
            let seconds = limit.as_secs_f32();
            self.cannot_replace(generation, &format!("another instance was not ready after {seconds} s"));
        }
    }

    fn cannot_replace(&mut self, generation: u64, reason: &str) {
        if let Some(active) = self.in_lineup(generation) {
            let message = format!("its call does not return, and no other instance takes its place: {reason}");
            self.eject(&active, Fault::ejecting("deadline-exceeded", message));
        }
    }
}

fn does_not_return() -> Fault {
    Fault::ejecting("deadline-exceeded", String::from("its call does not return"))
}
