//! The system bus transport against a real dbus-daemon.

mod daemon;
mod flood;
mod hostile;
mod joining;
mod policy;
mod proof;
mod role;
mod slow;
mod watching;

use std::process::ExitCode;

use cgroupd::helper;
use cgroupd_tests::need::{Need, trial};
use cgroupd_tests::peer;
use libtest_mimic::Arguments;

/// Everything here starts a bus that changes its user.
const BUS: &[Need] = &[Need::Root, Need::Bus];
/// Where the kernel says whose a socket is.
const PROOF: &[Need] = &[Need::Root, Need::Bus, Need::PeerPidfd];
/// Where there are other people's clients, too.
const MONITOR: &[Need] = &[Need::Root, Need::Bus, Need::PeerPidfd, Need::DbusTools];
/// Where a file system can be left unserved, too.
const FUSE: &[Need] = &[Need::Root, Need::Bus, Need::PeerPidfd, Need::Fuse];
/// Where a number can be made to come round, too.
const RECYCLED: &[Need] = &[Need::Root, Need::Bus, Need::PeerPidfd, Need::ChosenPids];

fn main() -> ExitCode {
    if let Some(done) = role::play().or_else(peer::run_if_asked).or_else(helper::run_if_asked) {
        return done;
    }
    let trials = vec![
        trial("joins and answers busctl and dbus-send", BUS, joining::joins_and_answers),
        trial("starts before the bus", BUS, joining::starts_before_the_bus),
        trial("survives a restart of the bus", BUS, joining::survives_a_restart),
        trial("waits for a name that is taken", BUS, joining::waits_for_the_name),
        trial("the bus is stopped by nobody", BUS, joining::the_bus_is_stopped_by_nobody),
        trial("only root may own the name", BUS, policy::only_root_may_own_the_name),
        trial("only calls to known interfaces pass", BUS, policy::only_known_calls_pass),
        trial("callers are proven with their ids", PROOF, proof::callers_are_proven),
        trial("a socket-activated bus is found", PROOF, proof::an_activated_bus_is_found),
        trial("who forked and ended is refused", PROOF, proof::a_forked_connector_is_refused),
        trial("a recycled number is not proven", RECYCLED, proof::a_recycled_number_is_not_proven),
        trial("trust-pid believes the bus", RECYCLED, proof::trust_pid_believes_the_bus),
        trial("a flood delays its sender alone", BUS, flood::a_flood_delays_its_sender_alone),
        trial("a silent flood does, too", BUS, flood::a_silent_flood_delays_its_sender_alone),
        trial("calls are answered in order", BUS, flood::calls_are_answered_in_order),
        trial("clients are freed when they leave", BUS, flood::clients_are_freed),
        trial("one user has its share of clients", BUS, flood::one_user_has_its_share),
        trial("events reach who asked alone", PROOF, watching::events_reach_who_asked_alone),
        trial("a monitor overhears nothing", MONITOR, watching::a_monitor_overhears_nothing),
        trial("who watches may be silent", PROOF, watching::who_watches_may_be_silent),
        trial(
            "watches end when their client leaves",
            PROOF,
            watching::watches_end_when_their_client_leaves,
        ),
        trial("forgeries are ignored", BUS, hostile::forgeries_are_ignored),
        trial("odd messages end nothing", BUS, hostile::odd_messages_end_nothing),
        trial("long messages are refused and not kept", BUS, hostile::long_messages_are_refused),
        trial(
            "case_65_a_slow_call_delays_its_sender_alone",
            FUSE,
            slow::case_65_a_slow_call_delays_its_sender_alone,
        ),
        trial(
            "descriptors_come_with_their_own_call",
            PROOF,
            slow::descriptors_come_with_their_own_call,
        ),
        trial(
            "case_62_descriptors_that_linger_hold_up_nobody",
            BUS,
            slow::case_62_descriptors_that_linger_hold_up_nobody,
        ),
        trial(
            "case_65_a_long_reply_is_an_error_to_its_caller_alone",
            PROOF,
            slow::case_65_a_long_reply_is_an_error_to_its_caller_alone,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
