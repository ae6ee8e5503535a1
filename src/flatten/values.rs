//! How one JSON leaf becomes a cell: instants, durations, numbers.
//!
//! Every function gives `None` for what does not fit the type; the caller keeps
//! such a leaf as it was served.

/// Microseconds from the epoch to `0001-01-01T00:00:00Z`, which Graph sends for
/// "never".
pub(crate) const YEAR_ONE: i64 = -62_135_596_800_000_000;

/// `9999-12-31T23:59:59.999999Z`.
const LAST_INSTANT: i64 = 253_402_300_799_999_999;

/// An instant with any offset, 0 to 9 digits of fraction, as microseconds since
/// the epoch (UTC). Further digits are cut, not rounded.
pub(crate) fn instant(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (head, tail) = bytes.split_at_checked(19)?;
    let punctuation = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if punctuation.iter().any(|&(at, byte)| head[at] != byte) {
        return None;
    }
    let year = digits(&head[..4])?;
    let month = digits(&head[5..7])?;
    let day = digits(&head[8..10])?;
    let hour = digits(&head[11..13])?;
    let minute = digits(&head[14..16])?;
    let second = digits(&head[17..19])?;
    if year == 0 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_since_epoch(year, month, day)?;
    let (fraction, zone) = match tail.split_first()? {
        (b'.', rest) => {
            let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if count == 0 || count > 9 {
                return None;
            }
            let nanos = digits(&rest[..count])? * 10_i64.pow(9 - u32::try_from(count).ok()?);
            (nanos / 1_000, &rest[count..])
        }
        _ => (0, tail),
    };
    let offset_minutes = match *zone {
        [b'Z'] => 0,
        [sign @ (b'+' | b'-'), a, b, b':', c, d] => {
            let (hours, minutes) = (digits(&[a, b])?, digits(&[c, d])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let minutes = hours * 60 + minutes;
            if sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset_minutes * 60;
    // An offset may lead out of the years that every reader has.
    Some(seconds * 1_000_000 + fraction).filter(|instant| (YEAR_ONE..=LAST_INSTANT).contains(instant))
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0_i64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar.
fn days_since_epoch(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if day < 1 || day > length {
        return None;
    }
    // Years are counted from March, so that the leap day is their last one.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// An Edm.Duration `[-]P[nD][T[nH][nM][n[.f]S]]` as milliseconds. At most 9
/// digits of fraction, at least one component.
pub(crate) fn duration_ms(text: &str) -> Option<f64> {
    seconds_ms(text.as_bytes()).or_else(|| any_duration_ms(text))
}

/// `PTn[.f]S`, as almost all are, with at most 9 digits before the point.
fn seconds_ms(text: &[u8]) -> Option<f64> {
    let number = text.strip_prefix(b"PT")?.strip_suffix(b"S")?;
    let (mut nanos, mut places, mut point) = (0_i64, 0_usize, None);
    for &byte in number {
        match byte {
            b'0'..=b'9' if places < 18 => {
                nanos = nanos * 10 + i64::from(byte - b'0');
                places += 1;
            }
            b'.' if point.is_none() && places > 0 => point = Some(places),
            _ => return None,
        }
    }
    let whole = point.unwrap_or(places);
    let fraction = places - whole;
    if whole == 0 || whole > 9 || fraction > 9 || (fraction == 0 && point.is_some()) {
        return None;
    }
    Some((nanos * NANOS[fraction]) as f64 / 1e6)
}

/// Nanoseconds of one unit of the last of so many digits of fraction.
const NANOS: [i64; 10] = [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

fn any_duration_ms(text: &str) -> Option<f64> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let rest = rest.strip_prefix('P')?;
    let (days, time) = match rest.split_once('T') {
        Some((days, time)) => (days, Some(time)),
        None => (rest, None),
    };
    if time.is_some_and(str::is_empty) || (time.is_none() && days.is_empty()) {
        return None;
    }
    let mut nanos = 0_i128;
    if !days.is_empty() {
        nanos += count(days.strip_suffix('D')?)? * 86_400_000_000_000;
    }
    let mut time = time.unwrap_or("");
    for (unit, length) in [('H', 3_600_000_000_000_i128), ('M', 60_000_000_000)] {
        if let Some((number, after)) = time.split_once(unit) {
            nanos += count(number)? * length;
            time = after;
        }
    }
    if !time.is_empty() {
        let number = time.strip_suffix('S')?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let scale = 10_i128.pow(9 - u32::try_from(fraction.len()).ok()?);
        nanos += count(whole)? * 1_000_000_000 + count(fraction)? * scale;
    }
    let nanos = if negative { -nanos } else { nanos };
    // Near enough: the nearest float64 of the whole nanoseconds, then of the quotient.
    Some(nanos as f64 / 1e6)
}

fn count(text: &str) -> Option<i128> {
    if text.is_empty() || text.len() > 18 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// An integer written in any way JSON allows (`23`, `23.0`, `2.3e1`), exactly.
pub(crate) fn integer(raw: &str) -> Option<i64> {
    if let Ok(value) = raw.parse::<i64>() {
        return Some(value);
    }
    let (negative, text) = match raw.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, raw),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    if !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = all.trim_end_matches('0');
    let dropped = i32::try_from(all.len() - significant.len()).ok()?;
    let point = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(dropped)?;
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    if !(0..=19).contains(&point) || significant.len() > 19 {
        return None;
    }
    let value = significant.parse::<i128>().ok()? * 10_i128.pow(u32::try_from(point).ok()?);
    i64::try_from(if negative { -value } else { value }).ok()
}

/// Digits after the point of a `decimal128(18,6)`, and those before it.
const SCALE: i64 = 6;
const WHOLE: i64 = 12;

/// A number as millionths, exactly: one that has more digits than the type holds
/// does not fit, and none is rounded.
pub(crate) fn decimal(raw: &str) -> Option<i128> {
    let (negative, text) = match raw.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, raw),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, i64::from(exponent.parse::<i32>().ok()?)),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    if whole.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = all.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // The value is `significant` times ten to the power of `last`.
    let dropped = i64::try_from(all.len() - all.trim_end_matches('0').len()).ok()?;
    let last = exponent - i64::try_from(fraction.len()).ok()? + dropped;
    let length = i64::try_from(significant.len()).ok()?;
    if last < -SCALE || length + last > WHOLE {
        return None;
    }
    let value = significant.parse::<i128>().ok()? * 10_i128.pow(u32::try_from(last + SCALE).ok()?);
    Some(if negative { -value } else { value })
}

/// A finite number. One written as an integer fits only if float64 holds it
/// exactly. Minus zero is zero.
pub(crate) fn float(raw: &str) -> Option<f64> {
    let value = raw.parse::<f64>().ok().filter(|value| value.is_finite())?;
    let plain = !raw.contains(['.', 'e', 'E']);
    if plain && value.abs() >= EXACT && format!("{value:.0}") != raw {
        return None;
    }
    Some(value + 0.0)
}

/// Whole numbers below this are exact in float64.
pub(crate) const EXACT: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn instants_of_any_width_and_offset_fit() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("2020-02-25T18:52:21.2169889Z", 1_582_656_741_216_988),
            ("2020-02-25T18:52:21.21Z", 1_582_656_741_210_000),
            ("2020-02-25T20:52:21+02:00", 1_582_656_741_000_000),
            ("2020-02-25T13:22:21.123456789-05:30", 1_582_656_741_123_456),
            ("0001-01-01T00:00:00Z", YEAR_ONE),
            ("2000-02-29T00:00:00Z", 951_782_400_000_000),
            ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
            ("1969-12-31T23:59:59.9999999Z", -1),
        ];
        for (text, micros) in cases {
            assert_eq!(instant(text), Some(micros), "{text}");
        }
    }

    #[test]
    fn instants_agree_with_chrono() {
        for day in (-719_000..2_900_000).step_by(997) {
            let date = chrono::NaiveDate::from_epoch_days(day).expect("a date of the calendar");
            if (1..=9999).contains(&chrono::Datelike::year(&date)) {
                let text = format!("{date}T00:00:00Z");
                assert_eq!(instant(&text), Some(i64::from(day) * 86_400_000_000), "{text}");
            }
        }
    }

    #[test]
    fn other_texts_are_no_instants() {
        for text in [
            "",
            "yesterday",
            "2020-02-25",
            "2020-02-30T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2020-02-25T24:00:00Z",
            "2020-02-25T18:52:60Z",
            "2020-02-25T18:52:21",
            "2020-02-25T18:52:21.Z",
            "2020-02-25T18:52:21.1234567890Z",
            "9999-12-31T23:59:59-00:01",
            "0001-01-01T00:00:00+00:01",
            "2020-02-25T18:52:21+0200",
            "2020-13-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "2020-02-25 18:52:21Z",
            "２020-02-25T18:52:21Z",
            "2020-02-25T18:52:21Zé",
            "2020-02-2éT18:52:21Z",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    #[test]
    fn durations_become_milliseconds() {
        let cases = [
            ("PT0.016S", 16.0),
            ("PT0.01S", 10.0),
            ("PT0S", 0.0),
            ("PT1M", 60_000.0),
            ("P1DT2H3M4.5S", 93_784_500.0),
            ("-PT1.5S", -1_500.0),
            ("P2D", 172_800_000.0),
            ("PT0.000000001S", 0.000_001),
            ("PT1H4S", 3_604_000.0),
        ];
        for (text, ms) in cases {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
        }
        for text in [
            "",
            "P",
            "PT",
            "P1DT",
            "PT.5S",
            "PT1.S",
            "PT0.0000000001S",
            "P1Y",
            "P1W",
            "1S",
            "PT1S2M",
            "+PT1S",
            "pt1s",
            "PT1M1H",
            "PT 1S",
            "P1D2H",
        ] {
            assert_eq!(duration_ms(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_short_way_to_seconds_gives_what_the_long_one_gives(
            whole in "[0-9]{0,11}", point in prop::sample::select(vec!["", ".", ".."]), fraction in "[0-9]{0,11}",
        ) {
            let text = format!("PT{whole}{point}{fraction}S");
            let (short, long) = (seconds_ms(text.as_bytes()), any_duration_ms(&text));
            let is_short = whole.len() <= 9 && fraction.len() <= 9 && point == ".";
            prop_assert!(if is_short { short == long } else { short.is_none() || short == long }, "{}", text);
        }
    }

    #[test]
    fn integers_fit_by_value() {
        let cases = [
            ("23", Some(23)),
            ("23.0", Some(23)),
            ("2.3e1", Some(23)),
            ("-0", Some(0)),
            ("0.0", Some(0)),
            ("0e99", Some(0)),
            ("2300e-2", Some(23)),
            ("23.5", None),
            ("1e-1", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("9007199254740993.0", Some(9_007_199_254_740_993)),
            ("1e400", None),
            ("1e18", Some(1_000_000_000_000_000_000)),
            ("1.00000000000000000001", None),
        ];
        for (raw, value) in cases {
            assert_eq!(integer(raw), value, "{raw}");
        }
    }

    #[test]
    fn decimals_fit_if_no_digit_is_lost() {
        let cases = [
            ("0", Some(0)),
            ("-0.00", Some(0)),
            ("0.0000010", Some(1)),
            ("0.01", Some(10_000)),
            ("-12.345678", Some(-12_345_678)),
            ("1e2", Some(100_000_000)),
            ("1.5E-6", None),
            ("15e-7", None),
            ("150e-8", None),
            ("100e-8", Some(1)),
            ("0.0000001", None),
            ("999999999999.999999", Some(999_999_999_999_999_999)),
            ("1000000000000", None),
            ("1e12", None),
            ("1e-99999", None),
            ("1e99999999999", None),
            ("0e99", Some(0)),
            ("", None),
            (".5", None),
            ("1,5", None),
            ("--1", None),
            ("1.2.3", None),
            ("NaN", None),
        ];
        for (raw, value) in cases {
            assert_eq!(decimal(raw), value, "{raw}");
        }
    }

    #[test]
    fn floats_fit_if_they_are_represented() {
        let cases = [
            ("23", Some(23.0)),
            ("0.27", Some(0.27)),
            ("1e400", None),
            ("-1e400", None),
            ("9007199254740992", Some(EXACT)),
            ("9007199254740993", None),
            ("9007199254740994", Some(9_007_199_254_740_994.0)),
            ("1e23", Some(1e23)),
            ("100000000000000000000000", None),
            ("18446744073709551616", Some(18_446_744_073_709_551_616.0)),
        ];
        for (raw, value) in cases {
            assert_eq!(float(raw), value, "{raw}");
        }
        assert!(float("-0.0").is_some_and(|zero| zero.is_sign_positive()));
    }
}
