//! `cgctl get`: shows limits; for one NAME the bare value, exactly as the kernel has it, for
//! scripts.

use crate::{
    exit::{Exit, Failure},
    limits::{lines, to_json},
    request::{self, Map},
    session::Session,
};

pub(super) fn run(session: &mut Session, path: &str, names: &[String]) -> Result<(), Failure> {
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let limits =
        session.call(request::get_limits(path, &asked), &format!("read limits of {path}"))?;
    let output = &mut session.output;
    if output.json {
        return Ok(output.document(&to_json(&limits))?);
    }
    let lines = match asked[..] {
        [name] => vec![bare(&limits, name)?],
        _ => lines(&limits, asked.into_iter()),
    };
    for line in lines {
        output.line(&line)?;
    }
    Ok(())
}

/// The value of the one limit asked for. It may come under its canonical name.
fn bare(limits: &Map, name: &str) -> Result<String, Failure> {
    let only = limits.values().next().filter(|_| limits.len() == 1);
    match limits.get(name).or(only) {
        Some(value) => Ok(value.clone()),
        None => Err(Failure::new(Exit::Other, format!("cgroupd did not tell {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_gives_its_bare_value() {
        let limits = Map::from([("cpu.max".to_owned(), "150000 100000".to_owned())]);
        assert_eq!(bare(&limits, "cpu.max"), Ok("150000 100000".to_owned()));
        assert_eq!(bare(&limits, "cpus"), Ok("150000 100000".to_owned()));
        assert_eq!(bare(&Map::new(), "pids.max").unwrap_err().exit, Exit::Other);
    }
}
