//! `cgctl kill`: signals all processes of cgroups and says how many they were.

use nix::sys::signal::Signal;

use crate::{
    exit::{Exit, Failure},
    ids::exact,
    output::object,
    request,
    session::Session,
};

/// The real-time signals, which have no names but by their distance from these.
const RTMIN: u32 = 34;
const RTMAX: u32 = 64;

pub(super) fn run(session: &mut Session, signal: &str, paths: &[String]) -> Result<Exit, Failure> {
    let number = number(signal).ok_or_else(|| {
        let text = format!("cannot kill {}: {signal:?} is not a signal", paths.join(" "));
        Failure::new(Exit::BadValue, text).hint("a name or a number, e.g. TERM, SIGTERM or 15")
    })?;
    session.each(paths, |session, path| {
        let killed = session.call(request::kill(path, number), &format!("kill {path}"))?;
        let output = &mut session.output;
        if output.json {
            return Ok(
                output.document(&object([("path", path.into()), ("killed", killed.into())]))?
            );
        }
        match output.quiet {
            true => Ok(()),
            false => Ok(output.line(&said(path, number, killed))?),
        }
    })
}

fn said(path: &str, number: u32, killed: u32) -> String {
    let processes = if killed == 1 { "process" } else { "processes" };
    match number == Signal::SIGKILL as u32 {
        true => format!("{path}  {killed} {processes} killed"),
        false => format!("{path}  {killed} {processes} signalled"),
    }
}

/// `KILL`, `sigkill`, `9`, `RTMIN+2`, `SIGRTMAX-1`.
fn number(text: &str) -> Option<u32> {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return exact(text).filter(|number| (1..=RTMAX).contains(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return match rest.strip_prefix('+') {
            Some(offset) => RTMIN.checked_add(exact(offset)?).filter(|number| *number <= RTMAX),
            None => rest.is_empty().then_some(RTMIN),
        };
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return match rest.strip_prefix('-') {
            Some(offset) => RTMAX.checked_sub(exact(offset)?).filter(|number| *number >= RTMIN),
            None => rest.is_empty().then_some(RTMAX),
        };
    }
    format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, wanted) in [
            ("9", Some(9)),
            ("KILL", Some(9)),
            ("SIGKILL", Some(9)),
            ("term", Some(15)),
            ("sigUsr1", Some(10)),
            ("64", Some(64)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("rtmax-1", Some(63)),
            ("0", None),
            ("65", None),
            ("09", None),
            ("0x9", None),
            ("-9", None),
            ("", None),
            ("SIG", None),
            ("SIGSIGKILL", None),
            ("RTMIN+31", None),
            ("RTMIN-1", None),
            ("RTMAX-31", None),
            ("NOPE", None),
            ("4294967305", None),
        ] {
            assert_eq!(number(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn one_process_is_not_several() {
        assert_eq!(said("/a", 9, 1), "/a  1 process killed");
        assert_eq!(said("a", 15, 0), "a  0 processes signalled");
    }
}
