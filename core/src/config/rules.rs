//! Rules that give tensors a type by name: `[{"match": REGEX, "type": NAME}]`.

use std::fmt;

use regex_lite::{Regex, RegexBuilder};
use serde::Serialize;
use serde_json::Value;

use super::fields::Fields;
use super::type_spec::TypeSpec;
use crate::error::{Error, Result};

/// Bytes that a compiled expression may take: far more than anything one would write by hand.
const REGEX_SIZE: usize = 1 << 20;

/// One rule: tensors whose name matches get the type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// A regular expression that is searched in names, upper or lower case.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Name of a type or recipe (which means its base type).
    #[serde(rename = "type")]
    pub ty: TypeSpec,
}

impl Rule {
    /// A rule in the form of the command line, `REGEX=TYPE`.
    ///
    /// # Errors
    /// `Config` if a part is missing or the expression is not valid.
    pub fn parse(text: &str) -> Result<Self> {
        // Names of types have no `=`, expressions may.
        let parts =
            text.rsplit_once('=').filter(|(pattern, ty)| !pattern.is_empty() && !ty.is_empty());
        let (pattern, type_name) = parts.ok_or_else(|| {
            Error::config(format!("`{text}` is not of the form REGEX=TYPE"))
                .with_hint("such as `attn_v=q8_0` or `blk\\.(0|1)\\.ffn_down=q6_k`")
        })?;
        let rule = Self { pattern: pattern.to_owned(), ty: type_name.into() };
        rule.regex().map(|_| rule)
    }

    /// The compiled expression.
    ///
    /// # Errors
    /// `Config`, with what is wrong in it.
    pub fn regex(&self) -> Result<Regex> {
        name_pattern(&self.pattern)
    }
}

/// In the form of the command line.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.pattern, self.ty)
    }
}

/// A regular expression that is searched in names, upper or lower case.
///
/// # Errors
/// `Config`, with what is wrong in it.
pub fn name_pattern(pattern: &str) -> Result<Regex> {
    RegexBuilder::new(pattern).case_insensitive(true).size_limit(REGEX_SIZE).build().map_err(
        |error| {
            Error::config(format!("`{pattern}` is not a valid regular expression"))
                .with_source(error)
        },
    )
}

/// The list under `key`.
pub(super) fn rules(fields: &Fields<'_>, key: &str) -> Result<Vec<Rule>> {
    let entries = fields.list(key)?.iter().enumerate();
    entries.map(|(at, entry)| rule(entry, &format!("{}[{at}]", fields.path_of(key)))).collect()
}

fn rule(value: &Value, path: &str) -> Result<Rule> {
    let fields = Fields::new(value, path, &["match", "type", "params"])?;
    let pattern = fields.text("match")?.filter(|text| !text.is_empty());
    let pattern =
        pattern.ok_or_else(|| fields.wrong("match", "a regular expression for tensor names"))?;
    let ty = fields.value("type").filter(|value| value.as_str() != Some(""));
    let ty = ty.ok_or_else(|| fields.wrong("type", "the name of a type"))?;
    let mut ty = TypeSpec::parse(ty, &fields.path_of("type"))?;
    if let Some(params) = fields.map("params")? {
        if ty.params.is_some() {
            return Err(fields.wrong("params", "nothing here: `type` has `params` already"));
        }
        ty.params = Some(params.clone());
    }
    let rule = Rule { pattern: pattern.to_owned(), ty };
    rule.regex().map_err(|error| error.context(format!("`{}`", fields.path_of("match"))))?;
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_the_command_line() {
        let rule = Rule::parse(r"blk\.(0|1)\.x=y=Q6_K").unwrap();
        assert_eq!((rule.pattern.as_str(), rule.ty.name.as_str()), (r"blk\.(0|1)\.x=y", "Q6_K"));
        let regex = Rule::parse("ATTN_V=q8_0").unwrap().regex().unwrap();
        assert!(regex.is_match("blk.0.attn_v.weight") && !regex.is_match("blk.0.attn_k.weight"));
        for text in ["attn_v", "=q8_0", "attn_v=", ""] {
            assert!(Rule::parse(text).unwrap_err().message().contains("REGEX=TYPE"), "{text}");
        }
        for pattern in ["(", "a{1000}{1000}{1000}", "(?=a)", "\\1"] {
            let error = Rule::parse(&format!("{pattern}=q8_0")).unwrap_err();
            assert!(error.message().contains("not a valid regular expression"), "{error}");
        }
    }
}
