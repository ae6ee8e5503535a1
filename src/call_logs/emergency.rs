//! Which calls are emergency calls.

/// The numbers that a config names, as they are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emergency {
    numbers: Vec<String>,
}

impl Emergency {
    /// Of these numbers.
    #[must_use]
    pub fn new(numbers: &[String]) -> Self {
        let mut numbers: Vec<String> = numbers.iter().map(|number| plain(number)).collect();
        numbers.retain(|number| !number.is_empty());
        numbers.sort();
        numbers.dedup();
        Self { numbers }
    }

    /// The numbers, plain and in order.
    #[must_use]
    pub fn numbers(&self) -> &[String] {
        &self.numbers
    }

    /// Whether a call of that type to that number is one; `None` where neither is known.
    #[must_use]
    pub fn is_call(&self, call_type: Option<&str>, callee: Option<&str>) -> Option<bool> {
        if call_type.is_none() && callee.is_none() {
            return None;
        }
        // `dr_emergency_out`, `ByotOutEmergency` and their kin.
        let by_type = call_type.is_some_and(|text| text.to_ascii_lowercase().contains("emergency"));
        Some(by_type || callee.is_some_and(|number| self.numbers.binary_search(&plain(number)).is_ok()))
    }
}

/// A number without what is only for the eye.
fn plain(number: &str) -> String {
    let number = number.trim().trim_start_matches("tel:");
    number.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.' | '/' | '\u{a0}')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_by_type_and_by_number() {
        let emergency = Emergency::new(&["112".to_owned(), "+1 (911)".to_owned(), " ".to_owned()]);
        assert_eq!(emergency.numbers(), ["+1911", "112"]);
        for (call_type, callee, is) in [
            (Some("dr_emergency_out"), None, Some(true)),
            (Some("ByotOutEmergency"), Some("x"), Some(true)),
            (Some("dr_out"), Some("112"), Some(true)),
            (None, Some("tel:+1-911"), Some(true)),
            (Some("dr_out"), Some("1120"), Some(false)),
            (Some("dr_out"), None, Some(false)),
            (None, None, None),
        ] {
            assert_eq!(emergency.is_call(call_type, callee), is, "{call_type:?} {callee:?}");
        }
        assert_eq!(Emergency::default().is_call(None, Some("112")), Some(false));
    }
}
