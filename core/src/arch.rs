//! Model architectures: what GGUF calls a model's tensors and which keys it wants.

use crate::config::ModelConfig;
use crate::error::{Error, Result, nearest};
use crate::format::gguf::Meta;
use crate::tensor::Shape;

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
    /// Becomes this tensor.
    Tensor {
        /// GGUF name.
        name: String,
        /// Which source row each output row is.
        rows: RowMap,
    },
    /// Is left out on purpose, for this reason.
    Drop(&'static str),
}

/// A rearrangement of the rows of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowMap {
    /// As they are.
    Identity,
    /// Per head, from half-split rotary order to interleaved: source row `j * (d/2) + i` of a head
    /// of `d` rows (`j` 0 or 1) becomes row `2 * i + j`.
    RopeInterleave {
        /// Number of heads; rows must be an even multiple of it.
        heads: u64,
    },
}

impl RowMap {
    /// How many rows a map sees in a tensor of that shape: the slowest dimension, so that a bias
    /// (one dimension) has one row per element, as the weight beside it has.
    #[must_use]
    pub fn rows_of(shape: &Shape) -> u64 {
        shape.dims().first().copied().unwrap_or(1)
    }

    /// The number of consecutive rows within which the map stays: output rows `k * n .. (k + 1) * n`
    /// come from source rows `k * n .. (k + 1) * n`. One head, or one row if nothing moves.
    ///
    /// # Errors
    /// `Shape` if `rows` is not an even multiple of the number of heads.
    pub fn unit_rows(self, rows: u64) -> Result<u64> {
        let Self::RopeInterleave { heads } = self else { return Ok(1) };
        let even = heads
            .checked_mul(2)
            .filter(|&pairs| pairs > 0 && rows > 0 && rows.is_multiple_of(pairs));
        match even {
            Some(_) => Ok(rows / heads),
            None => Err(Error::shape(format!(
                "{rows} rows are not {heads} attention heads with an even number of rows each"
            ))),
        }
    }

    /// The source row that becomes output row `out_row` of a tensor with `rows` rows.
    ///
    /// # Errors
    /// `Shape` if there is no such row, or as [`Self::unit_rows`].
    pub fn source_row(self, out_row: u64, rows: u64) -> Result<u64> {
        if out_row >= rows {
            return Err(Error::shape(format!("row {out_row} of a tensor with {rows} rows")));
        }
        let unit = self.unit_rows(rows)?;
        Ok(match self {
            Self::Identity => out_row,
            Self::RopeInterleave { .. } => {
                let within = out_row % unit;
                out_row - within + (within % 2) * (unit / 2) + within / 2
            }
        })
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
    let force = known.iter().map(|arch| arch.name()).collect::<Vec<_>>().join(", ");
    let force = format!("force one with --arch ({force}) if the model is built the same way");
    let Some(given) = config.architecture() else {
        return Error::malformed("the model does not say what architecture it has")
            .with_hint(format!("put its config.json beside it and import again, or {force}"));
    };
    let names = known.iter().flat_map(|arch| arch.hf_names().iter().copied());
    let list = names.clone().collect::<Vec<_>>().join(", ");
    let error = Error::unsupported(format!("unknown architecture `{given}`; known are: {list}"));
    // Class names share long endings, which would make any two of them look alike.
    let stem = |name| str::split_once(name, "For").map_or(name, |(stem, _)| stem);
    let near = nearest(stem(given), names.clone().map(stem));
    match names.clone().find(|name| Some(stem(name)) == near) {
        Some(name) => error.with_hint(format!("the nearest known is `{name}`; {force}")),
        None => error.with_hint(format!("`gmat formats` lists what is known; {force}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaving_is_a_permutation_within_heads() {
        let map = RowMap::RopeInterleave { heads: 3 };
        assert_eq!(map.unit_rows(18).ok(), Some(6));
        let rows: Vec<u64> = (0..18).filter_map(|row| map.source_row(row, 18).ok()).collect();
        assert_eq!(&rows[..6], [0, 3, 1, 4, 2, 5]);
        assert_eq!(&rows[6..12], [6, 9, 7, 10, 8, 11]);
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..18).collect::<Vec<_>>());
    }

    #[test]
    fn rows_that_do_not_fit_the_heads_are_refused() {
        for (heads, rows) in [(0, 4), (4, 0), (4, 12), (3, 16), (u64::MAX, 8), (1 << 63, 8)] {
            let map = RowMap::RopeInterleave { heads };
            assert!(map.unit_rows(rows).is_err(), "{heads} heads, {rows} rows");
            assert!(map.source_row(0, rows).is_err(), "{heads} heads, {rows} rows");
        }
        let map = RowMap::RopeInterleave { heads: 2 };
        assert!(map.source_row(8, 8).is_err());
        assert!(RowMap::Identity.source_row(8, 8).is_err());
        assert_eq!(RowMap::Identity.source_row(7, 8).ok(), Some(7));
        assert_eq!(RowMap::Identity.unit_rows(0).ok(), Some(1));
    }

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
        assert!(none.is_some_and(|e| e.hint().is_some_and(|h| h.contains("FooForCausalLM"))));
        assert!(choose(&[&NO], &ModelConfig::default()).is_err());
    }

    #[test]
    fn a_bias_has_one_row_per_element() {
        let rows = |dims: &[u64]| Shape::try_new(dims.to_vec()).map(|s| RowMap::rows_of(&s)).ok();
        assert_eq!(rows(&[48]), Some(48));
        assert_eq!(rows(&[48, 64]), Some(48));
        assert_eq!(rows(&[]), Some(1));
    }
}
