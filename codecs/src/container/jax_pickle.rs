//! `jax-pickle`: pickled dictionaries of tensors, as TensorPort's loader reads them.
//!
//! ```text
//! 80 05 }            protocol 5, an empty dictionary
//! per tensor:        name (without a leading "model.")
//!   } "shape" [dims] s "dtype" name s "data" bytearray s s
//! .                  the end
//! ```
//! `data` is a `bytearray` of the elements, little-endian: TensorPort's loader takes it in the place of
//! a list of numbers, which is twice as large and a hundred times slower. Definition: `pickletools` of
//! Python 3.8 and later.
//!
//! Accepted name: `jax-pickle`. Limits: names of less than 4 GiB.

use gmat_core::container::{ArrayInfo, Container, Loader, Packing, Transform, numpy_name};
use gmat_core::{DType, Error, Result};

use crate::short_name::without_model;

gmat_core::register_container!(JaxPickle);

struct JaxPickle;

const EMPTY_DICT: u8 = b'}';
const EMPTY_LIST: u8 = b']';
const MARK: u8 = b'(';
const APPENDS: u8 = b'e';
const SETITEM: u8 = b's';
const BINUNICODE: u8 = b'X';
const LONG1: u8 = 0x8a;
const BYTEARRAY8: u8 = 0x96;

impl Container for JaxPickle {
    fn name(&self) -> &'static str {
        "jax-pickle"
    }

    fn summary(&self) -> &'static str {
        "pickle shards: name → {shape, dtype, data}"
    }

    fn title(&self) -> &'static str {
        "JAX pickle"
    }

    fn manifest_name(&self, _precision: &str) -> String {
        "tensorport_jax_pickle_sharded".to_owned()
    }

    fn dtype_name(&self, dtype: DType) -> &'static str {
        numpy_name(dtype)
    }

    fn packing(&self) -> Packing {
        Packing::Shard
    }

    fn suffix(&self) -> &'static str {
        ".pkl"
    }

    fn key(&self, tensor: &str) -> Result<String> {
        Ok(without_model(tensor))
    }

    fn loader(&self) -> Loader {
        Loader { name: "load_jax_model.py", text: include_str!("load_jax_model.py") }
    }

    fn begin(&self, _arrays: usize) -> Result<Vec<u8>> {
        Ok(vec![0x80, 5, EMPTY_DICT])
    }

    fn head(&self, array: ArrayInfo<'_>) -> Result<Vec<u8>> {
        let mut head = Vec::new();
        text(array.key, &mut head)?;
        head.push(EMPTY_DICT);
        text("shape", &mut head)?;
        head.push(EMPTY_LIST);
        // APPENDS needs something to append.
        if array.shape.rank() > 0 {
            head.push(MARK);
            for dim in array.shape.dims() {
                integer(*dim, &mut head);
            }
            head.push(APPENDS);
        }
        head.push(SETITEM);
        text("dtype", &mut head)?;
        text(numpy_name(array.dtype), &mut head)?;
        head.push(SETITEM);
        text("data", &mut head)?;
        head.push(BYTEARRAY8);
        let len = array.dtype.byte_len(array.shape.elems());
        let len = len.ok_or_else(|| Error::limit("tensor too large"))?;
        head.extend_from_slice(&len.to_le_bytes());
        Ok(head)
    }

    fn elem_len(&self, dtype: DType) -> u64 {
        dtype.block().bytes as u64
    }

    fn transform(&self, _dtype: DType) -> Option<Transform> {
        None
    }

    fn tail(&self) -> &'static [u8] {
        &[SETITEM, SETITEM]
    }

    fn end(&self) -> &'static [u8] {
        b"."
    }
}

/// An integer of any size, little-endian in two's complement; dimensions are below 2^63.
fn integer(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[LONG1, 8]);
    out.extend_from_slice(&number.to_le_bytes());
}

fn text(text: &str, out: &mut Vec<u8>) -> Result<()> {
    let len = u32::try_from(text.len())
        .map_err(|_| Error::limit(format!("a name of {} bytes", text.len())))?;
    out.push(BINUNICODE);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}
