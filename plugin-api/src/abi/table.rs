//! Tables: how a minor version adds functions, to a plugin or to a host, without a change to any type that is checked.
//!
//! Either side is asked for a table by name and answers with its address, or with none. A table begins with its size in
//! bytes and its version, and then holds functions. It grows at its end only: who reads it takes what both sides have, and
//! finds `None` for what the other side is too old to know.

use abi_stable::StableAbi;
use abi_stable::std_types::RStr;

/// How every table begins.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableHead {
    /// The size of the whole table in bytes.
    pub size: u32,
    /// The table's version; greater when something was added.
    pub version: u32,
}

impl TableHead {
    /// The head of a table of type `T`.
    #[must_use]
    pub const fn of<T: Table>(version: u32) -> Self {
        Self { size: size_of::<T>() as u32, version }
    }
}

/// A table of functions.
///
/// # Safety
/// The type is `repr(C)` and begins with a [`TableHead`]; all its other fields are `Option<extern "C" fn(..)>` or integers,
/// so that zero bytes are a value of it. Every type that names its table [`Table::NAME`], in any version of either side, has
/// the same fields in the same places as far as both have them. The head of every value says the size of its type.
pub unsafe trait Table: Copy + Send + Sync + 'static {
    /// The name by which the other side asks for it.
    const NAME: &'static str;
}

/// The address of a table, or of none.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct RawTable(*const TableHead);

/// A table that one side offers.
#[derive(Clone, Copy, Debug)]
pub struct Offered {
    name: &'static str,
    table: RawTable,
}

// SAFETY: the address is that of an immutable static, which any thread may read.
unsafe impl Send for Offered {}
// SAFETY: as above.
unsafe impl Sync for Offered {}

impl Offered {
    /// Offers `table` under its name.
    #[must_use]
    pub const fn new<T: Table>(table: &'static T) -> Self {
        Self { name: T::NAME, table: RawTable(std::ptr::from_ref(table).cast()) }
    }
}

/// The table of this name among those that one side offers.
#[must_use]
pub fn find(offered: &[Offered], name: RStr<'_>) -> RawTable {
    let found = offered.iter().find(|offered| offered.name == name.as_str());
    found.map_or(RawTable(std::ptr::null()), |offered| offered.table)
}

/// Asks the other side for a table: what both sides know of it, the rest zero.
#[must_use]
pub fn ask<T: Table>(table: extern "C" fn(RStr<'_>) -> RawTable) -> Option<T> {
    let RawTable(head) = table(RStr::from_str(T::NAME));
    if head.is_null() {
        return None;
    }
    // SAFETY: what the other side returns for a name is null or the address of a table of that name, which lives as long as
    // the process and begins with a head.
    let size = unsafe { head.read() }.size as usize;
    // SAFETY: zero bytes are a value of every `Table`.
    let mut known: T = unsafe { std::mem::zeroed() };
    // SAFETY: the table is `size` bytes long, as its head says, and `known` is no shorter than what is copied. As far as both
    // types go, their fields are the same.
    unsafe {
        std::ptr::copy_nonoverlapping(head.cast::<u8>(), (&raw mut known).cast(), size.min(size_of::<T>()));
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Old {
        head: TableHead,
        double: Option<extern "C" fn(u64) -> u64>,
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct New {
        head: TableHead,
        double: Option<extern "C" fn(u64) -> u64>,
        triple: Option<extern "C" fn(u64) -> u64>,
    }

    // SAFETY: `repr(C)`, a head and optional functions; `New` has the fields of `Old` where `Old` has them.
    unsafe impl Table for Old {
        const NAME: &'static str = "sums";
    }
    // SAFETY: as above.
    unsafe impl Table for New {
        const NAME: &'static str = "sums";
    }

    extern "C" fn double(n: u64) -> u64 {
        2 * n
    }
    extern "C" fn triple(n: u64) -> u64 {
        3 * n
    }

    static OLD: Old = Old { head: TableHead::of::<Old>(1), double: Some(double) };
    static NEW: New = New { head: TableHead::of::<New>(2), double: Some(double), triple: Some(triple) };

    extern "C" fn from_old(name: RStr<'_>) -> RawTable {
        find(&[Offered::new(&OLD)], name)
    }
    extern "C" fn from_new(name: RStr<'_>) -> RawTable {
        find(&[Offered::new(&NEW)], name)
    }
    extern "C" fn from_nobody(name: RStr<'_>) -> RawTable {
        find(&[], name)
    }

    #[test]
    fn each_side_takes_what_both_know() {
        let old: Old = ask(from_new).expect("offered");
        assert_eq!((old.head.version, old.double.map(|f| f(4))), (2, Some(8)));
        let new: New = ask(from_old).expect("offered");
        assert_eq!((new.head.version, new.double.map(|f| f(4)), new.triple.is_none()), (1, Some(8), true));
        let new: New = ask(from_new).expect("offered");
        assert_eq!(new.triple.map(|f| f(4)), Some(12));
        assert!(ask::<New>(from_nobody).is_none());
    }
}
