//! The two ends of sessions and segments.

use super::{Call, Kind};
use rand::Rng;

const PLATFORMS: [&str; 8] = ["windows", "macOS", "iOS", "android", "web", "ipPhone", "roomSystem", "unknown"];
const RATINGS: [&str; 6] = ["notRated", "bad", "poor", "fair", "good", "excellent"];
const TOKENS: [&str; 6] = ["NoSound", "Echo", "Noisy", "LowVolume", "DistortedSound", "Interruptions"];

impl Call {
    /// A person's end, or a service's for `None`.
    pub(super) fn endpoint(&mut self, name: &str, person: Option<usize>) {
        self.json.open_object_named(name);
        match person {
            Some(number) => self.participant_endpoint(number),
            None => self.service_endpoint(),
        }
        self.json.close_object();
    }

    fn odata_type(&mut self, name: &str) {
        if !self.quirks.untyped {
            self.json.text("@odata.type", &format!("#microsoft.graph.callRecords.{name}"));
        }
    }

    fn participant_endpoint(&mut self, number: usize) {
        self.odata_type("participantEndpoint");
        match self.rng.random_range(0..3_u32) {
            0 => self.json.null("name"),
            1 => self.json.text("name", &format!("CONTOSO-PC-{:04}", number * 7 % 10_000)),
            _ => {}
        }
        if !self.quirks.old {
            self.json.text("cpuName", "Example CPU 8c @ 2.60GHz");
            self.json.number("cpuCoresCount", 2 << (number % 3));
            self.json.number("cpuProcessorSpeedInMhz", 2100 + number % 9 * 100);
        }
        let platform = PLATFORMS[self.rng.random_range(0..PLATFORMS.len())];
        let platform = if self.quirks.unknown_enum_members { "wristWatch" } else { platform };
        self.json.open_object_named("userAgent");
        self.odata_type("clientUserAgent");
        self.json.text("headerValue", "CallSignalingAgent (27/1.4.00.0//;example)");
        self.json.text("platform", platform);
        let family = if self.chance(2) { "azureCommunicationServices" } else { "teams" };
        self.json.text("productFamily", family);
        if self.chance(30) {
            self.json.null("applicationVersion");
            self.json.text("azureADAppId", "66666666-6666-4666-8666-666666666666");
            self.json.null("communicationServiceId");
        }
        self.json.close_object();
        if !self.quirks.old {
            self.json.open_object_named("associatedIdentity");
            self.people[number].write_members(&mut self.json);
            self.json.close_object();
        }
        if self.quirks.old || self.quirks.deprecated {
            self.json.open_object_named("identity");
            self.people[number].write_set(&mut self.json, true);
            self.json.close_object();
        }
        if self.quirks.unknown_members {
            self.json.number("batteryLevel", 80);
        }
        self.feedback();
    }

    fn feedback(&mut self) {
        if !self.chance(6) {
            if self.chance(20) {
                self.json.null("feedback");
            }
            return;
        }
        let rating = RATINGS[self.rng.random_range(0..RATINGS.len())];
        self.json.open_object_named("feedback");
        self.json.text("rating", rating);
        if self.chance(30) {
            self.json.text("text", "It crackled \"all the time\".");
        } else {
            self.json.null("text");
        }
        self.json.open_object_named("tokens");
        if rating != "notRated" {
            for token in TOKENS {
                let chosen = self.chance(25);
                self.json.boolean(token, chosen);
            }
        }
        self.json.close_object();
        self.json.close_object();
    }

    fn service_endpoint(&mut self) {
        self.odata_type("serviceEndpoint");
        self.json.open_object_named("userAgent");
        if self.kind == Kind::Pstn || self.chance(20) {
            self.odata_type("serviceUserAgent");
            self.json.null("headerValue");
            let role = if self.quirks.unknown_enum_members { "timeMachine" } else { "mediationServer" };
            self.json.text("role", role);
        } else {
            self.odata_type("clientUserAgent");
            self.json.null("headerValue");
            self.json.null("applicationVersion");
            self.json.text("platform", "unknown");
            self.json.text("productFamily", "unknown");
        }
        self.json.close_object();
    }
}
