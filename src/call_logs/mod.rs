//! Rows of Graph's telephony logs: what tells them apart, where they belong, and
//! the Arrow batches that they become.
//!
//! Input: rows as one line of JSON each. Output: their heads and batches. A row
//! without an instant to stand under is refused.

mod emergency;
mod head;
mod settings;
mod table;

pub use emergency::Emergency;
pub use head::{Head, Refused, head};
pub use settings::{MOST_WINDOW_DAYS, Settings};
pub use table::batch;
