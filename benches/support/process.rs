//! What Linux says of a child process that runs or was not waited for yet.

use std::fs::read_to_string;

/// The fields of `/proc/<id>/stat` after the name: the state first.
fn stat(id: u32) -> Vec<String> {
    let stat = read_to_string(format!("/proc/{id}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().map(str::to_owned).collect()
}

/// Whether it has ended; its CPU time stays until it is waited for.
pub fn has_ended(id: u32) -> bool {
    stat(id)[0] == "Z"
}

/// Seconds of CPU that it has used.
pub fn cpu(id: u32) -> f64 {
    let fields = stat(id);
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// The largest resident set in KiB (VmHWM), as long as it has not ended.
pub fn peak_kib(id: u32) -> Option<u64> {
    let status = read_to_string(format!("/proc/{id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}
