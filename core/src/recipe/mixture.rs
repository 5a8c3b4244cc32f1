//! The mixtures: what each file type gives to tensors of special importance.
//!
//! The rules are those of `llama-quantize`, found by experience with real models there: attention
//! values and down projections gain most from more bits, more so in the first and last layers, and
//! values cost little where many query heads share them.

use crate::error::{Error, Result};
use crate::recipe::role::{self, OUTPUT, Part};
use crate::recipe::types::Ty;
use crate::recipe::{FileType, Model, Tensor};

/// A type and the role that earns it.
type Pick = Option<(Ty, &'static str)>;

/// The rules of one file type for one model, and the counters some of them need. Tensors must come
/// in counting order.
pub(crate) struct Mixture<'a> {
    mix: FileType,
    model: &'a Model<'a>,
    /// No output head of its own: the embeddings serve as one.
    tied: bool,
    /// Tensors of [`Part::Values`] in the model.
    values: u32,
    seen: Seen,
}

/// Tensors met so far, by part.
#[derive(Default)]
struct Seen {
    values: u32,
    down: u32,
    gate: u32,
    up: u32,
}

impl<'a> Mixture<'a> {
    pub(crate) fn new(mix: FileType, model: &'a Model<'a>, tensors: &[Tensor<'_>]) -> Self {
        let values = tensors.iter().filter(|t| Part::of(t.name) == Part::Values).count();
        Self {
            mix,
            model,
            tied: tensors.iter().all(|t| t.name != OUTPUT),
            values: u32::try_from(values).unwrap_or(u32::MAX),
            seen: Seen::default(),
        }
    }

    /// The type of the next tensor, if it is not the base type.
    ///
    /// # Errors
    /// `Malformed` if the layer matters and the name has none.
    pub(crate) fn next(&mut self, tensor: &Tensor<'_>, part: Part) -> Result<Pick> {
        if self.model.arch == "glm5-next"
            && ["attn_q_a", "attn_q_b", "nextn.eh_proj"].iter().any(|n| tensor.name.contains(n))
        {
            return Ok(Some((Ty::Q8_0, "sensitive in this architecture")));
        }
        if part == Part::Output || (self.tied && part == Part::Embedding) {
            return Ok(self.head(tensor));
        }
        if self.mix == FileType::Mxfp4Moe {
            return Ok(self.mxfp4(tensor, part));
        }
        if part == Part::Embedding {
            return Ok(self.embedding());
        }
        if self.is_low() {
            return Ok(self.low(part));
        }
        match part {
            Part::Values => Ok(self.attention_values()),
            Part::Keys | Part::Queries => Ok(self.keys_and_queries(part)),
            Part::AttnOutput => Ok(self.attention_output()),
            Part::Down => {
                let layer = self.layer(tensor, self.seen.down)?;
                self.seen.down += 1;
                Ok(self.down(layer))
            }
            Part::Gate => {
                let layer = self.layer(tensor, self.seen.gate)?;
                self.seen.gate += 1;
                Ok(self.gate_and_up(layer))
            }
            Part::Up => {
                let layer = self.layer(tensor, self.seen.up)?;
                self.seen.up += 1;
                Ok(self.gate_and_up(layer))
            }
            Part::Output | Part::Embedding | Part::Other => Ok(None),
        }
    }

    fn head(&self, tensor: &Tensor<'_>) -> Pick {
        use FileType::{Iq1M, Iq1S, Iq2M, Iq2S, Iq2Xs, Iq2Xxs, Iq3Xxs, Mxfp4Moe, Q8_0};
        let fits = self.mix.base().block().len_of(tensor.cols()).is_some();
        let ty = match self.mix {
            Mxfp4Moe | Q8_0 => Ty::Q8_0,
            _ if self.is_falcon() || !fits => Ty::Q8_0,
            Iq1S | Iq1M | Iq2Xxs | Iq2Xs | Iq2S | Iq2M | Iq3Xxs => Ty::Q5K,
            _ => Ty::Q6K,
        };
        let why = if self.tied { "embeddings that are the output head too" } else { "output head" };
        Some((ty, why))
    }

    fn mxfp4(&self, tensor: &Tensor<'_>, part: Part) -> Pick {
        // Elsewhere everything stacked is an expert; this one stacks attention projections too.
        let expert =
            self.model.arch != "bailingmoe3" || matches!(part, Part::Up | Part::Gate | Part::Down);
        let ty = if expert && tensor.slices() > 1 { Ty::Mxfp4 } else { Ty::Q8_0 };
        Some((ty, "not an expert"))
    }

    fn embedding(&self) -> Pick {
        use FileType::{Iq1M, Iq1S, Iq2M, Iq2S, Iq2Xs, Iq2Xxs, Iq3Xxs, Q2_0, Tq1_0, Tq2_0};
        let ty = match self.mix {
            Iq1S | Iq1M | Iq2Xxs | Iq2Xs => Ty::Q2K,
            Iq2S | Iq2M | Iq3Xxs => Ty::Iq3S,
            Tq1_0 | Tq2_0 | Q2_0 => Ty::Q4K,
            _ => return None,
        };
        Some((ty, "embeddings"))
    }

    /// The mixes of two bits and below have rules of their own.
    fn is_low(&self) -> bool {
        use FileType::{Iq1M, Iq1S, Iq2M, Iq2S, Iq2Xs, Iq2Xxs};
        matches!(self.mix, Iq1S | Iq1M | Iq2Xxs | Iq2Xs | Iq2S | Iq2M)
    }

    fn low(&mut self, part: Part) -> Pick {
        use FileType::{Iq1M, Iq1S, Iq2M, Iq2S};
        let better = if matches!(self.mix, Iq2S | Iq2M) { Ty::Iq3S } else { Ty::Q2K };
        let eight = self.model.experts == 8;
        match part {
            Part::Values if self.shares_values() || self.model.experts >= 4 => {
                Some((Ty::Q4K, "attention values, few for their weight"))
            }
            Part::Values => Some((better, "attention values")),
            Part::Keys if eight => Some((Ty::Q4K, "attention keys of an 8-expert model")),
            Part::Down => {
                // Counted by tensor even where a layer has several.
                let first = self.seen.down < self.model.block_count / 8;
                self.seen.down += 1;
                first.then_some((better, "down projection of a first layer"))
            }
            Part::AttnOutput if eight => Some((Ty::Q5K, "attention output of an 8-expert model")),
            Part::AttnOutput => match self.mix {
                Iq1S | Iq1M => Some((Ty::Iq2Xxs, "attention output")),
                Iq2S | Iq2M => Some((Ty::Iq3S, "attention output")),
                _ => None,
            },
            _ => None,
        }
    }

    fn attention_values(&mut self) -> Pick {
        use FileType::{
            Iq3M, Iq3S, Iq3Xs, Iq3Xxs, Iq4Nl, Iq4Xs, Q2K, Q2KS, Q3KL, Q3KM, Q4KM, Q4KS, Q5KM,
        };
        let index = self.seen.values;
        self.seen.values += 1;
        if self.model.experts == 8 {
            return Some((Ty::Q8_0, "attention values of an 8-expert model"));
        }
        let shared = self.shares_values();
        let ty = match self.mix {
            Q2K | Q2KS | Iq3Xxs | Iq3Xs | Iq3S if shared => Ty::Q4K,
            Q2K => Ty::Q3K,
            Iq3Xxs if self.model.has_importance => Ty::Iq3Xxs,
            Iq3Xxs => Ty::Iq3S,
            Iq3M => Ty::Q4K,
            Q3KM if index < 2 => Ty::Q5K,
            Q3KM => Ty::Q4K,
            Q3KL => Ty::Q5K,
            Iq4Nl | Iq4Xs if shared => Ty::Q5K,
            Q4KM | Q5KM if more_bits(index, self.values) => Ty::Q6K,
            Q4KS if index < 4 => Ty::Q5K,
            _ => self.mix.base(),
        };
        if self.is_70b() && matches!(ty, Ty::Q3K | Ty::Q4K) {
            return Some((Ty::Q5K, "attention values of a 70B model"));
        }
        Some((ty, "attention values"))
    }

    fn keys_and_queries(&self, part: Part) -> Pick {
        if part == Part::Keys && self.model.experts == 8 {
            return Some((Ty::Q8_0, "attention keys of an 8-expert model"));
        }
        match self.mix {
            FileType::Iq3Xs => Some((Ty::Iq3Xxs, "attention queries and keys")),
            FileType::Iq3Xxs => Some((Ty::Iq2S, "attention queries and keys")),
            _ => None,
        }
    }

    fn attention_output(&self) -> Pick {
        use FileType::{
            Iq3M, Iq3S, Iq3Xs, Iq3Xxs, Iq4Nl, Iq4Xs, Q2K, Q3KL, Q3KM, Q3KS, Q4KM, Q4KS,
        };
        let ty = match self.mix {
            Q3KL if self.is_falcon() => Ty::Q4K,
            _ if self.is_falcon() => return None,
            _ if self.model.experts == 8 => {
                return match self.mix {
                    Q2K | Q3KS | Q3KM | Q4KS | Q4KM | Iq3Xxs | Iq3Xs | Iq3S | Iq3M | Iq4Nl
                    | Iq4Xs => Some((Ty::Q5K, "attention output of an 8-expert model")),
                    _ => None,
                };
            }
            Q2K => Ty::Q3K,
            Iq3Xxs => Ty::Iq3S,
            Q3KM | Iq3M => Ty::Q4K,
            Q3KL => Ty::Q5K,
            _ => return None,
        };
        Some((ty, "attention output"))
    }

    fn down(&self, layer: u32) -> Pick {
        use FileType::{
            Iq3M, Iq3Xxs, Iq4Nl, Iq4Xs, Q2K, Q2KS, Q3KL, Q3KM, Q4_0, Q4KM, Q4KS, Q5_0, Q5KM,
        };
        let count = self.model.block_count;
        let (first, very_first) = (layer < count / 8, layer < count / 16);
        let more = more_bits(layer, count);
        let falcon = self.is_falcon();
        let importance = self.model.has_importance;
        let ty = match self.mix {
            Q2K => Ty::Q3K,
            Q2KS if first => Ty::Q4K,
            Iq3Xxs if importance => return None,
            Iq3Xxs if first => Ty::Q4K,
            Iq3Xxs => Ty::Q3K,
            Q3KM if very_first => Ty::Q5K,
            Q3KM if !falcon || more => Ty::Q4K,
            Iq3M if first || (self.model.experts == 8 && more) => Ty::Q4K,
            Q3KL if falcon => Ty::Q4K,
            Q3KL => Ty::Q5K,
            Q4KM if falcon && very_first => Ty::Q6K,
            Q4KM if falcon && more => Ty::Q5K,
            Q4KM | Q5KM if more => Ty::Q6K,
            Iq4Nl | Iq4Xs if first && !importance => Ty::Q5K,
            Q4KS if first && !falcon => Ty::Q5K,
            // Even with importance these two can fail badly in the first layers.
            Q4_0 if first && importance => Ty::Q4_1,
            Q5_0 if first && importance => Ty::Q5_1,
            _ => return None,
        };
        Some((ty, "down projection"))
    }

    fn gate_and_up(&self, layer: u32) -> Pick {
        let count = u64::from(self.model.block_count);
        let inner = count / 8 <= u64::from(layer) && u64::from(layer) < 7 * count / 8;
        (self.mix == FileType::Iq3Xs && inner)
            .then_some((Ty::Iq3Xxs, "gate and up projection of an inner layer"))
    }

    /// The layer of a feed-forward tensor: a running number, as names may have any form; but models
    /// with experts may have several per layer, or layers without, and tell by name.
    fn layer(&self, tensor: &Tensor<'_>, running: u32) -> Result<u32> {
        if self.model.experts < 2 {
            return Ok(running);
        }
        role::layer(tensor.name).filter(|&layer| layer < self.model.block_count).ok_or_else(|| {
            Error::malformed(format!(
                "the name has no layer below the {} of the model",
                self.model.block_count
            ))
        })
    }

    /// Whether at least four query heads share one value head, so that values are few.
    fn shares_values(&self) -> bool {
        self.model.heads.checked_div(self.model.kv_heads).is_some_and(|group| group >= 4)
    }

    fn is_falcon(&self) -> bool {
        self.model.arch == "falcon"
    }

    /// Models that llama.cpp calls 70B, by architecture and number of layers.
    fn is_70b(&self) -> bool {
        match (self.model.arch, self.model.block_count) {
            ("llama" | "llama-embed", 80) => self.model.heads != self.model.kv_heads,
            ("qwen2" | "deci" | "olmo", 80) | ("jais2", 68) => true,
            _ => false,
        }
    }
}

/// Whether the `index`-th of `count` layers gets more bits: the first and last eighth, and every
/// third between.
fn more_bits(index: u32, count: u32) -> bool {
    let (index, count) = (u64::from(index), u64::from(count));
    let first = count / 8;
    index < first || index >= 7 * count / 8 || (index - first) % 3 == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_layers_and_every_third_get_more_bits() {
        let chosen = |count| (0..count).filter(|&i| more_bits(i, count)).collect::<Vec<_>>();
        assert_eq!(chosen(32), [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]);
        assert_eq!(chosen(1), [0]);
        assert_eq!(chosen(3), [2]);
        assert!(more_bits(5, 0));
    }
}
