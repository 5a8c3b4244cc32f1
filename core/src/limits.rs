//! Limits on what is read from files, so that no header can make us allocate without bound.

/// Largest SafeTensors header, as in the `safetensors` crate.
pub const SAFETENSORS_HEADER: u64 = 100_000_000;

/// Largest JSON file read whole (configs, `metadata.json`, tokenizers).
pub const JSON_FILE: u64 = 512 << 20;

/// Largest GGUF header read.
pub const GGUF_HEADER: u64 = 256 << 20;

/// Most keys of a GGUF header: a thousand times those of real files.
pub const GGUF_KEYS: u64 = 1 << 16;

/// Most tensors of a GGUF file.
pub const GGUF_TENSORS: u64 = 1 << 20;

/// Most texts in the arrays of a GGUF header: eight times the merges of the largest vocabularies.
pub const GGUF_TEXTS: usize = 1 << 22;

/// Most entries of an importance matrix.
pub const IMATRIX_ENTRIES: u64 = 1 << 18;

/// Largest header read of an importance matrix that is a GGUF file.
pub const IMATRIX_HEADER: u64 = 64 << 20;

/// Longest tensor name accepted, in bytes.
pub const TENSOR_NAME: usize = 4096;

/// Largest rank of a tensor.
pub const RANK: usize = 32;

/// Most row groups in one tensor file.
pub const ROW_GROUPS: u64 = 1 << 24;

/// Values of one row group aimed at: 4 MiB as `f32`. Large enough that a virtual call and a
/// channel hop are nothing beside the work, small enough that a handful under way fit any budget.
pub const GROUP_VALUES: u64 = 1 << 20;

/// Longest row: 256 Mi elements (1 GiB as `f32`). A row is the smallest unit of work.
pub const ROW_VALUES: u64 = 1 << 28;

/// Largest plugin. Those of a few hundred lines have some ten thousand bytes.
pub const PLUGIN_MODULE: u64 = 8 << 20;

/// Largest function of a plugin: what compiling takes grows faster than its size.
pub const PLUGIN_FUNCTION: u64 = 256 << 10;

/// Largest descriptor of a plugin.
pub const PLUGIN_DESCRIPTOR: usize = 64 << 10;

/// Bytes of memory that a plugin gets besides those for what it works on.
pub const PLUGIN_MEMORY: u64 = 64 << 20;

/// Instructions that a plugin may take for so many values: a second or so for the pieces it is given,
/// a hundred times what a thorough search takes.
#[must_use]
pub fn plugin_fuel(values: usize) -> u64 {
    (values as u64).saturating_mul(20_000).saturating_add(1 << 28)
}

/// Most rows that a block format wants to have in a group: so that what is in a few bytes takes no
/// more memory than a group of that many of the longest rows.
pub const GRANULE: usize = 4;

/// Rows of one group for rows of `cols` elements: the largest power of two that keeps the group
/// within [`GROUP_VALUES`], at least `granule`. Powers of two line up with attention heads.
#[must_use]
pub fn rows_per_group(cols: u64, granule: usize) -> u64 {
    let rows = (GROUP_VALUES / cols.max(1)).max(1);
    (1 << rows.ilog2()).max(granule as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_powers_of_two_within_bounds() {
        assert_eq!(rows_per_group(4096, 1), 256);
        assert_eq!(rows_per_group(5000, 1), 128);
        assert_eq!(rows_per_group(1 << 27, 1), 1);
        assert_eq!(rows_per_group(1 << 27, 2), 2);
        assert_eq!(rows_per_group(0, 1), 1 << 20);
    }
}
