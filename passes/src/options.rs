//! Options of passes: a struct with defaults and a description of every field, declared once.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Options that a pipeline can set; declare them with [`options!`](macro@crate::options).
pub trait Options: Default + Serialize + DeserializeOwned {
    /// Name and description of every option, in declaration order.
    const DOCS: &'static [(&'static str, &'static str)];
}

/// Declares a pass: a struct of options with defaults, all of which a pipeline can set by name.
#[macro_export]
macro_rules! options {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $fdoc:literal])+ $field:ident: $ty:ty = $default:expr),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[doc = $fdoc])+ pub $field: $ty),* }
        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default),* }
            }
        }
        impl $crate::options::Options for $name {
            const DOCS: &'static [(&'static str, &'static str)] = &[$((stringify!($field), concat!($($fdoc),+).trim_ascii())),*];
        }
    };
}
