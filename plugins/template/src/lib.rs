//! `q8_0@my-plugin`: blocks of `q8_0` (32 weights of one byte, and their factor in half precision),
//! filled in the plainest way. To be replaced by something better.

use gmat_plugin_abi::{Failure, Quantizer, Rows};

/// Weights of a block, and its bytes: what ggml says for the type.
const LEN: usize = 32;
const BYTES: usize = 34;

struct Plain;

impl Quantizer for Plain {
    /// `params` is the JSON text of `"params"` in the config, or empty.
    fn new(_params: &str) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn quantize(
        &self,
        rows: Rows<'_>,
        _importance: Option<&[f32]>,
        out: &mut [u8],
    ) -> Result<(), Failure> {
        for (x, block) in rows.values.chunks_exact(LEN).zip(out.chunks_exact_mut(BYTES)) {
            let most = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            let (bits, factor) = half_above(most / 127.0);
            if bits > 0x7bff {
                return Err(format!("`{most}` is too large for this type"));
            }
            block[..2].copy_from_slice(&bits.to_le_bytes());
            for (x, code) in x.iter().zip(&mut block[2..]) {
                let scaled = if factor > 0.0 { x / factor } else { 0.0 };
                *code = (scaled.round() as i8).cast_unsigned();
            }
        }
        Ok(())
    }
}

/// The least half-precision number that is not below `x >= 0`: its bits, and itself.
fn half_above(x: f32) -> (u16, f32) {
    // The smallest normal one is 2^-14; below, they are 2^-24 apart.
    if x < 6.103_515_6e-5 {
        let steps = (x * 16_777_216.0).ceil();
        return (steps as u16, steps / 16_777_216.0);
    }
    let bits = (x.to_bits() + 0x1fff) >> 13;
    ((bits - ((127 - 15) << 10)).min(0x7c00) as u16, f32::from_bits(bits << 13))
}

gmat_plugin_abi::plugin! {
    name: "my-plugin", version: env!("CARGO_PKG_VERSION"), summary: "A first plugin.",
    types: [
        { name: "q8_0", ggml_type: 8, block: [32, 34], importance: ignored, by: Plain },
    ],
    blocks: [],
}
