//! `numpy-direct`: one `.npy` file per tensor, which `numpy.load` and `jax.numpy.load` read.
//!
//! ```text
//! byte 0   \x93NUMPY, version 1, 0
//! 8        u16 length of what follows up to the elements
//! 10       {'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }
//!          spaces and a newline, so that elements begin at a multiple of 64
//!          elements, little-endian, last dimension fastest
//! ```
//! The definition is `numpy.lib.format`, "Format Version 1.0".
//!
//! Accepted name: `numpy-direct`. A file is called after its tensor, with `_` for `.` and `/`. Limits:
//! names that are longer than file names may be, or hold a zero. On Windows `\` becomes `_`, too, and
//! names of devices are refused.

use gmat_core::container::{ArrayInfo, Container, Loader, Packing, Transform, numpy_name};
use gmat_core::{DType, Error, Result};

gmat_core::register_container!(NumpyDirect);

struct NumpyDirect;

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
/// What NumPy aligns elements to.
const ALIGNMENT: usize = 64;
/// Bytes that common file systems allow for a name.
const LONGEST_NAME: usize = 255;
/// What would lead into other folders, or end a name.
const SEPARATORS: &[char] = if cfg!(windows) { &['.', '/', '\\'] } else { &['.', '/'] };
const SUFFIX: &str = ".npy";

impl Container for NumpyDirect {
    fn name(&self) -> &'static str {
        "numpy-direct"
    }

    fn summary(&self) -> &'static str {
        "a .npy file per tensor, read by numpy.load and jax.numpy.load"
    }

    fn title(&self) -> &'static str {
        "NumPy array"
    }

    fn manifest_name(&self, _precision: &str) -> String {
        "numpy_direct".to_owned()
    }

    fn dtype_name(&self, dtype: DType) -> &'static str {
        descr(dtype)
    }

    fn packing(&self) -> Packing {
        Packing::Tensor
    }

    fn suffix(&self) -> &'static str {
        SUFFIX
    }

    fn key(&self, tensor: &str) -> Result<String> {
        let refused = |why: &str| {
            Err(Error::unsupported(format!("no file can be called after `{tensor}`: {why}"))
                .with_hint("choose --format msgpack or jax-pickle, which take any name"))
        };
        let key = tensor.replace(SEPARATORS, "_");
        if key.contains('\0') {
            return refused("it holds a zero");
        }
        if key.len() + SUFFIX.len() > LONGEST_NAME {
            return refused(&format!("it has {} bytes", key.len()));
        }
        if cfg!(windows) && is_device(&key) {
            return refused("Windows has a device of that name, whatever the suffix");
        }
        Ok(key)
    }

    fn loader(&self) -> Loader {
        Loader { name: "load_numpy_jax.py", text: include_str!("load_numpy_jax.py") }
    }

    fn begin(&self, _arrays: usize) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn head(&self, array: ArrayInfo<'_>) -> Result<Vec<u8>> {
        let dims: Vec<String> = array.shape.dims().iter().map(u64::to_string).collect();
        // A tuple of one is written with a comma.
        let comma = if dims.len() == 1 { "," } else { "" };
        let dict = format!(
            "{{'descr': '{}', 'fortran_order': False, 'shape': ({}{comma}), }}",
            descr(array.dtype),
            dims.join(", ")
        );
        let before = MAGIC.len() + 2;
        let len = (before + dict.len() + 1).next_multiple_of(ALIGNMENT) - before;
        let stated = u16::try_from(len)
            .map_err(|_| Error::limit(format!("a header of {len} bytes, at most 65535 fit")))?;
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&stated.to_le_bytes());
        head.extend_from_slice(dict.as_bytes());
        head.resize(before + len - 1, b' ');
        head.push(b'\n');
        Ok(head)
    }

    fn elem_len(&self, dtype: DType) -> u64 {
        dtype.block().bytes as u64
    }

    fn transform(&self, _dtype: DType) -> Option<Transform> {
        None
    }

    fn tail(&self) -> &'static [u8] {
        b""
    }

    fn end(&self) -> &'static [u8] {
        b""
    }
}

/// Whether Windows takes a name for that of a device ("Naming Files, Paths, and Namespaces").
fn is_device(name: &str) -> bool {
    // A device stays one with spaces behind it, or the name of a stream.
    let name =
        name.split(':').next().unwrap_or_default().trim_end_matches(' ').to_ascii_uppercase();
    let numbered = ["COM", "LPT"].iter().find_map(|device| name.strip_prefix(device));
    let digits = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "\u{b9}", "\u{b2}", "\u{b3}"];
    ["CON", "PRN", "AUX", "NUL"].contains(&name.as_str())
        || numbered.is_some_and(|number| digits.contains(&number))
}

/// The type string of NumPy's array interface.
fn descr(dtype: DType) -> &'static str {
    match numpy_name(dtype) {
        "float32" => "<f4",
        "float16" => "<f2",
        "int64" => "<i8",
        "int32" => "<i4",
        "int16" => "<i2",
        "int8" => "|i1",
        "uint64" => "<u8",
        "uint32" => "<u4",
        "uint16" => "<u2",
        "uint8" => "|u1",
        "bool" => "|b1",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use gmat_core::Shape;

    use super::*;

    fn head(dtype: DType, dims: &[u64]) -> String {
        let shape = Shape::try_new(dims.to_vec()).unwrap();
        let head = NumpyDirect.head(ArrayInfo { key: "t", dtype, shape: &shape }).unwrap();
        assert_eq!(head.len() % 64, 0);
        assert_eq!(usize::from(u16::from_le_bytes([head[8], head[9]])) + 10, head.len());
        String::from_utf8_lossy(&head[10..]).trim_end_matches([' ', '\n']).to_owned()
    }

    #[test]
    fn headers_are_python_dictionaries() {
        let f2 = |dims| head(DType::F16, dims);
        assert_eq!(f2(&[]), "{'descr': '<f2', 'fortran_order': False, 'shape': (), }");
        assert_eq!(f2(&[3]), "{'descr': '<f2', 'fortran_order': False, 'shape': (3,), }");
        assert_eq!(f2(&[3, 0]), "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 0), }");
        for rank in 0..32 {
            head(DType::Bool, &vec![1; rank]);
        }
    }

    #[test]
    fn names_become_file_names() {
        assert_eq!(NumpyDirect.key("a.b/c").unwrap(), "a_b_c");
        assert_eq!(NumpyDirect.key("../x").unwrap(), "___x");
        assert!(NumpyDirect.key(&"x".repeat(251)).is_ok());
        assert!(NumpyDirect.key(&"x".repeat(252)).is_err());
        assert!(NumpyDirect.key("a\0b").is_err());
        assert_eq!(NumpyDirect.key(r"..\x").unwrap(), if cfg!(windows) { "___x" } else { r"__\x" });
        for device in ["CON", "nul", "Aux ", "com1", "LPT²", "prn:x"] {
            assert!(is_device(device), "{device}");
            assert_eq!(NumpyDirect.key(device).is_err(), cfg!(windows), "{device}");
        }
        for plain in ["CON.weight", "console", "com", "com10", "a:0"] {
            assert!(NumpyDirect.key(plain).is_ok(), "{plain}");
        }
    }
}
