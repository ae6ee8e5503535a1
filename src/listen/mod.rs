//! The receiver of change notifications: what Graph posts becomes lines of the
//! notification log.
//!
//! A post is answered with 202 when its line is on the disk, and not before. Only
//! items that carry the client state are written, so that nobody else can make
//! the job ask Graph for anything.

mod answers;
mod collection;
mod counts;
mod files;
mod name;
mod server;
mod settings;
mod slots;
mod subscription;
mod tls;
mod token;
mod writer;

pub use server::Listener;
pub use settings::Settings;
pub use subscription::Subscription;
