//! Media legs: devices, networks and streams.

use super::text::duration;
use super::{Call, Kind};
use rand::Rng;

const DEVICE_RATIOS: [&str; 9] = [
    "captureNotFunctioningEventRatio",
    "renderNotFunctioningEventRatio",
    "cpuInsufficentEventRatio",
    "deviceClippingEventRatio",
    "deviceGlitchEventRatio",
    "lowSpeechLevelEventRatio",
    "lowSpeechToNoiseEventRatio",
    "renderMuteEventRatio",
    "renderZeroVolumeEventRatio",
];
const NETWORK_RATIOS: [&str; 4] =
    ["bandwidthLowEventRatio", "delayEventRatio", "sentQualityEventRatio", "receivedQualityEventRatio"];

impl Call {
    pub(super) fn media_of_segment(&mut self) {
        let labels: &[&str] = match (self.kind, self.rng.random_range(0..10_u32)) {
            (Kind::Pstn, _) => &["main-audio"],
            (_, 0) => &[],
            (_, 1..4) => &["main-audio"],
            (_, 4..7) => &["main-audio", "data"],
            (_, 7..9) => &["main-audio", "main-video"],
            _ => &["main-audio", "main-video", "applicationsharing-video", "data"],
        };
        self.json.open_list_named("media");
        for label in labels {
            self.media(label);
        }
        self.json.close_list();
    }

    fn media(&mut self, label: &str) {
        self.json.open_object();
        self.json.text("label", label);
        for side in ["callerDevice", "calleeDevice"] {
            self.device(side);
        }
        for side in ["callerNetwork", "calleeNetwork"] {
            self.network(side);
        }
        self.json.open_list_named("streams");
        for (id, direction) in ["callerToCallee", "calleeToCaller"].into_iter().enumerate() {
            self.stream(label, id, direction);
        }
        self.json.close_list();
        self.json.close_object();
    }

    /// A share from 0 to 1 or null.
    fn ratio(&mut self, name: &str) {
        match self.rng.random_range(0..4_u32) {
            0 => self.json.null(name),
            1 => self.json.number(name, 0),
            _ => {
                let share = self.rng.random_range(0..=400_000_i64);
                self.json.millionths(name, share);
            }
        }
    }

    fn device(&mut self, name: &str) {
        if self.chance(12) {
            return self.json.null(name);
        }
        self.json.open_object_named(name);
        self.json.text("captureDeviceName", "Example Headset (Microphone)");
        self.json.text("captureDeviceDriver", "Example: 10.0.1");
        self.json.text("renderDeviceName", "Example Headset (Speaker)");
        self.json.null("renderDeviceDriver");
        for level in ["sentSignalLevel", "receivedSignalLevel", "sentNoiseLevel", "receivedNoiseLevel"] {
            let value = -self.rng.random_range(5..=70_i64);
            self.json.number(level, value);
        }
        self.json.number("initialSignalLevelRootMeanSquare", self.rng.random_range(60..=147_u32));
        self.json.number("howlingEventCount", 0);
        self.json.number("micGlitchRate", self.rng.random_range(0..=150_u32));
        self.ratio("speakerGlitchRate");
        for ratio in DEVICE_RATIOS {
            self.ratio(ratio);
        }
        self.json.close_object();
    }

    fn network(&mut self, name: &str) {
        self.json.open_object_named(name);
        let (a, b) = (self.rng.random_range(0..=255_u32), self.rng.random_range(1..=254_u32));
        self.json.text("ipAddress", &format!("10.{a}.{}.{b}", a / 2));
        self.json.text("subnet", &format!("10.{a}.{}.0", a / 2));
        self.json.number("port", 50_000 + b);
        let reflexive = if self.chance(15) { String::new() } else { format!("198.51.100.{b}") };
        self.json.text("reflexiveIPAddress", &reflexive);
        self.json.text("relayIPAddress", &format!("203.0.113.{b}"));
        self.json.number("relayPort", 3478);
        let mac = if self.chance(30) { "02:00:00:00:00:00" } else { "" };
        self.json.text("macAddress", mac);
        if self.quirks.misfits {
            self.json.text("linkSpeed", "fast");
        } else {
            let speed = [0_i64, 4_294_967_295, 54_000_000, 1_000_000_000][self.rng.random_range(0..4_usize)];
            self.json.number("linkSpeed", speed);
        }
        let wifi = self.chance(50);
        self.json.text("connectionType", if wifi { "wifi" } else { "wired" });
        if !self.quirks.old {
            let protocol = if self.chance(90) { "udp" } else { "tcp" };
            self.json.text("networkTransportProtocol", protocol);
        }
        self.json.null("dnsSuffix");
        self.json.text("wifiBand", if wifi { "frequency50GHz" } else { "unknown" });
        self.json.text("wifiRadioType", if wifi { "wifi80211ac" } else { "unknown" });
        for field in ["wifiChannel", "wifiSignalStrength", "wifiBatteryCharge"] {
            if wifi {
                let value = self.rng.random_range(1..=100_u32);
                self.json.number(field, value);
            } else {
                self.json.null(field);
            }
        }
        for field in
            ["wifiMicrosoftDriver", "wifiMicrosoftDriverVersion", "wifiVendorDriver", "wifiVendorDriverVersion"]
        {
            self.json.null(field);
        }
        self.json.text("basicServiceSetIdentifier", if wifi { "00-00-5e-00-53-01" } else { "" });
        for ratio in NETWORK_RATIOS {
            self.ratio(ratio);
        }
        self.json.open_list_named("traceRouteHops");
        if self.quirks.traced {
            for hop in 1..=self.rng.random_range(2..=7_i64) {
                let time = self.rng.random_range(500..=60_000_i64);
                self.json.open_object();
                self.json.number("hopCount", hop);
                self.json.text("ipAddress", &format!("192.0.2.{hop}"));
                self.json.text("roundTripTime", &duration(time));
                self.json.close_object();
            }
        }
        self.json.close_list();
        self.json.close_object();
    }

    fn length(&mut self, name: &str, most_micros: i64) {
        let micros = self.rng.random_range(0..=most_micros / 1000) * 1000;
        self.json.text(name, &duration(if micros == 0 { 16_000 } else { micros }));
    }

    fn stream(&mut self, label: &str, id: usize, direction: &str) {
        let placeholder = label == "data" || self.chance(8);
        let poor = self.chance(3);
        let (audio, video) = (label == "main-audio" && !placeholder, label.contains("video") && !placeholder);
        self.json.open_object();
        self.json.text("streamId", &(id + 1).to_string());
        self.json.text("streamDirection", direction);
        self.json.null("startDateTime");
        self.json.null("endDateTime");
        let packets = if placeholder { 0 } else { self.rng.random_range(60..=90_000_i64) };
        if self.quirks.misfits {
            self.json.millionths("packetUtilization", packets * 1_000_000 + 500_000);
        } else {
            self.json.number("packetUtilization", packets);
        }
        self.json.text("audioCodec", if audio { "satin" } else { "unknown" });
        self.json.text("videoCodec", if video { "h264" } else { "unknown" });
        if audio {
            self.audio_metrics(poor);
        } else {
            for name in [
                "averageJitter",
                "maxJitter",
                "averagePacketLossRate",
                "maxPacketLossRate",
                "averageRoundTripTime",
                "averageAudioDegradation",
            ] {
                self.json.null(name);
            }
        }
        if video {
            self.video_metrics(poor);
        } else {
            for name in
                ["averageVideoFrameRate", "averageVideoFrameLossPercentage", "postForwardErrorCorrectionPacketLossRate"]
            {
                self.json.null(name);
            }
        }
        if placeholder {
            self.json.null("averageBandwidthEstimate");
        } else {
            let bandwidth = self.rng.random_range(200_000..=9_000_000_i64);
            self.json.number("averageBandwidthEstimate", bandwidth);
        }
        self.json.boolean("wasMediaBypassed", false);
        if self.quirks.unknown_members {
            self.json.number("averageSparkle", 3);
        }
        self.json.close_object();
    }

    fn audio_metrics(&mut self, poor: bool) {
        let factor = if poor { 12 } else { 1 };
        self.length("averageJitter", 9_000 * factor);
        self.length("maxJitter", 60_000 * factor);
        self.length("averageAudioNetworkJitter", 300_000);
        self.length("maxAudioNetworkJitter", 600_000);
        for (name, most) in [
            ("averagePacketLossRate", 20_000),
            ("maxPacketLossRate", 60_000),
            ("averageRatioOfConcealedSamples", 30_000),
        ] {
            let share = self.rng.random_range(0..=most * factor);
            self.json.millionths(name, share);
        }
        self.json.null("maxRatioOfConcealedSamples");
        self.length("averageRoundTripTime", 90_000 * factor);
        self.length("maxRoundTripTime", 200_000 * factor);
        let degradation = self.rng.random_range(0..=2_000_000_i64);
        self.json.millionths("averageAudioDegradation", degradation);
        self.json.boolean("isAudioForwardErrorCorrectionUsed", poor);
    }

    fn video_metrics(&mut self, poor: bool) {
        let rate = if poor {
            self.rng.random_range(1_000_000..=6_000_000)
        } else {
            self.rng.random_range(8_000_000..=30_000_000_i64)
        };
        self.json.millionths("averageVideoFrameRate", rate);
        self.json.millionths("averageReceivedFrameRate", rate);
        let loss = self.rng.random_range(0..=60_000_000_i64) / if poor { 1 } else { 10 };
        self.json.millionths("averageVideoFrameLossPercentage", loss);
        self.ratio("averageVideoPacketLossRate");
        self.ratio("postForwardErrorCorrectionPacketLossRate");
        self.ratio("lowFrameRateRatio");
        self.ratio("lowVideoProcessingCapabilityRatio");
        self.length("averageFreezeDuration", 900_000);
        self.length("rmsFreezeDuration", 1_200_000);
    }
}
