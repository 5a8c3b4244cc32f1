//! What some architectures do to logits and other values, and outputs without a matrix of their own.

use gmat_core::arch::Placement;
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;

use super::float;

/// What becomes of `lm_head` in architectures whose runtimes always take the embedding instead;
/// `None` for any other tensor.
///
/// # Errors
/// `Unsupported` if the config says that the matrix is not the embedding.
pub(crate) fn no_output(tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
    if tensor != "lm_head.weight" && !tensor.ends_with(".lm_head.weight") {
        return Ok(None);
    }
    if config.bool(&["tie_word_embeddings"])? == Some(false) {
        return Err(Error::unsupported(format!(
            "`tie_word_embeddings` in {} is false, but runtimes take the embedding as output matrix in models of this kind",
            config.place_of(&["tie_word_embeddings"])
        )));
    }
    Ok(Some(Placement::Drop("a copy of the embedding, which runtimes use in its place")))
}

/// Writes a number of the config, or else the default of the model class, under a key.
///
/// # Errors
/// `Malformed`, naming the key of the config, if it is no 32-bit float.
pub(crate) fn write_factor(
    config: &ModelConfig,
    from: &str,
    default: Option<f64>,
    key: String,
    out: &mut Meta,
) -> Result<()> {
    // An explicit null is no value, whatever the class has.
    let default = default.filter(|_| !config.is_stated(from));
    if let Some(value) = config.f64(&[from])?.or(default) {
        out.set(key, float(from, value)?);
    }
    Ok(())
}

/// Writes the factors of the Granite models; the defaults are those of their classes.
///
/// # Errors
/// `Malformed`, naming the key of the config.
pub(crate) fn write_granite_factors(
    config: &ModelConfig,
    arch: &str,
    out: &mut Meta,
) -> Result<()> {
    for (from, to) in [
        ("attention_multiplier", "attention.scale"),
        ("embedding_multiplier", "embedding_scale"),
        ("residual_multiplier", "residual_scale"),
        ("logits_scaling", "logit_scale"),
    ] {
        write_factor(config, from, Some(1.0), format!("{arch}.{to}"), out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gmat_core::ErrorKind;
    use serde_json::json;

    #[test]
    fn a_tied_output_is_left_out_and_any_other_refused() {
        let config = |tied: serde_json::Value| {
            let keys = json!({"tie_word_embeddings": tied});
            ModelConfig::from_map(keys.as_object().cloned().unwrap_or_default())
        };
        for tensor in ["lm_head.weight", "language_model.lm_head.weight"] {
            for tied in [json!(true), json!(null)] {
                let placed = no_output(tensor, &config(tied)).ok().flatten();
                assert!(matches!(placed, Some(Placement::Drop(_))), "{tensor}");
            }
            let error = no_output(tensor, &config(json!(false))).err();
            assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Unsupported));
        }
        assert_eq!(no_output("my_lm_head.weight", &config(json!(false))).ok(), Some(None));
    }
}
