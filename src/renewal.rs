//! Renews the subscription while a receiver listens: where no run comes for days,
//! notifications come all the same.

use crate::clock::Clock;
use crate::config::{self, Config, Endpoint, Place};
use crate::error::{Error, Result};
use crate::files;
use crate::listen::Subscription;
use crate::pipeline;
use crate::subscribe::{self, How, Made};
use chrono::{DateTime, Utc};
use std::time::Duration;
use tracing::Instrument;

/// Between two looks at the subscription.
const LOOK: Duration = Duration::from_secs(3600);
/// Before the next try, where Graph has asked and the renewal failed; doubled each time.
const TRY_AGAIN: Duration = Duration::from_secs(300);

fn span(place: &Place) -> tracing::Span {
    match &place.tenant {
        Some(tenant) => tracing::error_span!("renewal", tenant),
        None => tracing::Span::none(),
    }
}

/// Looks after the subscriptions of a config: one, or one for each tenant.
pub struct Renewal {
    places: Vec<Place>,
    clock: Clock,
}

impl Renewal {
    /// For those of `places` that name a URL for notifications and a way to
    /// authenticate, and do not leave the renewal to others; `None` if none does.
    ///
    /// # Errors
    /// As [`config::renews`].
    pub fn configured(places: &[Place], clock: Clock) -> Result<Option<Self>> {
        let mut renewing = Vec::new();
        for place in places {
            if config::renews(place)? {
                renewing.push(place.clone());
            }
        }
        Ok((!renewing.is_empty()).then_some(Self { places: renewing, clock }))
    }

    /// Looks at once, each hour, and when Graph asks, for ever. What fails is said and
    /// counted.
    pub async fn run(self, subscription: Subscription) {
        let (mut how, mut again) = (How::IfNeeded, TRY_AGAIN);
        loop {
            let mut pause = LOOK;
            let mut failed = false;
            let first = self.look(how, |place, error| {
                failed = true;
                subscription.failed();
                tracing::error!(tenant = place.tenant, "the subscription was not renewed: {error}");
            });
            let first = first.await;
            if let Some(until) = first {
                subscription.expires(until);
            }
            if !failed {
                (how, again) = (How::IfNeeded, TRY_AGAIN);
            } else if how != How::IfNeeded {
                pause = again.min(LOOK);
                again = pause * 2;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // To reauthorise is to renew; one that was removed is made again.
                () = subscription.asked() => how = How::Renew,
            }
        }
    }

    /// Looks at all once; when the first of them ends.
    ///
    /// # Errors
    /// As [`Renewal::check_one`], after all were looked at.
    pub async fn check(&self, how: How) -> Result<Option<DateTime<Utc>>> {
        let mut failed = None;
        let first = self.look(how, |_, error| failed = failed.take().or(Some(error))).await;
        failed.map_or(Ok(first), Err)
    }

    /// Looks at all once, and says which failed; when the first of the others ends.
    async fn look(&self, how: How, mut failed: impl FnMut(&Place, Error)) -> Option<DateTime<Utc>> {
        let mut first: Option<DateTime<Utc>> = None;
        for place in &self.places {
            match self.check_one(place, how).instrument(span(place)).await {
                Ok(until) => first = Some(first.map_or(until, |first| first.min(until))),
                Err(error) => failed(place, error),
            }
        }
        first
    }

    /// Renews the subscription if it ends within a day, or if `how` says so; when it
    /// ends then. The config is read anew, with what it names: secrets change.
    ///
    /// # Errors
    /// By class configuration, when it cannot be used any more, or there is no
    /// subscription of it; what Graph's client says.
    async fn check_one(&self, place: &Place, how: How) -> Result<DateTime<Utc>> {
        let config = Config::load(&place.again()?)?;
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
