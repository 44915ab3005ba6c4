//! Sockets and D-Bus. A peer becomes a connection here; nothing in it knows cgroups.
//!
//! A connection comes in through [`PrivateSocket`], is charged to its account, shakes hands
//! ([`sasl`]), and is then served by zbus behind a `guard` that lets only whole, well-formed
//! messages ([`header`]) through, one at a time.
mod bind;
mod closing;
mod connection;
mod directory;
mod guard;
pub mod header;
mod helpers;
mod inbox;
mod limits;
mod parked;
mod private;
pub mod sasl;
mod socket;
pub mod system_bus;
mod taking;
mod violation;

pub use connection::{Disconnect, serve_stream};
pub use limits::{Limits, raise_open_files};
pub(crate) use parked::{Parked, PeerSocket};
pub use private::{BindError, Peers, PrivateSocket, SocketFile};
pub use violation::Violation;
