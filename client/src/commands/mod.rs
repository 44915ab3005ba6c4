//! The commands, one module each. A command checks what it was given, asks the daemon, and
//! prints the answer.

mod chmod;
mod chown;
mod completions;
mod create;
mod delegate;
mod doctor;
mod enter;
mod exec;
mod freeze;
mod get;
mod info;
mod kill;
mod ls;
mod mv;
mod ps;
mod rm;
mod run;
mod set;
mod stat;
mod tree;
mod watch;
mod whoami;

use crate::{
    cli::Command,
    exit::{Exit, Failure},
    limits::collect,
    request::flags,
    session::Session,
};

/// Runs one command to its exit status.
pub(crate) fn run(command: Command, session: &mut Session) -> Result<Exit, Failure> {
    match command {
        Command::Create { paths, limits, controllers, when_empty, no_evacuate } => {
            let flags = flags([("when-empty", when_empty), ("no-evacuate", no_evacuate)]);
            return create::run(session, &paths, limits, &controllers, &flags);
        }
        Command::Rm { recursive, kill, when_empty, paths } => {
            return rm::run(session, &paths, [recursive, kill, when_empty]);
        }
        Command::Freeze { paths } => return freeze::freeze(session, &paths),
        Command::Thaw { paths } => return freeze::thaw(session, &paths),
        Command::Kill { signal, paths } => return kill::run(session, &signal, &paths),
        Command::Chown { recursive, owner, paths } => {
            return chown::run(session, &owner, &paths, recursive);
        }
        Command::Stat { paths } => return stat::run(session, &paths),
        Command::Run { limits, parent, name, command } => {
            let limits = &collect(limits, Vec::new())?;
            let job = run::Job { parent: parent.as_deref(), name, limits, command: &command };
            return run::run(session, &job);
        }
        Command::Enter { path, command } => {
            return enter::run(session, path.as_deref(), &command);
        }
        Command::Become { path, command } => {
            return run::become_command(session, &path, &command);
        }
        Command::Doctor => return doctor::run(session),
        Command::Set { path, limits, pairs, dry_run, force, no_evacuate } => {
            let flags =
                flags([("dry-run", dry_run), ("force", force), ("no-evacuate", no_evacuate)]);
            set::run(session, &path, &collect(limits, pairs)?, &flags)?
        }
        Command::Get { path, names } => get::run(session, &path, &names)?,
        Command::Move { path, pids } => mv::run(session, &path, &pids)?,
        Command::Ps { recursive, path } => ps::run(session, &path, recursive)?,
        Command::Ls { long, recursive, path } => {
            ls::run(session, path.as_deref(), long, recursive)?
        }
        Command::Tree { path } => tree::run(session, path.as_deref())?,
        Command::Watch { path, events } => watch::run(session, &path, &events)?,
        Command::Whoami => whoami::run(session)?,
        Command::Info => info::run(session)?,
        Command::Completions { shell } => completions::run(session, shell)?,
        Command::Delegate { owner, path, controllers, revoke: false, no_evacuate, limits } => {
            let flags = flags([("enter", true), ("no-evacuate", no_evacuate)]);
            let limits = collect(limits, Vec::new())?;
            delegate::run(session, &owner, path.as_deref(), &controllers, &limits, &flags)?
        }
        Command::Delegate { owner, path, .. } => {
            delegate::revoke(session, &owner, path.as_deref())?
        }
        Command::Chmod { mode, path, file } => chmod::run(session, &mode, &path, file.as_deref())?,
    }
    Ok(Exit::Ok)
}

/// How a base that was not named is called.
fn or_home(path: Option<&str>) -> (&str, &str) {
    path.map_or(("", "."), |path| (path, path))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use clap::Parser;

    use super::*;
    use crate::{
        cli::Cli,
        output::Output,
        peer::{Place, reply, serve},
    };

    /// What the daemon gets for a line: the flags are each call's last argument.
    fn sends(line: &'static str, flags: &'static [&'static str]) {
        let (_place, listener, address) = Place::new(line.split(' ').next().unwrap());
        let server = serve(listener, 1, move |call| {
            let body = call.body();
            let (sent, answer): (Vec<String>, _) = match call.header().member().unwrap().as_str() {
                "Create" => {
                    type Arguments<'a> = (
                        &'a str,
                        Vec<&'a str>,
                        BTreeMap<&'a str, &'a str>,
                        Vec<zbus::Fd<'a>>,
                        Vec<String>,
                    );
                    let (.., sent): Arguments<'_> = body.deserialize().unwrap();
                    (sent, reply(call, &("/a", ["pids"].as_slice(), true)))
                }
                _ => {
                    let (.., sent): (&str, BTreeMap<&str, &str>, Vec<String>) =
                        body.deserialize().unwrap();
                    (sent, reply(call, &BTreeMap::from([("pids.max", "1")])))
                }
            };
            assert_eq!(sent, flags, "{line}");
            vec![answer]
        });
        let mut session = Session::new(address, Duration::from_secs(10), Output::new(true, true));
        let cli = Cli::try_parse_from(["cgctl"].into_iter().chain(line.split(' '))).unwrap();
        assert_eq!(run(cli.command, &mut session).unwrap(), Exit::Ok);
        server.join().unwrap();
    }

    #[test]
    fn what_was_asked_is_what_is_sent() {
        sends("create a", &[]);
        sends("create a --when-empty --no-evacuate", &["when-empty", "no-evacuate"]);
        sends("set a pids.max=1", &[]);
        let all = "set a pids.max=1 --dry-run --force --no-evacuate";
        sends(all, &["dry-run", "force", "no-evacuate"]);
    }
}
