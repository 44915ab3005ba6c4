//! Log lines.
mod audit;
mod refusals;
pub use audit::Audit;
pub use refusals::{Admission, Refusals};
