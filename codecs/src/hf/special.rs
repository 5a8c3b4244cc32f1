//! Which tokens have a role, and which of them a runtime adds around a text.
//!
//! The rules are those of the reference converter, so that the same files give the same ids.

use std::collections::BTreeMap;

use gmat_core::config::ModelConfig;
use gmat_core::token::Special;
use gmat_core::{Error, Result};
use serde_json::Value;

use super::config::TokenizerConfig;
use super::json::{Tokenizer, kind, parts};

/// Ids of tokens with a role, and what is added around a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Specials {
    pub(crate) ids: BTreeMap<Special, u32>,
    pub(crate) add_bos: Option<bool>,
    pub(crate) add_eos: Option<bool>,
    pub(crate) add_sep: Option<bool>,
}

/// Roles that are looked for in every model.
const ROLES: [Special; 7] = [
    Special::Bos,
    Special::Eos,
    Special::Unk,
    Special::Sep,
    Special::Pad,
    Special::Cls,
    Special::Mask,
];

/// Finds the special tokens: by name in `tokenizer_config.json` among the added tokens of
/// `tokenizer.json`, then by id in `config.json`; the first one counts. Ids of `rows` and above are
/// passed over.
///
/// # Errors
/// `Malformed` if a name or id is of the wrong type, or a post-processor is of an unknown one.
pub(crate) fn specials(
    tokenizer: Option<&Tokenizer>,
    config: &TokenizerConfig,
    model: &ModelConfig,
    rows: Option<u64>,
) -> Result<Specials> {
    let mut names = BTreeMap::new();
    for role in ROLES {
        if let Some(name) = config.token(role.name())? {
            names.insert(role, name);
        }
    }
    let mut found = Around { names, known: !config.is_empty(), ..Around::default() };
    if let Some(tokenizer) = tokenizer {
        found.fall_back(Special::Bos, Special::Cls);
        found.fall_back(Special::Eos, Special::Sep);
        for part in parts(&tokenizer.post_processor, "processors") {
            found.post_processor(part)?;
        }
    }
    let mut specials = Specials {
        ids: BTreeMap::new(),
        add_bos: found.bos.or_else(|| config.flag("add_bos_token")),
        add_eos: found.eos.or_else(|| config.flag("add_eos_token")),
        add_sep: found.sep.or_else(|| config.flag("add_sep_token")),
    };
    let added = |text: &String| {
        let tokens = &tokenizer?.added_tokens;
        tokens.iter().find(|token| token.content == *text).map(|token| token.id)
    };
    let fits = |id: &u32| rows.is_none_or(|rows| u64::from(*id) < rows);
    let extra =
        [Special::Eot, Special::Eom].into_iter().filter(|role| found.names.contains_key(role));
    for role in ROLES.into_iter().chain(extra) {
        let named = found.names.get(&role).and_then(added).filter(fits);
        let id = match named {
            Some(id) => Some(id),
            None => config_id(model, role)?.filter(fits),
        };
        if let Some(id) = id {
            specials.ids.insert(role, id);
        }
    }
    // A runtime told to add a token needs its id, even if no config has it.
    for (role, adds, name) in [
        (Special::Bos, specials.add_bos, &found.first),
        (Special::Eos, specials.add_eos, &found.last),
    ] {
        if adds == Some(true)
            && !specials.ids.contains_key(&role)
            && let Some(id) = name.as_ref().and_then(added).filter(fits)
        {
            specials.ids.insert(role, id);
        }
    }
    // There is no such role at run time where it is the token at the beginning anyway.
    if specials.ids.get(&Special::Cls) == specials.ids.get(&Special::Bos) {
        specials.ids.remove(&Special::Cls);
    }
    Ok(specials)
}

/// The id under `<role>_token_id` of `config.json`: of the root, else of a nested text config.
/// A list (several ends of sequence), null and −1 (a common way to say "none") are no id.
fn config_id(model: &ModelConfig, role: Special) -> Result<Option<u32>> {
    let key = format!("{}_token_id", role.name());
    let root = model.root().get(&key).filter(|value| !value.is_null());
    let value = root.or_else(|| model.value(&[&key])).unwrap_or(&Value::Null);
    match value {
        Value::Null | Value::Array(_) => return Ok(None),
        Value::Number(number) => {
            if number.as_i64() == Some(-1) {
                return Ok(None);
            }
            if let Some(id) = number.as_u64().and_then(|id| u32::try_from(id).ok()) {
                return Ok(Some(id));
            }
        }
        _ => {}
    }
    Err(Error::malformed(format!("`{key}` in `config.json` is `{value}`, expected a token id")))
}

/// What stands around a text, as the post-processor has it.
#[derive(Default)]
struct Around {
    /// Texts by role.
    names: BTreeMap<Special, String>,
    /// Whether a config gave the names; without one the post-processor's tokens are believed.
    known: bool,
    bos: Option<bool>,
    eos: Option<bool>,
    sep: Option<bool>,
    first: Option<String>,
    last: Option<String>,
}

impl Around {
    /// Lets `role` be what `other` is, if only that is known.
    fn fall_back(&mut self, role: Special, other: Special) {
        if !self.names.contains_key(&role)
            && let Some(name) = self.names.get(&other).cloned()
        {
            self.names.insert(role, name);
        }
    }

    fn is(&self, role: Special, name: &str) -> bool {
        self.names.get(&role).is_some_and(|other| other == name)
    }

    fn post_processor(&mut self, part: &Value) -> Result<()> {
        match kind(part) {
            // It changes offsets only; a later part may still add tokens.
            "ByteLevel" => {
                self.bos.get_or_insert(false);
                self.eos.get_or_insert(false);
            }
            "TemplateProcessing" => self.template(part),
            "RobertaProcessing" => {
                (self.bos, self.eos, self.sep) = (Some(true), Some(true), Some(true));
                for (role, key, other) in
                    [(Special::Cls, "cls", Special::Bos), (Special::Sep, "sep", Special::Eos)]
                {
                    let named = part.get(key).and_then(|pair| pair.get(0)).and_then(Value::as_str);
                    if let (true, Some(name)) = (self.known, named) {
                        self.names.entry(role).or_insert_with(|| name.to_owned());
                    }
                    self.fall_back(role, other);
                }
            }
            "BertProcessing" => (self.bos, self.eos) = (Some(true), Some(true)),
            other => {
                return Err(Error::unsupported(format!(
                    "`tokenizer.json` has a post-processor of the unknown type `{other}`"
                )));
            }
        }
        Ok(())
    }

    /// A template shows what is added by its first and last element, and between two texts.
    fn template(&mut self, part: &Value) {
        let list = |key| part.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let (single, mut pair) = (list("single"), list("pair"));
        let ends = |piece: Option<&Value>| piece.and_then(token).map(str::to_owned);
        let (mut first, mut last) = (None, None);
        if single.len() > 1 {
            first = ends(single.first());
            last = ends(single.last());
        }
        if let Some(first) = &first {
            if !self.known {
                self.names.insert(Special::Bos, first.clone());
            } else if !self.is(Special::Bos, first) && !self.is(Special::Cls, first) {
                for role in [Special::Bos, Special::Cls] {
                    self.names.entry(role).or_insert_with(|| first.clone());
                }
            }
            self.bos = Some(self.is(Special::Bos, first) || self.is(Special::Cls, first));
        }
        if let Some(last) = &last {
            if self.known && !self.is(Special::Eos, last) {
                // The configured end of sequence is not what ends a text: it ends a turn.
                self.demote_eos();
            }
            self.names.insert(Special::Eos, last.clone());
            self.eos = Some(true);
        }
        // What is between the two texts, without the tokens at both ends.
        if let [head, rest @ ..] = pair
            && first.is_some()
            && token(head) == first.as_deref()
        {
            pair = rest;
        }
        if let [rest @ .., tail] = pair
            && last.is_some()
            && token(tail) == last.as_deref()
        {
            pair = rest;
        }
        if let [a, middle @ .., b] = pair
            && (sequence(a), sequence(b)) == (Some("A"), Some("B"))
            && let [separator, more @ ..] = middle
        {
            let separates = |piece: &Value| {
                token(piece)
                    .is_some_and(|name| self.is(Special::Sep, name) || self.is(Special::Eos, name))
            };
            let adds = (separates(separator) && last.is_none())
                || matches!(more, [second] if separates(second));
            self.sep = Some(adds);
            if adds && self.known {
                self.fall_back(Special::Sep, Special::Eos);
            }
        }
        (self.first, self.last) = (first, last);
    }

    fn demote_eos(&mut self) {
        if let Some(name) = self.names.get(&Special::Eos).cloned() {
            let role = [Special::Eot, Special::Eom]
                .into_iter()
                .find(|role| !self.names.contains_key(role));
            if let Some(role) = role {
                self.names.insert(role, name);
            }
        }
    }
}

/// The text of a template's piece that is a token.
fn token(piece: &Value) -> Option<&str> {
    piece.get("SpecialToken")?.get("id")?.as_str()
}

/// The name of a template's piece that is a text.
fn sequence(piece: &Value) -> Option<&str> {
    piece.get("Sequence")?.get("id")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(post_processor: Value, tokenizer_config: Value, config: Value) -> Result<Specials> {
        struct One(Value);
        impl gmat_core::token::FileSet for One {
            fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
                let here = name == "tokenizer_config.json" && !self.0.is_null();
                Ok(here.then(|| self.0.to_string().into_bytes()))
            }
            fn names(&self) -> Vec<String> {
                Vec::new()
            }
        }
        let tokenizer = json!({
            "model": {}, "post_processor": post_processor,
            "added_tokens": [{"id": 1, "content": "<s>"}, {"id": 2, "content": "</s>"},
                {"id": 3, "content": "<sep>"}, {"id": 4, "content": "<end>"}],
        });
        let tokenizer: Tokenizer = serde_json::from_value(tokenizer).unwrap();
        let names = TokenizerConfig::read(&One(tokenizer_config))?;
        let model = ModelConfig::parse(config.to_string().as_bytes())?;
        specials(Some(&tokenizer), &names, &model, Some(10))
    }

    fn template(single: &[&str], pair: &[&str]) -> Value {
        let piece = |name: &&str| match *name {
            "A" | "B" => json!({"Sequence": {"id": name, "type_id": 0}}),
            _ => json!({"SpecialToken": {"id": name, "type_id": 0}}),
        };
        let list = |names: &[&str]| names.iter().map(piece).collect::<Vec<_>>();
        json!({"type": "TemplateProcessing", "single": list(single), "pair": list(pair)})
    }

    fn ids(specials: &Specials) -> Vec<(&'static str, u32)> {
        specials.ids.iter().map(|(role, id)| (role.name(), *id)).collect()
    }

    #[test]
    fn template_decides_and_config_fills_gaps() {
        let config = json!({"bos_token": "<s>", "eos_token": {"content": "</s>"},
            "add_bos_token": false, "add_eos_token": true});
        let post = template(&["<s>", "A"], &["<s>", "A", "<s>", "B"]);
        let found = run(post, config, json!({"eos_token_id": 9, "pad_token_id": [3, 4]})).unwrap();
        assert_eq!(
            (found.add_bos, found.add_eos, found.add_sep),
            (Some(true), Some(true), Some(false))
        );
        assert_eq!(ids(&found), [("bos", 1), ("eos", 2)]);
    }

    #[test]
    fn byte_level_adds_nothing_and_does_not_overrule() {
        let config = || json!({"bos_token": "<s>", "add_bos_token": true});
        let byte_level = json!({"type": "ByteLevel"});
        let found = run(byte_level.clone(), config(), json!({})).unwrap();
        assert_eq!((found.add_bos, found.add_eos, found.add_sep), (Some(false), Some(false), None));
        for order in [[0, 1], [1, 0]] {
            let both = [byte_level.clone(), template(&["<s>", "A"], &["A", "B"])];
            let list: Vec<_> = order.iter().map(|i| both[*i].clone()).collect();
            let post = json!({"type": "Sequence", "processors": list});
            assert_eq!(run(post, config(), json!({})).unwrap().add_bos, Some(true));
        }
    }

    #[test]
    fn another_token_at_the_end_takes_over() {
        let post = template(&["A", "<end>"], &["A", "<end>", "B", "<end>"]);
        let found = run(post, json!({"eos_token": "</s>"}), json!({})).unwrap();
        assert_eq!(ids(&found), [("eos", 4), ("eot", 2)]);
        assert_eq!((found.add_eos, found.add_sep), (Some(true), Some(false)));
    }

    #[test]
    fn separators_are_found_between_texts() {
        let config = || json!({"cls_token": "<s>", "sep_token": "<sep>"});
        let post = template(&["<s>", "A"], &["<s>", "A", "<sep>", "B"]);
        let found = run(post, config(), json!({})).unwrap();
        assert_eq!(found.add_sep, Some(true));
        assert_eq!(ids(&found), [("bos", 1), ("eos", 3), ("sep", 3)]);
        let roberta = json!({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]});
        let found =
            run(roberta, json!({"bos_token": "<s>", "eos_token": "</s>"}), json!({})).unwrap();
        assert_eq!(ids(&found), [("bos", 1), ("eos", 2), ("sep", 2)]);
    }

    #[test]
    fn an_unnamed_first_token_begins_a_text() {
        let post = template(&["<s>", "A"], &["<s>", "A", "B"]);
        let found = run(post.clone(), json!({"eos_token": "</s>"}), json!({})).unwrap();
        assert_eq!((ids(&found), found.add_bos), (vec![("bos", 1), ("eos", 2)], Some(true)));
        // Another beginning is named, so this one is a class token, which runtimes put there too.
        let found = run(post, json!({"bos_token": "<sep>"}), json!({})).unwrap();
        assert_eq!((ids(&found), found.add_bos), (vec![("bos", 3), ("cls", 1)], Some(true)));
    }

    #[test]
    fn without_a_config_the_template_is_believed() {
        let post = template(&["<s>", "A", "</s>"], &[]);
        let found = run(post, Value::Null, json!({})).unwrap();
        assert_eq!(ids(&found), [("bos", 1), ("eos", 2)]);
        assert_eq!((found.add_bos, found.add_eos), (Some(true), Some(true)));
    }

    #[test]
    fn ids_of_the_config_are_checked() {
        let of = |value: Value| run(Value::Null, json!({}), json!({"bos_token_id": value}));
        assert_eq!(ids(&of(json!(7)).unwrap()), [("bos", 7)]);
        for none in [json!(null), json!([1, 2]), json!(-1), json!(10)] {
            assert!(ids(&of(none).unwrap()).is_empty());
        }
        for wrong in [json!("1"), json!(true), json!(-2), json!(1.5), json!(1u64 << 40)] {
            assert!(of(wrong).is_err());
        }
        let nested = json!({"bos_token_id": null, "text_config": {"bos_token_id": 5}});
        let found = run(Value::Null, json!({}), nested).unwrap();
        assert_eq!(ids(&found), [("bos", 5)]);
        let unknown = run(json!({"type": "Mystery"}), json!({}), json!({}));
        assert!(unknown.unwrap_err().to_string().contains("Mystery"));
    }
}
