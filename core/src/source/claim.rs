//! Which tensors of a checkpoint belong together, and what they make.
//!
//! | codes | beside them | becomes |
//! |---|---|---|
//! | `X` F8_E4M3, F8_E5M2 | `X_scale_inv` or `X_scale` (`X.qscale_weight` beside `X.weight`) | `X` F32 |
//! | `X` I8 | `X_scale`, `X_zero_point` | `X` F32 |
//! | `X_packed` I32 | `X_scale`, `X_shape`, `X_zero_point`, `X_g_idx` | `X` F32 |
//! | `X_packed` U8 | `X_scale` F8_E4M3, `X_global_scale` | `X` F32 (NVFP4 of compressed-tensors) |
//! | `X` U8 | `X_scale` F8_E4M3, `X_scale_2` | `X` F32 (NVFP4 of Model Optimizer) |
//! | `X_packed` or `X` U8 | `X_scale` U8 | `X` MXFP4 |
//! | `X_blocks` U8 | `X_scales` U8 | `X` MXFP4 (gpt-oss) |
//!
//! Sources: the checkpoints of DeepSeek-V3 and gpt-oss, the compressors of compressed-tensors, the
//! export of Model Optimizer, the loaders of vLLM. An `X` usually ends in `.weight`; experts in one
//! stack have no such ending and one more dimension in front.

use std::collections::BTreeMap;

use super::dequant::{Codes, Form, Global};
use super::derived::{Derived, How, Part, Reach};
use super::method::{Encoding, Method, Tiling};
use super::mxfp4;
use super::tiling::{expected, fit};
use super::{Shard, SourceTensor};
use crate::error::{Error, Result};
use crate::ggml::GgmlType;
use crate::io::{Files, read_exact};
use crate::tensor::{DType, Shape, TensorInfo, mem_len};

/// All tensors of a checkpoint, by name.
pub(super) struct Catalog<'a> {
    files: &'a dyn Files,
    shards: &'a [Shard],
    pub(super) tensors: &'a [SourceTensor],
    by_name: BTreeMap<&'a str, usize>,
    method: &'a Method,
}

/// A tensor and the numbers of those that it is made of.
pub(super) struct Claim {
    pub(super) tensor: SourceTensor,
    pub(super) parts: Vec<usize>,
}

/// What comes together as a claim.
struct Found {
    encoding: Encoding,
    name: String,
    dtype: DType,
    dims: Vec<u64>,
    how: How,
    parts: Vec<(usize, Reach)>,
}

/// Types of scales beside FP8 and integer codes.
const FLOATS: &[DType] = &[DType::F32, DType::Bf16, DType::F16];
/// Types of scales within NVFP4.
const SMALL_FLOATS: &[DType] = &[DType::F8E4m3, DType::F32, DType::Bf16, DType::F16];
/// Elements of a group in NVFP4.
const NVFP4_GROUP: u64 = 16;

impl<'a> Catalog<'a> {
    pub(super) fn new(
        files: &'a dyn Files,
        shards: &'a [Shard],
        tensors: &'a [SourceTensor],
        method: &'a Method,
    ) -> Self {
        let by_name =
            tensors.iter().enumerate().map(|(at, tensor)| (tensor.info.name.as_str(), at));
        Self { files, shards, tensors, by_name: by_name.collect(), method }
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// How messages call a tensor.
    pub(super) fn place(&self, number: usize) -> String {
        let Some(tensor) = self.tensors.get(number) else { return String::new() };
        let shard = self.shards.get(tensor.shard).map_or("", |shard| &shard.name);
        format!("tensor `{}` in `{}`", tensor.info.name, self.files.place(shard))
    }

    /// What the tensor of that number holds the codes of, if it does.
    pub(super) fn claim(&self, number: usize) -> Result<Option<Claim>> {
        let found = self.found(number).map_err(|error| error.context(self.place(number)))?;
        let Some(found) = found else { return Ok(None) };
        let make = || {
            let parts = found.parts.iter().map(|&(part, reach)| {
                let part = self.tensor(part)?.clone();
                Ok(Part { reach, ..Part::from(part) })
            });
            let parts = parts.collect::<Result<Vec<_>>>()?;
            let (shard, offset) = (self.tensor(number)?.shard, self.tensor(number)?.offset);
            let shape = Shape::try_new(found.dims)?;
            let info = TensorInfo { name: found.name, dtype: found.dtype, shape };
            info.byte_len()?;
            let derived = Derived { encoding: found.encoding.name(), how: found.how, parts };
            Ok(SourceTensor { info, shard, offset, derived: Some(Box::new(derived)) })
        };
        let parts = found.parts.iter().map(|(part, _)| *part).collect();
        let tensor = make().map_err(|error: Error| error.context(self.place(number)))?;
        Ok(Some(Claim { tensor, parts }))
    }

    fn found(&self, number: usize) -> Result<Option<Found>> {
        let info = self.info(number)?;
        let name = info.name.as_str();
        if let Some(base) = name.strip_suffix("_blocks")
            && info.dtype == DType::U8
        {
            let scales = format!("{base}_scales");
            let wanted = self.method.is_stated() && self.method.allow(Encoding::Mxfp4).is_ok();
            if wanted || self.find(&scales).is_some() {
                return self.mxfp4(base, number, self.need(&scales)?, true).map(Some);
            }
        }
        if let Some(base) = name.strip_suffix("_packed")
            && (base.ends_with(".weight") || self.find(&format!("{base}_scale")).is_some())
        {
            let scale = self.need(&format!("{base}_scale"))?;
            return match (info.dtype, self.info(scale)?.dtype) {
                (DType::I32, _) => self.packed(base, number, scale).map(Some),
                (DType::U8, DType::U8) => self.mxfp4(base, number, scale, false).map(Some),
                (DType::U8, _) => {
                    let global = self.need(&format!("{base}_global_scale"))?;
                    self.nvfp4(base, number, scale, global, Global::Divide).map(Some)
                }
                (other, _) => Err(Error::malformed(format!("type is {other}, expected I32 or U8"))),
            };
        }
        let scale = self.find(&format!("{name}_scale"));
        match (info.dtype, scale) {
            (DType::F8E4m3 | DType::F8E5m2, _) => self.fp8(number),
            (DType::I8, Some(scale)) => self.int8(number, scale).map(Some),
            (DType::U8, Some(scale)) if self.info(scale)?.dtype == DType::U8 => {
                self.mxfp4(name, number, scale, false).map(Some)
            }
            (DType::U8, Some(scale)) => {
                let global = self.need(&format!("{name}_scale_2"))?;
                self.nvfp4(name, number, scale, global, Global::Multiply).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn fp8(&self, number: usize) -> Result<Option<Found>> {
        let info = self.info(number)?;
        let name = info.name.as_str();
        let mut names = vec![format!("{name}_scale_inv"), format!("{name}_scale")];
        names.extend(name.strip_suffix(".weight").map(|base| format!("{base}.qscale_weight")));
        let scales: Vec<usize> = names.iter().filter_map(|name| self.find(name)).collect();
        let scale = match *scales.as_slice() {
            [scale] => scale,
            // A scale itself, or plain; who is neither is found at the end.
            [] => return Ok(None),
            _ => {
                return Err(Error::malformed(format!(
                    "it has two scales: `{}`",
                    names.join("`, `")
                )));
            }
        };
        self.method.allow(Encoding::Fp8)?;
        let zero_point = format!("{name}_zero_point");
        if self.find(&zero_point).is_some() {
            return Err(Error::unsupported(format!("`{zero_point}` beside FP8 weights")));
        }
        let (form, dims) = (Form::Plain(info.dtype), info.shape.dims().to_vec());
        let scale = self.scale(&dims, scale, &self.method.tilings, FLOATS)?;
        let parts = vec![(number, rows(info.row_len()?)), scale];
        self.scaled(Encoding::Fp8, name, form, dims, parts, None).map(Some)
    }

    fn int8(&self, number: usize, scale: usize) -> Result<Found> {
        self.method.allow(Encoding::Int8)?;
        let info = self.info(number)?;
        let (name, dims) = (info.name.as_str(), info.shape.dims().to_vec());
        let scale = self.scale(&dims, scale, &self.method.tilings, FLOATS)?;
        let mut parts = vec![(number, rows(info.row_len()?)), scale];
        if let Some(zeros) = self.find(&format!("{name}_zero_point")) {
            parts.push(self.zeros(zeros, scale)?);
        }
        let zeros = (parts.len() > 2).then_some(2);
        let form = Form::Plain(info.dtype);
        let codes = Codes { form, global: None, zeros, columns: None };
        self.made(Encoding::Int8, name, dims, codes, parts)
    }

    fn packed(&self, base: &str, number: usize, scale: usize) -> Result<Found> {
        self.method.allow(Encoding::Packed)?;
        let info = self.info(number)?;
        let shape = self.need(&format!("{base}_shape"))?;
        let dims = self.stored_shape(shape)?;
        let words = info.shape.dims();
        let (cols, width) = (dims.last().copied().unwrap_or(0), info.shape.cols());
        let fits =
            |bits: &u32| cols.checked_mul((*bits).into()).map(|n| n.div_ceil(32)) == Some(width);
        let same_rows =
            words.len() == dims.len() && words.iter().rev().skip(1).eq(dims.iter().rev().skip(1));
        let said = |bits: &u32| {
            self.method.bits.is_empty() || self.method.bits.contains(&u64::from(*bits))
        };
        let Some(bits) = [4, 8, 2].into_iter().filter(said).find(|bits| same_rows && fits(bits))
        else {
            return Err(Error::malformed(format!(
                "shape {} does not hold the weights of shape {dims:?} that `{base}_shape` names in \
                 2, 4 or 8 bits each, as `num_bits` in `config.json` says",
                info.shape
            )));
        };
        let scale = self.scale(&dims, scale, &self.method.tilings, FLOATS)?;
        let mut parts = vec![(number, rows(info.row_len()?)), scale, (shape, Reach::Whole)];
        let mut codes =
            Codes { form: Form::Packed(bits), global: None, zeros: None, columns: None };
        if let Some(zeros) = self.find(&format!("{base}_zero_point")) {
            codes.zeros = Some(parts.len());
            parts.push(match self.info(zeros)?.dtype {
                DType::I32 => self.packed_zeros(zeros, &dims, scale, bits)?,
                _ => self.zeros(zeros, scale)?,
            });
        }
        if let Some(columns) = self.find(&format!("{base}_g_idx")) {
            self.expect(columns, &[DType::I32], &[vec![cols]])?;
            codes.columns = Some(parts.len());
            parts.push((columns, Reach::Whole));
        }
        self.made(Encoding::Packed, base, dims, codes, parts)
    }

    fn nvfp4(
        &self,
        base: &str,
        number: usize,
        scale: usize,
        global: usize,
        how: Global,
    ) -> Result<Found> {
        self.method.allow(Encoding::Nvfp4)?;
        let info = self.info(number)?;
        let dims = wider(info, 2)?;
        let scale = self.scale(&dims, scale, &[Tiling::Groups(NVFP4_GROUP)], SMALL_FLOATS)?;
        let global = self.scale(&dims, global, &[Tiling::Tensor], FLOATS)?;
        let parts = vec![(number, rows(info.row_len()?)), scale, global];
        self.scaled(Encoding::Nvfp4, base, Form::Fp4, dims, parts, Some((2, how)))
    }

    /// With `grouped`, the codes of a group are a dimension of their own.
    fn mxfp4(&self, base: &str, number: usize, scales: usize, grouped: bool) -> Result<Found> {
        self.method.allow(Encoding::Mxfp4)?;
        let info = self.info(number)?;
        let (group, bytes) = (mxfp4::GROUP as u64, mxfp4::CODES as u64);
        let mut dims = info.shape.dims().to_vec();
        let wrong = || {
            let expected =
                if grouped { "[…, rows, groups, 16]" } else { "[…, rows, groups * 16]" };
            Error::malformed(format!("shape is {}, expected {expected}", info.shape))
        };
        let groups = match (dims.pop(), grouped) {
            (Some(16), true) => dims.pop().ok_or_else(wrong)?,
            (Some(width), false) if width.is_multiple_of(bytes) => width / bytes,
            _ => return Err(wrong()),
        };
        if dims.is_empty() {
            return Err(wrong());
        }
        let scale_dims = [dims.as_slice(), &[groups]].concat();
        self.expect(scales, &[DType::U8], &[scale_dims])?;
        dims.push(groups.checked_mul(group).ok_or_else(wrong)?);
        let row = groups.checked_mul(bytes).ok_or_else(wrong)?;
        Ok(Found {
            encoding: Encoding::Mxfp4,
            name: base.to_owned(),
            dtype: DType::Ggml(GgmlType::Mxfp4),
            dims,
            how: How::Mxfp4,
            parts: vec![(number, rows(row)), (scales, rows(groups))],
        })
    }

    fn scaled(
        &self,
        encoding: Encoding,
        name: &str,
        form: Form,
        dims: Vec<u64>,
        parts: Vec<(usize, Reach)>,
        global: Option<(usize, Global)>,
    ) -> Result<Found> {
        let codes = Codes { form, global, zeros: None, columns: None };
        self.made(encoding, name, dims, codes, parts)
    }

    fn made(
        &self,
        encoding: Encoding,
        name: &str,
        dims: Vec<u64>,
        codes: Codes,
        parts: Vec<(usize, Reach)>,
    ) -> Result<Found> {
        let how = How::Scaled(codes);
        Ok(Found { encoding, name: name.to_owned(), dtype: DType::F32, dims, how, parts })
    }

    /// The scale of a tensor as a part.
    fn scale(
        &self,
        dims: &[u64],
        scale: usize,
        tilings: &[Tiling],
        dtypes: &[DType],
    ) -> Result<(usize, Reach)> {
        let info = self.info(scale)?;
        let Some(tiles) = tilings.iter().find_map(|&tiling| fit(tiling, dims, info.shape.dims()))
        else {
            return Err(Error::malformed(format!(
                "scale `{}` has shape {}, expected {} for weights of shape {dims:?}",
                info.name,
                info.shape,
                expected(tilings, dims)
            ))
            .with_hint("config and weights may be of different checkpoints"));
        };
        self.expect_type(scale, dtypes)?;
        let len = info.dtype.byte_len(tiles.width).ok_or_else(|| Error::limit("absurd scales"))?;
        Ok((scale, Reach::Tiles(tiles, len)))
    }

    /// Zero points that are spread like scales.
    fn zeros(&self, zeros: usize, scale: (usize, Reach)) -> Result<(usize, Reach)> {
        let dims = self.info(scale.0)?.shape.dims().to_vec();
        self.expect(zeros, &[DType::I8], &[dims])?;
        let Reach::Tiles(tiles, _) = scale.1 else { return Err(Error::shape("zeros of nothing")) };
        Ok((zeros, Reach::Tiles(tiles, tiles.width)))
    }

    /// Zero points packed along the rows of a matrix.
    fn packed_zeros(
        &self,
        zeros: usize,
        dims: &[u64],
        scale: (usize, Reach),
        bits: u32,
    ) -> Result<(usize, Reach)> {
        let Reach::Tiles(tiles, _) = scale.1 else { return Err(Error::shape("zeros of nothing")) };
        let (&[rows, _], 1) = (dims, tiles.rows) else {
            return Err(Error::unsupported(
                "packed zero points of a stack, or of scales that rows have in common",
            ));
        };
        let bits = u64::from(bits);
        let words = rows.checked_mul(bits).map(|n| n.div_ceil(32));
        let words = words.ok_or_else(|| Error::limit("absurd rows"))?;
        self.expect(zeros, &[DType::I32], &[vec![words, tiles.width]])?;
        Ok((zeros, Reach::Packed { bits, bytes: tiles.width.saturating_mul(4) }))
    }

    /// The numbers in a small tensor that says a shape.
    fn stored_shape(&self, number: usize) -> Result<Vec<u64>> {
        /// More than two matrices and a stack of them never have.
        const MOST: u64 = 8;
        let info = self.info(number)?;
        let count = info.shape.elems();
        let size = match (info.dtype, info.shape.rank()) {
            (DType::I64, 1) if count <= MOST => 8,
            (DType::I32, 1) if count <= MOST => 4,
            _ => {
                return Err(Error::malformed(format!(
                    "`{}` is {} of shape {}, expected a few I64 or I32 numbers",
                    info.name, info.dtype, info.shape
                )));
            }
        };
        let tensor = self.tensor(number)?;
        let shard = self.shards.get(tensor.shard).ok_or_else(|| Error::shape("no such shard"))?;
        let len = mem_len(info.byte_len()?)?;
        let bytes = read_exact(self.files, &shard.name, tensor.offset, len)?;
        let dims = bytes.chunks(size).map(|bytes| {
            let mut wide = [0; 8];
            wide.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            u64::from_le_bytes(wide)
        });
        let dims: Vec<u64> = dims.collect();
        // Negative numbers have become enormous ones.
        match dims.len() >= 2 && Shape::try_new(dims.clone()).is_ok() {
            true => Ok(dims),
            false => {
                Err(Error::malformed(format!("`{}` says {dims:?}, which is no shape", info.name)))
            }
        }
    }

    fn expect(&self, number: usize, dtypes: &[DType], shapes: &[Vec<u64>]) -> Result<()> {
        let info = self.info(number)?;
        self.expect_type(number, dtypes)?;
        if shapes.iter().any(|dims| dims == info.shape.dims()) {
            return Ok(());
        }
        let shapes: Vec<String> = shapes.iter().map(|dims| format!("{dims:?}")).collect();
        Err(Error::malformed(format!(
            "`{}` has shape {}, expected {}",
            info.name,
            info.shape,
            shapes.join(" or ")
        )))
    }

    fn expect_type(&self, number: usize, dtypes: &[DType]) -> Result<()> {
        let info = self.info(number)?;
        if dtypes.contains(&info.dtype) {
            return Ok(());
        }
        let names: Vec<&str> = dtypes.iter().map(|dtype| dtype.name()).collect();
        Err(Error::malformed(format!(
            "`{}` has elements of type {}, expected {}",
            info.name,
            info.dtype,
            names.join(" or ")
        )))
    }

    fn need(&self, name: &str) -> Result<usize> {
        self.find(name).ok_or_else(|| {
            Error::malformed(format!("`{name}` is missing, which belongs to it"))
                .with_hint("import all shards of the model, or download it again")
        })
    }

    fn tensor(&self, number: usize) -> Result<&'a SourceTensor> {
        self.tensors.get(number).ok_or_else(|| Error::shape("no such tensor"))
    }

    fn info(&self, number: usize) -> Result<&'a TensorInfo> {
        self.tensor(number).map(|tensor| &tensor.info)
    }
}

fn rows(len: u64) -> Reach {
    Reach::Rows(len)
}

/// The dimensions of a tensor with `times` as many columns.
fn wider(info: &TensorInfo, times: u64) -> Result<Vec<u64>> {
    let mut dims = info.shape.dims().to_vec();
    let last = dims.last_mut().and_then(|last| {
        *last = last.checked_mul(times)?;
        Some(())
    });
    last.map(|()| dims).ok_or_else(|| Error::malformed(format!("absurd shape {}", info.shape)))
}
