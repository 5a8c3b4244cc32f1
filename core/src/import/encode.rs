//! One row group on its way into the store: put together, checked, measured, encoded.

use super::{Base, Item, Unit};
use crate::block::{EncodeInput, GroupShape};
use crate::convert::{first_non_finite, narrowed};
use crate::error::{Error, Result, ResultExt};
use crate::format::store as file;
use crate::pipeline::Buffers;
use crate::stats::{GroupStats, LaneTops};
use crate::tensor::{DType, mem_len};

/// What the pool makes of a row group.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) sum: [u8; file::SUM],
    pub(super) stats: GroupStats,
    pub(super) tops: LaneTops,
    /// F64 numbers that F32 does not hold, and those of them that are too large for it.
    pub(super) narrowed: (u64, u64),
}

/// The row group of a unit; `chunks` are its source bytes, of every part.
pub(super) fn encode(
    item: &Item<'_>,
    unit: &Unit,
    chunks: &[&[u8]],
    buffers: &Buffers,
) -> Result<Encoded> {
    let (chunks, base) = match (&item.base, chunks) {
        (Some(Base::Difference(_, partner)), [source @ .., base]) => {
            (source, Some(partner.source(unit, base)?))
        }
        _ => (chunks, None),
    };
    let base = base.as_deref();
    let Some(derived) = &item.source.derived else {
        let bytes = chunks.first().copied().unwrap_or_default();
        return encode_rows(item, unit, bytes, base, buffers);
    };
    let mut bytes = buffers.bytes();
    if !unit.rows.is_empty() {
        derived.decode(&unit.rows, item.cols, chunks, item.finite, &mut bytes)?;
    }
    let encoded = encode_rows(item, unit, &bytes, base, buffers);
    buffers.put(bytes);
    encoded
}

fn encode_rows(
    item: &Item<'_>,
    unit: &Unit,
    bytes: &[u8],
    base: Option<&[u8]>,
    buffers: &Buffers,
) -> Result<Encoded> {
    let shape = group_shape(item, unit.rows.end - unit.rows.start)?;
    let dtype = shape.dtype;
    let count = if dtype.holds_weights() { shape.rows * shape.cols } else { 0 };
    let mut values = buffers.values(count);
    if dtype.holds_weights() {
        item.elements.to_f32(bytes, &mut values)?;
    }
    let stats = GroupStats::of(&values);
    if stats.non_finite > 0 && item.finite {
        let at = first_non_finite(&values).unwrap_or_default();
        let cols = shape.cols.max(1);
        let row = unit.rows.start + (at / cols) as u64;
        let place = match item.source.info.shape.rank() {
            0 | 1 => format!("index {}", unit.rows.start * item.cols + at as u64),
            _ => format!("row {row}, column {}", at % cols),
        };
        let value = values.get(at).copied().unwrap_or(f32::NAN);
        let what = match (&item.source.derived, wide_number(dtype, bytes, at)) {
            (Some(_), _) => format!("with its scale is `{value}`, not a finite number"),
            (None, Some(wide)) => format!("is `{wide:e}`, which is too large for F32"),
            (None, None) => format!("is `{value}`, not a finite number"),
        };
        return Err(Error::malformed(format!("value at {place} {what}"))
        .with_hint(
            "the checkpoint is broken: download it again or use an earlier one; `--block-format raw` \
             stores it as it is, but no export takes such values",
        ));
    }
    let mut tops = LaneTops::default();
    tops.add(&values, if shape.cols == 1 { values.len() } else { shape.cols });
    let mut out = buffers.bytes();
    let input = EncodeInput { values: &values, bytes, dtype, rows: shape.rows, cols: shape.cols };
    let encoded = match base {
        Some(base) => item.format.encode_against(input, base, &mut out),
        None => item.format.encode(input, &mut out),
    };
    encoded
        .context(|| format!("rows {} to {}", unit.rows.start, unit.rows.end.saturating_sub(1)))?;
    buffers.put_values(values);
    let narrowed = if dtype == DType::F64 { narrowed(bytes) } else { (0, 0) };
    Ok(Encoded { sum: file::checksum(&out), bytes: out, stats, tops, narrowed })
}

/// The finite F64 number at that place.
fn wide_number(dtype: DType, bytes: &[u8], at: usize) -> Option<f64> {
    let (elements, _) = bytes.as_chunks();
    let wide = || elements.get(at).map(|bytes| f64::from_le_bytes(*bytes));
    (dtype == DType::F64).then(wide).flatten().filter(|wide| wide.is_finite())
}

/// Shape of so many rows for the block format.
pub(super) fn group_shape(item: &Item<'_>, rows: u64) -> Result<GroupShape> {
    Ok(GroupShape {
        dtype: item.source.info.dtype,
        rows: mem_len(rows)?,
        cols: mem_len(item.cols)?,
    })
}
