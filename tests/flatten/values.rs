//! Single values, read a second time: instants, durations, numbers.

use chrono::DateTime;

pub(crate) const YEAR_ONE: i64 = -62_135_596_800_000_000;

/// Microseconds since the epoch.
pub(crate) fn instant(text: &str) -> Option<i64> {
    let (day, time) = text.split_once('T')?;
    let clock = time.get(..8)?;
    let rest = &time[8..];
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let fraction = &rest[..rest.len() - zone.len()];
    let plain_fraction = fraction.is_empty() || (fraction.starts_with('.') && (2..=10).contains(&fraction.len()));
    let plain_zone = zone == "Z" || (zone.len() == 6 && zone.starts_with(['+', '-']));
    if day.len() != 10 || day.starts_with("0000") || clock.ends_with("60") || !plain_fraction || !plain_zone {
        return None;
    }
    DateTime::parse_from_rfc3339(text).ok().map(|instant| instant.timestamp_micros())
}

/// Float64 milliseconds, the nearest to the exact value.
pub(crate) fn duration_ms(text: &str) -> Option<f64> {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let rest = rest.strip_prefix('P')?;
    let (date, time) = rest.split_once('T').map_or((rest, None), |(date, time)| (date, Some(time)));
    if time == Some("") || (time.is_none() && date.is_empty()) {
        return None;
    }
    let nanos =
        components(date, &[('D', 86_400)])? + components(time.unwrap_or(""), &[('H', 3_600), ('M', 60), ('S', 1)])?;
    let ms: f64 = format!("{sign}{}.{:06}", nanos / 1_000_000, nanos % 1_000_000).parse().ok()?;
    Some(ms + 0.0)
}

fn components(text: &str, mut units: &[(char, i128)]) -> Option<i128> {
    let (mut nanos, mut number) = (0, String::new());
    for character in text.chars() {
        if character.is_ascii_digit() || character == '.' {
            number.push(character);
            continue;
        }
        let at = units.iter().position(|(unit, _)| *unit == character)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((&number, "0"));
        let with_fraction = number.contains('.');
        if with_fraction && character != 'S' || !(1..=9).contains(&fraction.len()) {
            return None;
        }
        let fraction: i128 = format!("{fraction:0<9}").parse().ok()?;
        nanos += (whole.parse::<i128>().ok()? * 1_000_000_000 + fraction) * units[at].1;
        units = &units[at + 1..];
        number.clear();
    }
    number.is_empty().then_some(nanos)
}

/// Sign, digits without zeros at either end, and the power of ten.
pub(crate) fn decimal(raw: &str) -> (bool, String, i64) {
    let (negative, text) = raw.strip_prefix('-').map_or((false, raw), |text| (true, text));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let kept = digits.trim_end_matches('0');
    let power = exponent.parse::<i64>().unwrap() - fraction.len() as i64 + (digits.len() - kept.len()) as i64;
    match kept.trim_start_matches('0') {
        "" => (false, "0".into(), 0),
        digits => (negative, digits.into(), power),
    }
}

/// The integer that a number is, however it is written.
pub(crate) fn integer(raw: &str) -> Option<i64> {
    let (negative, digits, power) = decimal(raw);
    if !(0..=20).contains(&power) {
        return None;
    }
    let sign = if negative { "-" } else { "" };
    format!("{sign}{digits}{}", "0".repeat(power as usize)).parse().ok()
}

/// A number that float64 stands for: finite, and exact where it is written as
/// an integer.
pub(crate) fn float(raw: &str) -> Option<f64> {
    let value: f64 = raw.parse().ok()?;
    if !value.is_finite() {
        return None;
    }
    if !raw.contains(['.', 'e', 'E']) && raw.parse::<i128>().is_ok_and(|exact| value as i128 != exact) {
        return None;
    }
    Some(value + 0.0)
}

#[test]
fn values_are_read() {
    assert_eq!(instant("1970-01-01T01:00:00.0000019+01:00"), Some(1));
    assert_eq!(instant("0001-01-01T00:00:00Z"), Some(YEAR_ONE));
    for text in
        ["1970-01-01", "1970-01-01T00:00:60Z", "1970-01-01T00:00:00", "1970-02-30T00:00:00Z", "1970-01-01T00:00:00.Z"]
    {
        assert_eq!(instant(text), None, "{text}");
    }
    assert_eq!(duration_ms("-P1DT1H1M1.5S"), Some(-90_061_500.0));
    assert_eq!(duration_ms("PT0.000001S"), Some(0.001));
    for text in ["P", "PT", "PT1S2M", "PT1.5M", "PT1", "1S", "PT1.S", "PT.5S", "P1DT"] {
        assert_eq!(duration_ms(text), None, "{text}");
    }
    assert_eq!(decimal("-12.30e1"), (true, "123".into(), 0));
    assert_eq!(decimal("-0.0"), (false, "0".into(), 0));
    assert_eq!(integer("1e2"), Some(100));
    assert_eq!(integer("23.5"), None);
    assert_eq!(float("9007199254740993"), None);
    assert_eq!(float("1e400"), None);
}
