//! From a unique name to a caller: what the bus says, and what of it the kernel confirms.

use std::os::fd::AsFd;

use zbus::Connection;
use zbus::fdo::ConnectionCredentials;

use super::driver;
use super::prove::{Claim, Proof, Unproven};
use super::prover::Prover;
use crate::accounting::Account;
use crate::caller::{Caller, Host, Ids, Process};

/// The ids of somebody whose ids the bus does not tell: they give no right to anything.
const OVERFLOW: u32 = 65534;

/// Why a caller is not identified.
#[derive(Debug)]
pub(super) enum Unidentified {
    /// It cannot be told who it is.
    Unknown(String),
    /// Descriptors, memory or threads ran out: the next call may find out.
    OutOfResources(String),
}

impl From<String> for Unidentified {
    fn from(why: String) -> Self {
        Self::Unknown(why)
    }
}

impl From<Unproven> for Unidentified {
    fn from(why: Unproven) -> Self {
        match why.is_transient() {
            true => Self::OutOfResources(format!("{why}; repeat the call later")),
            false => Self::Unknown(why.to_string()),
        }
    }
}

/// Finds out who callers are.
#[derive(Debug)]
pub(super) struct Identifier {
    pub(super) bus: Connection,
    pub(super) prover: Prover,
    pub(super) host: Host,
    /// Whether a process number is believed as it is.
    pub(super) trust_pid: bool,
}

impl Identifier {
    /// The caller behind a unique name; proven, or with the reason why not.
    ///
    /// # Errors
    /// When not even a process is known, or resources ran out.
    pub(super) async fn identify(&self, name: &str) -> Result<Caller, Unidentified> {
        let credentials = driver::credentials(&self.bus, name)
            .await
            .map_err(|error| format!("the bus does not say who {name} is: {error}"))?;
        let claim = claim(&credentials)
            .ok_or_else(|| format!("the bus does not know the process or the user of {name}"))?;
        let (proof, unproven) = match self.prove(name, claim, &credentials).await {
            Ok(proof) => (proof, None),
            Err(Unidentified::Unknown(why)) => (unproven(claim, &credentials)?, Some(why)),
            Err(why) => return Err(why),
        };
        let is_proven = unproven.is_none();
        let mut caller = Caller::new(proof.ids, proof.process, unproven, &self.host)
            .map_err(|refused| refused.to_string())?;
        if !is_proven {
            // The process may be somebody else's; so would be what it is charged for.
            caller.account = Account::of_uid(claim.uid);
        }
        Ok(caller)
    }

    async fn prove(
        &self,
        name: &str,
        claim: Claim,
        credentials: &ConnectionCredentials,
    ) -> Result<Proof, Unidentified> {
        if let Some(proof) = by_descriptor(claim, credentials) {
            return Ok(proof);
        }
        match self.by_sockets(name, claim).await {
            Err(_) if self.trust_pid => by_number(claim, credentials).map_err(Into::into),
            result => result,
        }
    }

    /// The look must have had the socket of `name` before it, so `name` must be connected
    /// afterwards. A bus may answer the first question before it works off that the socket
    /// was closed; the second reaches it after that.
    async fn by_sockets(&self, name: &str, claim: Claim) -> Result<Proof, Unidentified> {
        let proof = self.prover.prove(claim).await?;
        for _ in 0..2 {
            match driver::is_connected(&self.bus, name).await {
                Ok(true) => {}
                _ => return Err(format!("{name} has left the bus").into()),
            }
        }
        Ok(proof)
    }
}

fn claim(credentials: &ConnectionCredentials) -> Option<Claim> {
    let pid = i32::try_from(credentials.process_id()?).ok().filter(|pid| *pid > 0)?;
    let uid = credentials.unix_user_id().filter(|uid| *uid != u32::MAX)?;
    Some(Claim { pid, uid })
}

/// A bus with `ProcessFD` pinned the process when it connected.
fn by_descriptor(claim: Claim, credentials: &ConnectionCredentials) -> Option<Proof> {
    let pidfd = credentials.process_fd()?.as_fd().try_clone_to_owned().ok()?;
    let process = Process::from_pidfd(pidfd).ok().filter(|process| process.pid == claim.pid)?;
    let ids = ids(claim, credentials, &process)?;
    Some(Proof { ids, process })
}

/// `trust-pid`: the number was right once, and the administrator says that is enough.
fn by_number(claim: Claim, credentials: &ConnectionCredentials) -> Result<Proof, String> {
    let process =
        Process::pin(claim.pid).map_err(|_| format!("process {} has ended", claim.pid))?;
    let ids = ids(claim, credentials, &process)
        .ok_or_else(|| format!("the bus does not say the groups of process {}", claim.pid))?;
    Ok(Proof { ids, process })
}

/// The bus tells all groups of the peer but not which is its gid. What the process has now may
/// be another one (a set-group-id program); only one of those at connect counts.
fn ids(claim: Claim, credentials: &ConnectionCredentials, process: &Process) -> Option<Ids> {
    let groups = credentials.unix_group_ids()?.clone();
    let gid = effective_gid(&process.read("status").ok()?)?;
    process.check_alive().ok()?;
    groups.contains(&gid).then_some(Ids { uid: claim.uid, gid, groups })
}

/// The second of the four numbers of `Gid:`.
fn effective_gid(status: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(status);
    let line = text.lines().find_map(|line| line.strip_prefix("Gid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Enough to answer the few calls that everybody may make.
fn unproven(claim: Claim, credentials: &ConnectionCredentials) -> Result<Proof, String> {
    let process = Process::pin(claim.pid)
        .map_err(|_| format!("the process that connected ({}) has ended", claim.pid))?;
    let groups = credentials.unix_group_ids().cloned().unwrap_or_default();
    Ok(Proof { ids: Ids { uid: claim.uid, gid: OVERFLOW, groups }, process })
}

#[cfg(test)]
mod tests {
    use nix::unistd::{getegid, getuid};

    use super::*;

    fn own() -> (Claim, Process) {
        let pid = std::process::id().cast_signed();
        (Claim { pid, uid: getuid().as_raw() }, Process::pin(pid).expect("alive"))
    }

    #[test]
    fn the_gid_must_be_one_of_those_at_connect() {
        let (claim, process) = own();
        let gid = getegid().as_raw();
        let with = |gid: u32| ConnectionCredentials::default().add_unix_group_id(gid);
        let known = ids(claim, &with(gid), &process).expect("the group is listed");
        assert_eq!((known.uid, known.gid), (claim.uid, gid));
        assert!(ids(claim, &with(gid + 1), &process).is_none(), "a later group");
        assert!(ids(claim, &ConnectionCredentials::default(), &process).is_none(), "no groups");
    }

    #[test]
    fn a_claim_needs_a_process_and_a_user() {
        let whole = || ConnectionCredentials::default().set_process_id(7).set_unix_user_id(1000);
        assert_eq!(claim(&whole()), Some(Claim { pid: 7, uid: 1000 }));
        assert_eq!(claim(&whole().set_process_id(0)), None);
        assert_eq!(claim(&whole().set_process_id(u32::MAX)), None);
        assert_eq!(claim(&whole().set_unix_user_id(u32::MAX)), None);
        assert_eq!(claim(&ConnectionCredentials::default().set_process_id(7)), None);
    }

    #[test]
    fn a_descriptor_of_another_process_proves_nothing() {
        let (claim, process) = own();
        let credentials = |claim: Claim| {
            let pidfd = process.pidfd().try_clone_to_owned().expect("descriptors are left");
            ConnectionCredentials::default()
                .set_process_fd(pidfd.into())
                .add_unix_group_id(getegid().as_raw())
                .set_process_id(claim.pid.cast_unsigned())
        };
        assert!(by_descriptor(claim, &credentials(claim)).is_some());
        let other = Claim { pid: claim.pid + 1, ..claim };
        assert!(by_descriptor(other, &credentials(other)).is_none());
    }

    #[test]
    fn the_effective_gid_is_the_second() {
        assert_eq!(effective_gid(b"Name:\tGid: 1\nGid:\t1\t2\t3\t4\n"), Some(2));
        assert_eq!(effective_gid(b"Uid:\t1\t2\t3\t4\n"), None);
    }
}
