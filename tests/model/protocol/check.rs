//! What must hold when a command has ended well.

use super::content::{CALLS, Commit, Content, Item, Noted, Pending};
use super::disk::Disk;
use super::explore::World;
use super::io::Fault;
use super::path::{Path, Table};
use super::prepare;
use super::run::Command;
use super::world::Configuration;

/// Notes which versions are in the tables now.
pub fn archive(world: &mut World) {
    for (_, _, rows) in prepare::parts(&world.disk, Table::Calls).unwrap_or_default() {
        for call in 0..CALLS {
            if rows[call] > 0 {
                world.archived[call] |= 1 << rows[call];
            }
        }
    }
}

/// The versions of a call in the parts of a table.
fn versions(disk: &Disk, table: Table, call: usize) -> Option<Vec<u8>> {
    let parts = prepare::parts(disk, table).ok()?;
    let mut found: Vec<u8> = parts.into_iter().map(|(_, _, rows)| rows[call]).filter(|version| *version > 0).collect();
    found.sort_unstable();
    Some(found)
}

/// The commit whose number is the highest.
fn newest(disk: &Disk) -> Commit {
    let records = disk.all().filter_map(|(path, item)| match (path, item) {
        (Path::Record(number), Item::File(Content::Commit(written))) => Some((number, &written.commit)),
        _ => None,
    });
    records.max_by_key(|(number, _)| *number).map(|(_, commit)| commit.clone()).unwrap_or_default()
}

/// Records that wait in the spool of the next commit.
fn spooled(disk: &Disk) -> Vec<(usize, u8)> {
    let number = newest(disk).number + 1;
    match (disk.content(Path::Intent(number)), disk.content(Path::Frames(number))) {
        (Some(Content::Intent(_)), Some(Content::Frames(frames))) => {
            frames.good().0.into_iter().map(|frame| (frame.call, frame.version)).collect()
        }
        _ => Vec::new(),
    }
}

/// What is wrong in `world`, to which `command` led from `before`.
pub fn fault(around: &Configuration, before: &World, command: Command, world: &World) -> Option<Fault> {
    let disk = &world.disk;
    let commit = newest(disk);
    let Ok(ledger) = prepare::ledger(disk) else { return Some(Fault::Torn) };
    for call in 0..CALLS {
        let [Some(calls), Some(child), Some(raw), Some(items)] =
            [Table::Calls, Table::Child, Table::Raw, Table::Quarantine].map(|table| versions(disk, table, call))
        else {
            return Some(Fault::Torn);
        };
        if calls.len() > 1 || child.len() > 1 || raw.windows(2).any(|pair| pair[0] == pair[1]) {
            return Some(Fault::Doubled);
        }
        if around.child && calls != child {
            return Some(Fault::Torn);
        }
        let stored = calls.first().copied().unwrap_or_default();
        let noted = match ledger[call] {
            Noted::Exported(version) => version,
            Noted::Unknown | Noted::Pending => 0,
            Noted::Quarantined => stored,
        };
        // A call that is pending again keeps the line of its export.
        if noted != stored {
            return Some(Fault::Torn);
        }
        if (1..8).any(|version| world.archived[call] >> version & 1 == 1 && !raw.contains(&version)) {
            return Some(Fault::Lost);
        }
        let of_call = commit.refused.iter().filter(|(_, of, _)| *of == call);
        let mut refused: Vec<u8> = of_call.map(|(_, _, version)| *version).collect();
        refused.sort_unstable();
        if items != refused {
            return Some(if items.len() > refused.len() { Fault::Doubled } else { Fault::Lost });
        }
        // What flatten takes has no place in the quarantine.
        let refused = items.iter().copied().filter(|version| around.is_refused(call, *version));
        let has = refused.fold(stored, u8::max);
        if let Some(fault) = missing(around, before, command, world, call, has, &commit) {
            return Some(fault);
        }
    }
    kept(before, world, &commit)
}

/// Whether a version that has to be there is not.
fn missing(
    around: &Configuration,
    before: &World,
    command: Command,
    world: &World,
    call: usize,
    has: u8,
    commit: &Commit,
) -> Option<Fault> {
    let notified = around.expected(before.instant, call).filter(|_| command == Command::Run);
    let expected = notified.map_or(0, |served| served.version).max(world.wanted[call]);
    let waits = match commit.pending[call] {
        None => false,
        // A run by hand leaves what the log named to the next one.
        Some(Pending::Due) => command != Command::Run,
        Some(Pending::NotFound(at)) => around.served(at, call).is_none(),
    };
    if has >= expected || waits {
        return None;
    }
    Some(if has == 0 { Fault::Lost } else { Fault::Stale })
}

/// Whether a record that was spooled before is neither stored nor still there.
fn kept(before: &World, world: &World, commit: &Commit) -> Option<Fault> {
    let still = spooled(&world.disk);
    let stored = |call: usize| {
        let refused = commit.refused.iter().filter(|(_, of, _)| *of == call).map(|(_, _, version)| *version);
        versions(&world.disk, Table::Calls, call).unwrap_or_default().into_iter().chain(refused).max()
    };
    let is_gone = |&(call, version): &(usize, u8)| !still.contains(&(call, version)) && stored(call) < Some(version);
    spooled(&before.disk).iter().any(is_gone).then_some(Fault::Lost)
}
