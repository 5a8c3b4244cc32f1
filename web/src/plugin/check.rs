//! What a module must be, as far as browsers do not see to it: they know more of WebAssembly than plugins
//! may use, and do not tell the types of exports.

use gmat_core::Result;
use gmat_core::plugin::Function;
use wasmparser::types::{EntityType, TypesRef};
use wasmparser::{Parser, Payload, ValType, Validator, WasmFeatures};

use super::fault;

/// Bytes of a page of memory.
pub(super) const PAGE: u64 = 1 << 16;
/// What plugins may use, see docs/plugin-abi.md: above all nothing that two processors do differently.
const FEATURES: WasmFeatures = WasmFeatures::WASM2.union(WasmFeatures::EXTENDED_CONST);
/// Most elements of a table to start with, and most tables.
const TABLE: u64 = 1 << 16;
const TABLES: usize = 8;

/// Whether the module is valid, and exports all that is going to be called.
///
/// # Errors
/// `Plugin`, with what is wrong.
pub(super) fn check(wasm: &[u8], functions: &[Function]) -> Result<()> {
    let types = Validator::new_with_features(FEATURES).validate_all(wasm).map_err(invalid)?;
    let types = types.as_ref();
    tables(types)?;
    let export =
        |name: &str| types.core_exports().into_iter().flatten().find(|(other, _)| *other == name);
    if !matches!(export("memory"), Some((_, EntityType::Memory(_)))) {
        return Err(fault("it does not export its `memory`"));
    }
    for function in functions {
        let (name, count) = (function.export(), function.arguments());
        let fits = match export(name) {
            Some((_, EntityType::Func(id))) => {
                let ty = types[id].unwrap_func();
                let is_i32 = |types: &[ValType]| types.iter().all(|ty| *ty == ValType::I32);
                ty.params().len() == count
                    && is_i32(ty.params())
                    && ty.results().len() == 1
                    && is_i32(ty.results())
            }
            _ => false,
        };
        if !fits {
            return Err(fault(format!(
                "it does not export `{name}` with {count} arguments and one result, all of them `i32`"
            )));
        }
    }
    Ok(())
}

fn tables(types: TypesRef<'_>) -> Result<()> {
    let count = types.table_count();
    if usize::try_from(count).is_ok_and(|count| count > TABLES) {
        return Err(fault(format!("it has {count} tables; at most {TABLES} are accepted")));
    }
    for number in 0..count {
        let elements = types.table_at(number).initial;
        if elements > TABLE {
            return Err(fault(format!(
                "one of its tables has {elements} elements; at most {TABLE} are accepted"
            )));
        }
    }
    Ok(())
}

fn invalid(error: wasmparser::BinaryReaderError) -> gmat_core::Error {
    fault(format!("the module cannot be compiled: {error}"))
}

/// The module with a memory that grows to at most so many pages: the only limit that browsers know.
///
/// # Errors
/// None for a module that was checked.
pub(super) fn with_memory(wasm: &[u8], pages: u32) -> Result<Vec<u8>> {
    const HEADER: usize = 8;
    let cut = || fault("the module is cut off");
    let mut out = wasm.get(..HEADER).ok_or_else(cut)?.to_vec();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(invalid)?;
        let Some((id, range)) = payload.as_section() else { continue };
        let mut own = Vec::new();
        let content = match payload {
            Payload::MemorySection(memories) => {
                for memory in memories {
                    // One memory, which has a largest size.
                    own.extend([1, 1]);
                    leb(memory.map_err(invalid)?.initial, &mut own);
                    leb(pages.into(), &mut own);
                }
                own.as_slice()
            }
            _ => wasm.get(range).ok_or_else(cut)?,
        };
        out.push(id);
        leb(content.len() as u64, &mut out);
        out.extend_from_slice(content);
    }
    Ok(out)
}

/// Appends an unsigned number (LEB128).
fn leb(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = (number & 0x7f).to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A memory of one page and its export.
    const WASM: &[u8] = b"\0asm\x01\0\0\0\x05\x03\x01\0\x01\x07\x0a\x01\x06memory\x02\0";

    #[test]
    fn memory_gets_a_largest_size_and_nothing_else_changes() {
        let limited = with_memory(WASM, 3000).unwrap();
        assert_eq!(limited[..8], WASM[..8]);
        // 3000 in seven bits a byte.
        assert_eq!(limited[8..15], [5, 5, 1, 1, 1, 0xb8, 0x17]);
        assert_eq!(limited[15..], WASM[13..]);
        check(&limited, &[]).unwrap();
    }

    #[test]
    fn what_is_missing_is_named() {
        check(WASM, &[]).unwrap();
        let said =
            |wasm: &[u8], functions: &[Function]| check(wasm, functions).unwrap_err().to_string();
        assert!(said(WASM, &[Function::Abi]).contains("`gmat_abi` with 0 arguments"));
        assert!(said(&WASM[..13], &[]).contains("does not export its `memory`"));
        assert!(said(&WASM[..20], &[]).contains("cannot be compiled"));
        // A shared memory.
        let shared = b"\0asm\x01\0\0\0\x05\x04\x01\x03\x01\x01";
        assert!(said(shared, &[]).contains("threads"), "{}", said(shared, &[]));
    }
}
