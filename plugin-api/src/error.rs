//! What can go wrong in a policy, by consequence.

/// An answer that is not a binding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The policy has no say in this round (too little information, say). The fallback binds it; the policy stays
    /// active and is asked again in the next round. Not a fault.
    #[error("declined: {0}")]
    Declined(String),
    /// The policy cannot work. The fallback binds this round, and the host takes the policy out of service.
    #[error("{0}")]
    Failed(String),
    /// The configuration makes no sense, though it has the right type. Only from a constructor: the activation is
    /// refused and what was active stays active.
    #[error("invalid config: {0}")]
    InvalidConfig(String),
}

impl PolicyError {
    /// [`PolicyError::Failed`] with a message.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// [`PolicyError::Declined`] with a reason.
    pub fn declined(reason: impl Into<String>) -> Self {
        Self::Declined(reason.into())
    }

    /// [`PolicyError::InvalidConfig`] with what is wrong.
    pub fn invalid_config(message: impl Into<String>) -> Self {
        Self::InvalidConfig(message.into())
    }
}

/// The result of a policy's calls.
pub type Result<T, E = PolicyError> = std::result::Result<T, E>;
