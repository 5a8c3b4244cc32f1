//! Chat templates, wherever a model keeps them.

use gmat_core::token::{FileSet, Template};
use gmat_core::{Error, Result};
use serde_json::Value;

use super::files;

/// Folder of templates beside the default one, `<name>.jinja`.
const MORE: &str = "additional_chat_templates";

/// The templates of a model: those `configured` (under `chat_template` in `tokenizer_config.json`), else `chat_template.jinja` with
/// `additional_chat_templates/`, else `chat_template.json`.
///
/// # Errors
/// `Malformed` if a template is not a text, or two have the same name.
pub(crate) fn templates(files: &dyn FileSet, configured: &Value) -> Result<Vec<Template>> {
    let found = match configured {
        Value::Null => beside(files)?,
        value => listed(value).map_err(|error| error.context("file `tokenizer_config.json`"))?,
    };
    let mut templates: Vec<Template> = Vec::new();
    for template in found {
        if templates.iter().any(|other| other.name == template.name) {
            return Err(Error::malformed(format!("two chat templates called `{}`", template.name)));
        }
        templates.push(template);
    }
    Ok(templates)
}

fn beside(files: &dyn FileSet) -> Result<Vec<Template>> {
    if let Some(text) = files::text(files, "chat_template.jinja")? {
        let mut templates = vec![template("default", text)];
        for file in files.names_in(MORE)? {
            if let Some(name) = file.strip_suffix(".jinja")
                && let Some(text) = files::text(files, &format!("{MORE}/{file}"))?
            {
                templates.push(template(name, text));
            }
        }
        return Ok(templates);
    }
    let json: Option<Value> = files::json(files, "chat_template.json")?;
    match json.as_ref().and_then(|json| json.get("chat_template")) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => listed(value).map_err(|error| error.context("file `chat_template.json`")),
    }
}

/// A text, a list of names and texts, or an object from names to texts.
fn listed(value: &Value) -> Result<Vec<Template>> {
    let wrong = || Error::malformed("`chat_template` is neither a text nor a list of named texts");
    match value {
        Value::String(text) => Ok(vec![template("default", text.clone())]),
        Value::Array(list) => list
            .iter()
            .map(|entry| {
                let text = |key| entry.get(key).and_then(Value::as_str).ok_or_else(wrong);
                Ok(template(text("name")?, text("template")?.to_owned()))
            })
            .collect(),
        Value::Object(map) => map
            .iter()
            .map(|(name, text)| Ok(template(name, text.as_str().ok_or_else(wrong)?.to_owned())))
            .collect(),
        _ => Err(wrong()),
    }
}

/// Names become parts of GGUF keys, where other characters would be trouble.
fn template(name: &str, text: String) -> Template {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    Template { name: name.chars().map(letter).collect(), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shapes_of_templates_are_read() {
        let names = |json: Value| {
            listed(&json).map(|list| list.into_iter().map(|t| t.name).collect::<Vec<_>>())
        };
        assert_eq!(names("text".into()).unwrap(), ["default"]);
        let list = serde_json::json!([{"name":"default","template":"a"},{"name":"tool use","template":"b"}]);
        assert_eq!(names(list).unwrap(), ["default", "tool_use"]);
        assert_eq!(names(serde_json::json!({"rag": "x"})).unwrap(), ["rag"]);
        assert!(names(serde_json::json!(3)).is_err());
        assert!(names(serde_json::json!([{"name": "x"}])).is_err());
    }
}
