//! SIGKILL to `callrec listen` under load, while a reader follows its log: what was
//! answered with 202 is there, and no line is torn.

use crate::listening::{Answered, Listening, Reader, command, configure, files, load};
use crate::number;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

const CONNECTIONS: usize = 16;
/// Files that were read are removed after so many kills, as an operator may do.
const REMOVE_EVERY: u64 = 50;

/// Prints the figures; the number of faults.
pub fn report() -> u64 {
    let kills = number("CALLREC_TORTURE_LISTEN_KILLS", 1000);
    let begun = Instant::now();
    let directory = tempfile::tempdir().unwrap();
    let config = configure(directory.path(), "rotate_bytes = 100000\n");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let next = Arc::new(AtomicU32::new(0));
    let answered = Answered::default();
    let mut reader = Reader::new(directory.path());
    let mut read = BTreeSet::new();
    let (mut refused, mut gaps, mut torn, mut begun_files) = (0, 0, 0, 0);
    let mut look = |read: &mut BTreeSet<String>| {
        let seen = reader.look();
        refused += seen.rejected.len() as u64;
        gaps += seen.gaps.len() as u64;
        read.extend(seen.notifications.iter().map(|one| one.call_id.to_string()));
    };
    for kill in 1..=kills {
        let listening = Listening::start(command(env!("CARGO_BIN_EXE_callrec"), &config));
        torn += listening.logged.matches("the last line was torn").count();
        let enough = answered.lock().unwrap().len() + rng.random_range(0..200);
        let clients = load(listening.address, CONNECTIONS, &next, &answered);
        while answered.lock().unwrap().len() < enough {
            look(&mut read);
        }
        listening.kill();
        clients.into_iter().for_each(|client| client.join().unwrap());
        look(&mut read);
        if kill % REMOVE_EVERY == 0 {
            look(&mut read);
            look(&mut read);
            let mut old = files(directory.path());
            old.pop();
            begun_files += old.len();
            old.iter().for_each(|path| std::fs::remove_file(path).unwrap());
        }
    }
    let listening = Listening::start(command(env!("CARGO_BIN_EXE_callrec"), &config));
    torn += listening.logged.matches("the last line was torn").count();
    listening.stop();
    look(&mut read);
    begun_files += files(directory.path()).len();
    let answered = answered.lock().unwrap();
    let lost = answered.difference(&read).count() as u64;
    println!("## Kills of the listener under load\n");
    println!(
        "SIGKILL to `callrec listen` at random moments while {CONNECTIONS} connections post and a reader follows the log with its cursors, as runs do;\n\
         files that were read are removed every {REMOVE_EVERY} kills.\n"
    );
    println!(
        "| kills | posts answered with 202 | of them not in the log | files | torn last lines mended | lines refused by the reader | gaps |"
    );
    println!("|---|---|---|---|---|---|---|");
    println!("| {kills} | {} | {lost} | {begun_files} | {torn} | {refused} | {gaps} |\n", answered.len());
    println!("{:.0} s.\n", begun.elapsed().as_secs_f64());
    lost + refused + gaps
}
