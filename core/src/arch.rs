//! Model architectures: what GGUF calls a model's tensors and which keys it wants.

use crate::config::ModelConfig;
use crate::error::{Error, Result, nearest};
use crate::format::gguf::Meta;

mod taken;
mod view;

pub use self::taken::{Copy, Taken};
pub use self::view::{Take, View};

/// How sure a probe is that something is its own. Highest wins; a tie is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Score {
    /// Not mine.
    No,
    /// It could be read this way, if nobody knows better.
    Fallback,
    /// Mine by its structure.
    Likely,
    /// Mine by name.
    Certain,
}

/// Where a source tensor goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Becomes these tensors, or parts of them.
    Parts(Vec<Part>),
    /// Becomes the tensor of this name, as it is, unless another one does: one of several copies of
    /// a shared tensor, of which a checkpoint may have any.
    Spare(String),
    /// Is left out on purpose, for this reason.
    Drop(&'static str),
}

impl Placement {
    /// Becomes one tensor, as it is.
    #[must_use]
    pub fn whole(name: impl Into<String>) -> Self {
        Self::Parts(vec![Part::whole(name)])
    }
}

/// What one source tensor gives to one tensor of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// GGUF name of that tensor.
    pub name: String,
    /// Which of its parts this is.
    pub slot: Slot,
    /// Which elements of the source, and in which order.
    pub view: View,
    /// What happens to the values.
    pub change: Change,
}

impl Part {
    /// All of a tensor, from all of a source tensor.
    #[must_use]
    pub fn whole(name: impl Into<String>) -> Self {
        Self { name: name.into(), slot: Slot::ONLY, view: View::WHOLE, change: Change::None }
    }

    /// The same part of the source with another view.
    #[must_use]
    pub fn viewed(self, view: View) -> Self {
        Self { view, ..self }
    }
}

/// The place of a part among those of its tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Number of the part.
    pub at: u64,
    /// Number of parts.
    pub of: u64,
    /// How they make one tensor.
    pub join: Join,
}

impl Slot {
    /// A tensor with one part.
    pub const ONLY: Self = Self { at: 0, of: 1, join: Join::Follow };

    /// One of `of` parts that are stacked.
    #[must_use]
    pub const fn stacked(at: u64, of: u64) -> Self {
        Self { at, of, join: Join::Stack }
    }

    /// One of `of` parts that follow each other.
    #[must_use]
    pub const fn following(at: u64, of: u64) -> Self {
        Self { at, of, join: Join::Follow }
    }
}

/// How parts make one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// They are alike, and a new slowest dimension counts them.
    Stack,
    /// They follow each other along their slowest dimension.
    Follow,
}

/// What happens to values on their way; computed in `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// 1 is added: norms that checkpoints store as the difference from 1.
    AddOne,
}

impl Change {
    /// Changes values in place.
    pub fn apply(self, values: &mut [f32]) {
        match self {
            Self::None => {}
            Self::AddOne => values.iter_mut().for_each(|value| *value += 1.0),
        }
    }
}

/// A small tensor that is computed from the config, not read.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// GGUF name.
    pub name: String,
    /// Its values, one-dimensional, written as F32.
    pub values: Vec<f32>,
}

/// A tensor that runtimes look for in a model of some config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// GGUF name.
    pub name: String,
    /// Its dimensions, slowest first.
    pub dims: Vec<Dim>,
    /// Whether runtimes do without it.
    pub optional: bool,
}

/// One dimension of an [`Expected`] tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dim {
    /// Number of elements; `None` if the config does not say it.
    pub size: Option<u64>,
    /// The keys of `config.json` that the number follows from.
    pub keys: &'static [&'static str],
}

/// One model architecture.
pub trait ModelArch: Sync {
    /// The value of `general.architecture`.
    fn name(&self) -> &'static str;

    /// The class names in `architectures` of `config.json` that it stands for.
    fn hf_names(&self) -> &'static [&'static str];

    /// Whether a model is of this kind.
    fn score(&self, config: &ModelConfig) -> Score {
        let known = |name: &str| self.hf_names().contains(&name);
        if config.architecture().is_some_and(known) { Score::Certain } else { Score::No }
    }

    /// What users of its files are warned of.
    fn caveat(&self) -> Option<&'static str> {
        None
    }

    /// Where the source tensor of that name goes; `None` if the architecture does not know it.
    ///
    /// # Errors
    /// `Malformed` if the config lacks what the decision needs.
    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>>;

    /// Writes the architecture's keys (`<arch>.*`), without `general.*` and the tokenizer.
    ///
    /// # Errors
    /// `Malformed`, naming the key of `config.json` that is missing or wrong.
    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()>;

    /// Tensors computed from the config.
    ///
    /// # Errors
    /// `Malformed`, naming the key of `config.json` that is missing or wrong.
    fn generated(&self, config: &ModelConfig) -> Result<Vec<Generated>> {
        let _ = config;
        Ok(Vec::new())
    }

    /// The tensors that runtimes look for, in the order of the model; generated ones are not among
    /// them. Nothing is checked where the list is empty.
    ///
    /// # Errors
    /// `Malformed`, naming the key of `config.json` that is missing or wrong.
    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let _ = config;
        Ok(Vec::new())
    }
}

/// The architecture among `known` that a model is of: the one with the highest score.
///
/// # Errors
/// `Unsupported` if none wants it, or if two want it equally; `Malformed` if the config does not
/// say what the model is.
pub fn choose(
    known: &[&'static dyn ModelArch],
    config: &ModelConfig,
) -> Result<&'static dyn ModelArch> {
    let best = known.iter().map(|arch| arch.score(config)).max().unwrap_or(Score::No);
    let mut winners = known.iter().filter(|arch| best > Score::No && arch.score(config) == best);
    match (winners.next(), winners.next()) {
        (Some(arch), None) => Ok(*arch),
        (Some(a), Some(b)) => Err(Error::unsupported(format!(
            "this model could be `{}` as well as `{}`",
            a.name(),
            b.name()
        ))),
        (None, _) => Err(unknown(known, config)),
    }
}

fn unknown(known: &[&'static dyn ModelArch], config: &ModelConfig) -> Error {
    const GENERIC: &str =
        "`--arch generic` writes a file for other tools, under the names of the source";
    // Those that stand for some class; the generic one stands for none.
    let archs = known.iter().filter(|arch| !arch.hf_names().is_empty());
    let force = archs.map(|arch| arch.name()).collect::<Vec<_>>().join(", ");
    let force = format!("force one with --arch if the model is built the same way ({force})");
    let Some(given) = config.architecture() else {
        return Error::malformed("the model does not say what architecture it has").with_hint(
            format!("put its config.json beside it and import again, or {force}; {GENERIC}"),
        );
    };
    let names = known.iter().flat_map(|arch| arch.hf_names().iter().copied());
    let error = Error::unsupported(format!("unknown architecture `{given}`"));
    // Class names share long endings, which would make any two of them look alike.
    let stem = |name| str::split_once(name, "For").map_or(name, |(stem, _)| stem);
    let near = nearest(stem(given), names.clone().map(stem));
    match names.clone().find(|name| Some(stem(name)) == near) {
        Some(name) => error.with_hint(format!("the nearest known is `{name}`; {force}; {GENERIC}")),
        None => error.with_hint(format!("`gmat formats` lists what is known; {force}; {GENERIC}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str, &'static [&'static str], Score);

    impl ModelArch for Named {
        fn name(&self) -> &'static str {
            self.0
        }
        fn hf_names(&self) -> &'static [&'static str] {
            self.1
        }
        fn score(&self, _: &ModelConfig) -> Score {
            self.2
        }
        fn place(&self, _: &str, _: &ModelConfig) -> Result<Option<Placement>> {
            Ok(None)
        }
        fn metadata(&self, _: &ModelConfig, _: &mut Meta) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_surest_architecture_wins_and_a_tie_is_an_error() {
        let config = ModelConfig::parse(br#"{"architectures":["FooForCausalLm"]}"#);
        let Ok(config) = config else { unreachable!() };
        let chosen = |known: &[&'static dyn ModelArch]| choose(known, &config).map(|a| a.name());
        static A: Named = Named("a", &["FooForCausalLM"], Score::Fallback);
        static B: Named = Named("b", &["Bar"], Score::Likely);
        static C: Named = Named("c", &["Baz"], Score::Likely);
        static NO: Named = Named("d", &["FooForCausalLM"], Score::No);
        assert_eq!(chosen(&[&A, &B]).ok(), Some("b"));
        assert_eq!(chosen(&[&NO, &A]).ok(), Some("a"));
        let tie = chosen(&[&A, &B, &C]).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(tie.contains("`b`") && tie.contains("`c`"), "{tie}");
        let none = choose(&[&NO], &config).err();
        static LLAMA: Named = Named("llama", &["LlamaForCausalLM"], Score::No);
        let hint = |class: &str| {
            let mut config = ModelConfig::default();
            config.set("architectures", class.into());
            let error = choose(&[&LLAMA], &config).err();
            error.and_then(|e| e.hint().map(str::to_owned)).unwrap_or_default()
        };
        assert!(hint("LamaForCausalLM").contains("nearest known is `LlamaForCausalLM`"));
        for other in ["DeepseekV3ForCausalLM", "Phi3ForCausalLM", "OPTForCausalLM"] {
            assert!(!hint(other).contains("nearest") && hint(other).contains("gmat formats"));
        }
        assert!(none.is_some_and(|e| e.to_string().contains("FooForCausalLm")));
        assert!(choose(&[&NO], &ModelConfig::default()).is_err());
    }
}
