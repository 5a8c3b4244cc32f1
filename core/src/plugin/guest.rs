//! What a host of plugins brings: instances of a module whose functions can be called.

use crate::error::Result;
use crate::limits;

/// The functions that modules export. All numbers are of 32 bits; pointers are offsets in the memory
/// of the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// The version of the interface.
    Abi,
    /// A buffer of so many bytes.
    Alloc,
    /// The text of the last failure.
    Error,
    /// Parameters of a type.
    Configure,
    /// Rows to blocks of a type.
    Quantize,
    /// Blocks of a type to values.
    Dequantize,
    /// A row group to bytes of a block format.
    Encode,
    /// Bytes of a block format to a row group.
    Decode,
}

impl Function {
    /// Name of the export.
    #[must_use]
    pub const fn export(self) -> &'static str {
        match self {
            Self::Abi => "gmat_abi",
            Self::Alloc => "gmat_alloc",
            Self::Error => "gmat_error",
            Self::Configure => "gmat_configure",
            Self::Quantize => "gmat_quantize",
            Self::Dequantize => "gmat_dequantize",
            Self::Encode => "gmat_encode",
            Self::Decode => "gmat_decode",
        }
    }

    /// Number of its arguments; the result is always one number.
    #[must_use]
    pub const fn arguments(self) -> usize {
        match self {
            Self::Abi => 0,
            Self::Alloc => 1,
            Self::Error => 2,
            Self::Configure => 3,
            Self::Quantize => 7,
            Self::Dequantize => 5,
            Self::Encode | Self::Decode => 6,
        }
    }
}

/// A compiled module, or one that is compiled at first use.
pub trait Guest: Send + Sync {
    /// Runs `work` in a new instance, whose memory stays below `memory` bytes; see [`memory_limit`].
    ///
    /// A new one each time, since one that remembers what it saw before would make results depend on
    /// which worker saw which rows.
    ///
    /// # Errors
    /// `Plugin` if the module cannot be compiled, lacks a function, or fails while it is set up; what
    /// `work` says.
    fn run(&self, memory: u64, work: &mut dyn FnMut(&mut dyn Instance) -> Result<()>)
    -> Result<()>;
}

/// An instance of a module.
pub trait Instance {
    /// Calls an export. A host that can count stops it after `fuel` instructions.
    ///
    /// # Errors
    /// `Plugin` if it is stopped or traps; the instance is of no use then.
    fn call(&mut self, function: Function, arguments: &[u32], fuel: u64) -> Result<u32>;

    /// Copies bytes into its memory.
    ///
    /// # Errors
    /// `Plugin` if they are not inside.
    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<()>;

    /// Copies bytes out of its memory.
    ///
    /// # Errors
    /// `Plugin` if they are not inside.
    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<()>;
}

/// Bytes of memory that an instance may have for buffers of so many bytes: as much again, and some.
#[must_use]
pub fn memory_limit(buffers: u64) -> u64 {
    buffers.saturating_mul(3).saturating_add(limits::PLUGIN_MEMORY).min(u32::MAX.into())
}
