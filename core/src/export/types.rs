//! Types by name, and who asks for which: the command line, then `per_tensor`, then the rules for
//! experts, then the rules, then the recipe.

use std::collections::BTreeMap;

use regex_lite::Regex;
use uuid::Uuid;

use crate::config::{ExportConfig, ModelConfig, Rule, TypeSpec};
use crate::error::{Error, Result, ResultExt};
use crate::export::vendor::Vendor;
use crate::quant::QuantType;
use crate::recipe::{self, FileType};
use crate::registry::{Registry, unknown};

/// The name for leaving tensors in the type that they are stored in.
pub const KEEP: &str = "keep";

/// What decides the types of tensors that nobody asks for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DefaultType {
    /// They stay what they are.
    Keep,
    /// A recipe, and what makes the blocks of its base type if that is not built in.
    Mix(FileType, Option<Vendor>),
}

/// What a default type stands for.
pub(crate) fn default_type(spec: &TypeSpec, registry: &Registry) -> Result<DefaultType> {
    let lower = spec.name.to_ascii_lowercase();
    let file_type = FileType::from_name(lower.split('@').next().unwrap_or_default());
    if let Some((_, vendor)) = lower.split_once('@') {
        // `q4_k_s@vendor` is the recipe, with the base type of the vendor.
        let of_recipe = file_type.map(|mix| format!("{}@{vendor}", mix.default_type()));
        let name = of_recipe.filter(|name| registry.quant(name).is_some()).unwrap_or(lower);
        let vendor = Vendor::new(&name, spec, registry)?;
        let base = vendor.base();
        let file_type = file_type.or_else(|| FileType::from_name(base)).ok_or_else(|| {
            Error::config(format!(
                "`{name}` is for single tensors: there is no recipe for `{base}`"
            ))
        })?;
        return Ok(DefaultType::Mix(file_type, Some(vendor)));
    }
    match file_type {
        _ if spec.params.is_some() => Err(available(&lower, registry).err().unwrap_or_else(|| {
            Error::config(format!("`{lower}` takes no parameters, but `params` are given"))
        })),
        _ if lower == KEEP => Ok(DefaultType::Keep),
        Some(file_type) => {
            available(file_type.default_type(), registry)?;
            Ok(DefaultType::Mix(file_type, None))
        }
        None => Err(unknown_type(&spec.name, registry)),
    }
}

/// Whether a name is a type or recipe for a whole model.
///
/// # Errors
/// `Config` with the nearest valid spelling; `Unsupported` for types that are not implemented.
pub fn check_type(name: &str, registry: &Registry) -> Result<()> {
    default_type(&name.into(), registry).map(drop)
}

/// The tensor type that a name stands for when given to one tensor.
fn base_type(spec: &TypeSpec, registry: &Registry) -> Result<Type> {
    let lower = spec.name.to_ascii_lowercase();
    if lower.contains('@') {
        let vendor = Vendor::new(&lower, spec, registry)?;
        return Ok((vendor.base(), Some(vendor)));
    }
    let base = recipe::base_type(&lower);
    let base = base.ok_or_else(|| unknown_type(&spec.name, registry))?;
    let quant = available(base, registry)?;
    match spec.params_text() {
        None => Ok((base, None)),
        Some(params) => quant.with_params(&params).map(|_| (base, None)),
    }
}

/// The type of that name, if it can be written.
pub(crate) fn available(name: &str, registry: &Registry) -> Result<&'static dyn QuantType> {
    registry.quant(name).ok_or_else(|| match recipe::base_type(name) {
        Some(known) => {
            Error::unsupported(format!("quantization type `{known}` is not implemented yet"))
        }
        None => unknown_type(name, registry),
    })
}

fn unknown_type(name: &str, registry: &Registry) -> Error {
    if let Some(missing) = registry.missing_plugin("quantization type", name) {
        return missing;
    }
    let types = registry.quants().iter().map(|quant| quant.name());
    let recipes = FileType::ALL
        .iter()
        .filter(|file_type| registry.quant(file_type.default_type()).is_some())
        .map(|file_type| file_type.name())
        .filter(|recipe| registry.quant(recipe).is_none());
    unknown("quantization type", name, types.chain(recipes).chain([KEEP]))
}

/// What the mixture rules look at.
pub(crate) fn recipe_model<'a>(
    arch: &'a str,
    model: &ModelConfig,
    has_importance: bool,
) -> Result<recipe::Model<'a>> {
    let count = |keys: &[&str]| -> Result<Option<u32>> {
        let narrow = |count| {
            u32::try_from(count).map_err(|_| {
                let keys = keys.join("` or `");
                Error::limit(format!("`{keys}` in {} is {count}", model.place()))
            })
        };
        model.u64(keys)?.map(narrow).transpose()
    };
    let heads = count(&["num_attention_heads", "n_head", "num_heads"])?.unwrap_or(0);
    Ok(recipe::Model {
        arch,
        block_count: count(&["num_hidden_layers", "n_layer", "num_layers"])?.unwrap_or(0),
        heads,
        kv_heads: count(&["num_key_value_heads"])?.unwrap_or(heads),
        experts: count(&["num_local_experts", "num_experts", "n_routed_experts"])?.unwrap_or(0),
        has_importance,
    })
}

/// A type that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// The tensor type, as recipes know it.
    pub(crate) ty: &'static str,
    /// What makes its blocks, if that is not built in.
    pub(crate) vendor: Option<Vendor>,
    /// Kind of asker: `option`, `per_tensor`, `expert_rule` or `rule`.
    pub(crate) by: &'static str,
    /// The asker in words.
    pub(crate) text: String,
}

/// Everything that asks for types by name.
pub(crate) struct Wishes<'a> {
    options: Vec<Compiled>,
    per_tensor: &'a BTreeMap<Uuid, TypeSpec>,
    expert_rules: Vec<Compiled>,
    rules: Vec<Compiled>,
}

/// A type as recipes know it, and what makes its blocks if that is not built in.
type Type = (&'static str, Option<Vendor>);

/// What messages call it.
fn name_of((ty, vendor): Type) -> &'static str {
    vendor.map_or(ty, |vendor| vendor.quant().name())
}

struct Compiled {
    regex: Regex,
    ty: Type,
    text: String,
    /// Whether a name matches.
    hit: bool,
    /// Whether a tensor has its type from here.
    used: bool,
}

/// One tensor as rules see it.
pub(crate) struct Named<'a> {
    /// Id and source name of all that it is made of.
    pub(crate) sources: &'a [(Uuid, &'a str)],
    pub(crate) gguf: &'a str,
    /// Experts in a stack, 1 for anything else.
    pub(crate) slices: u64,
}

impl<'a> Wishes<'a> {
    /// Compiles the rules of a config and of the command line.
    ///
    /// # Errors
    /// `Config` for an unknown type or a bad expression, naming the rule.
    pub(crate) fn new(
        config: &'a ExportConfig,
        options: &[Rule],
        registry: &Registry,
    ) -> Result<Self> {
        let compile = |rules: &[Rule], text: &dyn Fn(usize, &Rule) -> String| {
            let compiled = rules.iter().enumerate().map(|(at, rule)| {
                let text = text(at, rule);
                let ty = base_type(&rule.ty, registry).context(|| text.clone())?;
                let regex = rule.regex().context(|| text.clone())?;
                Ok(Compiled { regex, ty, text, hit: false, used: false })
            });
            compiled.collect::<Result<Vec<_>>>()
        };
        let option = |_, rule: &Rule| format!("`--tensor-type {}={}`", rule.pattern, rule.ty);
        let of_list = |list: &'static str| {
            move |at, rule: &Rule| format!("`{list}[{at}]` (`{}`)", rule.pattern)
        };
        Ok(Self {
            options: compile(options, &option)?,
            per_tensor: &config.quantization.per_tensor,
            expert_rules: compile(&config.expert_rules, &of_list("expert_rules"))?,
            rules: compile(&config.quantization.rules, &of_list("quantization.rules"))?,
        })
    }

    /// The type that is asked for, if any.
    ///
    /// # Errors
    /// `Config` if `per_tensor` has an unknown type, or if experts of one stack get different types.
    pub(crate) fn of(&mut self, tensor: &Named<'_>, registry: &Registry) -> Result<Option<Wish>> {
        let per_tensor = self.per_tensor(tensor, registry)?;
        let sources = tensor.sources.iter().map(|&(_, name)| name);
        let names: Vec<&str> = sources.chain([tensor.gguf]).collect();
        let option = first(&mut self.options, &names);
        let experts = of_experts(&mut self.expert_rules, tensor)?;
        let rule = first(&mut self.rules, &names);
        let wish = |list: &mut [Compiled], at: usize, by| {
            let rule = list.get_mut(at)?;
            rule.used = true;
            let (ty, vendor) = rule.ty;
            Some(Wish { ty, vendor, by, text: rule.text.clone() })
        };
        Ok(match (option, per_tensor, experts, rule) {
            (Some(at), ..) => wish(&mut self.options, at, "option"),
            (_, Some((ty, vendor)), ..) => {
                let text = "`quantization.per_tensor`".to_owned();
                Some(Wish { ty, vendor, by: "per_tensor", text })
            }
            (_, _, Some(at), _) => wish(&mut self.expert_rules, at, "expert_rule"),
            (.., Some(at)) => wish(&mut self.rules, at, "rule"),
            _ => None,
        })
    }

    /// The type that `per_tensor` gives to a tensor by the ids of what it is made of.
    fn per_tensor(&self, tensor: &Named<'_>, registry: &Registry) -> Result<Option<Type>> {
        let mut found: Option<(&str, Type)> = None;
        for &(id, source) in tensor.sources {
            let Some(name) = self.per_tensor.get(&id) else { continue };
            let place = || format!("`quantization.per_tensor.{id}` (tensor `{source}`)");
            let ty = base_type(name, registry).context(place)?;
            match found {
                Some((other, before)) if before != ty => {
                    return Err(Error::config(format!(
                        "`quantization.per_tensor` gives `{other}` `{}`, but `{source}` `{}`: both are part of `{}`, which has one type",
                        name_of(before),
                        name_of(ty),
                        tensor.gguf
                    )));
                }
                _ => found = Some((source, ty)),
            }
        }
        Ok(found.map(|(_, ty)| ty))
    }

    /// Tells of rules that decide nothing.
    ///
    /// # Errors
    /// `Config` if a rule matches no tensor: most likely a slip.
    pub(crate) fn finish(&self, notes: &mut Vec<String>) -> Result<()> {
        for rule in self.options.iter().chain(&self.expert_rules).chain(&self.rules) {
            if !rule.hit {
                return Err(Error::config(format!("{} matches no tensor", rule.text))
                    .with_hint("names are listed by --explain"));
            }
            if !rule.used {
                notes.push(format!("{} decides nothing: others come before it", rule.text));
            }
        }
        Ok(())
    }
}

/// The first rule that matches one of the names; notes which match at all.
fn first(rules: &mut [Compiled], names: &[&str]) -> Option<usize> {
    let mut found = None;
    for (at, rule) in rules.iter_mut().enumerate() {
        if found.is_some() && rule.hit {
            continue;
        }
        if names.iter().any(|name| rule.regex.is_match(name)) {
            rule.hit = true;
            found = found.or(Some(at));
        }
    }
    found
}

/// The rule that all experts of a tensor agree on.
fn of_experts(rules: &mut [Compiled], tensor: &Named<'_>) -> Result<Option<usize>> {
    if rules.is_empty() {
        return Ok(None);
    }
    let mut agreed: Option<(String, Option<usize>)> = None;
    for name in expert_names(tensor) {
        let rule = first(rules, &[&name]);
        let ty = |rule: Option<usize>| rule.and_then(|at| rules.get(at)).map(|rule| rule.ty);
        match &agreed {
            None => agreed = Some((name, rule)),
            Some((other, before)) if ty(*before) != ty(rule) => {
                let says =
                    |rule| ty(rule).map_or("no type".to_owned(), |ty| format!("`{}`", name_of(ty)));
                return Err(Error::config(format!(
                    "`expert_rules` give `{other}` {}, but `{name}` {}: both are part of `{}`, which has one type",
                    says(*before),
                    says(rule),
                    tensor.gguf
                ))
                .with_hint("a GGUF file holds all experts of a layer in one tensor; write rules by layer or projection"));
            }
            Some(_) => {}
        }
    }
    Ok(agreed.and_then(|(_, rule)| rule))
}

/// The source names of the experts in a tensor; none if it holds no experts. Where the source has
/// them stacked already, the number is put where checkpoints with one tensor per expert have it.
fn expert_names(tensor: &Named<'_>) -> Vec<String> {
    let whole = |(before, _): &(&str, &str)| before.is_empty() || before.ends_with('.');
    let names = tensor.sources.iter().flat_map(|&(_, source)| {
        let Some((before, after)) = source.split_once("experts.").filter(whole) else {
            return Vec::new();
        };
        if tensor.slices <= 1 || after.starts_with(|c: char| c.is_ascii_digit()) {
            return vec![source.to_owned()];
        }
        (0..tensor.slices).map(|number| format!("{before}experts.{number}.{after}")).collect()
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(patterns: &[(&str, &'static str)]) -> Vec<Compiled> {
        let compile = |&(pattern, ty): &(&str, &'static str)| {
            let rule = Rule { pattern: pattern.to_owned(), ty: ty.into() };
            let regex = rule.regex().unwrap();
            Compiled { regex, ty: (ty, None), text: pattern.to_owned(), hit: false, used: false }
        };
        patterns.iter().map(compile).collect()
    }

    fn named<'a>(sources: &'a [(Uuid, &'a str)], slices: u64) -> Named<'a> {
        Named { sources, gguf: "blk.0.ffn_up_exps.weight", slices }
    }

    #[test]
    fn the_first_rule_wins_and_all_matches_are_known() {
        let mut list = rules(&[("none", "q4_k"), ("up", "q5_k"), (r"blk\.0", "q6_k")]);
        assert_eq!(first(&mut list, &["layers.0.up_proj", "blk.0.ffn_up"]), Some(1));
        let hits: Vec<bool> = list.iter().map(|rule| rule.hit).collect();
        assert_eq!(hits, [false, true, true]);
    }

    #[test]
    fn experts_of_one_stack_must_agree() {
        let sources = [(Uuid::nil(), "model.layers.0.mlp.experts.up_proj")];
        let stack = named(&sources, 8);
        let agreed = |list: &[(&str, &'static str)]| of_experts(&mut rules(list), &stack);
        assert_eq!(agreed(&[(r"layers\.0\..*experts\.", "q6_k")]).unwrap(), Some(0));
        assert_eq!(agreed(&[(r"layers\.1\.", "q6_k")]).unwrap(), None);
        // Different rules with the same type are no contradiction.
        let same = agreed(&[(r"experts\.[0-3]\.", "q6_k"), (r"experts\.", "q6_k")]);
        assert!(same.unwrap().is_some());
        let error = agreed(&[(r"experts\.[0-3]\.", "q6_k"), ("experts", "q4_k")]).unwrap_err();
        for part in ["experts.0.up_proj` `q6_k`", "experts.4.up_proj` `q4_k`", "one type"] {
            assert!(error.message().contains(part), "{error}");
        }
        let error = agreed(&[(r"experts\.7\.", "q6_k")]).unwrap_err();
        assert!(error.message().contains("no type"), "{error}");
    }

    #[test]
    fn names_of_experts() {
        let names = |sources: &[&str], slices| {
            let sources: Vec<(Uuid, &str)> = sources.iter().map(|&s| (Uuid::nil(), s)).collect();
            expert_names(&named(&sources, slices))
        };
        for none in ["a.mlp.up_proj", "a.mlp.shared_experts.up_proj"] {
            assert_eq!(names(&[none], 8).len(), 0);
        }
        assert_eq!(
            names(&["a.experts.up_proj"], 2),
            ["a.experts.0.up_proj", "a.experts.1.up_proj"]
        );
        assert_eq!(names(&["a.experts.5.w1.weight"], 1), ["a.experts.5.w1.weight"]);
        let own = ["a.experts.0.w1.weight", "a.experts.1.w1.weight"];
        assert_eq!(names(&own, 2), own);
    }
}
