//! Identifiers: newtypes over dense `u32` indices, so that a mix-up does not compile and a look-up is an array access.
//! Nothing here knows what the numbers stand for outside one round, except [`ExecutorUid`].

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable, Serialize, Deserialize)]
        pub struct $name(pub u32);

        impl $name {
            /// The index as a `usize`, for slices.
            #[inline]
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }

            /// The identifier of index `index`.
            ///
            /// # Panics
            /// If `index` does not fit 32 bits: no round is that large.
            #[inline]
            #[must_use]
            pub fn from_index(index: usize) -> Self {
                Self(u32::try_from(index).expect("more than 2^32 - 1 entries in one round"))
            }
        }
    };
}

id! {
    /// An executor of this round: its position in the roster, ordered by executor name.
    /// Valid in one round only; what outlives a round is [`ExecutorUid`].
    ExecutorId
}
id! {
    /// An executor for as long as the host runs: given at its first appearance, never reused.
    ExecutorUid
}
id! {
    /// A job of this round: its position in the contract's order (priority, submit time, id).
    JobId
}
id! {
    /// A stage of this round: its position in the contract's order (job, then stage number).
    StageId
}
id! {
    /// A task of this round: the first task number of its stage plus its index in the stage.
    /// Dense over the listed stages; valid in one round only.
    TaskId
}
id! {
    /// A tenant of this round.
    TenantId
}
