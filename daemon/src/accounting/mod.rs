//! What peers hold and cause is charged to their accounts before it exists, and given back when the
//! charge is dropped. Each resource has a bound for an account and for all together, and host root
//! has a share of its own that nobody else can use up.
//!
//! [`Accounts::charge`] refuses what is beyond a bound; with [`Turns`] a caller waits instead. [`Lines`]
//! limits how often something is logged for an account.

mod account;
mod bounds;
mod ledger;
mod lines;
mod turns;

pub use account::Account;
pub use bounds::{Bounds, Resource};
pub use ledger::{Accounts, Charge, Full};
pub use lines::{Admission, Lines};
pub use turns::{Turn, Turns};

pub(crate) use account::Group;
