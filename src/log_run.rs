//! The collection of telephony logs: which windows are due, and their commit.

use crate::call_logs::{Emergency, MOST_WINDOW_DAYS};
use crate::clock::Clock;
use crate::config::Config;
use crate::crash_point::crash_point;
use crate::dataset::Dataset;
use crate::dataset::call_logs::{self, Collected};
use crate::error::{Error, Result};
use crate::graph::{Client, LogOutcome, LogReader, LogWindow};
use crate::pipeline;
use crate::schema::{Catalogue, Log, Table};
use crate::shutdown::Shutdown;
use crate::summary::Summary;
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use std::collections::VecDeque;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// Rows that are held before they are committed, in bytes.
const HELD_BYTES: usize = 64 << 20;

/// A collection of logs.
pub struct Collection<'a> {
    /// The config.
    pub config: &'a Config,
    /// The clock.
    pub clock: Clock,
    /// The run.
    pub run_id: &'a str,
    /// No request begins after this.
    pub deadline: Option<Instant>,
    /// The dates that are asked for, both included; by default what is due.
    pub dates: Option<(NaiveDate, NaiveDate)>,
    /// Whether new emergency calls are kept to be told of.
    pub alerts: bool,
}

/// How it ended.
#[derive(Debug, Default)]
pub struct Finished {
    /// Whether a part is left to a later run.
    pub unfinished: bool,
    /// Logs that Graph refuses.
    pub forbidden: Vec<String>,
}

impl Finished {
    /// The error for logs that Graph refuses.
    #[must_use]
    pub fn refusal(&self) -> Option<Error> {
        (!self.forbidden.is_empty()).then(|| {
            Error::access(format!("Graph refuses the logs {} to this app", self.forbidden.join(", "))).hint(
                "grant the application permission CallRecord-PstnCalls.Read.All or CallRecords.Read.All with admin \
                 consent, or take them out of [logs] tables",
            )
        })
    }
}

impl Collection<'_> {
    /// Collects the logs that the config names, and commits them.
    ///
    /// # Errors
    /// What ends the run. What was fetched whole before is committed, unless the
    /// file system failed.
    pub fn run(
        &self,
        runtime: &Runtime,
        dataset: &mut Dataset,
        shutdown: &mut Shutdown,
        summary: &mut Summary,
    ) -> Result<Finished> {
        dataset.check_no_spool()?;
        let (_simulator, client) = runtime.block_on(pipeline::connect(self.config, self.clock, self.deadline))?;
        let mut finished = Finished::default();
        let mut collected = Collected::default();
        let (mut held, mut fatal) = (0, None);
        let catalogue = Catalogue::embedded();
        for table in catalogue.logs.iter().filter(|table| self.config.logs.tables.contains(&table.name)) {
            let Some(log) = &table.log else { continue };
            let reader = client.log_reader(self.config.logs.requests_per_minute);
            let mut windows: VecDeque<Window> = self.windows(dataset, table, log).into();
            while let Some(window) = windows.pop_front() {
                let asked = runtime.block_on(self.ask(&reader, log, window, shutdown));
                let rows = match asked {
                    Ok(Some(LogOutcome::Rows(rows))) => rows,
                    Ok(Some(LogOutcome::TooLong | LogOutcome::TooMuch)) if window.days() > 1 => {
                        windows = shorter(window, &windows);
                        continue;
                    }
                    Ok(Some(LogOutcome::Forbidden)) => {
                        finished.forbidden.push(table.name.clone());
                        break;
                    }
                    Ok(other) => {
                        let reason = match other {
                            Some(LogOutcome::Unavailable(reason)) => reason,
                            Some(_) => "http-406".to_owned(),
                            None => "interrupted".to_owned(),
                        };
                        tracing::warn!(log = table.name, from = %window.first, reason, "a window of a log is left to a later run");
                        finished.unfinished = true;
                        break;
                    }
                    Err(error) => {
                        fatal = Some(error);
                        break;
                    }
                };
                tracing::info!(log = table.name, from = %window.first, to = %window.last, rows = rows.len(), "fetched a window");
                held += rows.iter().map(Vec::len).sum::<usize>();
                collected.rows.entry(table.name.clone()).or_default().extend(rows);
                if self.dates.is_none() {
                    collected.through.insert(table.name.clone(), window.last);
                }
                crash_point("logs::window")?;
                if held >= HELD_BYTES {
                    self.commit(dataset, &std::mem::take(&mut collected), summary)?;
                    held = 0;
                }
            }
            if fatal.is_some() || shutdown.is_requested() {
                break;
            }
        }
        note(&client, summary);
        self.commit(dataset, &collected, summary)?;
        fatal.map_or(Ok(finished), Err)
    }

    fn commit(&self, dataset: &mut Dataset, collected: &Collected, summary: &mut Summary) -> Result<()> {
        let emergency = Emergency::new(&self.config.logs.emergency_numbers);
        let tenant_id = self.config.tenant_id.map(|id| id.to_string());
        let (commit, counts) =
            call_logs::commit(dataset, collected, &emergency, self.run_id, self.clock.now(), tenant_id, self.alerts)?;
        match commit {
            Some(commit) => summary.add(&commit),
            None => summary.add_logs(&counts),
        }
        Ok(())
    }

    /// `None` when the run is told to end.
    async fn ask(
        &self,
        reader: &LogReader,
        log: &Log,
        window: Window,
        shutdown: &mut Shutdown,
    ) -> Result<Option<LogOutcome>> {
        if shutdown.is_requested() || self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(None);
        }
        let asked = LogWindow {
            function: &log.function,
            version: &log.version,
            from: midnight(window.first),
            // No second of a day belongs to two windows of a report that adds them up;
            // rows that a list has twice are told apart.
            to: if log.daily { midnight(window.last) + TimeDelta::seconds(86_399) } else { midnight(window.end()) },
        };
        // A day cannot be cut.
        let most = if window.days() > 1 { HELD_BYTES } else { usize::MAX };
        let outcome = tokio::select! {
            outcome = reader.rows(&asked, most) => outcome?,
            () = shutdown.requested() => return Ok(None),
        };
        Ok(Some(match outcome {
            LogOutcome::Rows(rows) if log.daily => {
                LogOutcome::Rows(rows.iter().map(|row| stamped(row, window.first)).collect())
            }
            other => other,
        }))
    }

    /// The windows that are due, in order.
    fn windows(&self, dataset: &Dataset, table: &Table, log: &Log) -> Vec<Window> {
        let (settings, today) = (&self.config.logs, self.clock.today());
        let (first, last) = self.dates.unwrap_or_else(|| {
            let through = dataset.newest().and_then(|c| c.logs.as_ref()?.through.get(&table.name).copied());
            let first = match through {
                Some(through) => through - TimeDelta::days(i64::from(settings.overlap_days)),
                None => today - TimeDelta::days(i64::from(settings.days)),
            };
            (first, today)
        });
        let days = if log.daily { 1 } else { settings.window_days.min(MOST_WINDOW_DAYS) };
        split(first, last, i64::from(days))
    }
}

/// Some days, whole ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    first: NaiveDate,
    last: NaiveDate,
}

impl Window {
    fn end(self) -> NaiveDate {
        self.last + TimeDelta::days(1)
    }

    fn days(self) -> i64 {
        (self.end() - self.first).num_days()
    }
}

/// `window` and those `after` it, half as long as it is: they may be no better.
fn shorter(window: Window, after: &VecDeque<Window>) -> VecDeque<Window> {
    let last = after.back().map_or(window.last, |window| window.last);
    split(window.first, last, (window.days() / 2).max(1)).into()
}

fn split(first: NaiveDate, last: NaiveDate, days: i64) -> Vec<Window> {
    let mut windows = Vec::new();
    let mut begin = first;
    while begin <= last {
        let window = Window { first: begin, last: (begin + TimeDelta::days(days - 1)).min(last) };
        begin = window.end();
        windows.push(window);
    }
    windows
}

fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc()
}

/// A row that says for which day it was served.
fn stamped(row: &[u8], day: NaiveDate) -> Vec<u8> {
    let Some(rest) = row.strip_prefix(b"{") else { return row.to_vec() };
    let comma = if rest == b"}" { "" } else { "," };
    let mut line = format!("{{\"{}\":\"{day}T00:00:00Z\"{comma}", Log::WINDOW).into_bytes();
    line.extend_from_slice(rest);
    line
}

fn note(client: &Client, summary: &mut Summary) {
    let counts = client.counts();
    summary.requests += counts.requests;
    summary.throttled += counts.throttled;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_every_day_once() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let windows = split(day("2025-10-22"), day("2026-11-25"), 90);
        assert_eq!(windows.len(), 5);
        assert!(windows.iter().all(|window| window.days() <= 90));
        assert!(windows.windows(2).all(|pair| pair[0].end() == pair[1].first));
        assert_eq!((windows[0].first, windows[4].last), (day("2025-10-22"), day("2026-11-25")));
        let half = shorter(windows[3], &windows[4..].to_vec().into());
        assert!(half.iter().all(|window| window.days() <= 45));
        assert_eq!((half[0].first, half.back().unwrap().last), (windows[3].first, windows[4].last));
        assert!(half.iter().zip(half.iter().skip(1)).all(|(one, other)| one.end() == other.first));
        assert_eq!(split(day("2026-11-02"), day("2026-11-01"), 90), []);
    }

    #[test]
    fn rows_of_a_report_get_their_day() {
        let day = "2026-11-01".parse().unwrap();
        assert_eq!(stamped(b"{}", day), br#"{"@callrec.window":"2026-11-01T00:00:00Z"}"#);
        assert_eq!(stamped(br#"{"a":1}"#, day), br#"{"@callrec.window":"2026-11-01T00:00:00Z","a":1}"#);
        assert_eq!(stamped(b"7", day), b"7");
    }
}
