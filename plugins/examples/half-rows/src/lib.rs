//! `Rows12@half-rows`, a block format of the store: each row has a factor, each value 12 bits. And
//! `fixed8@half-rows`, a type of GGUF files that no runtime knows: to show what it takes, or for a
//! runtime of one's own.

use gmat_plugin_abi::{BlockFormat, Failure, Quantizer, Rows};

/// The largest code in either direction.
const TOP: f32 = 2047.0;

/// Rows of a factor (4 bytes) and two codes in three bytes.
struct Rows12;

/// Bytes of a row.
fn row_len(cols: usize) -> usize {
    4 + (cols * 3).div_ceil(2)
}

/// The nearest code, as a number from 0 to 4094.
fn code(x: f32, factor: f32) -> u32 {
    if factor == 0.0 {
        2047
    } else {
        ((x / factor).round_ties_even().clamp(-TOP, TOP) + TOP) as u32
    }
}

impl BlockFormat for Rows12 {
    fn encode(rows: Rows<'_>, out: &mut [u8]) -> Result<usize, Failure> {
        let (cols, len) = (rows.cols, row_len(rows.cols));
        for (x, out) in rows.values.chunks_exact(cols).zip(out.chunks_exact_mut(len)) {
            let factor = x.iter().fold(0.0f32, |most, x| most.max(x.abs())) / TOP;
            out[..4].copy_from_slice(&factor.to_le_bytes());
            for (pair, out) in x.chunks(2).zip(out[4..].chunks_mut(3)) {
                let second = pair.get(1).copied().unwrap_or_default();
                let both = code(pair[0], factor) | code(second, factor) << 12;
                let len = out.len();
                out.copy_from_slice(&both.to_le_bytes()[..len]);
            }
        }
        Ok(rows.values.len() / cols * len)
    }

    fn decode(bytes: &[u8], cols: usize, out: &mut [f32]) -> Result<(), Failure> {
        let len = row_len(cols);
        let rows = out.len() / cols;
        if bytes.len() != rows * len {
            return Err(format!("{} bytes are not {rows} rows of {len}", bytes.len()));
        }
        for (bytes, out) in bytes.chunks_exact(len).zip(out.chunks_exact_mut(cols)) {
            let (factor, codes) = bytes.split_at(4);
            let factor = f32::from_le_bytes([factor[0], factor[1], factor[2], factor[3]]);
            if !factor.is_finite() {
                return Err(format!("a factor is `{factor}`"));
            }
            for (bytes, out) in codes.chunks(3).zip(out.chunks_mut(2)) {
                let mut both = [0; 4];
                both[..bytes.len()].copy_from_slice(bytes);
                let both = u32::from_le_bytes(both);
                for (at, x) in out.iter_mut().enumerate() {
                    *x = ((both >> (12 * at) & 4095) as f32 - TOP) * factor;
                }
            }
        }
        Ok(())
    }
}

/// 32 weights of one byte each, and their factor.
struct Fixed8;

impl Quantizer for Fixed8 {
    fn new(_: &str) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, out: &mut [u8]) -> Result<(), Failure> {
        for (x, out) in rows.values.chunks_exact(32).zip(out.chunks_exact_mut(36)) {
            let factor = x.iter().fold(0.0f32, |most, x| most.max(x.abs())) / 127.0;
            out[..4].copy_from_slice(&factor.to_le_bytes());
            for (x, code) in x.iter().zip(&mut out[4..]) {
                let scaled = if factor == 0.0 { 0.0 } else { x / factor };
                *code = (scaled.round_ties_even() as i8).cast_unsigned();
            }
        }
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], out: &mut [f32]) -> Result<(), Failure> {
        for (block, out) in blocks.chunks_exact(36).zip(out.chunks_exact_mut(32)) {
            let factor = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
            for (code, x) in block[4..].iter().zip(out) {
                *x = f32::from(code.cast_signed()) * factor;
            }
        }
        Ok(())
    }
}

gmat_plugin_abi::plugin! {
    name: "half-rows", version: env!("CARGO_PKG_VERSION"),
    summary: "A block format of 12 bits per value, and a type with an id of its own.",
    types: [
        { name: "fixed8", ggml_type: 4242, block: [32, 36], importance: ignored, by: Fixed8 },
    ],
    blocks: [
        {
            name: "Rows12", summary: "A factor for each row, 12 bits for each value.",
            value_bits: 12, row_bytes: 5, by: Rows12,
        },
    ],
}
