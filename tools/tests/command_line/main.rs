//! The program `mokume` as its user meets it: what it says, and what it leaves behind.
#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
mod desk;

mod calibration;
mod commands;
mod errors;
mod eval;
#[cfg(unix)]
mod killed;
mod report;
mod same_bytes;
