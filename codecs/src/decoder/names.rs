//! Names of tensors in checkpoints and in GGUF, as tables of modules.
//!
//! Names on the left are those of the model classes of the `transformers` library, names on the
//! right those of the GGUF specification ("standardized tensor names").

use gmat_core::arch::{Change, Part, Placement, Slot, Take, View};
use gmat_core::error::{Error, Result};

use super::modules::EMBEDDINGS;
use super::{Hparams, dropped};

/// What a module of a checkpoint is in GGUF.
pub(crate) struct Module {
    /// Path below the model (`norm`) or below a layer (`self_attn.q_proj`); `*` is the number of an
    /// expert, or of something else that is stacked.
    pub(crate) source: &'static str,
    /// The tensors it may have.
    pub(crate) leaves: Leaves,
    /// What becomes of each of them.
    pub(crate) targets: &'static [Target],
    /// How many there are where the path has a `*`.
    pub(crate) count: fn(&Hparams) -> u64,
}

/// What a tensor of a module becomes, or one of the things it becomes.
pub(crate) struct Target {
    /// GGUF name without leaf, and without `blk.N.` for a module of a layer.
    pub(crate) name: &'static str,
    /// Which elements, by the sizes of the model.
    pub(crate) view: fn(&Hparams) -> View,
    pub(crate) change: Change,
    /// Its place, if several targets of the module make one tensor.
    pub(crate) slot: Slot,
}

/// The tensors of a module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// `.weight`.
    Weight,
    /// `.weight` and `.bias`.
    WeightAndBias,
    /// The module's path is the name of the tensor; its GGUF name has this leaf.
    Bare(&'static str),
}

/// All of a tensor.
pub(crate) const fn whole(_: &Hparams) -> View {
    View::WHOLE
}

/// The first half of the rows.
pub(crate) const fn first_half(_: &Hparams) -> View {
    View::WHOLE.take(Take::Share { at: 0, of: 2 })
}

/// The second half of the rows.
pub(crate) const fn second_half(_: &Hparams) -> View {
    View::WHOLE.take(Take::Share { at: 1, of: 2 })
}

impl Target {
    /// All of a tensor.
    pub(crate) const fn whole(name: &'static str) -> Self {
        Self::view(name, whole)
    }

    /// A part of a tensor, or all of it in another order.
    pub(crate) const fn view(name: &'static str, view: fn(&Hparams) -> View) -> Self {
        Self { name, view, change: Change::None, slot: Slot::ONLY }
    }

    /// One of the three parts of a fused projection of queries, keys and values (`at` 0 to 2).
    pub(crate) const fn fused(name: &'static str, at: u64, view: fn(&Hparams) -> View) -> Self {
        Self { slot: Slot::following(at, 3), ..Self::view(name, view) }
    }

    /// All of a tensor, with 1 added.
    pub(crate) const fn plus_one(name: &'static str) -> Self {
        Self { change: Change::AddOne, ..Self::whole(name) }
    }
}

impl Module {
    /// A module that becomes `targets`.
    pub(crate) const fn new(
        source: &'static str,
        leaves: Leaves,
        targets: &'static [Target],
    ) -> Self {
        Self { source, leaves, targets, count: Hparams::expert_count }
    }

    /// The same where `*` counts something else than experts.
    pub(crate) const fn counted(self, count: fn(&Hparams) -> u64) -> Self {
        Self { count, ..self }
    }
}

/// Writes a table of modules: `"source" => "target"` with a weight, followed by `+ bias` where there
/// may be a bias, by `+ 1` where the weight is stored as its difference from 1, and by `, view = f`
/// for other elements or another order.
macro_rules! modules {
    ($($source:literal => $target:literal $(+ $bias:ident)? $(+ $one:literal)?
        $(, view = $view:expr)?;)*) => {
        &[$($crate::decoder::Module::new(
            $source,
            $crate::decoder::modules!(@leaves $($bias)?),
            &[$crate::decoder::modules!(@target $target $(+ $one)? $(, $view)?)],
        )),*]
    };
    (@leaves) => { $crate::decoder::Leaves::Weight };
    (@leaves bias) => { $crate::decoder::Leaves::WeightAndBias };
    (@target $target:literal) => { $crate::decoder::Target::whole($target) };
    (@target $target:literal + $one:literal) => { $crate::decoder::Target::plus_one($target) };
    (@target $target:literal, $view:expr) => { $crate::decoder::Target::view($target, $view) };
}
pub(crate) use modules;

/// Prefixes that say where in a wrapper the text model sits; any sequence of them is ignored.
pub(super) const CONTAINERS: [&str; 11] = [
    "model",
    "language_model",
    "text_model",
    "llm",
    "thinker",
    "transformer",
    "ernie",
    "gpt_neox",
    "bert",
    "roberta",
    "distilbert",
];

/// Where an architecture has its tensors.
pub(crate) struct Names {
    /// Path of the list of layers.
    pub(crate) layers: &'static str,
    /// The same in GGUF.
    pub(crate) prefix: &'static str,
    /// Modules outside the layers.
    pub(crate) global: &'static [&'static [Module]],
    /// Modules of every layer.
    pub(crate) layered: &'static [&'static [Module]],
}

impl Names {
    /// The names of a decoder whose layers are `layers.N`, with the usual modules outside.
    pub(crate) const fn of_layers(layered: &'static [&'static [Module]]) -> Self {
        Self { layers: "layers", prefix: "blk", global: &[EMBEDDINGS], layered }
    }

    /// The number of the layer that a tensor belongs to, and the path below that layer; or its path
    /// outside the layers. `None` if the number is not spelled as it should be.
    fn locate<'t>(&self, tensor: &'t str) -> Option<(Option<u64>, &'t str)> {
        let mut path = tensor;
        while let Some((first, rest)) = path.split_once('.') {
            if !CONTAINERS.contains(&first) {
                break;
            }
            path = rest;
        }
        let below = path.strip_prefix(self.layers).and_then(|rest| rest.strip_prefix('.'));
        match below.and_then(|rest| rest.split_once('.')) {
            // Only the canonical spelling: `07` and `7` must not become the same tensor.
            Some((layer, path)) => canonical(layer).map(|layer| (Some(layer), path)),
            None => Some((None, path)),
        }
    }

    /// The number of the layer that a tensor belongs to.
    pub(crate) fn layer(&self, tensor: &str) -> Option<u64> {
        self.locate(tensor)?.0
    }

    /// What becomes of a source tensor; `None` if the name is unknown.
    ///
    /// # Errors
    /// `Malformed` if the tensor belongs to a layer or expert that the config does not have.
    pub(crate) fn place(&self, tensor: &str, sizes: &Hparams) -> Result<Option<Placement>> {
        if let Some(reason) = dropped(tensor) {
            return Ok(Some(Placement::Drop(reason)));
        }
        let Some((layer, path)) = self.locate(tensor) else { return Ok(None) };
        let found = find(path, if layer.is_some() { self.layered } else { self.global });
        let Some(Found { module, number, leaf }) = found else { return Ok(None) };
        if let Some(layer) = layer.filter(|&layer| layer >= sizes.layers) {
            return Err(Error::malformed(format!(
                "tensor `{tensor}` is in layer {layer}, but `num_hidden_layers` in `config.json` is {}",
                sizes.layers
            )));
        }
        let count = (module.count)(sizes);
        let slot = match number {
            None => None,
            Some(number) if number < count => Some(Slot::stacked(number, count)),
            Some(number) => {
                return Err(Error::malformed(format!(
                    "tensor `{tensor}` is number {number} of its kind, but `config.json` implies {count} (experts or heads)"
                )));
            }
        };
        let prefix = layer.map_or_else(String::new, |layer| format!("{}.{layer}.", self.prefix));
        let parts = module.targets.iter().map(|target| Part {
            name: format!("{prefix}{}.{leaf}", target.name),
            slot: slot.unwrap_or(target.slot),
            view: (target.view)(sizes),
            change: target.change,
        });
        Ok(Some(Placement::Parts(parts.collect())))
    }
}

/// A tensor of a table.
struct Found {
    module: &'static Module,
    number: Option<u64>,
    leaf: &'static str,
}

fn find(path: &str, tables: &[&'static [Module]]) -> Option<Found> {
    tables.iter().flat_map(|table| table.iter()).find_map(|module| {
        let (own, leaf) = match (module.leaves, path.rsplit_once('.')) {
            (Leaves::Bare(leaf), _) => (path, leaf),
            (_, Some((own, "weight"))) => (own, "weight"),
            (Leaves::WeightAndBias, Some((own, "bias"))) => (own, "bias"),
            // What layer norms of old checkpoints call them.
            (Leaves::WeightAndBias, Some((own, "gamma"))) => (own, "weight"),
            (Leaves::WeightAndBias, Some((own, "beta"))) => (own, "bias"),
            _ => return None,
        };
        let number = match module.source.split_once('*') {
            None => (module.source == own).then_some(None),
            Some((before, after)) => {
                let number = own.strip_prefix(before)?.strip_suffix(after)?;
                Some(Some(canonical(number)?))
            }
        };
        number.map(|number| Found { module, number, leaf })
    })
}

/// A number as it is written without need: `7`, not `07` or `+7`.
fn canonical(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|number| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::{ATTENTION, Experts, FEED_FORWARD, NORMS, QK_NORMS};

    const EXPERTS: &[Module] = modules! {
        "mlp.experts.*.up_proj" => "ffn_up_exps";
    };

    const NAMES: Names = Names::of_layers(&[ATTENTION, QK_NORMS, FEED_FORWARD, NORMS, EXPERTS]);

    fn lookup(tensor: &str) -> Option<String> {
        let experts = Some(Experts { count: 4, ..Experts::default() });
        let sizes = Hparams { layers: 12, experts, ..Hparams::default() };
        match NAMES.place(tensor, &sizes) {
            Ok(Some(Placement::Parts(parts))) => {
                let names: Vec<String> = parts
                    .iter()
                    .map(|part| match part.slot {
                        Slot::ONLY => part.name.clone(),
                        Slot { at, of, .. } => format!("{} {at}/{of}", part.name),
                    })
                    .collect();
                Some(names.join(" "))
            }
            Ok(Some(Placement::Drop(_) | Placement::Spare(_))) => Some("drop".to_owned()),
            Ok(None) => None,
            Err(_) => Some("error".to_owned()),
        }
    }

    #[test]
    fn plain_and_wrapped_names() {
        for (source, target) in [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("model.norm.weight", "output_norm.weight"),
            ("lm_head.weight", "output.weight"),
            ("embed_tokens.weight", "token_embd.weight"),
            ("language_model.lm_head.weight", "output.weight"),
            ("model.language_model.embed_tokens.weight", "token_embd.weight"),
            ("language_model.model.layers.3.mlp.up_proj.weight", "blk.3.ffn_up.weight"),
            ("model.text_model.layers.11.input_layernorm.weight", "blk.11.attn_norm.weight"),
            ("layers.0.self_attn.k_norm.weight", "blk.0.attn_k_norm.weight"),
            ("model.layers.10.self_attn.o_proj.bias", "blk.10.attn_output.bias"),
            ("model.layers.1.mlp.down_proj.bias", "blk.1.ffn_down.bias"),
            ("model.layers.1.post_attention_layernorm.weight", "blk.1.ffn_norm.weight"),
            ("model.layers.1.mlp.experts.3.up_proj.weight", "blk.1.ffn_up_exps.weight 3/4"),
        ] {
            assert_eq!(lookup(source).as_deref(), Some(target), "{source}");
        }
    }

    #[test]
    fn parts_that_are_left_out() {
        for tensor in [
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            "model.rotary_emb.inv_freq",
            "transformer.h.0.attention.masked_bias",
            "x.attention.bias",
            "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
            "model.vision_tower.patch_conv.weight",
            "visual.blocks.0.attn.qkv.bias",
            "audio_tower.conv1.weight",
            "multi_modal_projector.linear_1.weight",
            "model.mm_projector.0.bias",
            "model.image_newline",
            "mlp1.0.weight",
            "model.connector.modality_projection.proj.weight",
            "model.layers.0.self_attn.k_proj.k_scale",
            "model.layers.0.mlp.up_proj.input_scale",
        ] {
            assert_eq!(lookup(tensor).as_deref(), Some("drop"), "{tensor}");
        }
    }

    #[test]
    fn unknown_and_impossible_names() {
        for tensor in [
            "",
            ".",
            "weight",
            "model.",
            "model.weight",
            "model.layers.0.weight",
            "model.layers..self_attn.q_proj.weight",
            "model.layers.01.self_attn.q_proj.weight",
            "model.layers.-1.self_attn.q_proj.weight",
            "model.layers.99999999999999999999.self_attn.q_proj.weight",
            "model.layers.0.self_attn.q_proj.qweight",
            "model.layers.0.self_attn.q_proj.weight_scale_inv",
            "model.layers.0.input_layernorm.bias",
            "model.layers.0.embed_tokens.weight",
            "model.layers.0.mlp.experts.00.up_proj.weight",
            "model.layers.0.mlp.experts..up_proj.weight",
            "model.layers.0.mlp.experts.0.up_proj.bias",
            "model.self_attn.q_proj.weight",
            "encoder.layers.0.self_attn.q_proj.weight",
        ] {
            assert_eq!(lookup(tensor), None, "{tensor}");
        }
        for tensor in
            ["model.layers.12.mlp.up_proj.weight", "layers.0.mlp.experts.4.up_proj.weight"]
        {
            assert_eq!(lookup(tensor).as_deref(), Some("error"), "{tensor}");
        }
    }
}
