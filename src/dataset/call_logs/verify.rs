//! Whether the tables of telephony logs are what their archives give.

use super::{Made, archived, dates, log_of};
use crate::call_logs::Emergency;
use crate::dataset::Dataset;
use crate::dataset::layout::Part;
use crate::dataset::stage::Stage;
use crate::error::Result;
use crate::files;
use crate::flatten::Drift;
use std::collections::{BTreeMap, HashSet};

/// What `verify` finds in the tables of logs.
#[derive(Debug, Default)]
pub struct Verified {
    /// Rows, by table.
    pub rows: BTreeMap<String, u64>,
    /// Parts compared with what the archive gives.
    pub by_archive: u64,
    /// What is wrong.
    pub faults: Vec<String>,
}

/// Makes every part again and compares it byte for byte; no key may stand twice.
///
/// # Errors
/// Any failure of the file system, by class I/O.
pub fn verify(dataset: &Dataset) -> Result<Verified> {
    let mut verified = Verified::default();
    let Some(logs) = dataset.newest().and_then(|commit| commit.logs.as_ref()) else { return Ok(verified) };
    let emergency = Emergency::new(&logs.emergency_numbers);
    let (layout, tables) = (&dataset.layout, &dataset.tables);
    for (number, table) in tables.catalogue.logs.iter().enumerate() {
        let mut keys: HashSet<String> = HashSet::new();
        let parts = layout.parts(&table.name)?;
        let mut all = dates(layout, &table.name)?;
        all.extend(parts.iter().map(|part| part.date));
        for date in all {
            let rows = match archived(layout, &table.name, log_of(table)?, date) {
                Ok(rows) => rows,
                Err(error) => {
                    verified.faults.push(error.to_string());
                    continue;
                }
            };
            *verified.rows.entry(table.name.clone()).or_default() += rows.len() as u64;
            for (head, _) in rows.values() {
                if head.date() != date {
                    verified.faults.push(format!(
                        "the archive of {} has a row of {} under {date}",
                        table.name,
                        head.date()
                    ));
                }
            }
            let twice = rows.keys().filter(|key| !keys.insert((*key).clone())).count();
            if twice > 0 {
                verified
                    .faults
                    .push(format!("{} has {twice} rows under {date} and under another date too", table.name));
            }
            let stage = &mut Stage::begin(layout, tables, dataset.next_number())?;
            let made = Made { table, number, emergency: &emergency, date };
            made.stage(stage, dataset, rows, &mut Drift::default(), &mut Vec::new())?;
            let made = stage.files.first().map(|file| file.sha256.clone());
            let of_date: Vec<&Part> = parts.iter().filter(|part| part.date == date).collect();
            let found = match of_date.as_slice() {
                [part] => files::digest(&part.path)?.map(|(_, sha256)| sha256),
                _ => None,
            };
            if made != found || of_date.len() > 1 {
                verified.faults.push(format!("{} of {date} is not what the archive gives", table.name));
            } else {
                verified.by_archive += u64::from(made.is_some());
            }
            files::remove_directory(&layout.staging(dataset.next_number()))?;
        }
    }
    Ok(verified)
}
