//! Who is asking. A connection becomes a [`Caller`] once, from what the kernel says of the
//! peer and nothing else; what can change is read again per request. Any failure refuses.

mod credentials;
mod elsewhere;
mod host;
mod now;
mod passed;
mod pid_ns;
mod process;
mod proof;
mod scope;
mod unix_diag;

pub use credentials::{Caller, Ids, Presumed, Refused};
pub use host::Host;
pub use now::Now;
pub use passed::{Moment, Passed};
pub use process::{Process, flags};
pub use proof::{CannotProve, check_kernel};
pub use scope::{Place, Places, Scope, UNKNOWN_PLACE};

pub use crate::sys::namespace::NsId;
