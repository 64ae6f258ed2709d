//! One form for everything that can be said in many: what the other passes match on.

pub mod dce;
