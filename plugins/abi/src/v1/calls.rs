//! What the exported functions do: numbers and pointers from the host become slices, results become
//! statuses. For the macro only.

#![allow(unsafe_code, reason = "the host passes buffers as addresses")]

use alloc::alloc::Layout;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::any::Any;
use core::cell::RefCell;

use super::{BlockFormat, Failure, Quantizer, Rows};

/// What buffers are aligned to.
const ALIGN: usize = 16;

/// A quantizer made from its parameters.
type Made = Box<dyn Any>;

/// What a call comes to.
type Answer<T = ()> = Result<T, Failure>;
type Quantize = fn(&Made, Rows<'_>, Option<&[f32]>, &mut [u8]) -> Answer;
type Dequantize = fn(&Made, &[u8], &mut [f32]) -> Answer;
type Encode = fn(Rows<'_>, &mut [u8]) -> Answer<usize>;
type Decode = fn(&[u8], usize, &mut [f32]) -> Answer;

/// A type by its functions.
#[derive(Clone, Copy)]
pub struct Type {
    make: fn(&str) -> Answer<Made>,
    quantize: Quantize,
    dequantize: Dequantize,
    elems: usize,
    bytes: usize,
}

impl Type {
    /// The functions of a quantizer with blocks of so many weights and bytes.
    #[must_use]
    pub const fn of<Q: Quantizer + 'static>(elems: usize, bytes: usize) -> Self {
        fn lost() -> Failure {
            Failure::from("a type was mistaken for another")
        }
        Self {
            make: |params| Ok(Box::new(Q::new(params)?)),
            quantize: |made, rows, importance, out| {
                made.downcast_ref::<Q>().ok_or_else(lost)?.quantize(rows, importance, out)
            },
            dequantize: |made, blocks, out| {
                made.downcast_ref::<Q>().ok_or_else(lost)?.dequantize(blocks, out)
            },
            elems,
            bytes,
        }
    }

    /// Whether so many values are so many bytes.
    fn fits(&self, values: usize, bytes: usize) -> bool {
        values.is_multiple_of(self.elems)
            && (values / self.elems).checked_mul(self.bytes) == Some(bytes)
    }
}

/// A block format by its functions.
#[derive(Clone, Copy)]
pub struct Block {
    encode: Encode,
    decode: Decode,
}

impl Block {
    /// The functions of a format.
    #[must_use]
    pub const fn of<F: BlockFormat>() -> Self {
        Self { encode: F::encode, decode: F::decode }
    }
}

/// Everything that a plugin brings, by number.
pub trait Table {
    /// Quantization types.
    const TYPES: &'static [Type];
    /// Block formats.
    const BLOCKS: &'static [Block];
}

/// Rows as the host passes them.
#[derive(Clone, Copy)]
pub struct RawRows {
    /// The first value.
    pub src: *const f32,
    /// Number of rows.
    pub rows: usize,
    /// Values in a row.
    pub cols: usize,
}

impl RawRows {
    /// # Safety
    /// As [`slice`].
    unsafe fn rows<'a>(self) -> Result<Rows<'a>, Failure> {
        let len = self.rows.checked_mul(self.cols).ok_or_else(too_large)?;
        Ok(Rows { values: unsafe { slice(self.src, len) }, cols: self.cols })
    }
}

/// What an instance knows besides its arguments.
pub struct State {
    error: RefCell<String>,
    made: RefCell<Option<(usize, Made)>>,
}

// SAFETY: plugins are compiled without threads.
#[cfg(not(target_feature = "atomics"))]
unsafe impl Sync for State {}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// Nothing has happened yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { error: RefCell::new(String::new()), made: RefCell::new(None) }
    }

    /// The status of a result: its number, or -1 and the text kept for the host.
    fn status(&self, result: Result<usize, Failure>) -> i32 {
        let text = match result.map(i32::try_from) {
            Ok(Ok(number)) => return number,
            Ok(Err(_)) => too_large(),
            Err(text) => text,
        };
        *self.error.borrow_mut() = text;
        -1
    }

    /// Writes the text of the last failure.
    ///
    /// # Safety
    /// As [`slice`].
    pub unsafe fn error(&self, at: *mut u8, len: usize) -> usize {
        let text = self.error.borrow();
        let len = text.len().min(len);
        let out = unsafe { slice_mut(at, len) };
        out.copy_from_slice(text.as_bytes().get(..len).unwrap_or_default());
        len
    }

    /// Takes parameters.
    ///
    /// # Safety
    /// As [`slice`].
    pub unsafe fn configure<T: Table>(&self, index: usize, at: *const u8, len: usize) -> i32 {
        let params = core::str::from_utf8(unsafe { slice(at, len) });
        let make = || {
            let params = params.map_err(|_| Failure::from("the parameters are not UTF-8"))?;
            let made = (type_of::<T>(index)?.make)(params)?;
            *self.made.borrow_mut() = Some((index, made));
            Ok(0)
        };
        self.status(make())
    }

    /// Calls `work` with a type, which is made without parameters if there were none.
    fn with<T: Table>(
        &self,
        index: usize,
        work: impl FnOnce(&Type, &Made) -> Result<(), Failure>,
    ) -> i32 {
        let run = || {
            let ty = type_of::<T>(index)?;
            let mut made = self.made.borrow_mut();
            let ready = match made.take().filter(|(other, _)| *other == index) {
                Some(ready) => ready,
                None => (index, (ty.make)("")?),
            };
            let (_, quantizer) = made.insert(ready);
            work(ty, quantizer).map(|()| 0)
        };
        self.status(run())
    }

    /// Quantizes rows.
    ///
    /// # Safety
    /// As [`slice`]; `importance` may be null.
    pub unsafe fn quantize<T: Table>(
        &self,
        index: usize,
        rows: RawRows,
        importance: *const f32,
        dst: *mut u8,
        dst_len: usize,
    ) -> i32 {
        self.with::<T>(index, |ty, quantizer| {
            let rows = unsafe { rows.rows() }?;
            if !rows.cols.is_multiple_of(ty.elems) || !ty.fits(rows.values.len(), dst_len) {
                return Err(not_fitting(rows.values.len(), dst_len));
            }
            let importance =
                (!importance.is_null()).then(|| unsafe { slice(importance, rows.cols) });
            (ty.quantize)(quantizer, rows, importance, unsafe { slice_mut(dst, dst_len) })
        })
    }

    /// Dequantizes blocks.
    ///
    /// # Safety
    /// As [`slice`].
    pub unsafe fn dequantize<T: Table>(
        &self,
        index: usize,
        src: *const u8,
        src_len: usize,
        dst: *mut f32,
        elems: usize,
    ) -> i32 {
        self.with::<T>(index, |ty, quantizer| {
            if !ty.fits(elems, src_len) {
                return Err(not_fitting(elems, src_len));
            }
            let (blocks, out) = unsafe { (slice(src, src_len), slice_mut(dst, elems)) };
            (ty.dequantize)(quantizer, blocks, out)
        })
    }

    /// Encodes a row group.
    ///
    /// # Safety
    /// As [`slice`].
    pub unsafe fn encode<T: Table>(
        &self,
        index: usize,
        rows: RawRows,
        dst: *mut u8,
        dst_len: usize,
    ) -> i32 {
        let run = || {
            let rows = unsafe { rows.rows() }?;
            (block_of::<T>(index)?.encode)(rows, unsafe { slice_mut(dst, dst_len) })
        };
        self.status(run())
    }

    /// Decodes a row group.
    ///
    /// # Safety
    /// As [`slice`].
    pub unsafe fn decode<T: Table>(
        &self,
        index: usize,
        src: *const u8,
        src_len: usize,
        rows: usize,
        cols: usize,
        dst: *mut f32,
    ) -> i32 {
        let run = || {
            let elems = rows.checked_mul(cols).ok_or_else(too_large)?;
            let (bytes, out) = unsafe { (slice(src, src_len), slice_mut(dst, elems)) };
            (block_of::<T>(index)?.decode)(bytes, cols, out).map(|()| 0)
        };
        self.status(run())
    }
}

fn type_of<T: Table>(index: usize) -> Result<&'static Type, Failure> {
    T::TYPES.get(index).ok_or_else(|| format!("there is no type {index}"))
}

fn block_of<T: Table>(index: usize) -> Result<&'static Block, Failure> {
    T::BLOCKS.get(index).ok_or_else(|| format!("there is no block format {index}"))
}

fn too_large() -> Failure {
    Failure::from("too large")
}

fn not_fitting(values: usize, bytes: usize) -> Failure {
    format!("{values} values and {bytes} bytes do not fit each other")
}

/// A buffer for the host, never given back: an instance lives for one row group. Null if there is no
/// memory left.
#[must_use]
pub fn alloc(len: usize) -> *mut u8 {
    match Layout::from_size_align(len.max(1), ALIGN) {
        // SAFETY: the size is not zero.
        Ok(layout) => unsafe { alloc::alloc::alloc(layout) },
        Err(_) => core::ptr::null_mut(),
    }
}

/// # Safety
/// `at` must point to `len` values that nobody writes meanwhile.
unsafe fn slice<'a, T>(at: *const T, len: usize) -> &'a [T] {
    if len == 0 { &[] } else { unsafe { core::slice::from_raw_parts(at, len) } }
}

/// # Safety
/// `at` must point to `len` values that nobody else uses meanwhile.
unsafe fn slice_mut<'a, T>(at: *mut T, len: usize) -> &'a mut [T] {
    if len == 0 { &mut [] } else { unsafe { core::slice::from_raw_parts_mut(at, len) } }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    struct Doubler(f32);

    impl Quantizer for Doubler {
        fn new(params: &str) -> Result<Self, Failure> {
            match params {
                "" => Ok(Self(2.0)),
                other => other.parse().map(Self).map_err(|_| format!("`{other}` is no factor")),
            }
        }

        fn quantize(
            &self,
            rows: Rows<'_>,
            importance: Option<&[f32]>,
            out: &mut [u8],
        ) -> Result<(), Failure> {
            let add = importance.map_or(0.0, |weights| weights[0]);
            for (x, byte) in rows.values.iter().zip(out) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "small"
                )]
                let scaled = (x * self.0 + add) as u8;
                *byte = scaled;
            }
            Ok(())
        }
    }

    struct All;
    impl Table for All {
        const TYPES: &'static [Type] = &[Type::of::<Doubler>(2, 2)];
        const BLOCKS: &'static [Block] = &[];
    }

    fn quantize(state: &State, x: &[f32], weights: Option<&[f32]>, out: &mut [u8]) -> i32 {
        let rows = RawRows { src: x.as_ptr(), rows: 1, cols: x.len() };
        let weights = weights.map_or(core::ptr::null(), <[f32]>::as_ptr);
        unsafe { state.quantize::<All>(0, rows, weights, out.as_mut_ptr(), out.len()) }
    }

    fn error(state: &State) -> String {
        let mut text: Vec<u8> = vec![0; 200];
        let len = unsafe { state.error(text.as_mut_ptr(), text.len()) };
        String::from_utf8(text[..len].to_vec()).expect("UTF-8")
    }

    #[test]
    fn calls_reach_the_quantizer() {
        let state = State::new();
        let mut out = [0; 2];
        assert_eq!(quantize(&state, &[1.0, 2.0], None, &mut out), 0);
        assert_eq!(out, [2, 4]);
        let params = "5";
        let status = unsafe { state.configure::<All>(0, params.as_ptr(), params.len()) };
        assert_eq!(status, 0);
        assert_eq!(quantize(&state, &[1.0, 2.0], Some(&[1.0, 1.0]), &mut out), 0);
        assert_eq!(out, [6, 11]);
    }

    #[test]
    fn failures_have_a_text() {
        let state = State::new();
        assert_eq!(quantize(&state, &[1.0, 2.0, 3.0], None, &mut [0; 2]), -1);
        assert_eq!(error(&state), "3 values and 2 bytes do not fit each other");
        let status = unsafe { state.configure::<All>(0, "x".as_ptr(), 1) };
        assert_eq!((status, error(&state).as_str()), (-1, "`x` is no factor"));
        assert_eq!(unsafe { state.configure::<All>(7, "x".as_ptr(), 1) }, -1);
        assert_eq!(error(&state), "there is no type 7");
    }
}
