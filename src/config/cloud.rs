//! The clouds: where a token comes from and where Graph is go together.

use crate::error::{Error, Result};
use crate::graph::Url;

/// A cloud in which Graph has call records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cloud {
    name: &'static str,
    pub(super) graph: &'static str,
    pub(super) login: &'static str,
}

const CLOUDS: [Cloud; 3] = [
    Cloud { name: "global", graph: "https://graph.microsoft.com", login: "https://login.microsoftonline.com" },
    Cloud { name: "us-gov-l4", graph: "https://graph.microsoft.us", login: "https://login.microsoftonline.us" },
    Cloud { name: "us-gov-l5", graph: "https://dod-graph.microsoft.us", login: "https://login.microsoftonline.us" },
];

/// Other names of login hosts.
const ALIASES: [(&str, &str); 3] = [
    ("login.microsoft.com", "login.microsoftonline.com"),
    ("login.windows.net", "login.microsoftonline.com"),
    ("sts.windows.net", "login.microsoftonline.com"),
];

impl Cloud {
    pub(super) fn named(name: Option<&str>) -> Result<Self> {
        let name = name.unwrap_or("global");
        if let Some(cloud) = CLOUDS.into_iter().find(|cloud| cloud.name == name) {
            return Ok(cloud);
        }
        if name.to_ascii_lowercase().contains("china") {
            return Err(no_china(&format!("[graph] cloud {name}")));
        }
        Err(Error::config(format!("[graph] cloud {name} is not known")).hint("use global, us-gov-l4 or us-gov-l5"))
    }

    /// Refuses a Graph root or login host of another cloud: its tokens are not
    /// taken here.
    ///
    /// # Errors
    /// Config, naming `key` and the cloud that has the host.
    pub(super) fn check(&self, key: &str, url: &Url) -> Result<()> {
        let host = url.host_str().unwrap_or_default();
        if host.ends_with(".chinacloudapi.cn") || host.ends_with(".microsoftonline.cn") {
            return Err(no_china(key));
        }
        let host = ALIASES.iter().find(|(alias, _)| *alias == host).map_or(host, |(_, name)| name);
        let has =
            |cloud: &Cloud| [cloud.graph, cloud.login].iter().any(|root| root.strip_prefix("https://") == Some(host));
        let others: Vec<_> = CLOUDS.iter().filter(|cloud| has(cloud)).collect();
        if others.is_empty() || others.contains(&self) {
            return Ok(());
        }
        let names: Vec<_> = others.iter().map(|cloud| cloud.name).collect();
        Err(Error::config(format!("{key} {host} is not of the cloud {}", self.name))
            .hint(format!("set [graph] cloud to {}: token service and Graph must be of one cloud", names.join(" or "))))
    }
}

fn no_china(what: &str) -> Error {
    Error::config(format!("{what} cannot be used: Graph has no call records in the cloud of 21Vianet in China"))
        .hint("use global, us-gov-l4 or us-gov-l5")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_another_cloud_and_china_are_refused() {
        for (cloud, url, part) in [
            (None, "https://graph.microsoft.com", None),
            (None, "https://login.windows.net/", None),
            (None, "http://127.0.0.1:1", None),
            (None, "https://graph.microsoft.us", Some("us-gov-l4")),
            (None, "https://login.microsoftonline.us", Some("us-gov-l4 or us-gov-l5")),
            (Some("us-gov-l5"), "https://login.microsoftonline.us", None),
            (Some("us-gov-l5"), "https://graph.microsoft.us", Some("us-gov-l4")),
            (Some("us-gov-l4"), "https://login.microsoft.com", Some("global")),
            (None, "https://microsoftgraph.chinacloudapi.cn", Some("no call records")),
            (None, "https://login.partner.microsoftonline.cn", Some("no call records")),
        ] {
            let checked = Cloud::named(cloud).unwrap().check("[graph] endpoint", &Url::parse(url).unwrap());
            let message = checked.err().map(|error| error.to_string());
            match part {
                None => assert_eq!(message, None, "{url}"),
                Some(part) => assert!(message.as_ref().is_some_and(|m| m.contains(part)), "{url}: {message:?}"),
            }
        }
        let china = Cloud::named(Some("china")).unwrap_err().to_string();
        assert!(china.contains("no call records"), "{china}");
        assert!(Cloud::named(Some("moon")).is_err());
    }
}
