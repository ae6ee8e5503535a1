//! Renews the subscription while a receiver listens: where no run comes for days,
//! notifications come all the same.

use crate::clock::Clock;
use crate::config::{self, Config, Endpoint};
use crate::error::{Error, Result};
use crate::files;
use crate::listen::Subscription;
use crate::pipeline;
use crate::subscribe::{self, How, Made};
use chrono::{DateTime, Utc};
use std::path::PathBuf;
use std::time::Duration;

/// Between two looks at the subscription.
const LOOK: Duration = Duration::from_secs(3600);
/// Before the next try, where Graph has asked and the renewal failed; doubled each time.
const TRY_AGAIN: Duration = Duration::from_secs(300);

/// Looks after the subscription of a config.
pub struct Renewal {
    file: Option<PathBuf>,
    clock: Clock,
}

impl Renewal {
    /// For the config of `file`; `None` if it names no URL for notifications or no way
    /// to authenticate, or leaves the renewal to others.
    ///
    /// # Errors
    /// As [`config::renews`].
    pub fn configured(file: Option<PathBuf>, clock: Clock) -> Result<Option<Self>> {
        Ok(config::renews(file.as_deref())?.then_some(Self { file, clock }))
    }

    /// Looks at once, each hour, and when Graph asks, for ever. What fails is said and
    /// counted.
    pub async fn run(self, subscription: Subscription) {
        let (mut how, mut again) = (How::IfNeeded, TRY_AGAIN);
        loop {
            let mut pause = LOOK;
            match self.check(how).await {
                Ok(until) => {
                    subscription.expires(until);
                    (how, again) = (How::IfNeeded, TRY_AGAIN);
                }
                Err(error) => {
                    subscription.failed();
                    tracing::error!("the subscription was not renewed: {error}");
                    if how != How::IfNeeded {
                        pause = again.min(LOOK);
                        again = pause * 2;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // To reauthorise is to renew; one that was removed is made again.
                () = subscription.asked() => how = How::Renew,
            }
        }
    }

    /// Renews the subscription if it ends within a day, or if `how` says so; when it
    /// ends then. The config is read anew, with what it names: secrets change.
    ///
    /// # Errors
    /// By class configuration, when it cannot be used any more, or there is no
    /// subscription of it; what Graph's client says.
    pub async fn check(&self, how: How) -> Result<DateTime<Utc>> {
        let config = Config::load(self.file.clone())?;
        let (made, now) = (Made::at(&config.root), self.clock.now());
        if let Some(until) = made.lives_until(now).filter(|_| how == How::IfNeeded) {
            return Ok(until);
        }
        let (Some(state), Endpoint::Graph(_)) = (&config.source.client_state, &config.endpoint) else {
            return Err(Error::config("The configuration lacks [source] client_state_file, or asks a simulator"));
        };
        // What was made elsewhere is remembered there: here it would be taken for a stranger's.
        let how = if made.is_remembered() { how } else { How::IfNeeded };
        let (_, client) = pipeline::connect(&config, self.clock, None).await?;
        files::create_directory(&config.root, config.modes)?;
        let ensured = subscribe::ensure(&client, &config.subscription, state, &made, how, now);
        let (deed, subscription) = ensured.await?;
        let until = subscription.expiration_date_time;
        tracing::info!(deed = deed.name(), %until, "looked at the subscription");
        Ok(until)
    }
}
