//! What the tasks of a stretch take, of vcores or of memory, against what is free.

/// What each of some tasks takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Demand<'a> {
    /// All the same.
    Same(u64),
    /// One value each, but no less than `least`.
    Each { values: &'a [u32], least: u32 },
}

impl Demand<'_> {
    /// What `rows` tasks take together.
    #[inline]
    pub(super) fn sum(&self, rows: usize) -> u64 {
        match *self {
            Self::Same(each) => each.saturating_mul(rows as u64),
            Self::Each { values, least } => values.iter().map(|&own| u64::from(own.max(least))).sum(),
        }
    }

    /// Whether each row of `free` has room for its task beside what is taken of it. All rows are compared, without a
    /// branch, so that the compiler compares many at once.
    #[inline]
    pub(super) fn fits<T: Amount>(&self, free: &[T], taken: &[T]) -> bool {
        let room = free.iter().zip(taken).map(|(&free, &taken)| T::room(free, taken));
        match *self {
            Self::Same(each) => T::of(each).is_some_and(|each| room.fold(true, |fits, room| fits & (each <= room))),
            Self::Each { values, least } => {
                room.zip(values).fold(true, |fits, (room, &own)| fits & (T::from(own.max(least)) <= room))
            }
        }
    }

    /// Takes it; it must fit.
    #[inline]
    pub(super) fn add_to<T: Amount>(&self, taken: &mut [T]) {
        match *self {
            Self::Same(each) => {
                let each = T::of(each).unwrap_or_default();
                taken.iter_mut().for_each(|taken| *taken += each);
            }
            Self::Each { values, least } => {
                taken.iter_mut().zip(values).for_each(|(taken, &own)| *taken += T::from(own.max(least)));
            }
        }
    }
}

/// Vcores or MiB.
pub(super) trait Amount: Copy + Default + Ord + From<u32> + std::ops::AddAssign {
    /// The amount, where it can be written so.
    fn of(amount: u64) -> Option<Self>;
    /// What is left.
    fn room(free: Self, taken: Self) -> Self;
}

impl Amount for u32 {
    #[inline]
    fn of(amount: u64) -> Option<Self> {
        Self::try_from(amount).ok()
    }

    #[inline]
    fn room(free: Self, taken: Self) -> Self {
        free.saturating_sub(taken)
    }
}

impl Amount for u64 {
    #[inline]
    fn of(amount: u64) -> Option<Self> {
        Some(amount)
    }

    #[inline]
    fn room(free: Self, taken: Self) -> Self {
        free.saturating_sub(taken)
    }
}
