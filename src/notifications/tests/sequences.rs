use super::{Logs, gzip, line, zstandard};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const LOG: &str = "events.jsonl";

#[derive(Clone, Debug)]
enum Step {
    /// Appends a line of so many notifications.
    Append(u32),
    /// Appends half a line; the next write completes it.
    Torn,
    /// `.1` becomes `.2` and so on, the log becomes `.1`.
    Rotate,
    CopyTruncate,
    /// Compresses the youngest plain rotated log.
    Compress {
        zstd: bool,
    },
    /// Leaves a compressed file half-written beside it.
    Compressing,
    Collect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..4_u32).prop_map(Step::Append),
        2 => Just(Step::Torn),
        2 => Just(Step::Rotate),
        1 => Just(Step::CopyTruncate),
        2 => any::<bool>().prop_map(|zstd| Step::Compress { zstd }),
        1 => Just(Step::Compressing),
        4 => Just(Step::Collect),
    ]
}

struct Writer {
    logs: Logs,
    next: u32,
    rest: String,
    /// Names of rotated logs, youngest first.
    rotated: Vec<String>,
}

impl Writer {
    fn append(&mut self, count: u32) -> String {
        let numbers: Vec<u32> = (self.next..self.next + count).collect();
        self.next += count;
        line(&numbers)
    }

    fn complete(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        self.logs.append(LOG, rest);
    }

    /// Makes room for `.1`.
    fn shift(&mut self) {
        for position in (0..self.rotated.len()).rev() {
            let old = self.rotated[position].clone();
            let ending = old
                .rsplit('.')
                .next()
                .filter(|ending| ending.parse::<u32>().is_err())
                .map(|ending| format!(".{ending}"));
            let new = format!("{LOG}.{}{}", position + 2, ending.unwrap_or_default());
            self.logs.rename(&old, &new);
            self.rotated[position] = new;
        }
        self.rotated.insert(0, format!("{LOG}.1"));
    }

    fn compressed(&mut self, zstd: bool, whole: bool) {
        let Some(position) = self.rotated.iter().position(|name| !name.ends_with("gz") && !name.ends_with("zst"))
        else {
            return;
        };
        let name = self.rotated[position].clone();
        let bytes = self.logs.bytes(&name);
        let packed = if zstd { zstandard(&bytes) } else { gzip(&bytes) };
        let new = format!("{name}.{}", if zstd { "zst" } else { "gz" });
        let half = packed.len() / 2;
        self.logs.replace(&new, if whole { &packed } else { &packed[..half] });
        if whole {
            self.logs.remove(&name);
            self.rotated[position] = new;
        } else {
            // Collected in this state, then given up.
            self.collect_into_seen();
            self.logs.remove(&new);
        }
    }

    fn collect_into_seen(&mut self) {
        let found = self.logs.numbers();
        SEEN.with_borrow_mut(|seen| seen.extend(found));
    }

    fn step(&mut self, step: &Step) {
        if !matches!(step, Step::Collect | Step::Compress { .. } | Step::Compressing) {
            self.complete();
        }
        match step {
            Step::Append(count) => {
                let text = self.append(*count);
                self.logs.append(LOG, text);
            }
            Step::Torn => {
                let text = self.append(2);
                let middle = text.len() / 2;
                self.logs.append(LOG, &text[..middle]);
                self.rest = text[middle..].to_owned();
            }
            Step::Rotate => {
                self.shift();
                self.logs.rename(LOG, &format!("{LOG}.1"));
                self.logs.append(LOG, "");
            }
            Step::CopyTruncate => {
                self.shift();
                self.logs.append(&format!("{LOG}.1"), self.logs.bytes(LOG));
                self.logs.replace(LOG, "");
            }
            Step::Compress { zstd } => self.compressed(*zstd, true),
            Step::Compressing => self.compressed(false, false),
            Step::Collect => self.collect_into_seen(),
        }
    }
}

thread_local! {
    static SEEN: std::cell::RefCell<Vec<u32>> = const { std::cell::RefCell::new(Vec::new()) };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn each_notification_is_seen_exactly_once(steps in prop::collection::vec(step(), 1..24), exact in any::<bool>()) {
        SEEN.take();
        let logs = Logs::new(if exact { LOG } else { "events.jsonl*" });
        let mut writer = Writer { logs, next: 0, rest: String::new(), rotated: Vec::new() };
        writer.logs.append(LOG, "");
        writer.step(&Step::Collect);
        for step in &steps {
            writer.step(step);
        }
        writer.complete();
        writer.step(&Step::Collect);
        prop_assert_eq!(writer.logs.numbers(), Vec::<u32>::new());
        let mut seen = SEEN.take();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..writer.next).collect::<Vec<_>>());
    }
}
