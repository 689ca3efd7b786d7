//! Which arm pays best, learned by trying: UCB1, and its discounted form for rewards that drift.
//!
//! Auer, Cesa-Bianchi, Fischer, "Finite-time Analysis of the Multiarmed Bandit Problem" (Machine Learning 47, 2002),
//! figure 1; Garivier, Moulines, "On Upper-Confidence Bound Policies for Switching Bandit Problems" (ALT 2011), section 2.

/// Upper confidence bounds over a fixed number of arms. Rewards lie in 0..=1.
#[derive(Clone, Debug, PartialEq)]
pub struct Bandit {
    gamma: f64,
    exploration: f64,
    arms: Vec<Arm>,
}

/// What is known about an arm.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Arm {
    /// How often it was pulled; older pulls count less.
    pub pulls: f64,
    /// The sum of what it paid, discounted in the same way.
    pub reward: f64,
}

impl Arm {
    /// What it paid on average.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.pulls > 0.0 { self.reward / self.pulls } else { 0.0 }
    }
}

impl Bandit {
    /// `gamma` in (0, 1]: what a pull counts after each later pull; with 1 nothing is forgotten, which is plain UCB1.
    /// `exploration`: factor of the confidence bound, 1 in the papers.
    #[must_use]
    pub fn new(arms: usize, gamma: f64, exploration: f64) -> Self {
        Self { gamma, exploration, arms: vec![Arm::default(); arms] }
    }

    /// The arms.
    #[must_use]
    pub fn arms(&self) -> &[Arm] {
        &self.arms
    }

    /// Takes over what was known about an arm.
    pub fn restore(&mut self, arm: usize, known: Arm) {
        if let Some(arm) = self.arms.get_mut(arm) {
            *arm = known;
        }
    }

    /// The upper bound of what an arm may pay: infinite for one that was never pulled.
    #[must_use]
    pub fn bound(&self, arm: usize) -> f64 {
        let all: f64 = self.arms.iter().map(|arm| arm.pulls).sum();
        match self.arms.get(arm) {
            Some(known) if known.pulls > 0.0 => {
                known.mean() + self.exploration * (2.0 * all.ln().max(0.0) / known.pulls).sqrt()
            }
            _ => f64::INFINITY,
        }
    }

    /// The arm to pull next: the one with the highest bound; of equals, the first.
    #[must_use]
    pub fn choose(&self) -> usize {
        let mut best = (0, f64::NEG_INFINITY);
        for arm in 0..self.arms.len() {
            let bound = self.bound(arm);
            if bound > best.1 {
                best = (arm, bound);
            }
        }
        best.0
    }

    /// Learns what a pull has paid.
    pub fn learn(&mut self, arm: usize, reward: f64) {
        for arm in &mut self.arms {
            arm.pulls *= self.gamma;
            arm.reward *= self.gamma;
        }
        if let Some(arm) = self.arms.get_mut(arm) {
            arm.pulls += 1.0;
            arm.reward += reward.clamp(0.0, 1.0);
        }
    }
}
