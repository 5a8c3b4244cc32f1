//! What every codec makes of the same input, as one line per codec. A browser must write the same
//! bytes as a processor, whatever its vectors: `run.sh` compares the lines of native code, of plain
//! wasm and of wasm with `simd128`.

use std::fmt::Write;
use std::sync::OnceLock;

use gmat_core::block::{BlockFormat, EncodeInput, GroupShape};
use gmat_core::quant::{Goal, Need, QuantCx, QuantType, Search};
use gmat_core::{DType, Error, Registry, Result, convert};

/// Elements of a row: super-blocks, more than vectors are wide, and odd in number.
const COLS: usize = 1280;

/// Numbers from 0 to 1 without the last, from integers alone.
struct Random(u32);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        let mixed = (self.0 >> ((self.0 >> 28) + 4) ^ self.0).wrapping_mul(277_803_737);
        f32::from_bits(0x3f80_0000 | (mixed >> 22 ^ mixed) >> 9) - 1.0
    }

    fn bell(&mut self) -> f32 {
        self.next() + self.next() + self.next() - 1.5
    }
}

/// Rows as in models, and rows that no model has: of all sizes, with zeros, outliers, equal values
/// and values below the smallest normal number.
fn rows() -> Vec<f32> {
    let mut random = Random(1);
    let mut rows = Vec::new();
    for scale in [0.02, 0.3, 1e-40, 1e-6, 300.0] {
        rows.extend((0..COLS).map(|_| random.bell() * scale));
    }
    rows.extend((0..COLS).map(|_| if random.next() < 0.9 { 0.0 } else { random.next() - 0.5 }));
    rows.extend((0..COLS).map(|_| match random.next() < 0.99 {
        true => random.next() - 0.5,
        false => 900.0 * random.next(),
    }));
    rows.extend((0..COLS).map(|j| if j / 48 % 2 == 0 { -0.25 } else { -random.next() }));
    rows.extend((0..COLS).map(|_| 0.0));
    rows
}

fn quantized(
    quant: &dyn QuantType,
    rows: &[f32],
    importance: Option<&[f32]>,
    search: Search,
    hasher: &mut blake3::Hasher,
) -> Result<()> {
    let len = quant.block().len_of(rows.len() as u64).and_then(|len| usize::try_from(len).ok());
    let mut bytes = vec![0; len.ok_or_else(|| Error::shape("rows are not whole blocks"))?];
    let cx = QuantCx { search, ..QuantCx::standard(COLS, importance) };
    quant.quantize(rows, &cx, &mut bytes)?;
    let mut values = vec![0.0; rows.len()];
    quant.dequantize(&bytes, &mut values)?;
    hasher.update(&bytes);
    for value in values {
        hasher.update(&value.to_le_bytes());
    }
    Ok(())
}

fn encoded(
    block: &dyn BlockFormat,
    dtype: DType,
    source: &[u8],
    hasher: &mut blake3::Hasher,
) -> Result<()> {
    let count = source.len() / dtype.block().bytes / COLS;
    let mut values = vec![0.0; count * COLS];
    convert::to_f32(dtype, source, &mut values)?;
    let input = EncodeInput { values: &values, bytes: source, dtype, rows: count, cols: COLS };
    let mut bytes = Vec::new();
    block.encode(input, &mut bytes)?;
    block.decode(&bytes, GroupShape { dtype, rows: count, cols: COLS }, &mut values)?;
    hasher.update(&bytes);
    for value in values {
        hasher.update(&value.to_le_bytes());
    }
    Ok(())
}

/// One line per codec and way to use it: its name and a hash of all it writes and reads back.
///
/// # Errors
/// `Unsupported` if codecs are missing, which happens when a linker drops them.
pub fn hashes() -> Result<String> {
    let registry = Registry::builtin(gmat_codecs::link())?;
    let rows = rows();
    let importance: Vec<f32> = rows.iter().take(COLS).map(|x| x * x + 1e-6).collect();
    let mut text = String::new();
    let mut line = |name: &str, hasher: &blake3::Hasher, result: Result<()>| {
        // What is refused has to be refused everywhere.
        let hash = match result {
            Ok(()) => hasher.finalize().to_hex().to_string(),
            Err(error) => error.to_string(),
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{name} {hash}");
    };
    for block in registry.blocks() {
        let wide: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
        // The upper halves are BF16.
        let short: Vec<u8> =
            wide.chunks(4).flat_map(|bytes| bytes.iter().skip(2)).copied().collect();
        for (dtype, source) in [(DType::F32, &wide), (DType::Bf16, &short)] {
            let mut hasher = blake3::Hasher::new();
            let result = encoded(*block, dtype, source, &mut hasher);
            line(&format!("{} {dtype}", block.name()), &hasher, result);
        }
    }
    for quant in registry.quants() {
        for (search, mode) in
            [(Search::Standard, "standard"), (Search::Trellis(Goal::USUAL), "trellis")]
        {
            for weights in [None, Some(importance.as_slice())] {
                if weights.is_none() && quant.importance() == Need::Required {
                    continue;
                }
                let mut hasher = blake3::Hasher::new();
                let result = quantized(*quant, &rows, weights, search, &mut hasher);
                let with = if weights.is_some() { " weighted" } else { "" };
                line(&format!("{} {mode}{with}", quant.name()), &hasher, result);
            }
        }
    }
    Ok(text)
}

/// The lines, computed once.
fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| hashes().unwrap_or_else(|error| format!("error: {error}\n")))
}

/// For a host of wasm: bytes of the text.
#[expect(unsafe_code, reason = "an export needs its name")]
#[unsafe(no_mangle)]
pub extern "C" fn text_len() -> usize {
    text().len()
}

/// For a host of wasm: where the text is in memory.
#[expect(unsafe_code, reason = "an export needs its name")]
#[unsafe(no_mangle)]
pub extern "C" fn text_start() -> *const u8 {
    text().as_ptr()
}
