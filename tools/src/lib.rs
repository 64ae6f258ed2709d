//! The facade of mokume: the driver that strings the rooms together, and the command line.

pub mod cli;
pub mod demo;
pub mod driver;
pub mod report;
