//! Recognition: subgraphs that exporters write out in small ops become the composites they mean.

pub mod declare_state;
pub mod mask;
pub mod pattern;
pub mod recognize_activation;
pub mod recognize_attention;
pub mod recognize_norm;
pub mod recognize_rotary;
