//! Cases that must be refused, or survived, and their twins that differ in one fact.

mod closed;
mod crash;
mod exhausted;
mod exiting;
mod halves;
mod limits;
mod logging;
mod moving;
mod nobody;
mod prefix;
mod quota;
mod races;
mod recycled;
mod recycled_peer;
mod same_user;
mod settings;
mod sharing;
mod stopping;
mod table;
mod trees;
mod unflushed;
mod waiting;
mod watching;

use std::process::ExitCode;

use cgroupd_tests::suite;
use cgroupd_tests::world::CGMANAGER;

fn main() -> ExitCode {
    let tests = [
        nobody::TESTS,
        prefix::TESTS,
        prefix::USER_NS_TESTS,
        races::TESTS,
        recycled::TESTS,
        recycled::NUMBER_TESTS,
        recycled_peer::NUMBER_TESTS,
        recycled_peer::TESTS,
        recycled_peer::CONTAINER_TESTS,
        same_user::NUMBER_TESTS,
        same_user::V1_TESTS,
        moving::TESTS,
        settings::TESTS,
        trees::TESTS,
        limits::TESTS,
        logging::TESTS,
        quota::TESTS,
        stopping::TESTS,
        watching::TESTS,
        stopping::PYTHON_TESTS,
        exhausted::TESTS,
        exiting::TESTS,
        closed::TESTS,
        closed::USER_NS_TESTS,
        halves::TESTS,
        halves::USER_NS_TESTS,
    ];
    suite::main_configured(("attacks", CGMANAGER), tests.concat(), || {
        let own = [
            quota::trials(),
            sharing::trials(),
            crash::trials(),
            stopping::trials(),
            unflushed::trials(),
            waiting::trials(),
            watching::trials(),
        ];
        own.into_iter().flatten().collect()
    })
}
