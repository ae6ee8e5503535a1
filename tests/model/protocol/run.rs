//! The commands: the mirror of `src/run.rs` and of `Dataset::open`.

use super::content::{CALLS, Commit, Content, Frames, Item, Pending};
use super::io::{Failed, Io};
use super::path::Path;
use super::prepare::{self, Batch};
use super::publish::{self, Stage};
use super::rules::Rule;
use super::world::Served;
use std::collections::VecDeque;

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `run`, which reads the log.
    Run,
    /// `run --id`.
    ByHand(usize),
    /// `run` with a record that is given, as by `quarantine retry`.
    Given(usize, u8),
    /// `compact`.
    Compact,
    /// `rebuild`.
    Rebuild,
}

/// Runs a command to its end.
pub fn run(io: &mut Io<'_>, command: Command) -> Result<(), Failed> {
    let directories = [Path::State, Path::Commits, Path::Spools, Path::Stagings, Path::Items];
    directories.into_iter().for_each(|path| io.create_directory(path));
    for above in [Path::State, Path::Root] {
        io.sync(Rule::FoundAtStart, above);
    }
    let newest = newest(io)?;
    match command {
        Command::Run | Command::ByHand(_) | Command::Given(..) => export(io, command, newest)?,
        Command::Compact | Command::Rebuild => {
            recover(io, &newest)?;
            let is_spooled = publish::leftover(io, newest.number + 1).is_some_and(|(_, frames)| !frames.0.is_empty());
            let rule = if command == Command::Compact { Rule::MergeWaitsForSpool } else { Rule::RebuildWaitsForSpool };
            // Exit 75: the next run takes what is spooled.
            if is_spooled && io.keeps(rule) {
                return Ok(());
            }
            let work = match command {
                Command::Rebuild => Some(prepare::rebuild(io, &newest)?),
                _ => prepare::merge(io, &newest)?,
            };
            if let Some(work) = work {
                publish::commit(io, &work)?;
            }
        }
    }
    publish::clean_up(io);
    Ok(())
}

/// The newest commit. Fails if its record cannot be read.
pub fn newest(io: &Io<'_>) -> Result<Commit, Failed> {
    let records = io.disk.all().filter_map(|(path, item)| match path {
        Path::Record(number) => Some((number, item)),
        _ => None,
    });
    match records.max_by_key(|(number, _)| *number) {
        None => Ok(Commit::default()),
        Some((_, Item::File(Content::Commit(commit)))) => Ok(commit.commit.clone()),
        Some(_) => Err(Failed),
    }
}

/// Finishes what a killed run left of the newest commit, and drops what it
/// left of one that was not written.
fn recover(io: &mut Io<'_>, newest: &Commit) -> Result<(), Failed> {
    let older: Vec<Commit> = io
        .disk
        .all()
        .filter_map(|(path, item)| match (path, item) {
            (Path::Record(number), Item::File(Content::Commit(commit))) if number < newest.number => {
                Some(&commit.commit)
            }
            _ => None,
        })
        .filter(|commit| io.disk.get(Path::Mark(commit.number)).is_none())
        .cloned()
        .collect();
    for commit in older {
        if !io.keeps(Rule::OlderArePublished) {
            publish::publish(io, &commit)?;
        }
    }
    let number = newest.number;
    if number > 0 {
        if io.disk.get(Path::Mark(number)).is_some() {
            publish::clean(io, Stage::CleanSpool(number));
            publish::clean(io, Stage::CleanStaging(number));
        } else if io.keeps(Rule::PublishedAgain) {
            // A run that was killed may have renamed the record and not synced it.
            io.sync(Rule::RecordSyncedAgain, Path::Commits);
            publish::publish(io, newest)?;
            publish::clean_up(io);
        }
    }
    let stagings: Vec<u8> = of_all(io, |path| if let Path::Staging(n) = path { Some(n) } else { None });
    for number in stagings {
        if io.keeps(Rule::StagingDropped) {
            io.remove_staging(number);
        }
    }
    let spools: Vec<u8> = of_all(io, |path| if let Path::Spool(n) = path { Some(n) } else { None });
    for spool in spools.into_iter().filter(|spool| *spool != number + 1) {
        if io.keeps(Rule::OtherSpoolsGo) {
            io.remove_spool(spool);
        }
    }
    Ok(())
}

fn of_all<T>(io: &Io<'_>, of: impl Fn(Path) -> Option<T>) -> Vec<T> {
    io.disk.all().filter_map(|(path, _)| of(path)).collect()
}

/// What a run knows between its batches.
struct Work {
    newest: Commit,
    cursor: u8,
    list: [Option<Pending>; CALLS],
    carried: [Option<Pending>; CALLS],
    queue: VecDeque<usize>,
    requests: usize,
}

fn export(io: &mut Io<'_>, command: Command, newest: Commit) -> Result<(), Failed> {
    let spools_first = !io.keeps(Rule::RecoverThenSpool);
    if !spools_first {
        recover(io, &newest)?;
    }
    let left = publish::leftover(io, newest.number + 1).filter(|(_, frames)| !frames.0.is_empty());
    let lines = io.around.lines(io.instant);
    let mut ask_again = [false; CALLS];
    let mut list = newest.pending;
    let mut cursor = newest.cursor;
    let mut named = [false; CALLS];
    match command {
        Command::ByHand(call) | Command::Given(call, _) => {
            list[call].get_or_insert(Pending::Due);
            named[call] = true;
            ask_again[call] = io.keeps(Rule::AskedIfByHand);
            if cursor < length(&lines) && !io.keeps(Rule::HandKeepsCursor) {
                cursor = length(&lines);
            }
        }
        _ => {
            list = prepare::collected(&lines, cursor, list);
            cursor = length(&lines);
            if let Some((since, _)) = &left {
                for &call in lines.iter().skip(usize::from(*since)) {
                    ask_again[call] = io.keeps(Rule::AskedIfNotified);
                }
            }
        }
    }
    let changed = command == Command::Run && cursor != newest.cursor;
    let spooled = left.map(|(_, frames)| frames).unwrap_or_default();
    for frame in &spooled.0 {
        list[frame.call].get_or_insert(Pending::Due);
    }
    let by_hand = named.contains(&true);
    let given = if let Command::Given(call, version) = command { Some((call, version)) } else { None };
    let is_due = |call: usize| match list[call] {
        None => false,
        Some(Pending::Due) => true,
        Some(Pending::NotFound(at)) => at < io.instant || named[call],
    };
    let mut queue: Vec<usize> = (0..CALLS).filter(|call| is_due(*call) && (!by_hand || named[*call])).collect();
    queue.retain(|call| given.is_none_or(|(of, _)| of != *call) && (!spooled.has(*call) || ask_again[*call]));
    queue.sort_by_key(|call| !spooled.has(*call));
    let begins = !queue.is_empty() || !spooled.0.is_empty() || given.is_some() || changed;
    let carried = newest.pending;
    let mut work = Work { newest, cursor, list, carried, queue: queue.into(), requests: 0 };
    if begins {
        batches(io, &mut work, command, spooled, given, spools_first)?;
    } else if spools_first {
        recover(io, &work.newest)?;
    }
    if io.around.merges && command == Command::Run {
        let newest = work.newest;
        if let Some(merge) = prepare::merge(io, &newest)? {
            publish::commit(io, &merge)?;
        }
    }
    Ok(())
}

fn length(lines: &[usize]) -> u8 {
    u8::try_from(lines.len()).unwrap_or(u8::MAX)
}

fn batches(
    io: &mut Io<'_>,
    work: &mut Work,
    command: Command,
    mut spooled: Frames,
    given: Option<(usize, u8)>,
    mut spools_first: bool,
) -> Result<(), Failed> {
    let mut fetched: Vec<(usize, u8)> = given.into_iter().collect();
    // The next batch is asked for before the one before it is committed. What Graph
    // answers has no name on the disk until that is published.
    let mut ahead = ask(io, work);
    loop {
        let asked = ahead.take();
        let mut stay = [false; CALLS];
        for &call in &work.queue {
            stay[call] = spooled.has(call) && io.keeps(Rule::QueuedStaysPending);
        }
        match asked {
            None => {}
            Some((call, _, Some(served))) => fetched.push((call, served.version)),
            Some((call, at, None)) => {
                work.list[call] = Some(Pending::NotFound(at));
                if spooled.has(call) {
                    stay[call] = io.keeps(Rule::SpooledStaysPending);
                    if !io.keeps(Rule::SpooledIsStored) {
                        spooled.0.retain(|frame| frame.call != call);
                    }
                }
            }
        }
        if std::mem::take(&mut spools_first) {
            publish::spool(io, work.newest.number + 1, work.cursor, &fetched)?;
            recover(io, &work.newest)?;
        }
        let queue = work.queue.clone();
        ahead = ask(io, work);
        batch(io, work, command, std::mem::take(&mut spooled), std::mem::take(&mut fetched), stay, &queue)?;
        if ahead.is_none() {
            return Ok(());
        }
    }
}

/// Asks for the first call of the queue; the answer, and when it came.
fn ask(io: &mut Io<'_>, work: &mut Work) -> Option<(usize, u8, Option<Served>)> {
    let call = work.queue.pop_front()?;
    let served = request(io, work, call);
    Some((call, io.instant, served))
}

/// Asks Graph; the next event may have happened before.
fn request(io: &mut Io<'_>, work: &mut Work, call: usize) -> Option<Served> {
    let advances = io.during.get(work.requests).copied().unwrap_or_default();
    work.requests += 1;
    io.instant = (io.instant + u8::from(advances)).min(io.around.instants());
    io.around.served(io.instant, call)
}

fn batch(
    io: &mut Io<'_>,
    work: &mut Work,
    command: Command,
    spooled: Frames,
    fetched: Vec<(usize, u8)>,
    stay: [bool; CALLS],
    queue: &VecDeque<usize>,
) -> Result<(), Failed> {
    let mut commit = prepare::after(&work.newest);
    commit.cursor = work.cursor;
    commit.pending = work.list;
    let by_hand = if let Command::ByHand(call) | Command::Given(call, _) = command { Some(call) } else { None };
    for call in 0..CALLS {
        let is_answered = by_hand == Some(call) || fetched.iter().any(|(of, _)| *of == call);
        if let Some(by_hand) = by_hand {
            if call != by_hand && work.carried[call].is_some() && !io.keeps(Rule::HandKeepsPending) {
                commit.pending[call] = None;
            }
            if call == by_hand && work.carried[call].is_none() && commit.pending[call].is_some() {
                let is_settled = fetched.iter().any(|(of, _)| *of == call);
                if !is_settled && !io.keeps(Rule::HandAddsUnsettled) {
                    commit.pending[call] = None;
                }
            }
        } else if !is_answered
            && queue.contains(&call)
            && work.carried[call].is_none()
            && !io.keeps(Rule::CursorWithPending)
        {
            commit.pending[call] = None;
        }
    }
    let has_next = !queue.is_empty();
    let intent = work.cursor;
    let prepared = prepare::batch(io, Batch { commit, intent, spooled, fetched, stay, has_next })?;
    publish::commit(io, &prepared)?;
    work.list = prepared.commit.pending;
    work.newest = prepared.commit;
    Ok(())
}
