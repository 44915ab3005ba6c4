//! `cgctl create`: makes cgroups and shows what their limits became.

use serde_json::Value;

use crate::{
    cli::{LimitArgs, split_controllers},
    exit::{Exit, Failure},
    limits::{Limits, canonical, collect, lines, to_json},
    output::object,
    request::{self, Created, Map},
    session::Session,
};

pub(super) fn run(
    session: &mut Session,
    paths: &[String],
    limits: LimitArgs,
    controllers: &[String],
    flags: &[&str],
) -> Result<Exit, Failure> {
    let limits = collect(limits, Vec::new())?;
    for path in paths {
        target(path, controllers)?;
    }
    session.each(paths, |session, path| {
        let (controllers, path) = target(path, controllers)?;
        create(session, path, &controllers, &limits, flags)
    })
}

/// The controllers and the cgroup that a PATH stands for.
fn target<'a>(path: &'a str, option: &[String]) -> Result<(Vec<String>, &'a str), Failure> {
    let Some((prefix, path)) = split_controllers(path) else {
        return Ok((option.to_vec(), path));
    };
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort();
        list
    };
    if path.is_empty() {
        let text = format!("\"{}:\" names controllers and no cgroup", prefix.join(","));
        return Err(Failure::new(Exit::Usage, text).hint("write memory,pids:PATH"));
    }
    if option.is_empty() || sorted(option) == sorted(&prefix) {
        return Ok((prefix, path));
    }
    let (prefix, option) = (prefix.join(","), option.join(","));
    let text = format!("{path} is given the controllers {prefix} and --controllers {option}");
    Err(Failure::new(Exit::Usage, text))
}

fn create(
    session: &mut Session,
    path: &str,
    controllers: &[String],
    limits: &Limits,
    flags: &[&str],
) -> Result<(), Failure> {
    let (creating, reading) = (format!("create {path}"), format!("read the limits of {path}"));
    let created = session.send(request::create(path, controllers, limits, flags), &creating)?;
    if limits.is_empty() || session.output.quiet {
        let created = session.receive(&created, &creating)?;
        return print(session, &created, &Map::new(), limits);
    }
    // Both leave in one write: the daemon answers a client's calls in order.
    let names: Vec<&str> = limits.iter().map(|(name, _)| canonical(name)).collect();
    let read_back = session.send(request::get_limits(path, &names), &reading)?;
    let created = session.receive(&created, &creating)?;
    // A read-back that fails does not make the cgroup less created: that is told in any case.
    let values = session.receive(&read_back, &reading);
    print(session, &created, values.as_ref().unwrap_or(&Map::new()), limits)?;
    values.map(drop)
}

fn print(
    session: &mut Session,
    (path, controllers, created): &Created,
    values: &Map,
    limits: &Limits,
) -> Result<(), Failure> {
    let output = &mut session.output;
    if output.quiet {
        return Ok(());
    }
    if output.json {
        return Ok(output.document(&object([
            ("path", path.as_str().into()),
            ("controllers", controllers.as_slice().into()),
            ("created", Value::Bool(*created)),
            ("limits", to_json(values)),
        ]))?);
    }
    let mut line = vec![path.clone()];
    line.extend(lines(values, limits.iter().map(|(name, _)| name.as_str())));
    Ok(output.line(&line.join("  "))?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        output::Output,
        peer::{Place, reply, serve},
    };

    #[test]
    fn create_and_read_back_arrive_in_one_piece_and_order() {
        let (_place, listener, address) = Place::new("create");
        let server = serve(listener, 2, |call| {
            let error = zbus::Message::error(&call.header(), "org.cgroupd1.Error.Denied");
            vec![match call.header().member().unwrap().as_str() {
                "Create" => reply(call, &("/a", ["memory"].as_slice(), true)),
                "GetLimits" => {
                    let (_, names): (String, Vec<String>) = call.body().deserialize().unwrap();
                    assert_eq!(names, ["memory.max", "cpu.max"]);
                    error.build(&("cannot read a: memory.max",)).unwrap()
                }
                other => panic!("{other}"),
            }]
        });
        let mut session = Session::new(address, Duration::from_secs(10), Output::new(true, false));
        let limits = [("memory.max", "1G"), ("cpus", "1")];
        let limits = limits.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let failure = create(&mut session, "a", &[], &limits, &[]).unwrap_err();
        assert_eq!(failure, Failure::new(Exit::Denied, "cannot read a: memory.max"));
        server.join().unwrap();
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn libcgroups_form_names_controllers() {
        let both = list(&["memory", "pids"]);
        assert_eq!(target("memory,pids:test01", &[]), Ok((both.clone(), "test01")));
        assert_eq!(target("memory,pids:test01", &list(&["pids", "memory"])), Ok((both, "test01")));
        assert_eq!(target("test01", &list(&["cpu"])), Ok((list(&["cpu"]), "test01")));
        assert_eq!(target("a:b", &[]), Ok((vec![], "a:b")));
        assert_eq!(target("./memory:b", &[]), Ok((vec![], "./memory:b")));
    }

    #[test]
    fn contradictions_are_usage_errors() {
        for (path, option) in [("memory:a", list(&["pids"])), ("memory:", vec![])] {
            assert_eq!(target(path, &option).unwrap_err().exit, Exit::Usage, "{path}");
        }
    }
}
