//! The names that TensorPort gives tensors in files with several of them.

/// The name without a leading `model.`.
pub(crate) fn without_model(name: &str) -> String {
    name.strip_prefix("model.").unwrap_or(name).to_owned()
}
