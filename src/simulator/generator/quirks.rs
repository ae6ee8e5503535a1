//! What is odd about a record as a whole.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// The oddities of one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quirks {
    /// Members that nobody has announced.
    pub(super) unknown_members: bool,
    /// Enum members that nobody has announced.
    pub(super) unknown_enum_members: bool,
    /// Deprecated identity sets beside the new ones.
    pub(super) deprecated: bool,
    /// A record of 2020: deprecated sets alone, newer members missing.
    pub(super) old: bool,
    /// No `@odata.type` at all.
    pub(super) untyped: bool,
    /// The tenant has trace routes.
    pub(super) traced: bool,
    /// Values of the wrong type.
    pub(super) misfits: bool,
}

impl Quirks {
    pub(super) fn draw(rng: &mut ChaCha8Rng, misfits: bool) -> Self {
        let mut one_in = |n: u32| rng.random_range(0..n) == 0;
        let mut quirks = Self {
            unknown_members: one_in(33),
            unknown_enum_members: one_in(50),
            deprecated: one_in(20),
            old: one_in(20),
            untyped: one_in(50),
            traced: one_in(12),
            misfits: false,
        };
        quirks.misfits = one_in(500) && misfits;
        quirks
    }
}
