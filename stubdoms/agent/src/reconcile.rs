//! From the configuration to what is there: each object is a small machine, and each step moves every
//! one as far as it can go.

pub(crate) mod base_os;
pub(crate) mod contents;
pub(crate) mod domains;
pub(crate) mod networks;
pub(crate) mod problem;
pub(crate) mod volumes;

/// Whether a text can name an object. It is a UUID from any controller that means well; what matters
/// here is that it can be echoed.
pub(crate) fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128
}
