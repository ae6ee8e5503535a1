//! Rows of Graph's telephony logs: what tells them apart, where they belong, the
//! Arrow batches that they become, and what is told of emergency calls at once.
//!
//! Input: rows as one line of JSON each. Output: their heads and batches. A row
//! without an instant to stand under is refused.

mod alert;
mod emergency;
mod head;
mod settings;
mod table;

pub use alert::{Alert, EmergencyCall};
pub use emergency::Emergency;
pub use head::{Head, Refused, head};
pub use settings::{MOST_WINDOW_DAYS, Settings};
pub use table::batch;
