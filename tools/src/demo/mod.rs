//! The demo: PP-OCR finds and reads lines of text in a picture that the demo draws.

pub mod detect;
pub mod read;
