//! Synthetic models: SafeTensors files of any size with plausible weights, for measuring.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::weights::{Rng, single};

/// Rounds to BF16, nearest even; only finite input.
#[must_use]
pub fn bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    rounded.to_le_bytes()[..2].iter().rev().fold(0, |out, &byte| out << 8 | u16::from(byte))
}

/// Shape of a synthetic Llama.
#[derive(Debug, Clone, Copy)]
pub struct Llama {
    /// Vocabulary: sets the size of the largest tensor.
    pub vocab: u64,
    /// Layers.
    pub layers: u64,
}

const HIDDEN: u64 = 2048;
const INNER: u64 = 5632;
const HEADS: u64 = 16;
const KV_HEADS: u64 = 4;

impl Llama {
    /// A model of about `bytes` bytes whose embedding has about `largest` bytes.
    #[must_use]
    pub fn of_size(bytes: u64, largest: u64) -> Self {
        let row = 2 * HIDDEN;
        let vocab = (largest / row).max(4096);
        let layer: u64 = Self { vocab, layers: 1 }
            .tensors()
            .iter()
            .filter(|(name, _)| name.contains("layers."))
            .map(|(_, shape)| 2 * shape.iter().product::<u64>())
            .sum();
        let layers = (bytes.saturating_sub(vocab * row) / layer).max(1);
        Self { vocab, layers }
    }

    /// Names and shapes of all tensors.
    #[must_use]
    pub fn tensors(&self) -> Vec<(String, Vec<u64>)> {
        let kv = HIDDEN / HEADS * KV_HEADS;
        let mut out = vec![
            ("model.embed_tokens.weight".to_owned(), vec![self.vocab, HIDDEN]),
            ("model.norm.weight".to_owned(), vec![HIDDEN]),
        ];
        for layer in 0..self.layers {
            for (name, shape) in [
                ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
                ("self_attn.k_proj", vec![kv, HIDDEN]),
                ("self_attn.v_proj", vec![kv, HIDDEN]),
                ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
                ("mlp.gate_proj", vec![INNER, HIDDEN]),
                ("mlp.up_proj", vec![INNER, HIDDEN]),
                ("mlp.down_proj", vec![HIDDEN, INNER]),
                ("input_layernorm", vec![HIDDEN]),
                ("post_attention_layernorm", vec![HIDDEN]),
            ] {
                out.push((format!("model.layers.{layer}.{name}.weight"), shape));
            }
        }
        out
    }

    /// `config.json`.
    #[must_use]
    pub fn config(&self) -> String {
        let (vocab, layers) = (self.vocab, self.layers);
        format!(
            r#"{{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":{HIDDEN},
"intermediate_size":{INNER},"num_hidden_layers":{layers},"num_attention_heads":{HEADS},
"num_key_value_heads":{KV_HEADS},"max_position_embeddings":4096,"rms_norm_eps":1e-05,
"rope_theta":10000.0,"vocab_size":{vocab},"tie_word_embeddings":true,"torch_dtype":"bfloat16"}}
"#
        )
    }

    /// Writes `model.safetensors` (BF16) and `config.json` to a folder.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("config.json"), self.config())?;
        let mut file =
            BufWriter::with_capacity(1 << 20, File::create(folder.join("model.safetensors"))?);
        let tensors = self.tensors();
        let mut header = String::from("{");
        let mut end = 0;
        for (number, (name, shape)) in tensors.iter().enumerate() {
            let start = end;
            end += 2 * shape.iter().product::<u64>();
            let comma = if number == 0 { "" } else { "," };
            header += &format!(
                r#"{comma}"{name}":{{"dtype":"BF16","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
            );
        }
        header.push('}');
        while !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        // A table of samples and a cheap index into it: writing must not be the slow part.
        let mut random = Rng::new(1);
        let weights: Vec<[u8; 2]> =
            (0..1 << 16).map(|_| bf16(single(random.normal() * 0.02)).to_le_bytes()).collect();
        for (_, shape) in &tensors {
            let norm = shape.len() == 1;
            for _ in 0..shape.iter().product::<u64>() / 4 {
                let draw = random.bits().to_le_bytes();
                let (indexes, _) = draw.as_chunks::<2>();
                for &index in indexes {
                    let weight = weights.get(usize::from(u16::from_le_bytes(index)));
                    let weight = weight.filter(|_| !norm).copied().unwrap_or([0x80, 0x3f]);
                    file.write_all(&weight)?;
                }
            }
        }
        file.flush()
    }
}
