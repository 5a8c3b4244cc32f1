//! How embedding models make one vector of those of all tokens.
//!
//! Files: `modules.json` and the `config.json` of its pooling module, as the `sentence-transformers`
//! library writes them. Values: `pooling_type` of the ggml project's llama.cpp.

use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;
use serde_json::Value;

/// The list of modules.
const MODULES: &str = "modules.json";

/// Writes the kind of pooling, if the model says one.
///
/// # Errors
/// `Malformed` if the files are not what they should be; `Unsupported` for another kind of pooling.
pub(crate) fn write_pooling(config: &ModelConfig, arch: &str, out: &mut Meta) -> Result<()> {
    let modules = config.beside(MODULES).and_then(Value::as_array);
    let text = |module: &Value, key: &str| module.get(key)?.as_str().map(str::to_owned);
    let pooling = modules.into_iter().flatten().find_map(|module| {
        let kind = text(module, "type")?;
        kind.ends_with("Pooling").then(|| text(module, "path").unwrap_or_default())
    });
    let Some(folder) = pooling else { return Ok(()) };
    let name = format!("{folder}/config.json");
    let Some(Value::Object(keys)) = config.beside(&name) else {
        return Err(Error::malformed(format!(
            "`{MODULES}` names `{folder}`, but there is no `{name}`"
        ))
        .with_hint("get that file as well and import again"));
    };
    let own = ModelConfig::from_map(keys.clone());
    let set = |key: &str| own.bool(&[key]).map(|value| value.unwrap_or(false));
    let mode = own.str(&["pooling_mode"])?;
    let kind = if set("pooling_mode_mean_tokens")? {
        1u32
    } else if set("pooling_mode_cls_token")? {
        2
    } else if set("pooling_mode_lasttoken")? {
        3
    } else {
        match mode {
            Some("mean") => 1,
            Some("cls") => 2,
            Some("lasttoken") => 3,
            _ => {
                return Err(Error::unsupported(format!(
                    "`{name}` wants a pooling that runtimes do not know; they know mean, cls and lasttoken"
                )));
            }
        }
    };
    out.set(format!("{arch}.pooling_type"), kind);
    Ok(())
}
