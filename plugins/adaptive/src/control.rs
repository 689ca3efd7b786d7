//! What `adaptive` keeps from round to round: the behaviour at work, the epoch under way, what was measured, who decides.

use crate::bandit::Bandit;
use crate::rules::Rules;
use crate::signals::{Epoch, Smoothed};

/// What changes from round to round.
#[derive(Debug)]
pub(crate) struct Control {
    /// Index of the behaviour at work, since when, and for how many full epochs.
    pub(crate) current: usize,
    pub(crate) since_us: u64,
    pub(crate) dwell_epochs: u32,
    pub(crate) epoch_start_us: Option<u64>,
    pub(crate) epoch: Epoch,
    /// What the behaviour has earned since the last pull.
    pub(crate) earned: Earned,
    pub(crate) signals: Smoothed,
    pub(crate) chooser: Chooser,
}

/// Rewards of the epochs of one pull.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Earned {
    sum: f64,
    epochs: u32,
}

impl Earned {
    pub(crate) fn extend(&mut self, reward: Option<f64>) {
        self.sum += reward.unwrap_or_default();
        self.epochs += u32::from(reward.is_some());
    }

    /// The mean; `None` when no epoch has shown anything.
    pub(crate) fn take(&mut self) -> Option<f64> {
        let Self { sum, epochs } = std::mem::take(self);
        (epochs > 0).then(|| sum / f64::from(epochs))
    }
}

/// Who decides.
#[derive(Debug)]
pub(crate) enum Chooser {
    Rules(Rules),
    /// Arms are the behaviours, in their order.
    Bandit(Bandit),
}

impl Control {
    /// At work is the behaviour at index `current`.
    pub(crate) fn new(current: usize, chooser: Chooser) -> Self {
        Self {
            current,
            since_us: 0,
            dwell_epochs: 0,
            epoch_start_us: None,
            epoch: Epoch::default(),
            earned: Earned::default(),
            signals: Smoothed::default(),
            chooser,
        }
    }
}
