//! What lossless storage takes, on the weights of the example model: `lossless` beside zstd and pco,
//! and fine-tunes as differences to their base beside what else can be done with them.
//!
//! `cargo run --release --manifest-path tests/compression/Cargo.toml`

#[path = "../../src/weights.rs"]
mod weights;

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use gmat_core::block::{BlockFormat, GroupShape};
use gmat_core::limits::rows_per_group;
use gmat_core::{DType, Registry};
use pco::ChunkConfig;
use pco::standalone::{simple_compress, simple_decompress};

use crate::weights::{Rng, Rows, drifted, single, trained};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Repetitions; the fastest counts, since everything else is somebody else's load.
const RUNS: usize = 7;

/// What is asked of a way to store rows: bytes, and back.
struct Way<'a> {
    name: &'a str,
    encode: &'a dyn Fn(&Rows) -> Result<Vec<u8>>,
    decode: &'a dyn Fn(&Rows, &[u8]) -> Result<Vec<u8>>,
}

fn fastest<T>(mut run: impl FnMut() -> Result<T>) -> Result<(f64, T)> {
    let mut best = f64::INFINITY;
    loop {
        let mut last = None;
        for _ in 0..RUNS {
            let start = Instant::now();
            last = Some(black_box(run()?));
            best = best.min(start.elapsed().as_secs_f64());
        }
        if let Some(last) = last {
            return Ok((best, last));
        }
    }
}

/// Cut into row groups, as a store has them.
fn groups(rows: &Rows) -> Vec<Rows> {
    let step = usize::try_from(rows_per_group(rows.shape.cols as u64, 1)).unwrap_or(1);
    (0..rows.shape.rows).step_by(step).map(|from| rows.slice(from, from + step)).collect()
}

fn table(name: &str, all: &[Rows], ways: &[Way<'_>]) -> Result<()> {
    let elems: usize = all.iter().map(|rows| rows.shape.rows * rows.shape.cols).sum();
    let source: usize = all.iter().map(|rows| rows.bytes.len()).sum();
    println!("\n{name}: {elems} weights, {source} bytes\n");
    println!("| | bits per weight | encode MB/s | decode MB/s |\n|---|---|---|---|");
    for way in ways {
        let (mut bytes, mut encode, mut decode) = (0, 0.0, 0.0);
        for rows in all {
            let (time, encoded) = fastest(|| (way.encode)(rows))?;
            encode += time;
            let (time, decoded) = fastest(|| (way.decode)(rows, &encoded))?;
            decode += time;
            if decoded != rows.bytes {
                return Err(format!("{} lost bits of {}", way.name, rows.name).into());
            }
            bytes += encoded.len();
        }
        println!(
            "| {} | {:.3} | {:.0} | {:.0} |",
            way.name,
            bytes as f64 * 8.0 / elems as f64,
            source as f64 / encode / 1e6,
            source as f64 / decode / 1e6
        );
    }
    Ok(())
}

fn shorts(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
}

fn pco_encode(rows: &Rows) -> Result<Vec<u8>> {
    let config = ChunkConfig::default();
    Ok(match rows.shape.dtype {
        DType::F32 => simple_compress(&rows.values, &config)?,
        _ => simple_compress(&shorts(&rows.bytes), &config)?,
    })
}

fn pco_decode(rows: &Rows, bytes: &[u8]) -> Result<Vec<u8>> {
    Ok(match rows.shape.dtype {
        DType::F32 => {
            simple_decompress::<f32>(bytes)?.iter().flat_map(|x| x.to_le_bytes()).collect()
        }
        _ => simple_decompress::<u16>(bytes)?.iter().flat_map(|x| x.to_le_bytes()).collect(),
    })
}

/// The same values with 16 more bits of noise below: F32 as it comes from training.
fn wide(all: &[Rows]) -> Result<Vec<Rows>> {
    let mut rng = Rng::new(9);
    let one = |rows: &Rows| {
        let noisy = rows.values.iter().map(|x| x.to_bits() | rng.bits32() >> 16);
        let bytes = noisy.flat_map(u32::to_le_bytes).collect();
        Rows::from_bytes(&rows.name, GroupShape { dtype: DType::F32, ..rows.shape }, bytes)
    };
    all.iter().map(one).collect()
}

/// The nearest half-precision numbers of slightly different values.
fn half(all: &[Rows]) -> Result<Vec<Rows>> {
    let mut rng = Rng::new(10);
    let one = |rows: &Rows| {
        let noisy =
            rows.values.iter().map(|x| single(f64::from(*x) * (1.0 + rng.uniform() / 128.0)));
        let cut = noisy.map(|x| {
            let exponent = (x.to_bits() >> 23 & 255).saturating_sub(112);
            let magnitude =
                if exponent == 0 { 0 } else { exponent << 10 | x.to_bits() >> 13 & 0x3ff };
            x.to_bits() >> 31 << 15 | magnitude
        });
        let bytes = cut.flat_map(|bits| bits.to_le_bytes().into_iter().take(2)).collect();
        Rows::from_bytes(&rows.name, GroupShape { dtype: DType::F16, ..rows.shape }, bytes)
    };
    all.iter().map(one).collect()
}

/// Bytes of a fine-tune in four ways: as it is, lossless by itself, its XOR with the base by zstd, and
/// as differences, where tensors that are the same take nothing.
fn sizes(format: &dyn BlockFormat, base: &[Rows], tuned: &[Rows]) -> Result<[usize; 4]> {
    let mut sum = [0; 4];
    for (base, tuned) in base.iter().zip(tuned) {
        let xor: Vec<u8> = base.bytes.iter().zip(&tuned.bytes).map(|(a, b)| a ^ b).collect();
        // Bytes of a kind together, which helps zstd.
        let planes: Vec<u8> =
            (0..2).flat_map(|at| xor.iter().skip(at).step_by(2)).copied().collect();
        sum[0] += tuned.bytes.len();
        sum[2] += zstd::encode_all(planes.as_slice(), 3)?.len();
        for (base, tuned) in groups(base).iter().zip(groups(tuned)) {
            let mut out = Vec::new();
            format.encode(tuned.input(), &mut out)?;
            sum[1] += out.len();
            if base.bytes != tuned.bytes {
                out.clear();
                format.encode_against(tuned.input(), &base.bytes, &mut out)?;
                sum[3] += out.len();
            }
        }
    }
    Ok(sum)
}

fn family(format: &dyn BlockFormat, base: &[Rows]) -> Result<()> {
    let elems: usize = base.iter().map(|rows| rows.values.len()).sum();
    println!("\nA base and its fine-tunes, bytes of tensors\n");
    println!("| | models | raw | lossless | XOR, zstd -3 | --base | bits per weight |");
    println!("|---|---|---|---|---|---|---|");
    let print = |name: &str, models: usize, sum: [usize; 4]| {
        let bits = sum[3] as f64 * 8.0 / (elems * models) as f64;
        let [raw, lossless, xor, based] = sum;
        println!("| {name} | {models} | {raw} | {lossless} | {xor} | {based} | {bits:.3} |");
    };
    let mut total = sizes(format, base, base)?;
    // The base itself cannot be told from anything else.
    (total[2], total[3]) = (total[1], total[1]);
    print("base", 1, total);
    let add = |sum: &mut [usize; 4], more: [usize; 4]| {
        sum.iter_mut().zip(more).for_each(|(to, own)| *to += own);
    };
    let mut seed = 100;
    for (drift, models) in [(0.0001, 1), (0.001, 7), (0.003, 7), (0.01, 6), (0.03, 1)] {
        let mut sum = [0; 4];
        for _ in 0..models {
            seed += 1;
            let each = base.iter().zip(0u64..);
            let tuned: Result<Vec<Rows>> =
                each.map(|(rows, at)| drifted(rows, drift, seed * 1000 + at)).collect();
            add(&mut sum, sizes(format, base, &tuned?)?);
        }
        print(&format!("drift {} %", drift * 100.0), models, sum);
        // Twenty of them make the family.
        if models > 1 {
            add(&mut total, sum);
        }
    }
    // Low-rank adapters that were merged: attention of every fourth block, all else untouched.
    let touched = |name: &str| {
        let block = name.split('.').nth(2).and_then(|block| block.parse::<u64>().ok());
        name.contains("attn") && block.is_some_and(|block| block % 4 == 1)
    };
    let each = base.iter().zip(0u64..);
    let merged: Result<Vec<Rows>> = each
        .map(|(rows, at)| match touched(&rows.name) {
            true => drifted(rows, 0.01, 77_000 + at),
            false => Ok(rows.clone()),
        })
        .collect();
    let sum = sizes(format, base, &merged?)?;
    print("few tensors changed by 1 %", 1, sum);
    add(&mut total, sum);
    print("all but drifts of 0.01 % and 3 %", 22, total);
    Ok(())
}

fn main() -> Result<()> {
    let registry = Registry::builtin(gmat_codecs::link())?;
    let format = registry.block("lossless")?;
    let lossless = |rows: &Rows| {
        let mut out = Vec::new();
        format.encode(rows.input(), &mut out)?;
        Ok(out)
    };
    let restore = |rows: &Rows, bytes: &[u8]| {
        let mut out = Vec::new();
        format.restore(bytes, rows.shape, &mut out)?;
        Ok(out)
    };
    let zstd_encode = |rows: &Rows| Ok(zstd::encode_all(rows.bytes.as_slice(), 3)?);
    let zstd_decode = |_: &Rows, bytes: &[u8]| Ok(zstd::decode_all(bytes)?);
    let ways = [
        Way { name: "lossless", encode: &lossless, decode: &restore },
        Way { name: "zstd -3", encode: &zstd_encode, decode: &zstd_decode },
        Way { name: "pco", encode: &pco_encode, decode: &pco_decode },
    ];
    let base = trained()?;
    table("BF16", &base, &ways)?;
    table("F16", &half(&base)?, &ways)?;
    table("F32", &wide(&base)?, &ways)?;
    family(format, &base)
}
