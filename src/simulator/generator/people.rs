//! Made-up people, telephones and applications, and their identity sets.

use super::text::Json;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

pub(super) const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const OTHER_TENANT: &str = "44444444-4444-4444-8444-444444444444";
pub(super) const ADMINISTRATIVE_UNIT: &str = "55555555-5555-4555-8555-555555555555";

const FIRST: [&str; 16] = [
    "Ada", "Bela", "Chidi", "Dora", "Emre", "Freja", "Goran", "Hana", "Ines", "Jun", "Kofi", "Lea", "Milo", "Noor",
    "Orla", "Paz",
];
const LAST: [&str; 12] = [
    "Almeida", "Brandt", "Costa", "Dvořák", "Eriksen", "Fontaine", "Grewal", "Hughes", "Ito", "Jansen", "Kowalska",
    "Lund",
];

/// The member of an identity set that a person stands under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    OutsideUser,
    Visitor,
    Guest,
    Phone,
    Application,
    VoiceApplication,
    CommunicationServices,
}

/// One participant.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) name: Option<String>,
    principal: Option<String>,
}

impl Person {
    pub(super) fn draw(rng: &mut ChaCha8Rng, number: usize) -> Self {
        let kind = match rng.random_range(0..100_u32) {
            _ if number == 0 => Kind::User,
            0..80 => Kind::User,
            80..85 => Kind::OutsideUser,
            85..88 => Kind::Visitor,
            88..91 => Kind::Guest,
            91..95 => Kind::Phone,
            95..97 => Kind::Application,
            97..99 => Kind::VoiceApplication,
            _ => Kind::CommunicationServices,
        };
        let first = FIRST[rng.random_range(0..FIRST.len())];
        let last = LAST[rng.random_range(0..LAST.len())];
        let id = match kind {
            Kind::Phone => format!("+1202555{:04}", 100 + rng.random_range(0..100_u32)),
            Kind::Visitor => format!("teamsvisitor:{}", hex(rng, 32)),
            Kind::CommunicationServices => format!("8:acs:{}_{}", guid(rng), hex(rng, 16)),
            _ => guid(rng),
        };
        let named = matches!(kind, Kind::User | Kind::OutsideUser | Kind::Guest);
        let host = if kind == Kind::OutsideUser { "fabrikam.example" } else { "contoso.example" };
        let principal = matches!(kind, Kind::User | Kind::OutsideUser)
            .then(|| format!("{}.{}{number}@{host}", first.to_lowercase(), last.to_lowercase()));
        Self { kind, id, name: named.then(|| format!("{first} {last}")), principal }
    }

    fn member(&self) -> &'static str {
        match self.kind {
            Kind::User | Kind::OutsideUser | Kind::Visitor => "user",
            Kind::Guest => "guest",
            Kind::Phone => "phone",
            Kind::Application => "application",
            Kind::VoiceApplication => "applicationInstance",
            Kind::CommunicationServices => "azureCommunicationServicesUser",
        }
    }

    fn tenant(&self) -> Option<&'static str> {
        match self.kind {
            Kind::User | Kind::Application | Kind::VoiceApplication => Some(TENANT),
            Kind::OutsideUser => Some(OTHER_TENANT),
            _ => None,
        }
    }

    /// The members of an identity set; with `nulls` those of other kinds too.
    pub(super) fn write_set(&self, json: &mut Json, nulls: bool) {
        if nulls {
            for kind in ["acsUser", "spoolUser", "encrypted", "onPremises", "device", "assertedIdentity"] {
                json.null(kind);
            }
        }
        json.open_object_named(self.member());
        self.write_members(json);
        if self.kind == Kind::Guest {
            json.null("email");
        }
        json.close_object();
    }

    /// The members of one identity.
    pub(super) fn write_members(&self, json: &mut Json) {
        json.text("id", &self.id);
        match &self.name {
            Some(name) => json.text("displayName", name),
            None => json.null("displayName"),
        }
        match self.tenant() {
            Some(tenant) => json.text("tenantId", tenant),
            None => json.null("tenantId"),
        }
        if let Some(principal) = &self.principal {
            json.text("userPrincipalName", principal);
        }
    }
}

/// A GUID of version 4.
pub(super) fn guid(rng: &mut ChaCha8Rng) -> String {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid().to_string()
}

/// So many hex digits.
pub(super) fn hex(rng: &mut ChaCha8Rng, digits: usize) -> String {
    (0..digits).map(|_| char::from_digit(rng.random_range(0..16_u32), 16).unwrap_or('0')).collect()
}
