//! What can happen to the files of the notification log, and what can stand in
//! their place, one row each.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests fail by panics and damage files as they like"
)]

#[path = "support/phases.rs"]
mod phases;
mod support;

use phases::{LOG, Phase, call, cut, ends, exports, fifo, gap, graph, gzip, line, play, refuses, rename};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use support::Place;

#[test]
fn files_that_are_moved_cut_packed_and_swapped() {
    let rows: Vec<(&str, Vec<Phase>)> = vec![
        (
            "renamed, the writer going on in the old file for a while",
            vec![
                (|place| call(place, 1), exports(1)),
                (
                    |place| {
                        call(place, 2);
                        rename(place, LOG, "events.jsonl.1");
                        fs::OpenOptions::new()
                            .append(true)
                            .open(place.path("events.jsonl.1"))
                            .unwrap()
                            .write_all(line(3).as_bytes())
                            .unwrap();
                        call(place, 4);
                    },
                    exports(3),
                ),
            ],
        ),
        (
            "copied and cut",
            vec![
                (|place| call(place, 1), exports(1)),
                (
                    |place| {
                        call(place, 2);
                        fs::copy(place.path(LOG), place.path("events.jsonl.1")).unwrap();
                        cut(place, 0);
                        call(place, 3);
                    },
                    exports(2),
                ),
            ],
        ),
        (
            "cut to nothing, with a line unread",
            vec![
                (|place| call(place, 1), exports(1)),
                (
                    |place| {
                        call(place, 2);
                        cut(place, 0);
                    },
                    gap(0),
                ),
                (|place| call(place, 3), exports(1)),
            ],
        ),
        (
            "cut to nothing and longer than before at the next run",
            vec![
                (|place| call(place, 1), exports(1)),
                (
                    |place| {
                        call(place, 2);
                        cut(place, 0);
                        [3, 4, 5].iter().for_each(|n| call(place, *n));
                    },
                    gap(3),
                ),
            ],
        ),
        (
            "packed with gzip after a rotation, two packs in one file",
            vec![
                (|place| call(place, 1), exports(1)),
                (
                    |place| {
                        call(place, 2);
                        let packed = [gzip(line(1).as_bytes()), gzip(line(2).as_bytes())].concat();
                        fs::write(place.path("events.jsonl.1.gz"), packed).unwrap();
                        fs::remove_file(place.path(LOG)).unwrap();
                        call(place, 3);
                    },
                    exports(2),
                ),
            ],
        ),
        (
            "packed with zstd after a rotation, half of it there at first",
            vec![
                (|place| call(place, 1), exports(1)),
                (
                    |place| {
                        call(place, 2);
                        rename(place, LOG, "events.jsonl.1");
                        let packed = zstd::encode_all(&fs::read(place.path("events.jsonl.1")).unwrap()[..], 3).unwrap();
                        fs::write(place.path("events.jsonl.1.zst"), &packed[..packed.len() / 2]).unwrap();
                        call(place, 3);
                    },
                    exports(2),
                ),
                (
                    |place| {
                        let packed = zstd::encode_all(&fs::read(place.path("events.jsonl.1")).unwrap()[..], 3).unwrap();
                        fs::write(place.path("events.jsonl.1.zst"), packed).unwrap();
                        fs::remove_file(place.path("events.jsonl.1")).unwrap();
                    },
                    exports(0),
                ),
                (|place| fs::remove_file(place.path("events.jsonl.1.zst")).unwrap(), exports(0)),
            ],
        ),
        (
            "a damaged pack",
            vec![(
                |place| {
                    let mut packed = gzip(format!("{}{}", line(1), line(2)).as_bytes());
                    let end = packed.len();
                    packed[end - 6] ^= 0xff;
                    fs::write(place.path("events.jsonl.1.gz"), packed).unwrap();
                    call(place, 3);
                },
                refuses(3, &["damaged-archive"]),
            )],
        ),
        (
            "deleted and made anew, perhaps with the same inode",
            vec![
                (|place| call(place, 1), exports(1)),
                (
                    |place| {
                        fs::remove_file(place.path(LOG)).unwrap();
                        [2, 3].iter().for_each(|n| call(place, *n));
                    },
                    gap(2),
                ),
            ],
        ),
        (
            "a link that is swapped to another file",
            vec![
                (
                    |place| {
                        fs::write(place.path("a.log"), line(1)).unwrap();
                        symlink(place.path("a.log"), place.path(LOG)).unwrap();
                    },
                    exports(1),
                ),
                (
                    |place| {
                        fs::write(place.path("b.log"), line(2)).unwrap();
                        symlink(place.path("b.log"), place.path("swap")).unwrap();
                        rename(place, "swap", LOG);
                    },
                    gap(1),
                ),
                (|place| call(place, 3), exports(1)),
            ],
        ),
        (
            "gone, and back again",
            vec![
                (|place| call(place, 1), exports(1)),
                (|place| rename(place, LOG, "elsewhere"), gap(0)),
                (
                    |place| {
                        rename(place, "elsewhere", LOG);
                        call(place, 2);
                    },
                    exports(1),
                ),
            ],
        ),
    ];
    let graph = graph();
    for (name, phases) in rows {
        play(&graph, name, "", phases);
    }
}

#[test]
fn what_is_no_log_at_all() {
    let rows: Vec<(&str, &str, Vec<Phase>)> = vec![
        ("a FIFO", "", vec![(|place| fifo(place, LOG), ends(78, "no regular file"))]),
        (
            "a FIFO beside the log",
            "",
            vec![(
                |place| {
                    call(place, 1);
                    fifo(place, "events.jsonl.pipe");
                },
                ends(78, "events.jsonl.pipe"),
            )],
        ),
        (
            "a link to a device",
            "",
            vec![(|place| symlink("/dev/zero", place.path(LOG)).unwrap(), ends(78, "no regular file"))],
        ),
        ("a link to itself", "", vec![(|place| symlink(LOG, place.path(LOG)).unwrap(), ends(74, LOG))]),
        ("a link to nothing", "", vec![(|place| symlink("nowhere", place.path(LOG)).unwrap(), exports(0))]),
        (
            "a directory with a log of that name in it",
            "",
            vec![(
                |place| {
                    fs::create_dir(place.path(LOG)).unwrap();
                    fs::write(place.path(LOG).join("inner"), line(1)).unwrap();
                },
                exports(0),
            )],
        ),
        ("nothing", "", vec![(|_| (), exports(0)), (|place| call(place, 1), exports(1))]),
        (
            "a hole of 1 GiB and a line after it",
            "max_line_bytes = 4096",
            vec![
                (
                    |place| {
                        call(place, 1);
                        cut(place, 1 << 30);
                    },
                    exports(1),
                ),
                (|place| call(place, 2), exports(1)),
            ],
        ),
    ];
    let graph = graph();
    for (name, config, phases) in rows {
        play(&graph, name, config, phases);
    }
}

#[test]
fn a_log_that_may_not_be_read_is_named_and_read_once_it_may() {
    let graph = graph();
    let place = Place::new(&graph.endpoint(), "");
    call(&place, 1);
    let mode = |mode| fs::set_permissions(place.path(LOG), fs::Permissions::from_mode(mode)).unwrap();
    mode(0);
    if fs::File::open(place.path(LOG)).is_ok() {
        // Nothing is closed to this user.
        return;
    }
    let ended = place.callrec(&["run"]).expect(74);
    assert!(ended.stderr.contains(LOG) && ended.stderr.contains("let the user"), "{}", ended.stderr);
    mode(0o400);
    assert_eq!(place.callrec(&["run"]).expect(0).summary()["exported_new"], 1);
}
