//! A block format of a plugin.

use super::session::number;
use super::{BlockDescriptor, Function, Plugin, fault, memory_limit};
use crate::block::{BlockFormat, EncodeInput, GroupShape};
use crate::error::{Error, Result};
use crate::format::store::Index;
use crate::tensor::DType;

/// Bytes of memory that the instance of a block format may have for a row group of so many values and
/// encoded bytes; 0 without a plugin.
pub(crate) fn block_memory(is_plugin: bool, values: u64, encoded: u64) -> u64 {
    match is_plugin {
        true => memory_limit(values.saturating_mul(4).saturating_add(encoded)),
        false => 0,
    }
}

/// Likewise to decode a row group of that tensor.
pub(crate) fn decoder_memory(index: &Index) -> u64 {
    let (rows, cols) = index.matrix();
    let encoded = index.groups.iter().map(|group| group.len).max().unwrap_or(0);
    let values = index.group_rows.min(rows).saturating_mul(cols);
    block_memory(index.format.contains('@'), values, encoded)
}

/// A block format of a plugin.
pub struct PluginBlock {
    plugin: &'static Plugin,
    index: usize,
    descriptor: &'static BlockDescriptor,
}

impl PluginBlock {
    /// The format of that number.
    pub(crate) fn new(plugin: &'static Plugin, index: usize) -> Result<Self> {
        let descriptor = plugin.descriptor().blocks.get(index);
        let descriptor =
            descriptor.ok_or_else(|| Error::shape("no such block format in the plugin"))?;
        Ok(Self { plugin, index, descriptor })
    }

    /// Elements of a group, whose values were given.
    fn elems(shape: GroupShape, given: usize) -> Result<usize> {
        match shape.rows.checked_mul(shape.cols) {
            Some(elems) if elems == given => Ok(elems),
            _ => Err(Error::shape(format!(
                "{given} values are not {} rows of {}",
                shape.rows, shape.cols
            ))),
        }
    }
}

impl BlockFormat for PluginBlock {
    fn name(&self) -> &'static str {
        &self.descriptor.name
    }

    fn summary(&self) -> &'static str {
        &self.descriptor.summary
    }

    fn granule_rows(&self) -> usize {
        usize::try_from(self.descriptor.granule_rows).unwrap_or(1)
    }

    fn accepts(&self, dtype: DType) -> bool {
        dtype.is_float()
    }

    fn is_lossless(&self) -> bool {
        false
    }

    fn max_len(&self, shape: GroupShape) -> Option<usize> {
        let descriptor = self.descriptor;
        let (rows, cols) = (shape.rows as u64, shape.cols as u64);
        let bits = rows.checked_mul(cols)?.checked_mul(descriptor.value_bits.into())?;
        let rows = rows.checked_mul(descriptor.row_bytes.into())?;
        let len = bits.div_ceil(8).checked_add(rows)?.checked_add(descriptor.group_bytes.into())?;
        usize::try_from(len).ok()
    }

    fn plugin(&self) -> Option<&'static Plugin> {
        Some(self.plugin)
    }

    fn encode(&self, input: EncodeInput<'_>, out: &mut Vec<u8>) -> Result<()> {
        let shape = GroupShape { dtype: input.dtype, rows: input.rows, cols: input.cols };
        let values = input.values;
        let elems = Self::elems(shape, values.len())?;
        if !self.accepts(input.dtype) {
            return Err(Error::unsupported(format!(
                "block format `{}` does not hold {} elements",
                self.name(),
                input.dtype
            )));
        }
        let most = self.max_len(shape).ok_or_else(|| Error::limit("row group too large"))?;
        let memory = memory_limit((size_of_val(values) as u64).saturating_add(most as u64));
        let start = out.len();
        self.plugin.run(memory, None, self.index, &mut |session| {
            let (src, dst) = (session.alloc(size_of_val(values))?, session.alloc(most)?);
            session.put_values(src, values)?;
            let index = number(self.index)?;
            let (rows, cols) = (number(input.rows)?, number(input.cols)?);
            let arguments = [index, src.at, rows, cols, dst.at, dst.len];
            let len = session.count(Function::Encode, &arguments, elems)?;
            let len = usize::try_from(len).ok().filter(|&len| len <= most).ok_or_else(|| {
                fault(format!(
                    "`{}` answers with a length of {len} bytes, its descriptor allows {most}",
                    Function::Encode.export()
                ))
            })?;
            out.resize(start + len, 0);
            session.get(dst, out.get_mut(start..).unwrap_or_default())
        })
    }

    fn decode(&self, bytes: &[u8], shape: GroupShape, out: &mut [f32]) -> Result<()> {
        let elems = Self::elems(shape, out.len())?;
        let most = self.max_len(shape).ok_or_else(|| Error::limit("row group too large"))?;
        if bytes.len() > most {
            return Err(Error::malformed(format!(
                "a row group of {} bytes; at most {most} are possible in `{}`",
                bytes.len(),
                self.name()
            )));
        }
        let memory = memory_limit((size_of_val(out) as u64).saturating_add(bytes.len() as u64));
        self.plugin.run(memory, None, self.index, &mut |session| {
            let (src, dst) = (session.alloc(bytes.len())?, session.alloc(size_of_val(out))?);
            session.put(src, bytes)?;
            let index = number(self.index)?;
            let (rows, cols) = (number(shape.rows)?, number(shape.cols)?);
            let arguments = [index, src.at, src.len, rows, cols, dst.at];
            session.call(Function::Decode, &arguments, elems)?;
            session.get_values(dst, shape.cols, out)
        })
    }
}
