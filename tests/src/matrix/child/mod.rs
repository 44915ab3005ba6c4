//! The peer processes of the matrix: this executable once more, in another identity, answering
//! a line for each line it is given.

mod become_it;
mod client;
mod oracle;

use std::io::{BufRead, Write};
use std::process::{Command, ExitCode, Stdio};

use become_it::Namespaces;

use super::identity::named;
use super::wire::{Answer, Order, Part, Start, Verdict};

pub(super) const ARGUMENT: &str = "--cgroupd-test-matrix";
/// A link that works for every user, also where the path to the executable is root's.
pub(super) const SELF: &str = "/proc/self/exe";

/// What goes wrong in a peer process ends it with its text on standard error.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What the main function of the matrix calls first: this process may be one of its peers.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    (arguments.next()? == ARGUMENT).then_some(())?;
    let start = arguments.next().unwrap_or_default();
    Some(match run(&start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("matrix peer {start}: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Enters its cgroups while it may still do so, then its namespaces, then its ids.
fn run(start: &str) -> Result<()> {
    let start: Start = serde_json::from_str(start)?;
    let identity = named(&start.identity);
    for cgroup in &start.cgroups {
        std::fs::write(cgroup.join("cgroup.procs"), "0")?;
    }
    let namespaces = Namespaces::open(start.join)?;
    if !start.inside {
        become_it::leave_mounts(identity)?;
        namespaces.enter(identity)?;
        if identity.own_pid_ns {
            return wait_outside(start);
        }
        say(&format!("outside {}", std::process::id()))?;
    }
    let uids = match start.part {
        Part::Victim(uids) => uids,
        _ => None,
    };
    namespaces.take_ids(identity, uids)?;
    say(&format!("inside {}", std::process::id()))?;
    match &start.part {
        Part::Oracle => answer(oracle::attempt),
        Part::Client(socket) => {
            let client = client::connect(socket)?;
            say(&client.class())?;
            answer(|order| client::attempt(&client, order))
        }
        Part::Victim(_) => {
            Ok(std::io::stdin().lock().lines().try_for_each(|line| line.map(drop))?)
        }
    }
}

/// A process enters a new pid namespace only by being born there.
fn wait_outside(start: Start) -> Result<()> {
    let start = Start { inside: true, join: None, cgroups: Vec::new(), ..start };
    let mut child = Command::new(SELF)
        .args([ARGUMENT, &serde_json::to_string(&start)?])
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .spawn()?;
    say(&format!("outside {}", child.id()))?;
    // Its end is the end of its input, or of the namespace: it says itself what went wrong.
    child.wait()?;
    Ok(())
}

fn answer(attempt: impl Fn(&Order) -> Answer) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?)?;
        say(&serde_json::to_string(&attempt(&order))?)?;
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Waits for a line from the test.
fn hear() -> Result<()> {
    match std::io::stdin().read_line(&mut String::new())? {
        0 => Err("the test is gone".into()),
        _ => Ok(()),
    }
}

impl Answer {
    fn allowed(data: impl Into<String>) -> Self {
        Self { verdict: Verdict::Allowed, why: String::new(), data: data.into() }
    }
}
