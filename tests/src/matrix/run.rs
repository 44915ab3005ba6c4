//! Runs all rows: prepare the ground, ask one side, look at what has changed; then the other.

use std::collections::HashMap;
use std::path::PathBuf;

use super::ground::{Ground, MANAGED};
use super::identity::{IDENTITIES, Identity};
use super::judge::{Findings, Outcome, Side};
use super::orders;
use super::peer::Peer;
use super::plan;
use super::rows::{Act, From, Row, Who};
use super::victims::{Victims, place, put};
use super::wire::{Part, Start};
use crate::cgroups::Cgroups;
use crate::daemon::Daemon;

/// Both processes of an identity.
struct Pair {
    oracle: Peer,
    client: Peer,
}

/// Everything that rows need. Fields are dropped in this order.
struct Matrix {
    pairs: HashMap<&'static str, Pair>,
    victims: Victims,
    daemon: Daemon,
    grounds: Vec<Ground>,
    _cgroups: Cgroups,
}

/// Asks every row of both sides.
///
/// # Panics
/// When the ground cannot be made or a peer fails.
pub fn run() -> Findings {
    let mut matrix = Matrix::new();
    let mut outcomes = Vec::new();
    for index in 0..matrix.grounds.len() {
        for row in plan::of(matrix.grounds[index].hierarchy) {
            outcomes.push(matrix.ask_both(index, row));
        }
        matrix.grounds[index].clear();
    }
    let classes = IDENTITIES.iter().map(|identity| (identity, matrix.class(identity))).collect();
    matrix.end();
    Findings { outcomes, classes }
}

impl Matrix {
    fn new() -> Self {
        let cgroups = Cgroups::new("matrix");
        cgroups.make(MANAGED);
        let daemon = Daemon::start(&format!("{}/{MANAGED}", cgroups.path()));
        let grounds: Vec<Ground> =
            plan::hierarchies().map(|hierarchy| Ground::new(hierarchy, &cgroups)).collect();
        let here: Vec<PathBuf> = grounds.iter().map(Ground::here).collect();
        let pair =
            |identity: &'static Identity| (identity.name, Pair::start(identity, &daemon, &here));
        let pairs = IDENTITIES.iter().map(pair).collect();
        Self { pairs, victims: Victims::default(), daemon, grounds, _cgroups: cgroups }
    }

    fn class(&self, identity: &Identity) -> String {
        self.pairs[identity.name].client.class.clone().unwrap_or_default()
    }

    /// The daemon must still end cleanly.
    fn end(self) {
        let Self { pairs, victims, daemon, grounds: _, _cgroups } = self;
        drop((pairs, victims));
        daemon.stop();
    }

    fn ask_both(&mut self, ground: usize, row: Row) -> Outcome {
        let oracle = self.ask(ground, row, true);
        let daemon = self.ask(ground, row, false);
        Outcome { row, oracle, daemon }
    }

    fn ask(&mut self, index: usize, row: Row, oracle: bool) -> Side {
        self.grounds[index].prepare(row.site);
        let moved = self.moved(index, row);
        let ground = &mut self.grounds[index];
        let confined = row.caller().confined;
        let dir = match oracle {
            true => format!("{}/", ground.target(row.site.position, confined).display()),
            false => ground.view(row.site.position, confined, row.act == Act::Create),
        };
        let order = orders::order(row, ground.hierarchy, &dir, moved.as_ref().map(|m| m.called));
        let pair = self.pairs.get_mut(row.identity).expect("one for each identity");
        let answer = if oracle { &mut pair.oracle } else { &mut pair.client }.ask(&order);
        let now = moved.as_ref().map(|moved| place(moved.pid, ground.hierarchy));
        let mut changes = ground.changes();
        if let (Some(moved), Some(now)) = (&moved, &now)
            && moved.source != *now
        {
            changes.push(format!("the victim: -> {}", now.display()));
            if moved.pid == self.daemon.pid() {
                put(moved.pid, &moved.source, ground.hierarchy);
            }
        }
        Side { answer, changes }
    }

    /// The process that a row moves, put where it starts.
    fn moved(&mut self, index: usize, row: Row) -> Option<Moved> {
        let Act::Attach(who, from) = row.act else { return None };
        let ground = &self.grounds[index];
        let hierarchy = ground.hierarchy;
        if who == Who::Daemon {
            let pid = self.daemon.pid();
            let source = place(pid, hierarchy);
            return Some(Moved { pid, called: pid.cast_unsigned(), source });
        }
        let source = match from {
            From::Near => ground.target(row.site.position, row.caller().confined).join("src"),
            From::Far => ground.here(),
            From::Sibling => ground.sibling().join("src"),
            From::Outside => ground.outside().join("src"),
        };
        let here: Vec<PathBuf> = self.grounds.iter().map(Ground::here).collect();
        let anchor = self.pairs[row.identity].oracle.outside;
        let victim = self.victims.get(row.caller(), who, anchor, &here);
        put(victim.outside, &source, hierarchy);
        Some(Moved { pid: victim.outside, called: victim.inside, source })
    }
}

/// The process of a row.
struct Moved {
    pid: i32,
    /// Its number for the caller.
    called: u32,
    source: PathBuf,
}

impl Pair {
    /// The client joins the namespaces that the oracle made.
    fn start(identity: &Identity, daemon: &Daemon, here: &[PathBuf]) -> Self {
        let start = |part, join| {
            let (identity, cgroups) = (identity.name.to_owned(), here.to_vec());
            Peer::start(&Start { identity, part, join, cgroups, inside: false })
        };
        let oracle = start(Part::Oracle, None);
        let client = start(Part::Client(daemon.socket()), Some(oracle.outside));
        Self { oracle, client }
    }
}
