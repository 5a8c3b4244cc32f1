//! Verification of GGUF files: structure, sizes, hashes.

use super::Verified;
use crate::convert::first_non_finite;
use crate::error::{Error, Result, ResultExt};
use crate::export::{FileHash, Manifest};
use crate::format::gguf::{GgufModel, Part};
use crate::io::Files;
use crate::pipeline::{Budget, drive};
use crate::progress::{Event, Progress, notify};
use crate::registry::Registry;
use crate::tensor::mem_len;

/// Bytes of a tensor that are read at a time, in whole blocks.
const PIECE: u64 = 4 << 20;

/// Some blocks of a tensor, or padding.
struct Unit {
    part: usize,
    /// The tensor, or none for padding.
    tensor: Option<usize>,
    start: u64,
    len: u64,
    last: bool,
}

/// Reads all of a GGUF file, or of all files of the split that it is one of. With the manifest of
/// the export, all bytes are compared with the hashes in it; without, every block is decoded, so that
/// scales which are not numbers are found.
///
/// # Errors
/// `Io` if a file cannot be read; `Cancelled`. What is damaged or missing is no error, but a
/// difference.
pub fn verify_gguf(
    files: &dyn Files,
    file: &str,
    manifest: Option<&Manifest>,
    registry: &Registry,
    budget: Budget,
    progress: &mut dyn Progress,
) -> Result<Verified> {
    let mut found = Verified::new("gguf");
    let opened = GgufModel::open(files, file).and_then(|model| model.complete().map(|()| model));
    let Some(model) = found.take(file, None, opened)? else { return Ok(found) };
    if let Some(manifest) = manifest {
        same_files(&model, manifest, &mut found);
    }
    let mut units = Vec::new();
    for (number, part) in model.parts.iter().enumerate() {
        found.files += 1;
        found.bytes += part.len;
        let hashes = manifest.and_then(|manifest| hashes_of(manifest, part));
        if let Some(hashes) = hashes {
            header(files, part, hashes, &mut found)?;
        }
        let lens = found.take(&part.name, None, part.gguf.lens(part.len))?;
        let Some(lens) = lens else { continue };
        found.tensors += lens.len();
        layout(number, part, &lens, &mut units, &mut found);
    }
    notify(progress, Event::Start { tensors: found.tensors, bytes: found.bytes })?;
    contents(files, &model, manifest, registry, budget, units, progress, &mut found)?;
    found.checks.push("structure: keys, tensor table, sizes, padding".to_owned());
    found.checks.push(match manifest {
        Some(_) => "hashes of headers and tensors, from the manifest".to_owned(),
        None => "every block decodes to numbers (there is no manifest with hashes)".to_owned(),
    });
    Ok(found)
}

/// The files and tensors are those of the manifest.
fn same_files(model: &GgufModel, manifest: &Manifest, found: &mut Verified) {
    if model.parts.len() != manifest.files.len() {
        let (is, was) = (model.parts.len(), manifest.files.len());
        let first = model.parts.first().map_or("", |part| &part.name);
        found.differs(first, None, format!("the model has {is} files, {was} were written"));
    }
}

/// What the manifest says of a file. A copy may have another name, but has the same place in a
/// split.
fn hashes_of<'a>(manifest: &'a Manifest, part: &Part) -> Option<&'a FileHash> {
    match manifest.files.as_slice() {
        [only] => Some(only),
        several => several.iter().find(|file| file.name == part.name),
    }
}

/// Length and header of a file.
fn header(files: &dyn Files, part: &Part, hashes: &FileHash, found: &mut Verified) -> Result<()> {
    if part.len != hashes.bytes {
        let what = format!("the file has {} bytes, {} were written", part.len, hashes.bytes);
        found.differs(&part.name, None, what);
    }
    let end = hashes.header_bytes.min(part.len);
    let hash = crate::export::hash_of(files, &part.name, 0..end)?;
    if hash.to_hex().as_str() != hashes.header_blake3 {
        let what = format!("the header, bytes 0 to {end}, is not the one that was written");
        found.differs(&part.name, None, what);
    }
    Ok(())
}

/// What is to be read of a file: tensors, and what lies between and behind them.
fn layout(
    number: usize,
    part: &Part,
    lens: &[Option<u64>],
    units: &mut Vec<Unit>,
    found: &mut Verified,
) {
    let mut order: Vec<usize> = (0..lens.len()).collect();
    order.sort_by_key(|&tensor| part.gguf.tensors.get(tensor).map(|tensor| tensor.offset));
    let mut at = part.gguf.data_start.min(part.len);
    let padding = |at: u64, to: u64, units: &mut Vec<Unit>| {
        if to > at {
            units.push(Unit { part: number, tensor: None, start: at, len: to - at, last: false });
        }
    };
    for tensor in order {
        let Some(entry) = part.gguf.tensors.get(tensor) else { continue };
        let Some(&Some(len)) = lens.get(tensor) else {
            let what = format!("type {} is not known, so that it was not read", entry.ggml_type);
            found.differs(&part.name, Some(&entry.name), what);
            continue;
        };
        let start = part.gguf.data_start + entry.offset;
        if at + part.gguf.alignment > start {
            padding(at, start, units);
        } else {
            let what = format!("bytes {at} to {start} belong to no tensor");
            found.differs(&part.name, None, what);
        }
        let block = entry.ty().map_or(1, |ty| ty.block().bytes as u64);
        let step = (PIECE / block * block).max(block);
        let mut done = 0;
        loop {
            let now = step.min(len - done);
            let last = done + now == len;
            let unit =
                Unit { part: number, tensor: Some(tensor), start: start + done, len: now, last };
            units.push(unit);
            done += now;
            if last {
                break;
            }
        }
        at = start + len;
    }
    let end = at.next_multiple_of(part.gguf.alignment).min(part.len);
    padding(at, end, units);
    if part.len > end {
        let what = format!("{} bytes after the last tensor belong to nothing", part.len - end);
        found.differs(&part.name, None, what);
    }
}

/// Reads all units, and compares or decodes them.
#[expect(clippy::too_many_arguments, reason = "what is read, against what, and how")]
fn contents(
    files: &dyn Files,
    model: &GgufModel,
    manifest: Option<&Manifest>,
    registry: &Registry,
    budget: Budget,
    units: Vec<Unit>,
    progress: &mut dyn Progress,
    found: &mut Verified,
) -> Result<()> {
    let part_of = |unit: &Unit| model.parts.get(unit.part).ok_or_else(|| Error::shape("no file"));
    let mut hasher = blake3::Hasher::new();
    let mut done = 0;
    let mut reported = None;
    drive(
        units,
        budget.units(PIECE * 16)?,
        |unit| {
            let part = part_of(unit)?;
            let chunk = files.read(&part.name, unit.start..unit.start + unit.len);
            chunk.context(|| format!("file `{}`", files.place(&part.name)))
        },
        |unit, chunk| {
            let bytes = chunk.as_ref().as_ref();
            let Some(tensor) = unit.tensor else {
                let odd = bytes.iter().position(|&byte| byte != 0);
                let odd =
                    odd.map(|at| format!("padding at byte {} is not zero", unit.start + at as u64));
                return Ok((odd, Vec::new()));
            };
            if manifest.is_some() {
                return Ok((None, bytes.to_vec()));
            }
            let entry = part_of(unit)?.gguf.tensors.get(tensor);
            let ty = entry.and_then(|entry| entry.ty()).filter(|ty| ty.holds_weights());
            let Some(quant) = ty.and_then(|ty| registry.quant(ty.name())) else {
                return Ok((None, Vec::new()));
            };
            let block = quant.block();
            let mut values = vec![0.0; bytes.len() / block.bytes * block.elems];
            quant.dequantize(bytes, &mut values)?;
            let odd = first_non_finite(&values).map(|at| {
                let byte = unit.start + (at / block.elems * block.bytes) as u64;
                format!("the block at byte {byte} holds what is no number")
            });
            Ok((odd, Vec::new()))
        },
        |unit, (odd, bytes)| {
            let part = part_of(&unit)?;
            let name =
                unit.tensor.and_then(|at| part.gguf.tensors.get(at)).map(|t| t.name.as_str());
            // Once per tensor is enough.
            if let Some(odd) = odd.filter(|_| reported != Some((unit.part, unit.tensor))) {
                found.differs(&part.name, name, odd);
                reported = Some((unit.part, unit.tensor));
            }
            hasher.update(&bytes);
            if unit.last {
                let hash = hasher.finalize().to_hex();
                hasher.reset();
                if let (Some(manifest), Some(name)) = (manifest, name) {
                    let known = hashes_of(manifest, part);
                    let known = known.and_then(|file| file.tensors.iter().find(|t| t.name == name));
                    match known {
                        Some(known) if known.blake3 == hash.as_str() => {}
                        Some(_) => found.differs(&part.name, Some(name), "not what was written"),
                        None => found.differs(&part.name, Some(name), "not in the manifest"),
                    }
                }
            }
            done += mem_len(unit.len)? as u64;
            notify(progress, Event::Bytes(done))
        },
    )
}
