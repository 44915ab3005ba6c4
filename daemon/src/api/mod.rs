//! D-Bus on one side, the service on the other: a thin adapter, the same for every transport.
mod bus;
mod dispatch;
mod reply;

pub use dispatch::Dispatcher;
