//! TEMP
use chrono::{DateTime, Utc};
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub max_sessions: usize,
    pub misfits: bool,
}
pub struct Record {
    pub id: String,
    pub version: i64,
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
    pub json: String,
}
pub fn record(_seed: u64, index: u64, now: DateTime<Utc>, _shape: Shape) -> Record {
    let id = uuid::Uuid::from_u128(u128::from(index)).to_string();
    Record { json: format!("{{\"id\":\"{id}\"}}"), id, version: 1, start: now, end: now }
}
