//! What token services answer: a token with its end, or a refusal.
//!
//! Of a refusal only codes are shown: its description names apps, people and times.

use crate::error::Error;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::time::Duration;

/// No token lives longer; what says so is not believed.
const LONGEST: u64 = 48 * 3600;

/// A token that was issued. Some services say in how many seconds it ends,
/// others at which second of the Unix epoch.
#[derive(Deserialize)]
pub(super) struct Granted {
    access_token: SecretText,
    expires_in: Option<Number>,
    expires_on: Option<Number>,
}

impl Granted {
    pub(super) fn token(&self) -> &str {
        self.access_token.0.expose_secret()
    }

    /// How long the token is good from `now`; `None` if the answer does not say.
    pub(super) fn life(&self, now: DateTime<Utc>) -> Option<Duration> {
        let from_now = self.expires_in.as_ref().and_then(Number::value);
        let at = || self.expires_on.as_ref().and_then(Number::value);
        let now = u64::try_from(now.timestamp()).unwrap_or(0);
        let seconds = from_now.or_else(|| at().map(|at| at.saturating_sub(now)))?;
        Some(Duration::from_secs(seconds.min(LONGEST)))
    }
}

/// Text that goes from the answer straight into a secret.
struct SecretText(SecretString);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(SecretString::from(text)))
    }
}

/// Entra ID writes a number, managed identities write it as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

impl Number {
    fn value(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
        }
    }
}

/// The refusal of Entra ID.
#[derive(Deserialize)]
pub(super) struct Denied {
    error: String,
    #[serde(default)]
    error_codes: Vec<u64>,
}

impl Denied {
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.error.as_str(), "temporarily_unavailable" | "server_error" | "slow_down")
    }

    pub(super) fn into_error(self) -> Error {
        let name = plain(&self.error).unwrap_or("no known error code");
        let codes: String = self.error_codes.iter().take(4).map(|code| format!(", AADSTS{code}")).collect();
        let hint = self.error_codes.iter().find_map(|code| hint(*code)).unwrap_or(
            "check tenant_id, client_id and the credential of the app registration; https://login.microsoftonline.com/error explains the number",
        );
        Error::access(format!("the token service refuses a token ({name}{codes})")).hint(hint)
    }
}

/// What to do about an AADSTS number.
fn hint(code: u64) -> Option<&'static str> {
    Some(match code {
        7_000_215 => "the client secret is wrong: give its value, not its id",
        7_000_222 => "the client secret has ended: make a new one for the app registration",
        7_000_218 => {
            "the app registration wants a secret, a certificate or a federated token: name one in [graph.auth]"
        }
        700_016 => "client_id is no app of this tenant: check client_id and tenant_id",
        90_002 | 900_023 => "tenant_id is no tenant of this cloud: check tenant_id and [graph] cloud",
        90_038 | 900_382 | 900_432 => "the tenant is of another cloud: set [graph] cloud",
        7_000_112 => "the app is disabled: enable it in the tenant",
        53_003 => "a Conditional Access policy blocks the app: ask the tenant's administrator",
        700_027 | 7_000_274 => {
            "the certificate is not one of this app registration: upload its public part there (Certificates & secrets), and wait some minutes"
        }
        7_000_214 | 7_000_277 => "the certificate is revoked or not trusted: make a new one and upload its public part",
        700_024 => {
            "the assertion is outside its time: mend this machine's clock; of a federated token, see that its file is renewed"
        }
        1_000_502 => "the certificate is not in force: upload a new one to the app registration",
        700_021 => "client_id and the credential are of different apps: check client_id",
        700_023 => "the assertion is for another token service: check [graph.auth] authority and tenant_id",
        7_000_114 => {
            "this app may not use such an assertion: check that it is a confidential client with its own credential"
        }
        50_013 | 50_027 => {
            "the assertion is not valid: a federated token must be an unchanged JWT, signed by the issuer that the app's federated credential names"
        }
        70_021 | 700_211 | 700_212 | 700_213 | 7_002_131 | 7_002_138 => {
            "the federated credential of the app does not match the token: compare its issuer, subject and audience (api://AzureADTokenExchange) with those of the token, to the letter; a new one works after some minutes"
        }
        700_222 | 700_238 => {
            "Entra ID takes no federated token of this issuer: use one of Kubernetes or another identity provider"
        }
        _ => return None,
    })
}

/// The refusal of a managed identity's service.
#[derive(Deserialize)]
pub(super) struct DeniedIdentity {
    error: Option<String>,
}

impl DeniedIdentity {
    /// The code, if it is one.
    pub(super) fn code(&self) -> Option<&str> {
        self.error.as_deref().and_then(plain)
    }
}

/// `text` if it is a code and not something that a server repeats.
fn plain(text: &str) -> Option<&str> {
    let is_plain = !text.is_empty() && text.len() <= 40 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    is_plain.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_shows_codes_and_nothing_else() {
        let text = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid secret for app 'Contoso'.","error_codes":[7000215]}"#;
        let error = serde_json::from_str::<Denied>(text).expect("a denial").into_error();
        assert_eq!(error.class(), crate::error::Class::Access);
        let shown = error.to_string();
        assert!(shown.contains("invalid_client, AADSTS7000215") && shown.contains("secret is wrong"), "{shown}");
        assert!(!shown.contains("Contoso"), "{shown}");
        let odd = Denied { error: "<script>".to_owned(), error_codes: vec![] };
        assert!(!odd.into_error().to_string().contains("script"));
        let second = Denied { error: "invalid_client".to_owned(), error_codes: vec![1, 700_027] };
        assert!(second.into_error().to_string().contains("upload its public part"));
    }

    #[test]
    fn the_end_is_a_number_or_text_from_now_or_since_the_epoch() {
        let now = DateTime::from_timestamp(1_506_484_173, 0).expect("an instant");
        for (text, seconds) in [
            (r#""expires_in":3599"#, Some(3599)),
            (r#""expires_in":" 3599 ","expires_on":"1506487772""#, Some(3599)),
            (r#""expires_on":"1506484273""#, Some(100)),
            (r#""expires_on":1506484273"#, Some(100)),
            (r#""expires_in":null,"expires_on":"1506484273""#, Some(100)),
            (r#""expires_in":"soon","expires_on":"1506484273""#, Some(100)),
            (r#""expires_on":"1506484000""#, Some(0)),
            (r#""expires_in":99999999"#, Some(172_800)),
            (r#""expires_on":"9/27/2017 5:09:33 AM +00:00""#, None),
            (r#""token_type":"Bearer""#, None),
        ] {
            let granted: Granted = serde_json::from_str(&format!(r#"{{"access_token":"t",{text}}}"#)).expect(text);
            assert_eq!(granted.life(now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
