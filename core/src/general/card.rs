//! The model card: what the YAML at the start of a model's `README.md` says.
//!
//! Keys: the "Model card metadata" documentation of the Hugging Face hub, and those that the GGUF
//! converters of the ggml project read (bare, with the prefix `model_`, and a few customs of hubs).

use super::naming::{NameParts, title};
use super::yaml::{self, Node};
use crate::error::{Error, Result, ResultExt};

/// What a card says of its model. Empty texts and lists count as unsaid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the keys of `general.*`")]
pub struct ModelCard {
    pub name: Option<String>,
    pub author: Option<String>,
    pub version: Option<String>,
    pub organization: Option<String>,
    pub description: Option<String>,
    pub finetune: Option<String>,
    pub basename: Option<String>,
    pub size_label: Option<String>,
    pub license: Option<String>,
    pub license_name: Option<String>,
    pub license_link: Option<String>,
    pub source_url: Option<String>,
    pub source_doi: Option<String>,
    pub source_uuid: Option<String>,
    pub source_repo_url: Option<String>,
    /// `None` if the card does not mention any.
    pub base_models: Option<Vec<Origin>>,
    /// `None` if the card does not mention any.
    pub datasets: Option<Vec<Origin>>,
    pub tags: Vec<String>,
    pub languages: Vec<String>,
}

/// A model or dataset that a model was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the keys of `general.base_model.N.*`")]
pub struct Origin {
    pub name: Option<String>,
    pub author: Option<String>,
    pub version: Option<String>,
    pub organization: Option<String>,
    pub description: Option<String>,
    pub url: Option<String>,
    pub doi: Option<String>,
    pub uuid: Option<String>,
    pub repo_url: Option<String>,
}

impl ModelCard {
    /// Reads the card of a model with that many parameters (0 if unknown). A text that does not
    /// start with a line `---` has no metadata.
    ///
    /// # Errors
    /// `Malformed`, `Limit` or `Unsupported` if the metadata cannot be read.
    pub fn parse(readme: &str, parameters: u64) -> Result<Self> {
        let Some(front) = front_matter(readme)? else { return Ok(Self::default()) };
        let root = yaml::parse(&front).context(|| "metadata of `README.md`")?;
        if !matches!(root, Node::Map(_) | Node::Null) {
            return Err(Error::malformed("the metadata of `README.md` is no mapping"));
        }
        let text = |keys: &[&str]| keys.iter().find_map(|key| words(root.value(key)?));
        let origins = |keys: &[&str]| {
            let found = keys.iter().find_map(|key| root.value(key))?;
            let entries = match found {
                Node::List(entries) => entries.as_slice(),
                single @ Node::Text(_) => std::slice::from_ref(single),
                Node::Null | Node::Map(_) => &[],
            };
            Some(entries.iter().map(|entry| Origin::of(entry, parameters)).collect())
        };
        let list = |keys: [&str; 2]| keys.iter().flat_map(|key| texts(root.value(key))).collect();
        Ok(Self {
            name: text(&["name", "model_name"]),
            author: text(&["author", "model_author", "model_creator"]),
            version: text(&["version", "model_version"]),
            organization: text(&["organization", "model_organization"]),
            description: text(&["description", "model_description"]),
            finetune: text(&["finetune", "model_finetune"]),
            basename: text(&["basename", "model_basename", "model_type"]),
            size_label: text(&["size_label", "model_size_label"]),
            license: text(&["license"]),
            license_name: text(&["license_name"]),
            license_link: text(&["license_link"]),
            source_url: text(&["url", "model_url"]),
            source_doi: text(&["doi", "model_doi"]),
            source_uuid: text(&["uuid", "model_uuid"]),
            source_repo_url: text(&["repo_url", "model_repo_url"]),
            base_models: origins(&["base_model", "base_models", "base_model_sources"]),
            datasets: origins(&["datasets", "dataset", "dataset_sources"]),
            tags: list(["tags", "pipeline_tag"]),
            languages: list(["languages", "language"]),
        })
    }
}

impl Origin {
    /// From an id on the hub, an address, or a mapping of the fields.
    fn of(entry: &Node, parameters: u64) -> Self {
        let id = match entry {
            Node::Text(id) => id.as_str(),
            other => {
                let text = |key: &str| other.value(key).and_then(words);
                return Self {
                    name: text("name"),
                    author: text("author"),
                    version: text("version"),
                    organization: text("organization"),
                    description: text("description"),
                    url: text("url"),
                    doi: text("doi"),
                    uuid: text("uuid"),
                    repo_url: text("repo_url"),
                };
            }
        };
        let is_address =
            ["http://", "https://", "ssh://"].iter().any(|start| id.starts_with(start));
        let hub_id = if is_address { hub_id(id) } else { Some(id) };
        let parts = hub_id.map(|id| NameParts::of(id, parameters)).unwrap_or_default();
        let repo_url = match (&parts.organization, &parts.name) {
            _ if is_address => Some(id.to_owned()),
            (Some(owner), Some(name)) => Some(format!("https://huggingface.co/{owner}/{name}")),
            _ => None,
        };
        Self {
            name: parts.name.as_deref().map(title),
            organization: parts.organization.as_deref().map(title),
            version: parts.version,
            repo_url,
            ..Self::default()
        }
    }
}

/// `owner/name` of an address on the hub.
fn hub_id(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://").filter(|(scheme, _)| scheme.starts_with("http"))?;
    let id = rest.strip_prefix("huggingface.co/")?;
    let (owner, name) = id.split_once('/')?;
    (!owner.is_empty() && !name.is_empty() && !name.contains('/')).then_some(id)
}

/// A scalar, or a list of them with commas, as text.
fn words(node: &Node) -> Option<String> {
    let text = match node {
        Node::Text(text) => text.clone(),
        Node::List(_) => texts(Some(node)).join(","),
        Node::Null | Node::Map(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// The scalars of a list; a scalar is a list of one.
fn texts(node: Option<&Node>) -> Vec<String> {
    match node {
        Some(Node::List(nodes)) => nodes.iter().filter_map(Node::text).map(str::to_owned).collect(),
        Some(Node::Text(text)) if !text.is_empty() => vec![text.clone()],
        _ => Vec::new(),
    }
}

/// The lines between the two `---` at the start of a text.
fn front_matter(readme: &str) -> Result<Option<String>> {
    let mut lines = readme.strip_prefix('\u{feff}').unwrap_or(readme).lines();
    if lines.next().map(str::trim_end) != Some("---") {
        return Ok(None);
    }
    let mut yaml = String::new();
    for line in lines {
        if line.trim_end() == "---" {
            return Ok(Some(yaml));
        }
        // Tabs are no indentation in YAML, but cards have them.
        yaml.push_str(&line.replace('\t', "  "));
        yaml.push('\n');
    }
    Err(Error::malformed("the metadata at the start of `README.md` has no end (a line `---`)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(yaml: &str) -> ModelCard {
        ModelCard::parse(&format!("---\n{yaml}\n---\n# Text\n"), 7_000_000_000).unwrap_or_default()
    }

    #[test]
    fn keys_and_their_aliases() {
        let card = card(
            "model_name: X\nmodel_creator: Me\nlicense: [mit, other]\nlicense_name: ~\nversion: 1.10\n\
             language: no\nlanguages: [en]\ntags:\n- a\n- {b: c}\n-\npipeline_tag: text-generation\n\
             model-index:\n- name: X\n  results:\n  - task:\n      type: t\n",
        );
        assert_eq!(card.name.as_deref(), Some("X"));
        assert_eq!(card.author.as_deref(), Some("Me"));
        assert_eq!(card.license.as_deref(), Some("mit,other"));
        assert_eq!(card.license_name, None);
        assert_eq!(card.version.as_deref(), Some("1.10"));
        assert_eq!(card.languages, ["en", "no"]);
        assert_eq!(card.tags, ["a", "text-generation"]);
        assert_eq!(card.base_models, None);
    }

    #[test]
    fn origins() {
        let card = card(
            "base_model:\n- meta-llama/Llama-2-7b-v0.3\n- https://huggingface.co/a/B-1\n\
             - https://example.org/a/b\n- ssh://huggingface.co/a/b\n- gpt2\n- {name: N, url: U}\n- [x]\n\
             datasets: a/b-c",
        );
        let Some(models) = card.base_models else { unreachable!() };
        let field = |pick: fn(&Origin) -> &Option<String>| -> Vec<&str> {
            models.iter().map(|origin| pick(origin).as_deref().unwrap_or("-")).collect()
        };
        assert_eq!(field(|o| &o.name), ["Llama 2 7b v0.3", "B 1", "-", "-", "Gpt2", "N", "-"]);
        assert_eq!(field(|o| &o.organization), ["Meta Llama", "A", "-", "-", "-", "-", "-"]);
        assert_eq!(field(|o| &o.version), ["v0.3", "1", "-", "-", "-", "-", "-"]);
        assert_eq!(
            field(|o| &o.repo_url),
            [
                "https://huggingface.co/meta-llama/Llama-2-7b-v0.3",
                "https://huggingface.co/a/B-1",
                "https://example.org/a/b",
                "ssh://huggingface.co/a/b",
                "-",
                "-",
                "-"
            ]
        );
        assert_eq!(field(|o| &o.url), ["-", "-", "-", "-", "-", "U", "-"]);
        let datasets = card.datasets.unwrap_or_default();
        assert_eq!(datasets.first().and_then(|d| d.name.as_deref()), Some("B C"));
    }

    #[test]
    fn texts_without_metadata_and_broken_ones() {
        for plain in ["", "# Title\n---\na: b\n---\n", " ---\na: b\n---", "---\n---\n"] {
            assert_eq!(ModelCard::parse(plain, 0).ok(), Some(ModelCard::default()), "{plain:?}");
        }
        for broken in ["---\na: b\n", "---\na: [\n---\n", "---\n- a\n---\n", "---\ntext\n---\n"] {
            assert!(ModelCard::parse(broken, 0).is_err(), "{broken:?}");
        }
        let windows = ModelCard::parse("\u{feff}--- \r\nlicense:\tmit\r\n---\r\n", 0);
        assert_eq!(windows.ok().and_then(|card| card.license).as_deref(), Some("mit"));
    }
}
