//! The state machine: worlds between two commands, and every way from one to
//! the next.

use super::check;
use super::content::{CALLS, Versions};
use super::disk::Disk;
use super::io::{End, Fault, Io, Label};
use super::rules::{Rule, Set};
use super::run::{self, Command};
use super::world::Configuration;
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

/// A world in which no command runs.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct World {
    /// Events that happened.
    pub instant: u8,
    /// The disk.
    pub disk: Disk,
    /// Runs by hand that are left, as bits; then one for a given record.
    pub by_hand: u8,
    /// Rebuilds that are left.
    pub rebuilds: u8,
    /// Versions that a run by hand that ended well has to have stored.
    pub wanted: Versions,
    /// Versions that were in the tables when a command ended well, as bits.
    pub archived: Versions,
    /// What is wrong.
    pub fault: Option<Fault>,
}

/// A way from a world to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What happened.
    pub label: Label,
    next: World,
}

/// The protocol with some rules off, in one configuration.
pub struct Protocol {
    around: &'static Configuration,
    off: Set,
    asked: Mutex<Set>,
}

/// States, each as often as it is reached, after which an exploration is ended.
/// With some rules off there is no end: what is never cleaned up grows with every kill.
pub const LIMIT: usize = 700_000;

const GIVEN: u8 = 1 << CALLS;

impl Protocol {
    fn commands(&self, world: &World) -> Vec<(Command, &'static str)> {
        let mut commands = vec![(Command::Run, "run")];
        let around = self.around;
        for &call in around.by_hand.iter().filter(|call| world.by_hand >> **call & 1 == 1) {
            commands.push((Command::ByHand(call), "run --id"));
        }
        if let Some((call, version)) = around.given
            && world.by_hand & GIVEN != 0
            && around.served(world.instant, call).is_some_and(|served| served.version >= version)
        {
            commands.push((Command::Given(call, version), "retry"));
        }
        if around.merges {
            commands.push((Command::Compact, "compact"));
        }
        if world.rebuilds > 0 {
            commands.push((Command::Rebuild, "rebuild"));
        }
        commands
    }

    /// The world once a command has begun: what is named once is spent.
    fn spent(world: &World, command: Command) -> World {
        let mut spent = world.clone();
        match command {
            Command::ByHand(call) => spent.by_hand &= !(1 << call),
            Command::Given(..) => spent.by_hand &= !GIVEN,
            Command::Rebuild => spent.rebuilds -= 1,
            Command::Run | Command::Compact => {}
        }
        spent
    }

    /// What a command that is not disturbed ends in.
    fn ended(&self, world: &World, command: Command, io: &Io<'_>, is_ok: bool) -> World {
        let spent = Self::spent(world, command);
        let mut next = World { instant: io.instant, disk: io.at_rest(io.disk.clone()), ..spent };
        if is_ok {
            check::archive(&mut next);
            if let Command::ByHand(call) = command {
                let served = self.around.served(world.instant, call);
                next.wanted[call] = next.wanted[call].max(served.map_or(1, |served| served.version));
            }
            next.fault =
                if io.missed() { Some(Fault::Missed) } else { check::fault(self.around, world, command, &next) };
        } else if self.is_wedged(&next) {
            next.fault = Some(Fault::Wedged);
        }
        next
    }

    /// Whether two more runs end with an error each.
    fn is_wedged(&self, world: &World) -> bool {
        let mut disk = world.disk.clone();
        (0..2).all(|_| {
            let mut io = Io::new(self.around, disk.clone(), world.instant, self.off, true);
            let is_error = run::run(&mut io, Command::Run).is_err();
            disk = io.disk;
            is_error
        })
    }

    fn schedules(&self) -> &'static [&'static [bool]] {
        if self.around.during { &[&[false, false], &[true, false], &[false, true]] } else { &[&[false, false]] }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let around = self.around;
        let mut by_hand = if around.given.is_some() { GIVEN } else { 0 };
        around.by_hand.iter().for_each(|call| by_hand |= 1 << call);
        vec![World {
            instant: 0,
            disk: around.disk(),
            by_hand,
            rebuilds: around.rebuilds,
            wanted: [0; CALLS],
            archived: around.archived(),
            fault: None,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.fault.is_some() {
            return;
        }
        let mut seen = HashSet::new();
        let mut add = |label: Label, next: World| {
            let mut hasher = DefaultHasher::new();
            next.hash(&mut hasher);
            if seen.insert(hasher.finish()) {
                steps.push(Step { label, next });
            }
        };
        if world.instant < self.around.instants() {
            let next = World { instant: world.instant + 1, ..world.clone() };
            add(Label { command: "the next event", end: End::Event }, next);
        }
        for (command, name) in self.commands(world) {
            for during in self.schedules() {
                let mut io = Io::new(self.around, world.disk.clone(), world.instant, self.off, false);
                io.during = during;
                let ended = run::run(&mut io, command);
                io.power_lost();
                let end = if ended.is_ok() { End::Done } else { End::Error };
                add(Label { command: name, end }, self.ended(world, command, &io, ended.is_ok()));
                let spent = Self::spent(world, command);
                for left in io.left {
                    let next = World { instant: left.instant, disk: left.disk, fault: left.fault, ..spent.clone() };
                    add(Label { command: name, end: left.end }, next);
                }
                let mut asked = self.asked.lock().expect("no thread has panicked");
                *asked = asked.with(io.asked);
            }
        }
    }

    fn next_state(&self, _: &World, step: Step) -> Option<World> {
        Some(step.next)
    }

    fn format_action(&self, step: &Step) -> String {
        step.label.to_string()
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is lost", |_, world: &World| world.fault != Some(Fault::Lost)),
            Property::always("nothing is doubled", |_, world: &World| world.fault != Some(Fault::Doubled)),
            Property::always("nothing is stale", |_, world: &World| world.fault != Some(Fault::Stale)),
            Property::always("nothing is torn", |_, world: &World| world.fault != Some(Fault::Torn)),
            Property::always("nothing is wedged", |_, world: &World| world.fault != Some(Fault::Wedged)),
            Property::always("no reader misses a call", |_, world: &World| world.fault != Some(Fault::Missed)),
        ]
    }
}

/// What an exploration found.
pub struct Explored {
    /// Different worlds.
    pub states: usize,
    /// Rules that were asked for where they matter.
    pub asked: Set,
    /// A shortest way to a world in which something is wrong, and what is.
    pub counterexample: Option<(Fault, Vec<String>)>,
    /// Whether all worlds were seen, and nothing was wrong in any.
    pub is_whole: bool,
}

/// Explores a configuration with some rules off: all of it, or until something
/// is wrong.
pub fn explore(around: &'static Configuration, off: &[Rule], limit: usize) -> Explored {
    let protocol = Protocol { around, off: Set::of(off), asked: Mutex::default() };
    let checker = protocol.checker().finish_when(HasDiscoveries::Any).target_state_count(limit).spawn_bfs().join();
    let found = checker.discoveries().into_values().filter_map(|path| {
        let fault = path.last_state().fault?;
        let steps: Vec<String> = path.into_actions().into_iter().map(|step| step.label.to_string()).collect();
        Some((fault, steps))
    });
    let counterexample = found.min_by_key(|(fault, steps)| (steps.len(), *fault));
    let asked = *checker.model().asked.lock().expect("no thread has panicked");
    let is_whole = counterexample.is_none() && checker.state_count() < limit;
    Explored { states: checker.unique_state_count(), asked, counterexample, is_whole }
}
