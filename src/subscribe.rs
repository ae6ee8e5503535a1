//! That there is a subscription: Graph announces nothing without one, and ends it
//! after three days without a word.

use crate::error::{Class, Error, Result};
use crate::files::{self, PRIVATE};
use crate::graph::{Client, Created, LONGEST_LIFE, Subscription, Url, Wanted};
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// With less than this left a run renews.
const RENEWED_FROM: TimeDelta = TimeDelta::days(1);
/// The clocks of Graph and of this machine differ.
const LEEWAY: TimeDelta = TimeDelta::minutes(5);
/// What Graph sends to one host is an Event Hub there.
const EVENT_HUB: &str = "EventHub:";

/// Where Graph is to send notifications; `[subscription]` in a config.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where `callrec listen` is reached from the internet, or an Event Hub as
    /// `EventHub:https://….servicebus.windows.net/eventhubname/…?tenantId=…`.
    pub notification_url: Option<String>,
    /// Where lifecycle notifications go; the same if it is not given.
    pub lifecycle_url: Option<String>,
}

/// What had to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It lives long enough.
    Kept,
    /// Its end was put off.
    Renewed,
    /// It was made.
    Created,
    /// One with another state or other URLs was ended, and this one made.
    Replaced,
}

impl Deed {
    /// As a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Renewed => "renewed",
            Self::Created => "created",
            Self::Replaced => "replaced",
        }
    }
}

/// How a subscription is ensured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Renewed only if less than a day is left.
    IfNeeded,
    /// Renewed in any case.
    Renew,
    /// What is there is ended first.
    Replace,
}

impl Settings {
    /// The URLs, checked: https, an Event Hub, or http on this machine for a
    /// simulator that is there too.
    ///
    /// # Errors
    /// By class configuration, naming the key.
    pub fn urls(&self, endpoint: &Url) -> Result<(String, String)> {
        let Some(url) = &self.notification_url else {
            return Err(Error::config("The configuration lacks [subscription] notification_url")
                .hint("give the URL under which Graph reaches `callrec listen`, or an Event Hub"));
        };
        let lifecycle = self.lifecycle_url.as_ref().unwrap_or(url);
        for (key, url) in [("notification_url", url), ("lifecycle_url", lifecycle)] {
            let address = url.strip_prefix(EVENT_HUB).unwrap_or(url);
            let parsed = Url::parse(address).ok().filter(|parsed| {
                let is_hub = address.len() < url.len();
                let is_here = ["127.0.0.1", "localhost", "[::1]"].contains(&parsed.host_str().unwrap_or_default());
                let simulated = endpoint.scheme() == "http" && is_here;
                let names_hub = parsed.path().starts_with("/eventhubname/") || parsed.path().starts_with("/secrets/");
                parsed.fragment().is_none()
                    && parsed.username().is_empty()
                    && (parsed.scheme() == "https" || (parsed.scheme() == "http" && simulated))
                    && (!is_hub || (names_hub && parsed.query_pairs().any(|(name, _)| name == "tenantId")))
            });
            if parsed.is_none() {
                return Err(Error::config(format!("[subscription] {key} is no URL that Graph sends to")).hint(
                    "give https://HOST/PATH, or EventHub:https://NAMESPACE.servicebus.windows.net/eventhubname/HUB?tenantId=DOMAIN",
                ));
            }
        }
        Ok((url.clone(), lifecycle.clone()))
    }
}

/// Which subscription was made with which client state: Graph does not show the
/// state, and with another one than the configured all notifications are refused.
pub struct Made {
    path: PathBuf,
}

#[derive(Deserialize, Serialize)]
struct Memory {
    subscription_id: String,
    client_state_sha256: String,
    expiration_date_time: DateTime<Utc>,
}

impl Made {
    /// What the dataset at `root` remembers.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { path: root.join("_callrec/subscription.json") }
    }

    fn memory(&self) -> Option<Memory> {
        files::read_if_there(&self.path).ok().flatten().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }

    /// Whether a day or less is left of the subscription, or none is remembered.
    #[must_use]
    pub fn ends_soon(&self, now: DateTime<Utc>) -> bool {
        self.lives_until(now).is_none()
    }

    /// Whether a subscription is remembered, whatever became of it.
    #[must_use]
    pub fn is_remembered(&self) -> bool {
        self.memory().is_some()
    }

    /// The end of the subscription that is remembered, if more than a day is left.
    #[must_use]
    pub fn lives_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let end = self.memory()?.expiration_date_time;
        Some(end).filter(|end| *end - now > RENEWED_FROM)
    }

    /// Whether the subscription was made with this state.
    fn with(&self, id: &str, state: &SecretString) -> bool {
        self.memory().is_some_and(|memory| memory.subscription_id == id && memory.client_state_sha256 == digest(state))
    }

    fn remember(&self, subscription: &Subscription, state: &SecretString) -> Result<()> {
        let memory = Memory {
            subscription_id: subscription.id.clone(),
            client_state_sha256: digest(state),
            expiration_date_time: subscription.expiration_date_time,
        };
        let bytes =
            serde_json::to_vec(&memory).map_err(|e| Error::new(Class::Io, "A subscription has no JSON").because(e))?;
        files::create_directory(self.path.parent().unwrap_or(Path::new("")), PRIVATE)?;
        files::write_named(&self.path, &bytes, PRIVATE)
    }
}

fn digest(state: &SecretString) -> String {
    Sha256::digest(state.expose_secret().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sees to it that there is one subscription to every version of every call record
/// that sends to the configured URLs.
///
/// # Errors
/// By class configuration: another subscription of the app is in the way, or the
/// URLs are not usable. What the client says.
pub async fn ensure(
    client: &Client,
    settings: &Settings,
    client_state: &SecretString,
    made: &Made,
    how: How,
    now: DateTime<Utc>,
) -> Result<(Deed, Subscription)> {
    let (notification_url, lifecycle_url) = settings.urls(client.endpoint())?;
    let until = now + LONGEST_LIFE - LEEWAY;
    let present: Vec<Subscription> =
        client.subscriptions().await?.into_iter().filter(Subscription::is_complete).collect();
    let is_ours = |subscription: &&Subscription| {
        let lifecycle = subscription.lifecycle_notification_url.as_deref();
        subscription.notification_url.as_deref() == Some(&*notification_url)
            && lifecycle.is_none_or(|present| present == lifecycle_url)
    };
    let ours = present.iter().filter(is_ours).max_by_key(|subscription| subscription.expiration_date_time);
    let known = ours.filter(|ours| made.with(&ours.id, client_state));
    if how == How::IfNeeded && known.is_none() {
        return Err(Error::config("There is no subscription to call records that was made with this config")
            .hint("run `callrec subscribe ensure`"));
    }
    if let (Some(ours), How::IfNeeded | How::Renew) = (known, how) {
        if how == How::IfNeeded && ours.expiration_date_time - now > RENEWED_FROM {
            made.remember(ours, client_state)?;
            return Ok((Deed::Kept, ours.clone()));
        }
        if let Some(renewed) = client.renew(&ours.id, until).await? {
            made.remember(&renewed, client_state)?;
            return Ok((Deed::Renewed, renewed));
        }
    }
    let mut deed = Deed::Created;
    // One of ours that was made with a state that nobody knows is of no use.
    for other in present.iter().filter(|other| how == How::Replace || is_ours(other)) {
        client.unsubscribe(&other.id).await?;
        deed = Deed::Replaced;
    }
    let wanted =
        Wanted { notification_url, lifecycle_url: Some(lifecycle_url), client_state: client_state.clone(), until };
    match client.subscribe(&wanted).await? {
        Created::Made(subscription) => {
            made.remember(&subscription, client_state)?;
            Ok((deed, subscription))
        }
        Created::Exists => Err(Error::config("The app has a subscription to call records with other URLs (409)").hint(
            "`callrec subscribe list` shows it; `callrec subscribe ensure --replace` ends it and makes the configured one",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(notification: &str, endpoint: &str) -> Result<(String, String)> {
        let settings = Settings { notification_url: Some(notification.to_owned()), lifecycle_url: None };
        settings.urls(&Url::parse(endpoint).unwrap())
    }

    #[test]
    fn only_urls_that_graph_sends_to_are_taken() {
        let graph = "https://graph.microsoft.com";
        for good in [
            "https://calls.contoso.example/notifications",
            "EventHub:https://ns.servicebus.windows.net/eventhubname/calls?tenantId=contoso.example",
            "EventHub:https://v.vault.azure.net/secrets/hub?tenantId=contoso.example",
        ] {
            assert!(urls(good, graph).is_ok(), "{good}");
        }
        for bad in [
            "http://calls.contoso.example/notifications",
            "http://127.0.0.1:8080/notifications",
            "calls.contoso.example",
            "https://me@calls.contoso.example/",
            "https://calls.contoso.example/#a",
            "EventHub:https://ns.servicebus.windows.net/eventhubname/calls",
            "EventHub:https://ns.servicebus.windows.net/?tenantId=contoso.example",
        ] {
            assert_eq!(urls(bad, graph).unwrap_err().class(), crate::error::Class::Config, "{bad}");
        }
        assert!(urls("http://127.0.0.1:8080/notifications", "http://127.0.0.1:1").is_ok());
        assert!(urls("http://192.0.2.1/notifications", "http://127.0.0.1:1").is_err());
    }
}
