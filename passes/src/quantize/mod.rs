//! Few bits per number: choosing codes and scales, and the integer products that read them.

pub mod abq;
pub mod calibrate;
mod clip;
pub mod embedding;
pub mod epilogue;
pub mod fuse;
pub mod keep;
pub mod mixed;
mod plan;
mod product;
pub mod quantize_state;
pub mod round;
pub mod rounder;
pub mod sites;
pub mod smooth;
pub mod smooth_conv;
pub mod stream;
pub mod tied;
pub mod weights;

#[allow(clippy::module_inception, reason = "a pass and its file have one name")]
mod quantize;
#[cfg(test)]
mod tests;
pub use self::quantize::Quantize;
