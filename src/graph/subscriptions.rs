//! Subscriptions to call records: for whom Graph announces what is new.
//!
//! Graph lets one live 4,230 minutes at most, deletes it then without a word, and
//! does not send later what it did not send. Of one app and tenant it takes one
//! subscription for a resource and change type, and 100 of a tenant in all.

use super::client::Client;
use super::link;
use super::request::Reply;
use crate::error::{Class, Error};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

/// How long a subscription can live.
pub const LONGEST_LIFE: TimeDelta = TimeDelta::minutes(4230);

const RESOURCE: &str = "/communications/callRecords";
/// Pages of the list of subscriptions.
const MAX_PAGES: usize = 100;

/// A subscription as Graph shows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Its id.
    pub id: String,
    /// What it is of.
    pub resource: String,
    /// Which changes it announces.
    #[serde(default)]
    pub change_type: String,
    /// Where notifications are sent.
    #[serde(default)]
    pub notification_url: Option<String>,
    /// Where lifecycle notifications are sent.
    #[serde(default)]
    pub lifecycle_notification_url: Option<String>,
    /// When it ends.
    pub expiration_date_time: DateTime<Utc>,
}

impl Subscription {
    /// Whether it is of all call records.
    #[must_use]
    pub fn is_of_call_records(&self) -> bool {
        self.resource.trim_matches('/').eq_ignore_ascii_case(RESOURCE.trim_matches('/'))
    }

    /// Whether it announces every version: `updated` also comes for the first one.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.change_type.split(',').any(|change| change.trim().eq_ignore_ascii_case("updated"))
    }
}

/// A subscription that is to be made.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where notifications are to be sent.
    pub notification_url: String,
    /// Where lifecycle notifications are to be sent.
    pub lifecycle_url: Option<String>,
    /// What every notification is to carry.
    pub client_state: SecretString,
    /// When it is to end.
    pub until: DateTime<Utc>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    change_type: &'static str,
    resource: &'static str,
    notification_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifecycle_notification_url: Option<&'a str>,
    expiration_date_time: DateTime<Utc>,
    client_state: &'a str,
    latest_supported_tls_version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Renewal {
    expiration_date_time: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Page {
    value: Vec<Subscription>,
    #[serde(rename = "@odata.nextLink", default)]
    next: Option<String>,
}

/// What came of making a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was made.
    Made(Subscription),
    /// There is one of this app for the same resource and changes (409).
    Exists,
}

impl Client {
    /// The app's subscriptions to call records.
    ///
    /// # Errors
    /// As [`Client::send`]; access, if they are not shown.
    pub async fn subscriptions(&self) -> Result<Vec<Subscription>, Error> {
        let bounds = self.bounds();
        let (mut found, mut url) = (Vec::new(), self.subscriptions_url(None));
        for _ in 0..MAX_PAGES {
            let reply = self.send(&Method::GET, &url, b"", &bounds).await?;
            if reply.status != StatusCode::OK {
                return Err(refused(&reply, "the list of subscriptions"));
            }
            let page: Page = reply.read("the question for subscriptions")?;
            found.extend(page.value.into_iter().filter(Subscription::is_of_call_records));
            let Some(next) = page.next else { return Ok(found) };
            url = link::pinned(&next, &self.settings().endpoint, "subscriptions").map_err(|reason| {
                Error::temporary(format!("The next page of subscriptions is not followed ({reason})"))
            })?;
        }
        Ok(found)
    }

    /// Makes a subscription; Graph asks the receiver whether it is there.
    ///
    /// # Errors
    /// As [`Client::send`]; configuration, if Graph does not take the URL; access,
    /// if it refuses.
    pub async fn subscribe(&self, wanted: &Wanted) -> Result<Created, Error> {
        let body = Body {
            change_type: "updated",
            resource: RESOURCE,
            notification_url: &wanted.notification_url,
            lifecycle_notification_url: wanted.lifecycle_url.as_deref(),
            expiration_date_time: wanted.until,
            client_state: wanted.client_state.expose_secret(),
            latest_supported_tls_version: "v1_2",
        };
        let body = json(&body)?;
        let reply = self.send(&Method::POST, &self.subscriptions_url(None), &body, &self.bounds()).await?;
        match reply.status {
            StatusCode::CREATED | StatusCode::OK => Ok(Created::Made(reply.read("a new subscription")?)),
            StatusCode::CONFLICT => Ok(Created::Exists),
            StatusCode::BAD_REQUEST => Err(Error::config("Graph does not take the subscription (400)").hint(
                "it asks the receiver before it answers: [subscription] notification_url and lifecycle_url must reach \
                 `callrec listen` from the internet, by https with a certificate that is publicly trusted",
            )),
            _ => Err(refused(&reply, "a subscription")),
        }
    }

    /// Lets a subscription live until `until`; `None` if there is none of this id.
    ///
    /// # Errors
    /// As [`Client::send`]; access, if Graph refuses.
    pub async fn renew(&self, id: &str, until: DateTime<Utc>) -> Result<Option<Subscription>, Error> {
        let body = json(&Renewal { expiration_date_time: until })?;
        let reply = self.send(&Method::PATCH, &self.subscriptions_url(Some(id)), &body, &self.bounds()).await?;
        match reply.status {
            StatusCode::OK => reply.read("a renewal").map(Some),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            _ => Err(refused(&reply, "the renewal of a subscription")),
        }
    }

    /// Ends a subscription; whether there was one of this id.
    ///
    /// # Errors
    /// As [`Client::send`]; access, if Graph refuses.
    pub async fn unsubscribe(&self, id: &str) -> Result<bool, Error> {
        let reply = self.send(&Method::DELETE, &self.subscriptions_url(Some(id)), b"", &self.bounds()).await?;
        match reply.status {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(false),
            _ => Err(refused(&reply, "the end of a subscription")),
        }
    }

    fn subscriptions_url(&self, id: Option<&str>) -> Url {
        let mut url = self.settings().endpoint.clone();
        // An id is input: it is one segment of the path whatever it holds.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1.0", "subscriptions"]).extend(id);
        }
        url
    }
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(body).map_err(|e| Error::new(Class::Io, "A subscription has no JSON").because(e))
}

fn refused(reply: &Reply, what: &str) -> Error {
    let status = reply.status.as_u16();
    match reply.status {
        StatusCode::FORBIDDEN => Error::access(format!("Graph refuses {what} (403)")).hint(
            "grant the application permission CallRecords.Read.All with admin consent; if it is granted, the tenant may \
             have 100 subscriptions to call records, which is the limit: delete those that are not used",
        ),
        status if status.is_redirection() => Error::temporary(format!("Graph redirects {what}; redirects are never followed")),
        _ => Error::temporary(format!("Graph refuses {what} ({status})")).hint("try again later"),
    }
}
