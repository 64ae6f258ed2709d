//! The facade of mokume: the driver that strings the rooms together, and the command line.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the room that talks")]

pub mod cli;
pub mod demo;
pub mod driver;
pub mod report;
