//! Telephony logs: rows from a seed, in pages, with the limits and the oddities that
//! the documentation shows.

use super::answer;
use super::faults::{Elsewhere, Fault, Strike};
use super::server::{Shared, lock};
use super::settings::Settings;
use super::throttle::Scope;
use axum::body::Body;
use axum::http::{HeaderMap, Response};
use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

const PAGE: usize = 1000;
const PLACE: &str = "/communications/callRecords/";

/// One log: what serves it, and whether an instant at the end of a window is in it.
struct Log {
    function: &'static str,
    version: &'static str,
    start: &'static str,
    takes_end: bool,
}

const LOGS: [Log; 4] = [
    Log { function: "getPstnCalls", version: "v1.0", start: "startDateTime", takes_end: true },
    Log { function: "getDirectRoutingCalls", version: "v1.0", start: "startDateTime", takes_end: false },
    Log { function: "getSmsLog", version: "beta", start: "sentDateTime", takes_end: true },
    Log { function: "getPstnOnlineMeetingDialoutReport", version: "beta", start: "startDateTime", takes_end: true },
];

/// The rows of all logs, and what strikes them.
#[derive(Debug, Default)]
pub(super) struct CallLogs {
    rows: BTreeMap<&'static str, Vec<(DateTime<Utc>, Value)>>,
    strikes: BTreeMap<&'static str, Strike>,
}

impl CallLogs {
    pub(super) fn new(settings: &Settings, now: DateTime<Utc>) -> Self {
        let mut rows: BTreeMap<&str, Vec<(DateTime<Utc>, Value)>> = BTreeMap::new();
        for (log, count) in
            LOGS.iter().zip([settings.pstn_calls, settings.direct_routing_calls, settings.sms, settings.dialout_calls])
        {
            let first = midnight(now.date_naive()) - TimeDelta::days(i64::from(settings.log_days));
            let of_log = rows.entry(log.function).or_default();
            for n in 0..count {
                let start = start(first, now, settings.log_days, n, count);
                of_log.push((start, row(log, settings.seed, n, start)));
            }
            of_log.sort_by_key(|(start, _)| *start);
        }
        Self { rows, strikes: BTreeMap::new() }
    }

    /// The rows of the log, as they are served; of the dial-out report the calls.
    pub(super) fn rows(&self, function: &str) -> Vec<Value> {
        self.rows.get(function).map(|rows| rows.iter().map(|(_, row)| row.clone()).collect()).unwrap_or_default()
    }

    /// Adds a row, in the place of the one with its id.
    pub(super) fn put(&mut self, function: &str, row: Value) -> bool {
        let Some(log) = LOGS.iter().find(|log| log.function == function) else { return false };
        let start = row[log.start].as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok()).unwrap_or_default();
        let rows = self.rows.entry(log.function).or_default();
        rows.retain(|(_, old)| old["id"].is_null() || old["id"] != row["id"]);
        rows.push((start, row));
        rows.sort_by_key(|(start, _)| *start);
        true
    }

    pub(super) fn strike(&mut self, function: &str, strike: Strike) -> bool {
        let Some(log) = LOGS.iter().find(|log| log.function == function) else { return false };
        self.strikes.insert(log.function, strike);
        true
    }

    /// A page of the rows of a window, and how many rows there are.
    fn page(&self, log: &Log, (from, to): (DateTime<Utc>, DateTime<Utc>), skip: usize) -> (Vec<Value>, usize) {
        let rows = self.rows.get(log.function).map(Vec::as_slice).unwrap_or_default();
        let begin = rows.partition_point(|(start, _)| *start < from);
        let end = rows.partition_point(|(start, _)| if log.takes_end { *start <= to } else { *start < to });
        let rows = &rows[begin..end.max(begin)];
        if log.function == "getPstnOnlineMeetingDialoutReport" {
            let sums = report(rows.iter().map(|(_, row)| row));
            let total = sums.len();
            return (sums.into_iter().skip(skip).take(PAGE).collect(), total);
        }
        (rows.iter().skip(skip).take(PAGE).map(|(_, row)| row.clone()).collect(), rows.len())
    }
}

/// Spread over the days; one row in five begins at midnight, where windows meet.
fn start(first: DateTime<Utc>, now: DateTime<Utc>, days: u32, n: u64, count: u64) -> DateTime<Utc> {
    let length = i64::from(days) * 86_400;
    let second =
        i64::try_from(u128::from(n) * u128::try_from(length).unwrap_or(0) / u128::from(count.max(1))).unwrap_or(0);
    let second = if n.is_multiple_of(5) { second - second % 86_400 } else { second };
    (first + TimeDelta::seconds(second)).min(now)
}

fn row(log: &Log, seed: u64, n: u64, start: DateTime<Utc>) -> Value {
    let dice = (seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16;
    let id = uuid::Uuid::from_u128((u128::from(dice) << 64) | u128::from(n));
    let user = dice % 200;
    let seconds = i64::try_from(dice % 3_600).unwrap_or(0);
    let at = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let end = at(start + TimeDelta::seconds(seconds));
    // Whole thousandths, so that the shortest text of the float is exact.
    let money = |of: u64| of as f64 / 1000.0;
    let user_id = format!("{user:08}-aaaa-4aaa-8aaa-aaaaaaaaaaaa");
    let (name, display) = (format!("p{user}@contoso.example"), format!("Person {user}"));
    let currency = ["EUR", "USD", "JPY"][usize::try_from(dice % 3).unwrap_or(0)];
    let callee = if n.is_multiple_of(97) { "112".to_owned() } else { format!("+4930{:06}", dice % 1_000_000) };
    match log.function {
        "getPstnCalls" => json!({
            "id": id, "callId": uuid::Uuid::from_u128(u128::from(n) | 1 << 100), "userId": user_id,
            "userPrincipalName": name, "userDisplayName": display, "startDateTime": at(start), "endDateTime": end,
            "duration": seconds, "charge": money(dice % 9_000), "callType": "user_out", "currency": currency,
            "calleeNumber": callee, "usageCountryCode": "DE", "tenantCountryCode": "DE",
            "connectionCharge": money(dice % 7), "callerNumber": format!("+4989{:04}***", dice % 10_000),
            "destinationContext": "Domestic", "destinationName": "Germany", "conferenceId": null,
            "licenseCapability": "MCOPSTN2", "inventoryType": "Subscriber", "operator": "Contoso Telecom",
            "callDurationSource": "microsoft",
        }),
        "getDirectRoutingCalls" => json!({
            "id": id, "correlationId": uuid::Uuid::from_u128(u128::from(n) | 1 << 101), "userId": user_id,
            "userPrincipalName": name, "userDisplayName": display, "startDateTime": at(start),
            "inviteDateTime": at(start), "failureDateTime": "0001-01-01T00:00:00Z", "endDateTime": end,
            "duration": seconds, "callType": if n.is_multiple_of(101) { "ByotOutEmergency" } else { "ByotIn" },
            "successfulCall": true, "callerNumber": format!("+4989{:04}***", dice % 10_000), "calleeNumber": callee,
            "mediaPathLocation": "EUWE", "signalingLocation": "EUNO", "finalSipCode": 0, "callEndSubReason": 540_000,
            "finalSipCodePhrase": "BYE", "trunkFullyQualifiedDomainName": "sbc.contoso.example",
            "mediaBypassEnabled": false,
        }),
        // As in the documentation's example, there is no id.
        "getSmsLog" => json!({
            "smsId": id, "userId": user_id, "userPrincipalName": name, "userDisplayName": display,
            "userCountryCode": "US", "tenantCountryCode": "US", "sourceNumber": format!("+1425{:04}***", dice % 10_000),
            "destinationNumber": callee, "sentDateTime": at(start), "callCharge": money(dice % 50), "currency": currency,
            "smsType": "inbound", "smsUnits": 1 + dice % 3, "destinationContext": "Domestic",
            "destinationName": "United States", "licenseCapability": "MCOPSTN1",
        }),
        _ => json!({
            "id": id, "startDateTime": at(start), "userId": user_id, "userPrincipalName": name,
            "userDisplayName": display, "usageLocation": "DE", "currency": currency, "charge": dice % 9_000,
            "seconds": seconds,
            "destinationContext": if dice.is_multiple_of(4) { "International" } else { "Domestic" },
        }),
    }
}

/// The calls added up by organizer, location, context and currency.
fn report<'a>(calls: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let mut sums: BTreeMap<String, (Value, u64, u64, u64)> = BTreeMap::new();
    for call in calls {
        let key = ["userId", "usageLocation", "destinationContext", "currency"].map(|name| call[name].to_string());
        let sum = sums.entry(key.join(" ")).or_insert_with(|| (call.clone(), 0, 0, 0));
        sum.1 += 1;
        sum.2 += call["charge"].as_u64().unwrap_or(0);
        sum.3 += call["seconds"].as_u64().unwrap_or(0);
    }
    let row = |(call, calls, charge, seconds): (Value, u64, u64, u64)| {
        json!({
            "userId": call["userId"], "userPrincipalName": call["userPrincipalName"],
            "userDisplayName": call["userDisplayName"], "usageLocation": call["usageLocation"],
            "destinationContext": call["destinationContext"], "currency": call["currency"],
            "totalCalls": calls, "totalCallCharge": charge as f64 / 1000.0, "totalCallSeconds": seconds,
        })
    };
    sums.into_values().map(row).collect()
}

fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc()
}

/// A full UTC time, or a bare date.
fn instant(text: &str) -> Option<DateTime<Utc>> {
    text.parse::<DateTime<Utc>>().ok().or_else(|| text.parse::<NaiveDate>().ok().map(midnight))
}

/// What a path asks for: the log, and the window.
pub(super) struct Asked {
    log: &'static Log,
    window: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Asked {
    /// `None` if the path is about something else.
    pub(super) fn of(path: &str) -> Option<Self> {
        let (version, rest) = path.trim_start_matches('/').split_once('/')?;
        let (function, arguments) =
            format!("/{rest}").strip_prefix(PLACE)?.split_once('(').map(|(f, a)| (f.to_owned(), a.to_owned()))?;
        let log = LOGS.iter().find(|log| log.function == function && (log.version == version || version == "beta"))?;
        let arguments: HashMap<&str, &str> =
            arguments.strip_suffix(')')?.split(',').filter_map(|argument| argument.split_once('=')).collect();
        let of = |names: [&str; 2]| names.iter().find_map(|name| instant(arguments.get(name)?));
        // A next link has them by their short names.
        let window = of(["fromDateTime", "from"]).zip(of(["toDateTime", "to"]));
        Some(Self { log, window })
    }

    pub(super) fn scopes(&self) -> Vec<Scope> {
        vec![Scope::Tenant, Scope::Logs, Scope::Log(self.log.function)]
    }

    pub(super) const fn function(&self) -> &'static str {
        self.log.function
    }
}

impl Shared {
    /// What strikes a log.
    pub(super) fn strike_of_log(&self, function: &str) -> Option<Strike> {
        lock(&self.call_logs).strikes.get(function).copied()
    }

    /// A page of a log.
    pub(super) fn call_log(
        &self,
        asked: &Asked,
        query: &HashMap<String, String>,
        struck: Option<Strike>,
        headers: &HeaderMap,
    ) -> Result<Value, Box<Response<Body>>> {
        let refused = |status, code| Box::new(answer::error(status, code, headers));
        let (from, to) = asked.window.ok_or_else(|| refused(400, "BadRequest"))?;
        if to - from > TimeDelta::days(i64::from(self.settings.log_window_days)) {
            return Err(refused(406, "NotAcceptable"));
        }
        let skip = query.get("$skip").and_then(|skip| skip.parse().ok()).unwrap_or(0);
        let (page, total) = lock(&self.call_logs).page(asked.log, (from, to), skip);
        let (version, function) = (asked.log.version, asked.log.function);
        let mut body = json!({
            "@odata.context": format!("{}/{version}/$metadata#Collection(microsoft.graph.callRecords.row)", self.base),
            "@odata.count": page.len(),
            "value": page,
        });
        if total > skip + PAGE {
            let at = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
            let (skip, base) = (skip + PAGE, &self.base);
            let link = format!("{version}{PLACE}{function}(from={},to={})?$skip={skip}", at(from), at(to));
            let link = match struck.map(|strike| strike.fault) {
                Some(Fault::Link(Elsewhere::Host)) => format!("http://127.0.0.2:{}/{link}", self.foreign_port),
                Some(Fault::Loop) => format!("{base}/{}", link.replace(&format!("$skip={skip}"), "$skip=0")),
                Some(Fault::BrokenLink) => format!("{base}/{version}/$metadata#{function}?$skip={skip}"),
                _ => format!("{base}/{link}"),
            };
            // The documentation spells it in two ways.
            let name = if function == "getDirectRoutingCalls" { "@odata.NextLink" } else { "@odata.nextLink" };
            body[name] = json!(link);
        }
        Ok(body)
    }
}
