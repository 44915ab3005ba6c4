//! `cgctl move`: moves processes, named by the numbers of the caller's own pid namespace.

use crate::{
    exit::{Exit, Failure},
    ids::exact,
    request,
    session::Session,
};

pub(super) fn run(session: &mut Session, path: &str, pids: &[String]) -> Result<(), Failure> {
    let doing = format!("move {} to {path}", pids.join(" "));
    let numbers = pids.iter().map(|pid| number(pid, &doing)).collect::<Result<Vec<_>, _>>()?;
    session.call(request::attach_pids(path, &numbers), &doing)
}

fn number(pid: &str, doing: &str) -> Result<u32, Failure> {
    exact(pid).filter(|pid| *pid != 0).ok_or_else(|| {
        Failure::new(Exit::BadValue, format!("cannot {doing}: {pid:?} is not a process number"))
            .hint("decimal, from 1; nothing was moved")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_numbers_are_exact() {
        assert_eq!(number("1", "move"), Ok(1));
        for pid in ["0", "01", "-1", "+1", "0x1", "self", "", "4294967296"] {
            assert_eq!(number(pid, "move").unwrap_err().exit, Exit::BadValue, "{pid:?}");
        }
    }
}
