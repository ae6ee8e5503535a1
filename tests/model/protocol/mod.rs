//! The commit protocol as a state machine, explored exhaustively within the
//! bounds of [`world::CONFIGURATIONS`]; see docs/model.md.

#![allow(dead_code, reason = "the test and the torture use different parts of it")]
#![allow(clippy::needless_range_loop, reason = "a call is a number, which indexes several arrays")]

pub mod check;
pub mod content;
pub mod disk;
pub mod explore;
pub mod io;
pub mod mixed;
pub mod path;
pub mod prepare;
pub mod publish;
pub mod reasons;
pub mod rules;
pub mod run;
pub mod tried;
pub mod verdicts;
pub mod world;
