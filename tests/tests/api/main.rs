//! Every method of the API over the private socket, as host root and as an ordinary user, on
//! whatever hierarchies this machine has.

mod attach;
mod create;
mod delegate;
mod events;
mod files;
mod freeze;
mod kill;
mod limits;
mod list;
mod names;
mod owner;
mod processes;
mod protocol;
mod remove;
mod rules;
mod stats;
mod watch;
mod when_empty;

use std::process::ExitCode;

use cgroupd_tests::suite;

fn main() -> ExitCode {
    let tests = [
        create::TESTS,
        names::TESTS,
        remove::TESTS,
        stats::TESTS,
        attach::TESTS,
        events::TESTS,
        files::TESTS,
        freeze::TESTS,
        freeze::USER_NS_TESTS,
        kill::TESTS,
        kill::USER_NS_TESTS,
        limits::TESTS,
        list::TESTS,
        processes::TESTS,
        owner::TESTS,
        delegate::TESTS,
        delegate::USER_NS_TESTS,
        rules::TESTS,
        rules::USER_NS_TESTS,
        protocol::TESTS,
        watch::TESTS,
        when_empty::TESTS,
    ];
    suite::main("api", tests.concat())
}
