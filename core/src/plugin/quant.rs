//! A quantization type of a plugin.

use super::session::{finite, number};
use super::{Function, Plugin, Session, TypeDescriptor, fault, memory_limit};
use crate::error::{Error, Result, ResultExt};
use crate::quant::{
    BlockSize, Need, QuantCx, QuantType, check_rows, importance_or_one, refuse_non_finite,
};

/// Values handed over at a time: small enough to stay in a processor's cache on the way, large enough
/// that a call is nothing beside them.
const PIECE: usize = 1 << 16;

/// Bytes of memory that a type's instance may have for rows of `cols` weights; 0 without a plugin.
pub(crate) fn quant_memory(quant: &dyn QuantType, cols: u64) -> u64 {
    if quant.plugin().is_none() {
        return 0;
    }
    let values = cols.max(PIECE as u64).next_multiple_of(quant.block().elems.max(1) as u64);
    let blocks = quant.block().len_of(values).unwrap_or(u64::MAX);
    memory_limit(values.saturating_add(cols).saturating_mul(4).saturating_add(blocks))
}

/// A type of a plugin, with or without parameters.
pub struct PluginQuant {
    plugin: &'static Plugin,
    index: usize,
    /// What is built in for the same blocks, which reads back what the plugin writes.
    layout: Option<&'static dyn QuantType>,
    params: Option<String>,
}

impl PluginQuant {
    /// The type of that number; `layout` is the built-in type with the same blocks.
    pub(crate) fn new(
        plugin: &'static Plugin,
        index: usize,
        layout: Option<&'static dyn QuantType>,
    ) -> Result<Self> {
        let this = Self { plugin, index, layout, params: None };
        this.descriptor().map(|_| this)
    }

    fn descriptor(&self) -> Result<&'static TypeDescriptor> {
        let types = &self.plugin.descriptor().types;
        types.get(self.index).ok_or_else(|| Error::shape("no such type in the plugin"))
    }

    fn block_size(&self) -> BlockSize {
        // The index was checked when this was made.
        self.descriptor().map_or(BlockSize { elems: 1, bytes: 1 }, |ty| ty.block)
    }

    /// Bytes of so many values.
    fn bytes_of(&self, values: usize) -> Result<usize> {
        let len = self.block_size().len_of(values as u64);
        let len = len.and_then(|len| usize::try_from(len).ok());
        len.ok_or_else(|| Error::shape(format!("{values} values are not whole blocks")))
    }

    /// Runs `work` with buffers for `values` values and their blocks, and `more` bytes.
    fn run(
        &self,
        values: usize,
        more: usize,
        work: &mut dyn FnMut(&mut Session<'_>) -> Result<()>,
    ) -> Result<()> {
        let buffers = [values.saturating_mul(4), self.bytes_of(values)?, more];
        let buffers = buffers.iter().fold(0u64, |sum, len| sum.saturating_add(*len as u64));
        self.plugin.run(memory_limit(buffers), self.params.as_deref(), self.index, work)
    }

    /// Dequantizes blocks by the plugin itself.
    fn dequantize_by_plugin(&self, bytes: &[u8], out: &mut [f32]) -> Result<()> {
        let block = self.block_size();
        let piece = (PIECE / block.elems).max(1).saturating_mul(block.elems).min(out.len());
        let piece_len = self.bytes_of(piece)?;
        self.run(piece, 0, &mut |session| {
            let (src, dst) = (session.alloc(piece_len)?, session.alloc(piece * 4)?);
            for (bytes, out) in bytes.chunks(piece_len.max(1)).zip(out.chunks_mut(piece.max(1))) {
                let arguments =
                    [number(self.index)?, src.at, number(bytes.len())?, dst.at, number(out.len())?];
                session.put(src, bytes)?;
                session.call(Function::Dequantize, &arguments, out.len())?;
                session.get_values(dst, block.elems, out)?;
            }
            Ok(())
        })
    }
}

impl QuantType for PluginQuant {
    fn name(&self) -> &'static str {
        self.descriptor().map_or("", |ty| ty.name.as_str())
    }

    fn ggml_type(&self) -> u32 {
        self.descriptor().map_or(u32::MAX, |ty| ty.ggml_type)
    }

    fn block(&self) -> BlockSize {
        self.block_size()
    }

    fn importance(&self) -> Need {
        self.descriptor().map_or(Need::Ignored, |ty| ty.importance)
    }

    fn plugin(&self) -> Option<&'static Plugin> {
        Some(self.plugin)
    }

    fn with_params(&self, params: &str) -> Result<&'static dyn QuantType> {
        let name = self.name();
        if !self.descriptor()?.params {
            return Err(Error::config(format!(
                "`{name}` takes no parameters, but `params` are given"
            )));
        }
        self.plugin.type_with_params(self.index, params, || {
            let params = Some(params.to_owned());
            let this = Self { params, ..*self };
            // What the plugin does not accept is found out before any work is done.
            this.run(0, 0, &mut |_| Ok(())).context(|| format!("`params` of `{name}`"))?;
            Ok(Box::leak(Box::new(this)) as &'static dyn QuantType)
        })
    }

    fn quantize(&self, values: &[f32], cx: &QuantCx<'_>, out: &mut [u8]) -> Result<()> {
        let (block, cols) = (self.block_size(), cx.cols);
        let row_len =
            check_rows(self.name(), block, self.importance(), values.len(), cx, out.len())?;
        refuse_non_finite(values, cols)?;
        let importance = cx.importance.filter(|_| self.importance() != Need::Ignored);
        let rows = (PIECE / cols).max(1).min(values.len() / cols);
        let mut read_back = vec![0.0; if self.layout.is_some() { rows * cols } else { 0 }];
        let mut first = 0;
        self.run(rows * cols, importance.map_or(0, size_of_val), &mut |session| {
            let src = session.alloc(rows * cols * 4)?;
            let dst = session.alloc(rows * row_len)?;
            let weights = match importance {
                Some(importance) => {
                    let weights = session.alloc(size_of_val(importance))?;
                    session.put_values(weights, importance)?;
                    weights.at
                }
                None => 0,
            };
            let pieces = values.chunks(rows * cols).zip(out.chunks_mut(rows * row_len));
            for (values, out) in pieces {
                let count = values.len() / cols;
                session.put_values(src, values)?;
                let arguments = [
                    number(self.index)?,
                    src.at,
                    number(count)?,
                    number(cols)?,
                    weights,
                    dst.at,
                    number(out.len())?,
                ];
                let place = || format!("rows {first} to {} of the group", first + count - 1);
                session.call(Function::Quantize, &arguments, values.len()).context(place)?;
                session.get(dst, out).context(place)?;
                if let (Some(layout), Some(found)) =
                    (self.layout, read_back.get_mut(..values.len()))
                {
                    layout.dequantize(out, found)?;
                    finite(found, cols).context(place)?;
                }
                first += count;
            }
            Ok(())
        })?;
        if self.layout.is_none() {
            let mut found = vec![0.0; values.len()];
            self.dequantize_by_plugin(out, &mut found)?;
        }
        Ok(())
    }

    fn weights(&self, values: &[f32], cx: &QuantCx<'_>, out: &mut [f32]) -> Result<()> {
        if let Some(layout) = self.layout {
            return layout.weights(values, cx, out);
        }
        if out.len() != values.len() || !values.len().is_multiple_of(cx.cols.max(1)) {
            return Err(Error::shape("weights do not fit the rows"));
        }
        out.chunks_mut(cx.cols.max(1)).for_each(|out| importance_or_one(cx.importance, out));
        Ok(())
    }

    fn dequantize(&self, bytes: &[u8], out: &mut [f32]) -> Result<()> {
        if self.bytes_of(out.len())? != bytes.len() {
            return Err(Error::shape(format!(
                "{} bytes are not {} weights of `{}`",
                bytes.len(),
                out.len(),
                self.name()
            )));
        }
        match self.layout {
            Some(layout) => layout.dequantize(bytes, out),
            None => self.dequantize_by_plugin(bytes, out),
        }
    }
}

impl std::fmt::Debug for PluginQuant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginQuant").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// A type whose layout this build does not have.
pub(crate) fn no_layout(name: &str) -> Error {
    fault(format!("this build has no codec for the blocks that `{name}` fills"))
}
