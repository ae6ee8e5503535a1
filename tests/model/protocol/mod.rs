//! The commit protocol as a state machine, explored exhaustively within the
//! bounds of [`world::CONFIGURATIONS`]; see docs/model.md.

pub mod check;
pub mod content;
pub mod disk;
pub mod explore;
pub mod io;
pub mod path;
pub mod prepare;
pub mod publish;
pub mod rules;
pub mod run;
pub mod world;
