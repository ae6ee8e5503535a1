//! How good a stream was, after Microsoft's Call Quality Dashboard. All
//! comparisons are strict.

/// What a stream carries, told from the label of its media.
pub(crate) fn media_kind(label: &str) -> &'static str {
    let label = label.to_lowercase();
    // Screen shares are labelled `applicationsharing-video`: the order matters.
    if label.contains("audio") {
        "audio"
    } else if label.contains("applicationsharing") {
        "screen_sharing"
    } else if label.contains("video") {
        "video"
    } else if label == "data" {
        "data"
    } else {
        "other"
    }
}

/// What the rules look at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Metrics {
    /// A count of packets.
    pub(crate) packet_utilization: Option<i64>,
    /// Milliseconds.
    pub(crate) jitter: Option<f64>,
    /// A fraction.
    pub(crate) packet_loss: Option<f64>,
    /// Milliseconds.
    pub(crate) round_trip: Option<f64>,
    /// Percent.
    pub(crate) frame_loss: Option<f64>,
    /// Frames a second.
    pub(crate) frame_rate: Option<f64>,
    /// A fraction.
    pub(crate) post_fec_packet_loss: Option<f64>,
}

/// The class of a stream and, where it is `poor`, the reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) quality: &'static str,
    pub(crate) reasons: Vec<&'static str>,
}

/// `None` for kinds that have no quality.
pub(crate) fn verdict(kind: Option<&str>, metrics: &Metrics) -> Option<Verdict> {
    let breaches = match kind? {
        "audio" => audio(metrics),
        "video" => frames(metrics, 7.0),
        "screen_sharing" => frames(metrics, 2.0),
        _ => return None,
    };
    let plain = |quality| Some(Verdict { quality, reasons: Vec::new() });
    let Some(reasons) = breaches.filter(|_| metrics.packet_utilization != Some(0)) else {
        return plain("unclassified");
    };
    if reasons.is_empty() {
        return plain("good");
    }
    if kind == Some("audio") {
        match metrics.packet_utilization {
            None => return plain("unclassified"),
            Some(packets) if packets <= 500 => return plain("good"),
            Some(_) => {}
        }
    }
    Some(Verdict { quality: "poor", reasons })
}

/// The breaches of an audio stream; `None` if nothing was measured.
fn audio(metrics: &Metrics) -> Option<Vec<&'static str>> {
    let tests = [
        ("jitter", metrics.jitter, 30.0),
        ("packet_loss", metrics.packet_loss, 0.1),
        ("round_trip_time", metrics.round_trip, 500.0),
    ];
    tests.iter().any(|(_, value, _)| value.is_some()).then(|| {
        let breached = tests.iter().filter(|(_, value, limit)| value.is_some_and(|value| value > *limit));
        breached.map(|(reason, ..)| *reason).collect()
    })
}

/// The first metric of pictures that was measured decides.
fn frames(metrics: &Metrics, least_rate: f64) -> Option<Vec<&'static str>> {
    let (reason, breached) = if let Some(loss) = metrics.frame_loss {
        ("frame_loss", loss > 50.0)
    } else if let Some(rate) = metrics.frame_rate {
        ("frame_rate", rate < least_rate)
    } else {
        ("post_fec_packet_loss", metrics.post_fec_packet_loss? > 0.15)
    };
    Some(if breached { vec![reason] } else { Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_tells_the_kind() {
        let cases = [
            ("main-audio", "audio"),
            ("Main-AUDIO", "audio"),
            ("applicationsharing-video", "screen_sharing"),
            ("main-video", "video"),
            ("data", "data"),
            ("Data", "data"),
            ("data2", "other"),
            ("x", "other"),
        ];
        for (label, kind) in cases {
            assert_eq!(media_kind(label), kind, "{label}");
        }
    }

    fn of(kind: &str, metrics: Metrics) -> (&'static str, Vec<&'static str>) {
        let verdict = verdict(Some(kind), &metrics).expect("a kind with quality");
        (verdict.quality, verdict.reasons)
    }

    #[test]
    fn audio_is_poor_by_a_breach_over_500_packets() {
        let base = Metrics {
            packet_utilization: Some(501),
            jitter: Some(30.0),
            packet_loss: Some(0.1),
            round_trip: Some(500.0),
            ..Metrics::default()
        };
        assert_eq!(of("audio", base), ("good", vec![]));
        let breach = Metrics { jitter: Some(30.1), ..base };
        assert_eq!(of("audio", breach), ("poor", vec!["jitter"]));
        let all = Metrics { packet_loss: Some(0.11), round_trip: Some(501.0), ..breach };
        assert_eq!(of("audio", all), ("poor", vec!["jitter", "packet_loss", "round_trip_time"]));
        assert_eq!(of("audio", Metrics { packet_utilization: Some(500), ..all }), ("good", vec![]));
        assert_eq!(of("audio", Metrics { packet_utilization: Some(66), ..all }), ("good", vec![]));
        assert_eq!(of("audio", Metrics { packet_utilization: None, ..all }), ("unclassified", vec![]));
        assert_eq!(of("audio", Metrics { packet_utilization: None, ..base }), ("good", vec![]));
        assert_eq!(of("audio", Metrics { packet_utilization: Some(0), ..all }), ("unclassified", vec![]));
        assert_eq!(
            of("audio", Metrics { packet_utilization: Some(900), frame_loss: Some(99.0), ..Metrics::default() }),
            ("unclassified", vec![])
        );
    }

    #[test]
    fn pictures_are_judged_by_the_first_metric_measured() {
        let screen = Metrics {
            packet_utilization: Some(9_000),
            jitter: Some(450.0),
            frame_rate: Some(4.0),
            ..Metrics::default()
        };
        assert_eq!(of("screen_sharing", screen), ("good", vec![]));
        assert_eq!(of("video", screen), ("poor", vec!["frame_rate"]));
        assert_eq!(of("screen_sharing", Metrics { frame_rate: Some(1.9), ..screen }), ("poor", vec!["frame_rate"]));
        assert_eq!(of("video", Metrics { frame_rate: Some(7.0), ..screen }), ("good", vec![]));
        assert_eq!(of("video", Metrics { frame_loss: Some(50.0), ..screen }), ("good", vec![]));
        assert_eq!(of("video", Metrics { frame_loss: Some(50.1), ..screen }), ("poor", vec!["frame_loss"]));
        let fec = Metrics { post_fec_packet_loss: Some(0.16), ..Metrics::default() };
        assert_eq!(of("video", fec), ("poor", vec!["post_fec_packet_loss"]));
        assert_eq!(of("video", Metrics { packet_utilization: Some(0), ..fec }), ("unclassified", vec![]));
        assert_eq!(of("video", Metrics { jitter: Some(99.0), ..Metrics::default() }), ("unclassified", vec![]));
    }

    #[test]
    fn data_and_other_have_no_quality() {
        for kind in [None, Some("data"), Some("other")] {
            assert_eq!(verdict(kind, &Metrics { packet_utilization: Some(0), ..Metrics::default() }), None);
        }
    }
}
