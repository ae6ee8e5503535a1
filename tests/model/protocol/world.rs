//! What is around the program: Graph, the log, and what an operator may do. A
//! configuration bounds all of it.

use super::content::{CALLS, Commit, Content, Item, Noted, Versions, Written};
use super::disk::Disk;
use super::path::{Path, Table};

/// A version of a call as Graph serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The version.
    pub version: u8,
    /// The date of its start.
    pub date: u8,
    /// Whether flatten refuses it.
    pub refused: bool,
}

/// Something that happens around the program.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// Graph has a new version of a call and writes a line to the log.
    Update(usize, Served),
    /// Graph has a new version, of which no line tells.
    Serve(usize, Served),
    /// Graph answers 404 from now on, though a line names the call.
    Vanish(usize),
}

/// A version that flatten takes.
pub const fn version(version: u8, date: u8) -> Served {
    Served { version, date, refused: false }
}

/// A version that flatten refuses.
pub const fn refused(version: u8, date: u8) -> Served {
    Served { version, date, refused: true }
}

/// What is stored at the beginning: a part, its number, its date, its rows.
pub type Stored = (u8, u8, Versions);

/// A bounded world.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Its name.
    pub name: &'static str,
    /// What it bounds, in words.
    pub bounds: &'static str,
    /// All directories of the real layout, from an empty root.
    pub deep: bool,
    /// Whether there is a table below `calls`.
    pub child: bool,
    /// What happens, in this order; each at any instant between two runs.
    pub script: &'static [&'static [Event]],
    /// Whether the next event may also come between two requests of a run.
    pub during: bool,
    /// Parts that are published before.
    pub stored: &'static [Stored],
    /// Whether a run merges the parts of a date as soon as there are two, and
    /// an operator may call `compact`.
    pub merges: bool,
    /// Calls that may be named by hand, one run for each.
    pub by_hand: &'static [usize],
    /// A record that may be given once, as a retry of the quarantine does.
    pub given: Option<(usize, u8)>,
    /// How often `rebuild` may be called.
    pub rebuilds: u8,
}

/// A world in which nothing happens.
const PLAIN: Configuration = Configuration {
    name: "",
    bounds: "",
    deep: false,
    child: false,
    script: &[],
    during: false,
    stored: &[],
    merges: false,
    by_hand: &[],
    given: None,
    rebuilds: 0,
};

/// The configurations, each explored on its own.
pub static CONFIGURATIONS: &[Configuration] = &[
    Configuration {
        name: "missing",
        bounds: "one call: 404, a version, 404 when it is named again, a new version",
        script: &[
            &[Event::Vanish(0)],
            &[Event::Update(0, version(1, 0))],
            &[Event::Vanish(0)],
            &[Event::Serve(0, version(2, 0))],
        ],
        ..PLAIN
    },
    Configuration {
        name: "refused",
        bounds: "a record that flatten refuses, then a version that it takes; another call",
        script: &[
            &[Event::Update(1, refused(1, 0))],
            &[Event::Update(0, version(1, 0))],
            &[Event::Update(1, version(2, 0))],
        ],
        ..PLAIN
    },
    Configuration {
        name: "merge",
        bounds: "two parts of one date, merged by runs and by `compact`; a call moves away from that date",
        child: true,
        script: &[&[Event::Update(0, version(2, 1))]],
        stored: &[(1, 0, [1, 0]), (2, 0, [0, 1])],
        merges: true,
        ..PLAIN
    },
    Configuration {
        name: "by hand",
        bounds: "two calls in the log; one is named by hand once, at any instant, also before it is served",
        script: &[
            &[Event::Update(0, version(1, 0)), Event::Update(1, version(1, 0))],
            &[Event::Serve(0, version(2, 0))],
        ],
        by_hand: &[0],
        ..PLAIN
    },
    Configuration {
        name: "given",
        bounds: "one call with two versions in the log; the older record is given once, as by `quarantine retry`",
        script: &[&[Event::Update(0, version(1, 0))], &[Event::Update(0, version(2, 0))]],
        given: Some((0, 1)),
        ..PLAIN
    },
    Configuration {
        name: "rebuild",
        bounds: "a call with versions of two dates in the archive, and a third one; one `rebuild`",
        script: &[&[Event::Update(0, version(3, 0))]],
        stored: &[(1, 0, [1, 1]), (2, 1, [2, 0])],
        rebuilds: 1,
        ..PLAIN
    },
    Configuration {
        name: "midnight",
        bounds: "two calls in one part; one moves to another date and back, the other stays; events during a run",
        script: &[
            &[Event::Update(0, version(2, 1)), Event::Update(1, version(2, 0))],
            &[Event::Update(0, version(3, 0))],
        ],
        during: true,
        stored: &[(1, 0, [1, 1])],
        ..PLAIN
    },
    Configuration {
        name: "first",
        bounds: "an empty root, every directory of the real layout; one call",
        deep: true,
        script: &[&[Event::Update(0, version(1, 0))]],
        ..PLAIN
    },
];

impl Configuration {
    /// What Graph serves after the first `instant` events.
    pub fn served(&self, instant: u8, call: usize) -> Option<Served> {
        let mut served = None;
        for event in self.script[..usize::from(instant)].iter().copied().flatten() {
            match *event {
                Event::Update(c, new) | Event::Serve(c, new) if c == call => served = Some(new),
                Event::Vanish(c) if c == call => served = None,
                _ => {}
            }
        }
        served
    }

    /// The lines of the log after the first `instant` events.
    pub fn lines(&self, instant: u8) -> Vec<usize> {
        let events = self.script[..usize::from(instant)].iter().copied().flatten();
        events
            .filter_map(|event| match *event {
                Event::Update(call, _) | Event::Vanish(call) => Some(call),
                Event::Serve(..) => None,
            })
            .collect()
    }

    /// The latest version that Graph served after the last line that names the call, by
    /// now; `None` if no line names it, or if Graph has nothing.
    pub fn expected(&self, instant: u8, call: usize) -> Option<Served> {
        let named = |event: &Event| matches!(*event, Event::Update(c, _) | Event::Vanish(c) if c == call);
        let last = (0..usize::from(instant)).rev().find(|&at| self.script[at].iter().any(named))?;
        // What came later without a line of its own may be taken or not.
        let at = u8::try_from(last + 1).unwrap_or(u8::MAX);
        self.served(at, call).or_else(|| self.served(instant, call))
    }

    /// Tables whose parts have the same names, in the order of publishing.
    pub const fn records(&self) -> &'static [Table] {
        if self.child { &[Table::Child, Table::Calls] } else { &[Table::Calls] }
    }

    /// The date of a version of a call.
    pub fn date(&self, call: usize, version: u8) -> u8 {
        let events = self.script.iter().copied().flatten();
        let of_script = events.filter_map(|event| match *event {
            Event::Update(c, served) | Event::Serve(c, served) if c == call && served.version == version => {
                Some(served.date)
            }
            _ => None,
        });
        let of_stored = self.stored.iter().filter(|(_, _, rows)| rows[call] == version).map(|(_, date, _)| *date);
        of_script.chain(of_stored).next().unwrap_or_default()
    }

    /// Whether flatten refuses a version.
    pub fn is_refused(&self, call: usize, version: u8) -> bool {
        self.script.iter().copied().flatten().any(
            |event| matches!(*event, Event::Update(c, served) if c == call && served.version == version && served.refused),
        )
    }

    /// How many events there are.
    pub fn instants(&self) -> u8 {
        u8::try_from(self.script.len()).unwrap_or(u8::MAX)
    }

    /// The disk at the beginning.
    pub fn disk(&self) -> Disk {
        if self.deep {
            return Disk::new(true, [(Path::Root, Item::Directory)]);
        }
        let mut items = Vec::new();
        let mut noted = [Noted::Unknown; CALLS];
        let mut latest: Versions = [0; CALLS];
        for (_, _, rows) in self.stored {
            for call in 0..CALLS {
                latest[call] = latest[call].max(rows[call]);
            }
        }
        let mut number = 0;
        for &(part, date, rows) in self.stored {
            number = number.max(part);
            items.push((Path::Part(Table::Raw, date, part), Item::File(Content::Rows(rows))));
            let mut left = rows;
            for call in 0..CALLS {
                if rows[call] < latest[call] {
                    left[call] = 0;
                }
                if rows[call] > 0 {
                    noted[call] = Noted::Exported(latest[call]);
                }
            }
            for &table in self.records() {
                items.push((Path::Part(table, date, part), Item::File(Content::Rows(left))));
            }
        }
        if number > 0 {
            items.push((Path::Part(Table::Ledger, 0, 0), Item::File(Content::Ledger(noted))));
            let commit = Commit { number, ..Commit::default() };
            items.push((Path::Record(number), Item::File(Content::Commit(Written::new(commit)))));
            items.push((Path::Mark(number), Item::File(Content::Mark)));
        }
        Disk::new(false, items)
    }

    /// The versions in the archive at the beginning, as bits by call.
    pub fn archived(&self) -> Versions {
        let mut archived = [0; CALLS];
        for (_, _, rows) in self.stored {
            for call in 0..CALLS {
                if rows[call] > 0 {
                    archived[call] |= 1 << rows[call];
                }
            }
        }
        archived
    }
}
