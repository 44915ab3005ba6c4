//! The private socket in front of hostile peers: raw bytes against a transport that runs in this
//! process, on a real socket in a directory of its own. Names start with the attack case.
//!
//! One test at a time: they look at this process' memory, descriptors and processor time.

mod clients;
mod connections;
mod descriptors;
mod floods;
mod handshake;
mod identity;
mod message;
mod messages;
mod peer;
mod properties;
mod server;
mod socket_file;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// What a test needs and this machine does not have.
type Prerequisite = Result<(), String>;

fn main() {
    if cgroupd::helper::run_if_asked().is_some() {
        return;
    }
    if let Some(path) = std::env::var_os(peer::AS_PEER) {
        return peer::be_a_peer(path.as_ref());
    }
    if let Some(path) = std::env::var_os(identity::AS_HEIR) {
        return identity::be_an_heir(path.as_ref());
    }
    if std::env::var_os(identity::AS_SERVER).is_some() {
        return identity::be_a_server();
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    // Servers and their peers are in this process.
    cgroupd::transport::raise_open_files().expect("setrlimit");
    let trials = [
        handshake::trials(),
        identity::trials(),
        messages::trials(),
        descriptors::trials(),
        connections::trials(),
        floods::trials(),
        clients::trials(),
        socket_file::trials(),
        properties::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}

/// A test that always runs; it fails by panicking.
fn test(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

/// A test that is listed as ignored where `needs` says why, and fails there when
/// `CGROUPD_REQUIRE` names `what`.
fn test_with(name: &str, what: &'static str, needs: fn() -> Prerequisite, test: fn()) -> Trial {
    Trial::ignorable_test(name, move || match needs() {
        Ok(()) => {
            test();
            Ok(Completion::Completed)
        }
        Err(reason) if is_required(what) => Err(Failed::from(reason)),
        Err(reason) => Ok(Completion::ignored_with(reason)),
    })
}

fn is_required(what: &str) -> bool {
    let required = std::env::var("CGROUPD_REQUIRE").unwrap_or_default();
    required.split(',').any(|required| required == what)
}

/// Acting as several users takes root.
fn root() -> Prerequisite {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err("needs root".to_owned()) }
}
