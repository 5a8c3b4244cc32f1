//! `msgpack`: MessagePack maps of tensors, as TensorPort writes them.
//!
//! ```text
//! map  name (without a leading "model.") → [shape, dtype, {Variant: elements}]
//!      shape: array of integers; dtype: NumPy's name; elements: array
//! ```
//! Elements are written with a type byte in front of each and always at full width (`cd hh ll` for
//! the bits of a float16), so that lengths follow from shapes, and readers that know this take the
//! whole array at once. Definition: the MessagePack specification; which variants there are and that
//! float16 is given by its bits is TensorPort's. Its readers know Float16, Float32, Uint8 and Int64.
//!
//! Accepted name: `msgpack`. Limits: at most 2^32 - 1 elements in a tensor.

use gmat_core::container::{ArrayInfo, Container, Loader, Packing, Transform, numpy_name};
use gmat_core::{DType, Error, Result};

use crate::short_name::without_model;

gmat_core::register_container!(Msgpack);

struct Msgpack;

impl Container for Msgpack {
    fn name(&self) -> &'static str {
        "msgpack"
    }

    fn summary(&self) -> &'static str {
        "MessagePack shards: name → [shape, dtype, {Variant: numbers}]"
    }

    fn title(&self) -> &'static str {
        "MessagePack"
    }

    fn manifest_name(&self, precision: &str) -> String {
        format!("tensorport_{precision}")
    }

    fn dtype_name(&self, dtype: DType) -> &'static str {
        numpy_name(dtype)
    }

    fn packing(&self) -> Packing {
        Packing::Shard
    }

    fn suffix(&self) -> &'static str {
        ".msgpack"
    }

    fn key(&self, tensor: &str) -> Result<String> {
        Ok(without_model(tensor))
    }

    fn loader(&self) -> Loader {
        Loader { name: "load_msgpack_jax.py", text: include_str!("load_msgpack_jax.py") }
    }

    fn begin(&self, arrays: usize) -> Result<Vec<u8>> {
        Ok(with_count(0xdf, count(arrays as u64, "tensors")?))
    }

    fn head(&self, array: ArrayInfo<'_>) -> Result<Vec<u8>> {
        let mut head = Vec::new();
        text(array.key, &mut head)?;
        head.push(0x93);
        let dims = array.shape.dims();
        head.extend(with_count(0xdd, count(dims.len() as u64, "dimensions")?));
        for dim in dims {
            head.push(0xcf);
            head.extend_from_slice(&dim.to_be_bytes());
        }
        text(numpy_name(array.dtype), &mut head)?;
        head.push(0x81);
        text(variant(array.dtype), &mut head)?;
        head.extend(with_count(0xdd, count(array.shape.elems(), "elements")?));
        Ok(head)
    }

    fn elem_len(&self, dtype: DType) -> u64 {
        match dtype {
            DType::Bool => 1,
            _ => dtype.block().bytes as u64 + 1,
        }
    }

    fn transform(&self, dtype: DType) -> Option<Transform> {
        Some(match dtype {
            DType::F32 => |bytes, out| tagged::<4, 5>(0xca, bytes, out),
            DType::F16 | DType::U16 => |bytes, out| tagged::<2, 3>(0xcd, bytes, out),
            DType::U8 => |bytes, out| tagged::<1, 2>(0xcc, bytes, out),
            DType::U32 => |bytes, out| tagged::<4, 5>(0xce, bytes, out),
            DType::U64 => |bytes, out| tagged::<8, 9>(0xcf, bytes, out),
            DType::I8 => |bytes, out| tagged::<1, 2>(0xd0, bytes, out),
            DType::I16 => |bytes, out| tagged::<2, 3>(0xd1, bytes, out),
            DType::I32 => |bytes, out| tagged::<4, 5>(0xd2, bytes, out),
            DType::I64 => |bytes, out| tagged::<8, 9>(0xd3, bytes, out),
            _ => |bytes, out| out.extend(bytes.iter().map(|&byte| 0xc2 | u8::from(byte != 0))),
        })
    }

    fn tail(&self) -> &'static [u8] {
        b""
    }

    fn end(&self) -> &'static [u8] {
        b""
    }
}

/// Elements of `N` bytes, each as a type byte and the number, most significant byte first.
fn tagged<const N: usize, const M: usize>(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    let (elements, _) = bytes.as_chunks::<N>();
    let start = out.len();
    out.resize(start + elements.len() * M, 0);
    let (places, _) = out.split_at_mut(start).1.as_chunks_mut::<M>();
    for (place, element) in places.iter_mut().zip(elements) {
        let mut tagged = [tag; M];
        for (to, from) in tagged.iter_mut().skip(1).zip(element.iter().rev()) {
            *to = *from;
        }
        *place = tagged;
    }
}

/// What TensorPort calls arrays of a type.
fn variant(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "Float32",
        DType::F16 => "Float16",
        DType::I64 => "Int64",
        DType::I32 => "Int32",
        DType::I16 => "Int16",
        DType::I8 => "Int8",
        DType::U64 => "Uint64",
        DType::U32 => "Uint32",
        DType::U16 => "Uint16",
        DType::U8 => "Uint8",
        _ => "Bool",
    }
}

fn count(number: u64, what: &str) -> Result<u32> {
    u32::try_from(number).map_err(|_| {
        Error::limit(format!("{number} {what}; MessagePack holds at most {}", u32::MAX))
            .with_hint("choose --format numpy-direct or jax-pickle")
    })
}

fn with_count(tag: u8, count: u32) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend_from_slice(&count.to_be_bytes());
    out
}

fn text(text: &str, out: &mut Vec<u8>) -> Result<()> {
    out.extend(with_count(0xdb, count(text.len() as u64, "bytes of a name")?));
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_their_type_in_front() {
        let of = |dtype: DType, bytes: &[u8]| {
            let mut out = vec![7];
            Msgpack.transform(dtype).unwrap()(bytes, &mut out);
            let elems = bytes.len() as u64 / dtype.block().bytes as u64;
            assert_eq!(out.len() as u64 - 1, elems * Msgpack.elem_len(dtype));
            out.split_off(1)
        };
        assert_eq!(of(DType::F16, &[0x01, 0x3c, 0, 0x80]), [0xcd, 0x3c, 0x01, 0xcd, 0x80, 0]);
        assert_eq!(of(DType::F32, &1f32.to_le_bytes()), [0xca, 0x3f, 0x80, 0, 0]);
        assert_eq!(of(DType::I64, &(-2i64).to_le_bytes())[..2], [0xd3, 0xff]);
        assert_eq!(of(DType::Bool, &[0, 1, 1]), [0xc2, 0xc3, 0xc3]);
        assert_eq!(of(DType::I8, &[0x80]), [0xd0, 0x80]);
    }
}
