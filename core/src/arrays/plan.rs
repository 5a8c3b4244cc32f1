//! What is to be written: arrays, in which files, how long. Made from headers alone.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cast::{Cast, Precision};
use super::entry::{Aspect, Entry, Origin};
use crate::container::{ArrayInfo, Container, Packing};
use crate::error::{Error, Result, ResultExt};
use crate::registry::Registry;
use crate::source::mxfp4;
use crate::tensor::{DType, Shape};

/// What becomes of MXFP4 tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mxfp4 {
    /// Numbers, like every other tensor.
    Decode,
    /// Codes (two in a byte, the even column in the low bits) and scales, as in the checkpoint.
    Raw,
}

impl Mxfp4 {
    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Raw => "raw",
        }
    }

    /// The choice of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Decode, Self::Raw].into_iter().find(|choice| choice.name() == name)
    }
}

/// What the user decides.
#[derive(Clone, Copy)]
pub struct ArrayOptions {
    /// The output format.
    pub container: &'static dyn Container,
    /// How floating point numbers are written.
    pub precision: Precision,
    /// What becomes of MXFP4 tensors.
    pub mxfp4: Mxfp4,
    /// Most bytes of a shard, headers included.
    pub shard_size: u64,
}

/// One array of the output.
pub(super) struct Array {
    /// Name of the tensor.
    pub(super) name: String,
    /// Its name in the container.
    pub(super) key: String,
    pub(super) dtype: DType,
    pub(super) shape: Shape,
    pub(super) entry: usize,
    pub(super) aspect: Aspect,
    pub(super) cast: Cast,
    pub(super) shard: usize,
    /// Bytes before the elements.
    pub(super) head: Vec<u8>,
    /// Bytes of head, elements and tail.
    pub(super) len: u64,
}

/// Arrays that are complete or missing together.
pub(super) struct ShardPlan {
    pub(super) arrays: Range<usize>,
    /// Bytes of its files.
    pub(super) len: u64,
}

/// What is to be written; no tensor byte has been read.
pub struct ArrayPlan<'a> {
    pub(super) origin: Origin<'a>,
    pub(super) options: ArrayOptions,
    pub(super) entries: Vec<Entry>,
    pub(super) arrays: Vec<Array>,
    pub(super) shards: Vec<ShardPlan>,
}

impl<'a> ArrayPlan<'a> {
    /// Plans the whole of a source.
    ///
    /// # Errors
    /// `Unsupported` for names or types that the format does not hold; `Config` if two tensors would
    /// be called the same or one is larger than a shard.
    pub fn new(origin: Origin<'a>, options: ArrayOptions, registry: &Registry) -> Result<Self> {
        let entries = origin.entries(options.mxfp4 == Mxfp4::Raw, registry)?;
        if entries.is_empty() {
            return Err(Error::malformed("the model has no tensors"));
        }
        let mut arrays = Vec::new();
        for (number, entry) in entries.iter().enumerate() {
            let cast = Cast::new(entry.info.dtype, options.precision, registry);
            let cast = cast.context(|| origin.place(entry))?;
            for (name, shape, aspect) in aspects(entry, options.mxfp4)? {
                let dtype = if aspect == Aspect::Elements { cast.to() } else { DType::U8 };
                let array = array(options.container, name, dtype, shape, aspect, number, cast);
                arrays.push(array.context(|| origin.place(entry))?);
            }
        }
        refuse_collisions(&arrays, options.container)?;
        let shards = shards(&mut arrays, options)?;
        Ok(Self { origin, options, entries, arrays, shards })
    }

    /// What people call the output format.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.options.container.title()
    }

    /// Number of arrays.
    #[must_use]
    pub fn arrays(&self) -> usize {
        self.arrays.len()
    }

    /// Number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Bytes of all files with arrays.
    #[must_use]
    pub fn output_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.len).fold(0, u64::saturating_add)
    }

    /// Parameters, and those of them that are scales. Scales of MXFP4 count, since they are tensors of
    /// the checkpoint; packed codes count as the numbers that they are.
    #[must_use]
    pub fn parameters(&self) -> (u64, u64) {
        let (mut all, mut scales) = (0u64, 0u64);
        for array in &self.arrays {
            let Some(entry) = self.entries.get(array.entry) else { continue };
            let elems = array.shape.elems();
            let group = mxfp4::GROUP as u64;
            let (numbers, own) = match array.aspect {
                Aspect::Elements if entry.is_mxfp4() => (elems + elems / group, elems / group),
                Aspect::Elements => (elems, 0),
                Aspect::Codes => (elems.saturating_mul(2), 0),
                Aspect::Scales => (elems, elems),
            };
            all = all.saturating_add(numbers);
            scales = scales.saturating_add(own);
        }
        (all, scales)
    }

    /// The file that an array is in.
    pub(super) fn file(&self, array: &Array) -> String {
        let container = self.options.container;
        match container.packing() {
            Packing::Tensor => {
                format!("{}/{}{}", shard_name(array.shard), array.key, container.suffix())
            }
            Packing::Shard => format!("{}{}", shard_name(array.shard), container.suffix()),
        }
    }
}

fn shard_name(shard: usize) -> String {
    format!("shard_{shard:03}")
}

/// What becomes of a tensor: name, shape, and what of it.
fn aspects(entry: &Entry, mxfp4: Mxfp4) -> Result<Vec<(String, Shape, Aspect)>> {
    let (name, shape) = (entry.info.name.clone(), entry.info.shape.clone());
    if mxfp4 == Mxfp4::Decode || !entry.is_mxfp4() {
        return Ok(vec![(name, shape, entry.aspect)]);
    }
    let names = match entry.parts.as_slice() {
        [codes, scales] => [codes.clone(), scales.clone()],
        _ => [format!("{name}_blocks"), format!("{name}_scales")],
    };
    let [codes, scales] = names;
    let (mut groups, cols) = (shape.dims().to_vec(), shape.cols());
    groups.pop();
    let mut packed = groups.clone();
    groups.push(cols / mxfp4::GROUP as u64);
    // Checkpoints that call codes so have a dimension for the groups.
    match codes.ends_with("_blocks") {
        true => packed.extend([cols / mxfp4::GROUP as u64, mxfp4::CODES as u64]),
        false => packed.push(cols / 2),
    }
    Ok(vec![
        (codes, Shape::try_new(packed)?, Aspect::Codes),
        (scales, Shape::try_new(groups)?, Aspect::Scales),
    ])
}

fn array(
    container: &dyn Container,
    name: String,
    dtype: DType,
    shape: Shape,
    aspect: Aspect,
    entry: usize,
    cast: Cast,
) -> Result<Array> {
    let key = container.key(&name)?;
    let head = container.head(ArrayInfo { key: &key, dtype, shape: &shape })?;
    let around = (head.len() + container.tail().len()) as u64;
    let data = shape.elems().checked_mul(container.elem_len(dtype));
    let len = data.and_then(|data| data.checked_add(around));
    let len = len.ok_or_else(|| Error::limit("tensor too large"))?;
    Ok(Array { name, key, dtype, shape, entry, aspect, cast, shard: 0, head, len })
}

/// Whether usual file systems take upper and lower case for the same. Nobody knows on which system a
/// browser runs.
const ONE_CASE: bool = cfg!(any(windows, target_vendor = "apple", target_arch = "wasm32"));

fn refuse_collisions(arrays: &[Array], container: &dyn Container) -> Result<()> {
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    for array in arrays {
        let key = match container.packing() {
            Packing::Tensor if ONE_CASE => array.key.to_lowercase(),
            Packing::Tensor | Packing::Shard => array.key.clone(),
        };
        if let Some(other) = names.insert(key, &array.name) {
            let error = Error::unsupported(format!(
                "tensors `{other}` and `{}` would both be called `{}`",
                array.name, array.key
            ));
            return Err(error.with_hint(match container.packing() {
                Packing::Tensor => {
                    "choose --format msgpack or jax-pickle, where names keep their dots"
                }
                Packing::Shard => "choose --format numpy-direct, where names keep their `model.`",
            }));
        }
    }
    Ok(())
}

/// Spreads arrays over shards, in order; a new one begins where the next array would not fit.
fn shards(arrays: &mut [Array], options: ArrayOptions) -> Result<Vec<ShardPlan>> {
    let container = options.container;
    // What a file has besides arrays does not depend on their number.
    let around = (container.begin(arrays.len())?.len() + container.end().len()) as u64;
    let mut shards: Vec<ShardPlan> = Vec::new();
    for (number, array) in arrays.iter_mut().enumerate() {
        let alone = array.len.saturating_add(around);
        if alone > options.shard_size {
            // In units of 0.001 GB, rounded up.
            let wanted = alone.div_ceil(1_000_000);
            return Err(Error::config(format!(
                "tensor `{}` takes {alone} bytes, more than a shard of {} may have",
                array.name, options.shard_size
            ))
            .with_hint(format!(
                "add --shard-size {}.{:03}",
                wanted / 1000,
                wanted % 1000
            )));
        }
        match shards.last_mut() {
            Some(last) if last.len.saturating_add(array.len) <= options.shard_size => {
                last.len += array.len;
                last.arrays.end = number + 1;
            }
            _ => shards.push(ShardPlan { arrays: number..number + 1, len: alone }),
        }
        array.shard = shards.len() - 1;
    }
    Ok(shards)
}
