//! The section `[logs]` of a config.

use crate::error::{Error, Result};
use crate::schema::Catalogue;
use serde::Deserialize;

/// Days of the longest window that Graph answers.
pub const MOST_WINDOW_DAYS: u32 = 90;
/// Days that a first collection goes back at most: the reports of Microsoft reach
/// back a year.
const MOST_DAYS: u32 = 365;

/// Which telephony logs a run collects, and how.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The tables that are collected.
    pub tables: Vec<String>,
    /// Days that the first collection goes back.
    pub days: u32,
    /// Days before the last collection that are asked for again, since rows come late
    /// and change.
    pub overlap_days: u32,
    /// Days of one window: all of its rows are held in memory.
    pub window_days: u32,
    /// Requests for one log within a minute. Graph takes 50, and 200 for all logs,
    /// which are four.
    pub requests_per_minute: usize,
    /// Numbers whose calls are emergency calls.
    pub emergency_numbers: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tables: Vec::new(),
            days: MOST_WINDOW_DAYS,
            overlap_days: 4,
            window_days: MOST_WINDOW_DAYS,
            requests_per_minute: 50,
            emergency_numbers: Vec::new(),
        }
    }
}

impl Settings {
    /// Refuses what cannot be collected.
    ///
    /// # Errors
    /// By class configuration, naming the key.
    pub fn validate(&self) -> Result<()> {
        let logs = &Catalogue::embedded().logs;
        for name in &self.tables {
            if !logs.iter().any(|table| table.name == *name) {
                let known: Vec<&str> = logs.iter().map(|table| table.name.as_str()).collect();
                return Err(Error::config(format!("[logs] tables names {name}, which is no log"))
                    .hint(format!("known logs are {}", known.join(", "))));
            }
        }
        for (key, value, most) in [
            ("days", self.days, MOST_DAYS),
            ("overlap_days", self.overlap_days, MOST_WINDOW_DAYS),
            ("window_days", self.window_days, MOST_WINDOW_DAYS),
        ] {
            if value == 0 || value > most {
                return Err(Error::config(format!("[logs] {key} is {value}"))
                    .hint(format!("give a number of days from 1 to {most}")));
            }
        }
        if self.requests_per_minute == 0 {
            return Err(Error::config("[logs] requests_per_minute is 0").hint("give at least 1"));
        }
        if self.emergency_numbers.iter().any(|number| number.trim().is_empty()) {
            return Err(
                Error::config("[logs] emergency_numbers has an empty number").hint("give digits, such as \"112\"")
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_collected_is_refused() {
        assert!(Settings::default().validate().is_ok());
        let tables = vec!["pstn_calls".to_owned(), "sms_log".to_owned()];
        assert!(Settings { tables, ..Settings::default() }.validate().is_ok());
        for wrong in [
            Settings { tables: vec!["calls".to_owned()], ..Settings::default() },
            Settings { days: 366, ..Settings::default() },
            Settings { overlap_days: 0, ..Settings::default() },
            Settings { window_days: 91, ..Settings::default() },
            Settings { requests_per_minute: 0, ..Settings::default() },
            Settings { emergency_numbers: vec![" ".to_owned()], ..Settings::default() },
        ] {
            assert!(wrong.validate().is_err(), "{wrong:?}");
        }
    }
}
