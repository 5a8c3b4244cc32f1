//! Writes the `general.*` keys of a model.

use serde_json::{Map, Value as Json};

use super::card::{ModelCard, Origin};
use super::naming::{NameParts, Parameters, title};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::format::gguf::{Array, Meta, Value};

/// What is known of a model beside its tensors.
#[derive(Debug, Clone, Copy)]
pub struct ModelFacts<'a> {
    /// The value of `general.architecture`.
    pub architecture: &'a str,
    /// Name of the directory the model is in, without path.
    pub dir_name: Option<&'a str>,
    /// `config.json`.
    pub config: &'a ModelConfig,
    /// `generation_config.json`.
    pub generation_config: Option<&'a [u8]>,
    /// `README.md`.
    pub model_card: Option<&'a str>,
    /// Counted over the tensors of the file to be written.
    pub parameters: Parameters,
}

/// Writes every `general.*` key except those that depend on the types of the tensors
/// (`general.file_type`, `general.quantization_version`).
///
/// Returns what could not be used, for the user to know: side files are no reason to refuse a
/// model.
///
/// # Errors
/// `Limit` if a count does not fit its key.
pub fn write(facts: &ModelFacts<'_>, out: &mut Meta) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    out.set("general.architecture", facts.architecture);
    out.set("general.type", "model");
    write_sampling(facts.generation_config, out, &mut notes);
    let card = facts.model_card.map_or_else(
        || Ok(ModelCard::default()),
        |readme| ModelCard::parse(readme, facts.parameters.total()),
    );
    let card = card.unwrap_or_else(|error| {
        notes.push(format!("the model card is not used: {error}"));
        ModelCard::default()
    });
    write_identity(facts, &card, out);
    write_rights(&card, out);
    write_origins("base_model", card.base_models.as_deref(), out)?;
    write_origins("dataset", card.datasets.as_deref(), out)?;
    set_list(out, "general.tags", &card.tags);
    set_list(out, "general.languages", &card.languages);
    Ok(notes)
}

/// Names: of the card, else of the id the config was saved under, else of the directory.
fn write_identity(facts: &ModelFacts<'_>, card: &ModelCard, out: &mut Meta) {
    let saved_as = facts.config.root().get("_name_or_path").and_then(Json::as_str);
    // More than one slash is a path on somebody's machine.
    let saved_as = saved_as.filter(|id| !id.is_empty() && id.matches('/').count() <= 1);
    let directory = facts.dir_name.filter(|name| !matches!(*name, "" | "." | ".."));
    let sources: Vec<NameParts> = [saved_as, directory]
        .into_iter()
        .flatten()
        .map(|id| NameParts::of(id, facts.parameters.total()))
        .collect();
    let first = |stated: &Option<String>, part: fn(&NameParts) -> &Option<String>| {
        stated.clone().or_else(|| sources.iter().find_map(|parts| part(parts).clone()))
    };
    let name = card.name.clone().or_else(|| {
        let names = sources.iter().filter_map(|parts| parts.name.as_deref()).map(title);
        names.into_iter().find(|name| !name.is_empty())
    });
    let organization = card
        .organization
        .clone()
        .or_else(|| sources.iter().find_map(|parts| parts.organization.as_deref()).map(title));
    let counted = (facts.parameters.total() > 0).then(|| facts.parameters.label());
    set(out, "general.name", name);
    set(out, "general.author", card.author.clone());
    set(out, "general.version", first(&card.version, |parts| &parts.version));
    set(out, "general.organization", organization);
    set(out, "general.finetune", first(&card.finetune, |parts| &parts.finetune));
    set(out, "general.basename", first(&card.basename, |parts| &parts.basename));
    set(out, "general.description", card.description.clone());
    let size_label = first(&card.size_label, |parts| &parts.size_label).or(counted);
    set(out, "general.size_label", size_label);
}

fn write_rights(card: &ModelCard, out: &mut Meta) {
    set(out, "general.license", card.license.clone());
    set(out, "general.license.name", card.license_name.clone());
    set(out, "general.license.link", card.license_link.clone());
    set(out, "general.source.url", card.source_url.clone());
    set(out, "general.source.doi", card.source_doi.clone());
    set(out, "general.source.uuid", card.source_uuid.clone());
    set(out, "general.source.repo_url", card.source_repo_url.clone());
}

fn write_origins(kind: &str, origins: Option<&[Origin]>, out: &mut Meta) -> Result<()> {
    let Some(origins) = origins else { return Ok(()) };
    out.set_count(format!("general.{kind}.count"), origins.len() as u64)?;
    for (i, origin) in origins.iter().enumerate() {
        let fields = [
            ("name", &origin.name),
            ("author", &origin.author),
            ("version", &origin.version),
            ("organization", &origin.organization),
            ("description", &origin.description),
            ("url", &origin.url),
            ("doi", &origin.doi),
            ("uuid", &origin.uuid),
            ("repo_url", &origin.repo_url),
        ];
        for (field, value) in fields {
            set(out, &format!("general.{kind}.{i}.{field}"), value.clone());
        }
    }
    Ok(())
}

/// The type of a sampling key.
#[derive(Clone, Copy)]
enum Kind {
    Integer,
    Real,
    Text,
}

/// Keys of `general.sampling.*` and the keys of `generation_config.json` they come from.
const SAMPLING: [(&str, Kind, &[&str]); 12] = [
    ("sequence", Kind::Text, &["sequence"]),
    ("top_k", Kind::Integer, &["top_k"]),
    ("top_p", Kind::Real, &["top_p"]),
    ("min_p", Kind::Real, &["min_p"]),
    ("xtc_probability", Kind::Real, &["xtc_probability"]),
    ("xtc_threshold", Kind::Real, &["xtc_threshold"]),
    ("temp", Kind::Real, &["temperature"]),
    ("penalty_last_n", Kind::Integer, &["penalty_last_n"]),
    ("penalty_repeat", Kind::Real, &["repetition_penalty", "penalty_repeat"]),
    ("mirostat", Kind::Integer, &["mirostat"]),
    ("mirostat_tau", Kind::Real, &["mirostat_tau"]),
    ("mirostat_eta", Kind::Real, &["mirostat_eta"]),
];

fn write_sampling(json: Option<&[u8]>, out: &mut Meta, notes: &mut Vec<String>) {
    let Some(json) = json else { return };
    let config: Map<String, Json> = match serde_json::from_slice(json) {
        Ok(config) => config,
        Err(error) => {
            notes.push(format!("`generation_config.json` is not used: {error}"));
            return;
        }
    };
    for (key, kind, sources) in SAMPLING {
        let found = sources.iter().find_map(|source| Some((source, config.get(*source)?)));
        let Some((source, value)) = found.filter(|(_, value)| !value.is_null()) else { continue };
        match sampling_value(kind, value) {
            Some(value) => out.set(format!("general.sampling.{key}"), value),
            None => {
                notes.push(format!("`{source}` in `generation_config.json` is not used: `{value}`"))
            }
        }
    }
}

fn sampling_value(kind: Kind, value: &Json) -> Option<Value> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked just here, or rounding is the point"
    )]
    match kind {
        Kind::Text => value.as_str().filter(|text| !text.is_empty()).map(Value::from),
        Kind::Real => value.as_f64().map(|v| v as f32).filter(|v| v.is_finite()).map(Value::F32),
        Kind::Integer => {
            let real = value.as_f64()?;
            (f64::from(real as i32) == real).then_some(Value::I32(real as i32))
        }
    }
}

fn set(out: &mut Meta, key: &str, text: Option<String>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.set(key, text);
    }
}

fn set_list(out: &mut Meta, key: &str, texts: &[String]) {
    if !texts.is_empty() {
        let texts = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        out.set(key, Value::Array(Array::String(texts)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(facts: &ModelFacts<'_>) -> (Vec<String>, Vec<String>) {
        let mut out = Meta::new();
        let notes = write(facts, &mut out).unwrap_or_default();
        let show = |value: &Value| value.as_str().map_or(format!("{value:?}"), str::to_owned);
        (out.entries().iter().map(|(key, value)| format!("{key}={}", show(value))).collect(), notes)
    }

    fn config(json: &str) -> ModelConfig {
        ModelConfig::parse(json.as_bytes()).unwrap_or_default()
    }

    fn facts(config: &ModelConfig) -> ModelFacts<'_> {
        ModelFacts {
            architecture: "x",
            dir_name: None,
            config,
            generation_config: None,
            model_card: None,
            parameters: Parameters::default(),
        }
    }

    #[test]
    fn names_come_from_card_then_config_then_directory() {
        let config = config(r#"{"_name_or_path":"some-org/Thing-7B-v2"}"#);
        let mut facts = facts(&config);
        facts.dir_name = Some("Other-3B-Chat");
        let (keys, _) = written(&facts);
        assert_eq!(
            keys,
            [
                "general.architecture=x",
                "general.type=model",
                "general.name=Thing 7B v2",
                "general.version=v2",
                "general.organization=Some Org",
                "general.finetune=Chat",
                "general.basename=Thing",
                "general.size_label=7B",
            ]
        );
        facts.model_card = Some("---\nname: Card\nsize_label: big\n---\n");
        let (keys, _) = written(&facts);
        assert!(keys.contains(&"general.name=Card".to_owned()));
        assert!(keys.contains(&"general.size_label=big".to_owned()));
    }

    #[test]
    fn paths_are_no_names() {
        for id in ["", "/home/user/model", "a/b/c"] {
            let config = config(&format!(r#"{{"_name_or_path":"{id}"}}"#));
            let mut facts = facts(&config);
            assert_eq!(written(&facts).0.len(), 2, "{id}");
            facts.dir_name = Some("..");
            assert_eq!(written(&facts).0.len(), 2, "{id}");
            facts.dir_name = Some("dir");
            assert_eq!(written(&facts).0.get(2).map(String::as_str), Some("general.name=Dir"));
        }
    }

    #[test]
    fn sampling_values_of_the_wrong_kind_are_noted() {
        let config = ModelConfig::default();
        let mut facts = facts(&config);
        let json = br#"{"top_k":20.0,"top_p":"high","temperature":1e60,"min_p":null,
            "repetition_penalty":1,"mirostat":4294967296,"sequence":"kp"}"#;
        facts.generation_config = Some(json);
        let (keys, notes) = written(&facts);
        assert_eq!(
            keys.get(2..),
            Some(
                [
                    "general.sampling.sequence=kp",
                    "general.sampling.top_k=I32(20)",
                    "general.sampling.penalty_repeat=F32(1.0)",
                ]
                .map(str::to_owned)
                .as_slice()
            )
        );
        assert_eq!(notes.len(), 3, "{notes:?}");
        facts.generation_config = Some(b"[1]");
        facts.model_card = Some("---\nname: [\n---\n");
        assert_eq!(written(&facts).1.len(), 2);
    }

    #[test]
    fn an_empty_list_of_origins_is_counted() {
        let config = ModelConfig::default();
        let mut facts = facts(&config);
        facts.model_card = Some("---\nbase_model: []\ndatasets:\n- a\n---\n");
        let (keys, _) = written(&facts);
        assert_eq!(
            keys.get(2..),
            Some(
                [
                    "general.base_model.count=U32(0)",
                    "general.dataset.count=U32(1)",
                    "general.dataset.0.name=A",
                ]
                .map(str::to_owned)
                .as_slice()
            )
        );
    }
}
