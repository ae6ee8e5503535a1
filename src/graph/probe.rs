//! Asks for a page of the list of call records, to see whether it may be read.

use super::Outcome;
use super::client::{Client, Stop};
use crate::error::Error;
use chrono::{DateTime, SecondsFormat, Utc};

impl Client {
    /// Asks for the first page of the call records that began at `since` or later,
    /// and drops it. `None` when it was served.
    ///
    /// # Errors
    /// Access: there is no token, or Graph takes none.
    pub async fn probe_list(&self, since: DateTime<Utc>) -> Result<Option<Outcome>, Error> {
        let mut url = self.settings().endpoint.clone();
        url.path_segments_mut().map_err(|()| Error::config("[graph] endpoint is no root"))?.pop_if_empty().extend([
            "v1.0",
            "communications",
            "callRecords",
        ]);
        let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
        url.set_query(Some(&format!("$filter=startDateTime%20ge%20{since}")));
        match self.get(&url, &self.bounds()).await {
            Ok(_) => Ok(None),
            Err(Stop::Settled(outcome)) => Ok(Some(outcome)),
            Err(Stop::Fatal(error)) => Err(error),
        }
    }
}
