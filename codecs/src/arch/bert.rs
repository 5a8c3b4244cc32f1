//! BERT, RoBERTa, XLM-RoBERTa and DistilBERT: encoders with learned positions and norms behind each
//! part of a layer.
//!
//! Tensors and keys: the `bert` model of the ggml project's GGUF files. What predicts hidden tokens,
//! and the pooler, are left out: the files are for embeddings and for scores.
//!
//! Accepted classes: [`Bert::hf_names`].
//! Limits: absolute positions only.

use gmat_core::arch::{Dim, Expected, ModelArch, Part, Placement, Score, Take, View};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::{Array, Meta, Value as MetaValue};
use gmat_core::register_arch;
use serde_json::Value;

use crate::decoder::{self, Computes, Epsilon, Hparams, Module, Names, Plain, Wanted};

/// The architecture.
struct Bert;

register_arch!(Bert);

const PLAIN: Plain = Plain {
    context: &["max_position_embeddings"],
    default_context: Some(512),
    growth: None,
    epsilon: Epsilon::Layer(1e-12),
    causal: false,
};

const COMPUTES: Computes = Computes { activations: &["gelu"], experts: false };

const NAMES: Names = Names {
    layers: "encoder.layer",
    prefix: "blk",
    global: &[EMBEDDINGS, CLASSIFIER],
    layered: &[LAYER],
};

const DISTILLED: Names =
    Names { layers: "layer", prefix: "blk", global: &[EMBEDDINGS], layered: &[DISTILLED_LAYER] };

const EMBEDDINGS: &[Module] = decoder::modules! {
    "embeddings.word_embeddings" => "token_embd";
    "embeddings.position_embeddings" => "position_embd";
    "embeddings.token_type_embeddings" => "token_types";
    "embeddings.LayerNorm" => "token_embd_norm" + bias;
};

const CLASSIFIER: &[Module] = decoder::modules! {
    "classifier.dense" => "cls" + bias;
    "classifier.out_proj" => "cls.output" + bias;
};

const LAYER: &[Module] = decoder::modules! {
    "attention.self.query" => "attn_q" + bias;
    "attention.self.key" => "attn_k" + bias;
    "attention.self.value" => "attn_v" + bias;
    "attention.output.dense" => "attn_output" + bias;
    "attention.output.LayerNorm" => "attn_output_norm" + bias;
    "intermediate.dense" => "ffn_up" + bias;
    "output.dense" => "ffn_down" + bias;
    "output.LayerNorm" => "layer_output_norm" + bias;
};

const DISTILLED_LAYER: &[Module] = decoder::modules! {
    "attention.q_lin" => "attn_q" + bias;
    "attention.k_lin" => "attn_k" + bias;
    "attention.v_lin" => "attn_v" + bias;
    "attention.out_lin" => "attn_output" + bias;
    "sa_layer_norm" => "attn_output_norm" + bias;
    "ffn.lin1" => "ffn_up" + bias;
    "ffn.lin2" => "ffn_down" + bias;
    "output_layer_norm" => "layer_output_norm" + bias;
};

/// Starts of names, below the model, of what is left out.
const HEADS: [&str; 7] = [
    "pooler.dense.",
    "cls.predictions.",
    "cls.seq_relationship.",
    "lm_head.",
    "vocab_transform.",
    "vocab_layer_norm.",
    "vocab_projector.",
];

impl Bert {
    fn is_distilled(config: &ModelConfig) -> bool {
        config.architecture().is_some_and(|name| name.starts_with("DistilBert"))
    }

    fn names(config: &ModelConfig) -> &'static Names {
        if Self::is_distilled(config) { &DISTILLED } else { &NAMES }
    }

    /// Positions before the first one that is used: RoBERTa counts from behind that of padding.
    fn unused_positions(config: &ModelConfig) -> Result<u64> {
        let offset = config
            .architecture()
            .is_some_and(|name| name.starts_with("Roberta") || name.starts_with("XLMRoberta"));
        if !offset {
            return Ok(0);
        }
        let padding = config.u64(&["pad_token_id"])?.unwrap_or(1);
        Ok(padding.saturating_add(1))
    }

    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        COMPUTES.check(config, "bert")?;
        let positions = config.str(&["position_embedding_type"])?.unwrap_or("absolute");
        if positions != "absolute" {
            return Err(Error::unsupported(format!(
                "`position_embedding_type` in {} is `{positions}`; runtimes compute absolute ones for `bert`",
                config.place_of(&["position_embedding_type"])
            )));
        }
        for (key, value) in [("is_decoder", false), ("add_cross_attention", false)] {
            decoder::only(config, "bert", &[(key, value)])?;
        }
        if config.value(&["lora_adaptations"]).is_some() {
            return Err(Error::unsupported(format!(
                "{} has `lora_adaptations`, which are not supported for `bert`",
                config.place_of(&["lora_adaptations"])
            )));
        }
        let activation = config.str(&["activation"])?.unwrap_or("gelu");
        if Self::is_distilled(config) && activation != "gelu" {
            return Err(Error::unsupported(format!(
                "`activation` in {} is `{activation}`; runtimes compute gelu for `bert`",
                config.place_of(&["activation"])
            )));
        }
        let hparams = PLAIN.read(config)?;
        let unused = Self::unused_positions(config)?;
        match hparams.context.checked_sub(unused) {
            Some(context) if context > 0 => Ok(Hparams { context, ..hparams }),
            _ => Err(Error::malformed(format!(
                "`max_position_embeddings` in {} is {}, but {unused} positions are not used (`pad_token_id`)",
                config.place_of(&["max_position_embeddings"]),
                hparams.context
            ))),
        }
    }

    /// Names of the classes that a model tells apart, by their numbers; none if they only stand in.
    fn labels(config: &ModelConfig) -> Vec<Vec<u8>> {
        let Some(Value::Object(labels)) = config.value(&["id2label"]) else { return Vec::new() };
        let mut list: Vec<(u64, &str)> = labels
            .iter()
            .filter_map(|(number, name)| Some((number.parse().ok()?, name.as_str()?)))
            .collect();
        list.sort_unstable();
        if list.len() == 2 && list.first() == Some(&(0, "LABEL_0")) {
            return Vec::new();
        }
        list.into_iter().map(|(_, name)| name.as_bytes().to_vec()).collect()
    }
}

impl ModelArch for Bert {
    fn name(&self) -> &'static str {
        "bert"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &[
            "BertModel",
            "BertForMaskedLM",
            "RobertaModel",
            "RobertaForMaskedLM",
            "RobertaForSequenceClassification",
            "XLMRobertaModel",
            "XLMRobertaForMaskedLM",
            "XLMRobertaForSequenceClassification",
            "DistilBertModel",
            "DistilBertForMaskedLM",
        ]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["bert"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        let hparams = Self::hparams(config)?;
        let own = ["bert.", "roberta.", "distilbert."];
        let path = own.iter().find_map(|name| tensor.strip_prefix(name)).unwrap_or(tensor);
        if HEADS.iter().any(|head| path.starts_with(head)) {
            return Ok(Some(Placement::Drop("not used for embeddings")));
        }
        if path == "embeddings.position_ids" {
            return Ok(Some(Placement::Drop("a buffer that runtimes compute themselves")));
        }
        if path == "embeddings.position_embeddings.weight" {
            let unused = Self::unused_positions(config)?;
            let view = View::WHOLE.take(if unused > 0 { Take::From(unused) } else { Take::All });
            let part = Part::whole("position_embd.weight").viewed(view);
            return Ok(Some(Placement::Parts(vec![part])));
        }
        Self::names(config).place(tensor, &hparams)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        Self::hparams(config)?.write_plain(self.name(), out)?;
        decoder::write_pooling(config, self.name(), out)?;
        let labels = Self::labels(config);
        if !labels.is_empty() {
            out.set("bert.classifier.output_labels", MetaValue::Array(Array::String(labels)));
        }
        Ok(())
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let hparams = Self::hparams(config)?;
        let dim = |size: u64, keys: &'static [&'static str]| Dim { size: Some(size), keys };
        let hidden = dim(hparams.embedding, &["hidden_size"]);
        let positions = dim(hparams.context, &["max_position_embeddings", "pad_token_id"]);
        decoder::wanted(config, &hparams, Self::names(config), |_, target| match target {
            "position_embd" => Wanted::Of(vec![positions, hidden]),
            "token_embd_norm" | "attn_output_norm" | "layer_output_norm" => {
                Wanted::WithBiasOf(vec![hidden])
            }
            _ => Wanted::Usual,
        })
    }
}
