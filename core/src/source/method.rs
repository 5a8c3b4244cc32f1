//! What `quantization_config` in `config.json` says of a checkpoint.
//!
//! Tensors are recognised by their names, types and shapes; the config says what to expect of them,
//! and a checkpoint that is something else is refused. Sources: the configs of transformers
//! (`fp8`, `fbgemm_fp8`, `mxfp4`), of compressed-tensors (`config_groups`) and of NVIDIA's Model
//! Optimizer (`quant_algo`).

use serde_json::Value;

use crate::config::ModelConfig;
use crate::error::{Error, Result, ResultExt};

/// What the tensors of a checkpoint may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Fp8,
    Int8,
    Packed,
    Nvfp4,
    Mxfp4,
}

impl Encoding {
    const ALL: &[Self] = &[Self::Fp8, Self::Int8, Self::Packed, Self::Nvfp4, Self::Mxfp4];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Fp8 => "fp8",
            Self::Int8 => "int8",
            Self::Packed => "packed-int",
            Self::Nvfp4 => "nvfp4",
            Self::Mxfp4 => "mxfp4",
        }
    }
}

/// How scales may be spread over a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tiling {
    Tensor,
    Rows,
    Columns,
    /// Rows and columns of a tile.
    Blocks(u64, u64),
    /// Columns of a group, within a row.
    Groups(u64),
    /// Groups of any length that divides the row.
    AnyGroups,
}

/// What the config promises.
#[derive(Debug, Clone)]
pub(super) struct Method {
    /// How messages call it; `None` if the config says nothing.
    pub(super) name: Option<String>,
    pub(super) encodings: &'static [Encoding],
    /// Of scales of FP8 and integer tensors.
    pub(super) tilings: Vec<Tiling>,
    /// Of integers; anything if empty.
    pub(super) bits: Vec<u64>,
}

/// Tile of FP8 checkpoints whose config does not name one.
const TILE: Tiling = Tiling::Blocks(128, 128);

/// Formats of compressed-tensors that are read (or need no reading).
const FORMATS: &[&str] = &[
    "dense",
    "naive-quantized",
    "float-quantized",
    "int-quantized",
    "pack-quantized",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
    "mixed-precision",
];

/// Algorithms of Model Optimizer that are read.
const ALGORITHMS: &[&str] = &[
    "FP8",
    "FP8_PER_CHANNEL_PER_TOKEN",
    "NVFP4",
    "W4A16_NVFP4",
    "W4A8_NVFP4_FP8",
    "MIXED_PRECISION",
];

impl Method {
    /// Of the model with that config.
    ///
    /// # Errors
    /// `Unsupported`, naming method or format; `Malformed` if the config makes no sense.
    pub(super) fn of(config: Option<&ModelConfig>) -> Result<Self> {
        const KEYS: &[&str] = &["quantization_config", "compression_config"];
        let packed = config.map(|config| config.object(KEYS)).transpose()?.flatten();
        let Some(packed) = packed else {
            let tilings =
                vec![TILE, Tiling::Tensor, Tiling::Rows, Tiling::Columns, Tiling::AnyGroups];
            return Ok(Self { name: None, encodings: Encoding::ALL, tilings, bits: Vec::new() });
        };
        Self::parse(&packed).context(|| "`quantization_config` in `config.json`".to_owned())
    }

    fn parse(packed: &ModelConfig) -> Result<Self> {
        let name = match packed.str(&["quant_method"])? {
            Some(name) => name.to_ascii_lowercase(),
            None if packed.is_stated("quant_algo") => "modelopt".to_owned(),
            None if packed.is_stated("config_groups") => "compressed-tensors".to_owned(),
            None => return Err(unsupported("the checkpoint is quantized by an unnamed method")),
        };
        let method = |encodings, tilings| Self {
            name: Some(name.clone()),
            encodings,
            tilings,
            bits: Vec::new(),
        };
        use Encoding::{Fp8, Mxfp4, Nvfp4};
        match name.as_str() {
            "fp8" => {
                let tilings = match (tile(packed, "weight_block_size")?, packed) {
                    (Some(tile), _) => vec![tile],
                    (None, packed) if packed.is_stated("weight_block_size") => {
                        vec![Tiling::Tensor, Tiling::Rows]
                    }
                    _ => vec![TILE, Tiling::Tensor, Tiling::Rows],
                };
                Ok(method(&[Fp8], tilings))
            }
            "fbgemm_fp8" => Ok(method(&[Fp8], vec![Tiling::Rows, Tiling::Tensor, Tiling::Columns])),
            "mxfp4" => Ok(method(&[Mxfp4], Vec::new())),
            "modelopt" | "modelopt_fp8" | "modelopt_fp4" | "modelopt_mixed" => {
                if let Some(algorithm) = packed.str(&["quant_algo"])?
                    && !ALGORITHMS.contains(&algorithm)
                {
                    let what = format!("`quant_algo` is `{algorithm}`, which is not supported");
                    return Err(unsupported(what));
                }
                let tilings = vec![Tiling::Tensor, Tiling::Rows, Tiling::Columns];
                Ok(method(&[Fp8, Nvfp4, Mxfp4], tilings))
            }
            "compressed-tensors" => {
                let mut method = method(Encoding::ALL, Vec::new());
                method.add_groups(packed)?;
                Ok(method)
            }
            _ => Err(unsupported(format!(
                "the checkpoint is quantized by `{name}` (`quant_method`), which is not supported"
            ))),
        }
    }

    /// Formats and groups of a compressed-tensors config.
    fn add_groups(&mut self, config: &ModelConfig) -> Result<()> {
        check_format(config)?;
        if let Some(sparsity) = config.object(&["sparsity_config"])? {
            check_format(&sparsity).context(|| "`sparsity_config`".to_owned())?;
        }
        if config.object(&["transform_config"])?.is_some_and(|keys| !keys.root().is_empty()) {
            return Err(unsupported("`transform_config` is given, which is not supported"));
        }
        let Some(groups) = config.object(&["config_groups"])? else { return Ok(()) };
        for (name, group) in groups.root() {
            let place = || format!("`config_groups.{name}`");
            let Value::Object(group) = group else {
                return Err(Error::malformed("not an object").context(place()));
            };
            self.add_group(&ModelConfig::from_map(group.clone())).context(place)?;
        }
        Ok(())
    }

    fn add_group(&mut self, group: &ModelConfig) -> Result<()> {
        check_format(group)?;
        let Some(weights) = group.object(&["weights"])? else { return Ok(()) };
        if weights.str(&["type"])?.is_none_or(|ty| ty == "int")
            && let Some(bits) = weights.u64(&["num_bits"])?
        {
            self.bits.push(bits);
        }
        let group_size = weights.value(&["group_size"]).and_then(Value::as_i64);
        let groups = group_size.and_then(|size| u64::try_from(size).ok()).filter(|&size| size > 0);
        let strategy = weights.str(&["strategy"])?;
        self.tilings.push(match (strategy, groups, tile(&weights, "block_structure")?) {
            (Some("tensor") | None, None, _) => Tiling::Tensor,
            (Some("channel"), ..) | (Some("group"), None, _) => Tiling::Rows,
            (Some("block"), _, Some(tile)) => tile,
            (Some("group" | "tensor_group") | None, Some(size), _) => Tiling::Groups(size),
            (strategy, ..) => {
                let strategy = strategy.unwrap_or_default();
                return Err(unsupported(format!("`strategy` is `{strategy}` without its sizes")));
            }
        });
        Ok(())
    }

    /// Whether the checkpoint says that it is quantized.
    pub(super) fn is_stated(&self) -> bool {
        self.name.is_some()
    }

    /// Refuses tensors in an encoding that the config does not speak of.
    pub(super) fn allow(&self, encoding: Encoding) -> Result<()> {
        if self.encodings.contains(&encoding) {
            return Ok(());
        }
        Err(Error::malformed(format!(
            "its tensors are those of an `{}` checkpoint, but `quantization_config` in \
             `config.json` says `{}`",
            encoding.name(),
            self.name.as_deref().unwrap_or_default()
        ))
        .with_hint("config and weights are of different checkpoints: download both again"))
    }
}

fn unsupported(what: impl Into<String>) -> Error {
    Error::unsupported(what.into()).with_hint(
        "import the original checkpoint in BF16, F16 or F32, or dequantize this one first and remove \
         `quantization_config`; read are fp8, fbgemm_fp8, mxfp4, compressed-tensors and modelopt",
    )
}

fn check_format(config: &ModelConfig) -> Result<()> {
    match config.str(&["format"])? {
        Some(format) if !FORMATS.contains(&format) => {
            Err(unsupported(format!("`format` is `{format}`, which is not supported")))
        }
        _ => Ok(()),
    }
}

/// Two positive numbers under a key.
fn tile(config: &ModelConfig, key: &str) -> Result<Option<Tiling>> {
    let Some(value) = config.value(&[key]) else { return Ok(None) };
    let numbers: Option<Vec<u64>> =
        value.as_array().and_then(|list| list.iter().map(Value::as_u64).collect());
    match numbers.as_deref() {
        Some(&[rows, cols]) if rows > 0 && cols > 0 => Ok(Some(Tiling::Blocks(rows, cols))),
        _ => Err(Error::malformed(format!("`{key}` is `{value}`, expected two positive numbers"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Method> {
        let json = format!(r#"{{"quantization_config":{json}}}"#);
        Method::of(Some(&ModelConfig::parse(json.as_bytes())?))
    }

    #[test]
    fn configs_say_how_scales_are_spread() {
        let tilings = |json: &str| of(json).unwrap().tilings;
        let fp8 = |rest: &str| tilings(&format!(r#"{{"quant_method":"fp8"{rest}}}"#));
        assert_eq!(fp8(r#","weight_block_size":[16,32]"#), [Tiling::Blocks(16, 32)]);
        assert_eq!(fp8(r#","weight_block_size":null"#), [Tiling::Tensor, Tiling::Rows]);
        assert_eq!(fp8("")[0], TILE);
        let group = |weights: &str| {
            let json = format!(r#"{{"config_groups":{{"group_0":{{"weights":{weights}}}}}}}"#);
            tilings(&json)
        };
        assert_eq!(group(r#"{"strategy":"channel","num_bits":8}"#), [Tiling::Rows]);
        assert_eq!(group(r#"{"strategy":"group","group_size":32}"#), [Tiling::Groups(32)]);
        assert_eq!(group(r#"{"strategy":"group","group_size":-1}"#), [Tiling::Rows]);
        let block = r#"{"strategy":"block","block_structure":[128,64]}"#;
        assert_eq!(group(block), [Tiling::Blocks(128, 64)]);
        assert!(Method::of(None).unwrap().allow(Encoding::Packed).is_ok());
    }

    #[test]
    fn what_is_not_read_is_named() {
        for (json, part) in [
            (r#"{"quant_method":"gptq","bits":4}"#, "`gptq`"),
            (r#"{"quant_method":"bitsandbytes","load_in_4bit":true}"#, "`bitsandbytes`"),
            (r#"{"bits":4}"#, "unnamed method"),
            (r#"{"quant_method":"modelopt","quant_algo":"W4A8_AWQ"}"#, "`W4A8_AWQ`"),
            (r#"{"quant_method":"compressed-tensors","format":"marlin-24"}"#, "`marlin-24`"),
            (
                r#"{"config_groups":{},"sparsity_config":{"format":"sparse-24-bitmask"}}"#,
                "sparse-24",
            ),
            (r#"{"config_groups":{"a":{"format":"x-quantized"}}}"#, "x-quantized"),
            (r#"{"config_groups":{"a":{"weights":{"strategy":"block"}}}}"#, "`block`"),
            (r#"{"config_groups":{},"transform_config":{"config_groups":{}}}"#, "transform_config"),
            (r#"{"config_groups":[]}"#, "expected an object"),
            (r#"{"config_groups":{"a":1}}"#, "not an object"),
            (r#"{"quant_method":"fp8","weight_block_size":[0,128]}"#, "two positive numbers"),
            (r#"{"quant_method":"fp8","weight_block_size":[128]}"#, "two positive numbers"),
            (r#"{"quant_method":4}"#, "expected a string"),
            (r#"[]"#, "expected an object"),
        ] {
            let error = of(json).unwrap_err();
            assert!(error.to_string().contains(part), "{json}: {error}");
        }
        let error = of(r#"{"quant_method":"mxfp4"}"#).unwrap().allow(Encoding::Fp8).unwrap_err();
        assert!(
            error.message().contains("`fp8`") && error.message().contains("`mxfp4`"),
            "{error}"
        );
    }
}
