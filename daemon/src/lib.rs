//! cgroupd: a root daemon that manages cgroups for those who cannot, or should not, write
//! cgroupfs themselves.
//!
//! A request goes one way:
//! `transport` turns a socket into a connection, `caller` a connection into a proven identity,
//! `api` a message into a call, `service` tells the verb's story (resolve, open, facts, decide,
//! act), `policy` decides on plain facts, `cgroup` is the mechanism, `sys` the system calls.

pub mod api;
pub mod caller;
pub mod cgroup;
pub mod cli;
pub mod config;
pub mod demo;
mod error;
pub mod log;
pub mod policy;
pub mod service;
pub mod startup;
pub mod sys;
pub mod transport;

pub use error::{Error, Result, is_out_of_resources, is_transient, known, words};
