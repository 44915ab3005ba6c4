//! The interface of cgmanager, as its clients use it: values and texts are the original's, and what
//! it should not have done is refused.

mod cgm;
mod cgroups;
mod files;
mod holes;
mod lxc;
mod old;
mod processes;
mod scm;
mod served;
mod strangers;
mod wire;

use std::process::ExitCode;

use cgroupd_tests::suite;
use cgroupd_tests::world::CGMANAGER;

fn main() -> ExitCode {
    let tests = [
        cgm::TESTS,
        cgroups::TESTS,
        files::TESTS,
        holes::TESTS,
        lxc::TESTS,
        processes::TESTS,
        scm::TESTS,
        scm::USER_NS_TESTS,
        scm::PROXY_TESTS,
        strangers::TESTS,
        strangers::USER_NS_TESTS,
        wire::TESTS,
    ];
    suite::main_configured(("cgmanager", CGMANAGER), tests.concat(), || {
        wire::trials().into_iter().chain(served::trials()).collect()
    })
}
