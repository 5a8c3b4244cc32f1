//! The macro that turns implementations into exports and a descriptor.

/// Makes a plugin: its descriptor, and everything it exports. To be used once in a crate.
///
/// `types` need `name` (without `@` and the plugin's name, which are added), `ggml_type`, `block`
/// (weights, bytes), `importance` (`ignored`, `optional`, `required`), `by` (a [`Quantizer`]), and may
/// have `params: true` in front of `by`. `blocks` need `name`, `summary`, `value_bits`, and `by` (a
/// [`BlockFormat`]), and may have `row_bytes`, `group_bytes` and `granule_rows`, in that order, in front
/// of `by`.
///
/// [`Quantizer`]: crate::Quantizer
/// [`BlockFormat`]: crate::BlockFormat
#[macro_export]
macro_rules! plugin {
    (
        name: $name:literal, version: $version:expr, summary: $summary:literal,
        types: [$({
            name: $type:literal, ggml_type: $id:literal, block: [$elems:literal, $bytes:literal],
            importance: $need:ident, $(params: $params:literal,)? by: $quantizer:ty $(,)?
        }),* $(,)?],
        blocks: [$({
            name: $block:literal, summary: $about:literal, value_bits: $bits:literal,
            $(row_bytes: $row:literal,)? $(group_bytes: $group:literal,)?
            $(granule_rows: $granule:literal,)? by: $format:ty $(,)?
        }),* $(,)?] $(,)?
    ) => {
        #[doc(hidden)]
        const _: () = {
            use $crate::v1::{calls, text};

            const LIST: &[&str] = &[
                "{\"abi\":1,\"name\":\"", $name, "\",\"version\":\"", $version,
                "\",\"summary\":\"", $summary, "\",\"types\":[",
                $(
                    "{\"name\":\"", $type, "@", $name, "\",\"ggml_type\":", stringify!($id),
                    ",\"block\":[", stringify!($elems), ",", stringify!($bytes),
                    "],\"importance\":\"", $crate::__need!($need), "\"",
                    $(",\"params\":", stringify!($params),)?
                    "},",
                )*
                "],\"blocks\":[",
                $(
                    "{\"name\":\"", $block, "@", $name, "\",\"summary\":\"", $about,
                    "\",\"value_bits\":", stringify!($bits),
                    $(",\"row_bytes\":", stringify!($row),)?
                    $(",\"group_bytes\":", stringify!($group),)?
                    $(",\"granule_rows\":", stringify!($granule),)?
                    "},",
                )*
                "]}",
            ];

            /// Where the host finds the descriptor.
            #[cfg_attr(target_family = "wasm", unsafe(link_section = "gmat:plugin"))]
            #[used]
            static DESCRIPTOR: [u8; text::text_len(LIST)] = text::text(LIST);

            /// Every type, as the host calls it by number.
            struct All;

            impl calls::Table for All {
                const TYPES: &'static [calls::Type] =
                    &[$(calls::Type::of::<$quantizer>($elems, $bytes)),*];
                const BLOCKS: &'static [calls::Block] = &[$(calls::Block::of::<$format>()),*];
            }

            $crate::__exports!(All);
        };
    };
}

/// The spelling of a need in the descriptor; anything else does not compile.
#[doc(hidden)]
#[macro_export]
macro_rules! __need {
    (ignored) => {
        "ignored"
    };
    (optional) => {
        "optional"
    };
    (required) => {
        "required"
    };
}

/// The functions of the module.
#[doc(hidden)]
#[macro_export]
macro_rules! __exports {
    ($table:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            static STATE: calls::State = calls::State::new();

            #[unsafe(no_mangle)]
            extern "C" fn gmat_abi() -> u32 {
                $crate::v1::ABI
            }

            #[unsafe(no_mangle)]
            extern "C" fn gmat_alloc(len: usize) -> *mut u8 {
                calls::alloc(len)
            }

            // SAFETY (of all that follow): the host passes buffers that `gmat_alloc` gave, of the lengths
            // that it says, none of which overlap; there are no threads.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn gmat_error(at: *mut u8, len: usize) -> usize {
                unsafe { STATE.error(at, len) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn gmat_configure(index: usize, at: *const u8, len: usize) -> i32 {
                unsafe { STATE.configure::<$table>(index, at, len) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn gmat_quantize(
                index: usize,
                src: *const f32,
                rows: usize,
                cols: usize,
                importance: *const f32,
                dst: *mut u8,
                dst_len: usize,
            ) -> i32 {
                let rows = calls::RawRows { src, rows, cols };
                unsafe { STATE.quantize::<$table>(index, rows, importance, dst, dst_len) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn gmat_dequantize(
                index: usize,
                src: *const u8,
                src_len: usize,
                dst: *mut f32,
                elems: usize,
            ) -> i32 {
                unsafe { STATE.dequantize::<$table>(index, src, src_len, dst, elems) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn gmat_encode(
                index: usize,
                src: *const f32,
                rows: usize,
                cols: usize,
                dst: *mut u8,
                dst_len: usize,
            ) -> i32 {
                let rows = calls::RawRows { src, rows, cols };
                unsafe { STATE.encode::<$table>(index, rows, dst, dst_len) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn gmat_decode(
                index: usize,
                src: *const u8,
                src_len: usize,
                rows: usize,
                cols: usize,
                dst: *mut f32,
            ) -> i32 {
                unsafe { STATE.decode::<$table>(index, src, src_len, rows, cols, dst) }
            }
        };
    };
}
