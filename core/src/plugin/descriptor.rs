//! The descriptor of a plugin: the JSON text in its section `gmat:plugin` (docs/plugin-abi.md).

use serde_json::Value;

use super::{ABI, Function, fault};
use crate::config::fields::{Fields, parse_json};
use crate::error::{Error, Result};
use crate::ggml::GgmlType;
use crate::limits;
use crate::quant::{BlockSize, Need};
use crate::recipe;

/// The least type id that no GGUF file of others has a use for: ids of ggml are numbered from 0.
pub const CUSTOM_TYPE: u32 = 1000;

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its name: lowercase letters, digits, `-` and `_`.
    pub name: String,
    /// Its version, for people.
    pub version: String,
    /// One sentence for lists.
    pub summary: String,
    /// The quantization types that it brings.
    pub types: Vec<TypeDescriptor>,
    /// The block formats that it brings.
    pub blocks: Vec<BlockDescriptor>,
}

/// A quantization type of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeDescriptor {
    /// The name, which ends in `@` and the name of the plugin.
    pub name: String,
    /// One sentence for lists.
    pub summary: String,
    /// The type id in GGUF files.
    pub ggml_type: u32,
    /// The type of ggml whose blocks it fills; none for a type of its own.
    pub layout: Option<GgmlType>,
    /// Block size in weights and bytes.
    pub block: BlockSize,
    /// What it does with importance.
    pub importance: Need,
    /// Whether it takes parameters.
    pub params: bool,
}

/// A block format of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDescriptor {
    /// The name, which ends in `@` and the name of the plugin.
    pub name: String,
    /// One sentence for lists.
    pub summary: String,
    /// Row groups start at a multiple of this many rows.
    pub granule_rows: u32,
    /// Upper bound of the encoded length: bytes of a row group besides those below.
    pub group_bytes: u32,
    /// Bytes of a row besides its values.
    pub row_bytes: u32,
    /// Bits of a value.
    pub value_bits: u32,
}

impl Descriptor {
    /// Reads the text.
    ///
    /// # Errors
    /// `Plugin`, with what is wrong in it.
    pub fn parse(text: &[u8]) -> Result<Self> {
        if text.len() > limits::PLUGIN_DESCRIPTOR {
            return Err(fault(format!("its descriptor has {} bytes", text.len())));
        }
        let value = parse_json(text).map_err(wrong)?;
        // A later version may have any other keys.
        let abi = value.get("abi").unwrap_or(&Value::Null);
        if abi.as_u64() != Some(ABI.into()) {
            return Err(fault(format!(
                "it is for version `{abi}` of the plugin interface; this program has version {ABI}"
            )));
        }
        descriptor(&value).map_err(wrong)
    }

    /// The functions that the module must export.
    #[must_use]
    pub fn functions(&self) -> Vec<Function> {
        let any = |test: fn(&TypeDescriptor) -> bool| self.types.iter().any(test);
        let has_blocks = !self.blocks.is_empty();
        let needed = [
            (Function::Abi, true),
            (Function::Alloc, true),
            (Function::Error, true),
            (Function::Configure, any(|ty| ty.params)),
            (Function::Quantize, !self.types.is_empty()),
            (Function::Dequantize, any(|ty| ty.layout.is_none())),
            (Function::Encode, has_blocks),
            (Function::Decode, has_blocks),
        ];
        needed.into_iter().filter(|(_, needed)| *needed).map(|(function, _)| function).collect()
    }
}

fn wrong(error: Error) -> Error {
    fault("its descriptor is wrong").with_source(error)
}

fn descriptor(value: &Value) -> Result<Descriptor> {
    let known = ["abi", "name", "version", "summary", "types", "blocks"];
    let fields = Fields::new(value, "", &known)?;
    let name = fields.text("name")?.filter(|name| is_name(name));
    let name =
        name.ok_or_else(|| fields.wrong("name", "1 to 32 of `a` to `z`, `0` to `9`, `-`, `_`"))?;
    let entries = |key| -> Result<&[Value]> {
        let entries = fields.list(key)?;
        match entries.len() {
            0..=64 => Ok(entries),
            count => Err(Error::config(format!("{count} `{key}`, at most 64 are accepted"))),
        }
    };
    let (types, blocks) = (entries("types")?.iter().enumerate(), entries("blocks")?.iter());
    let types = types
        .map(|(at, entry)| type_of(entry, &format!("types[{at}]"), name))
        .collect::<Result<Vec<_>>>()?;
    let blocks = blocks
        .enumerate()
        .map(|(at, entry)| block(entry, &format!("blocks[{at}]"), name))
        .collect::<Result<Vec<_>>>()?;
    if types.is_empty() && blocks.is_empty() {
        return Err(Error::config("it has neither `types` nor `blocks`"));
    }
    let mut names: Vec<&str> = types.iter().map(|ty| ty.name.as_str()).collect();
    names.extend(blocks.iter().map(|block| block.name.as_str()));
    names.sort_unstable();
    if let Some([twice, _]) = names.array_windows().find(|[one, other]| one == other) {
        return Err(Error::config(format!("`{twice}` is there twice")));
    }
    Ok(Descriptor {
        name: name.to_owned(),
        version: line(&fields, "version")?,
        summary: line(&fields, "summary")?,
        types,
        blocks,
    })
}

fn type_of(value: &Value, path: &str, plugin: &str) -> Result<TypeDescriptor> {
    let known = ["name", "summary", "ggml_type", "block", "importance", "params"];
    let fields = Fields::new(value, path, &known)?;
    let (name, own) = full_name(&fields, plugin)?;
    let id = fields.value("ggml_type").and_then(Value::as_u64);
    let id = id.and_then(|id| u32::try_from(id).ok());
    let ggml_type = id.ok_or_else(|| fields.wrong("ggml_type", "the number of a type"))?;
    let sizes: Vec<u64> = fields.list("block")?.iter().filter_map(Value::as_u64).collect();
    let block = match sizes.as_slice() {
        &[elems @ 1..=65536, bytes @ 1..=262_144] => {
            BlockSize { elems: usize_of(elems)?, bytes: usize_of(bytes)? }
        }
        _ => return Err(fields.wrong("block", "weights (to 65536) and bytes (to 262144)")),
    };
    let importance = match fields.text("importance")? {
        None | Some("ignored") => Need::Ignored,
        Some("optional") => Need::Optional,
        Some("required") => Need::Required,
        Some(_) => return Err(fields.wrong("importance", "`ignored`, `optional` or `required`")),
    };
    if own.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(fields.wrong("name", "a name in lower case, as those of all types"));
    }
    // `q4_k-fast@vendor` is a way to fill `q4_k`.
    let base = own.split('-').next().unwrap_or_default();
    let named = GgmlType::from_name(base).filter(|ty| ty.holds_weights());
    let layout = GgmlType::from_id(ggml_type);
    match layout {
        Some(ty) if named != Some(ty) => {
            return Err(Error::config(format!(
                "`{name}` fills blocks of `{ty}`, so its name must begin with that",
                ty = ty.name()
            )));
        }
        Some(ty) if ty.block() != block => {
            return Err(Error::config(format!(
                "`{name}` has blocks of {} weights in {} bytes, those of `{}` are {} in {}",
                block.elems,
                block.bytes,
                ty.name(),
                ty.block().elems,
                ty.block().bytes
            )));
        }
        None if ggml_type < CUSTOM_TYPE => {
            return Err(Error::config(format!(
                "`{name}` has type id {ggml_type}, which is none of ggml's; ids of one's own begin at {CUSTOM_TYPE}"
            )));
        }
        None if recipe::base_type(base).is_some() => {
            return Err(Error::config(format!(
                "`{name}` is called after a type of ggml, but has an id of its own"
            )));
        }
        _ => {}
    }
    let params = fields.flag("params")?.unwrap_or(false);
    let summary = line(&fields, "summary")?;
    Ok(TypeDescriptor { name, summary, ggml_type, layout, block, importance, params })
}

fn block(value: &Value, path: &str, plugin: &str) -> Result<BlockDescriptor> {
    let known = ["name", "summary", "granule_rows", "group_bytes", "row_bytes", "value_bits"];
    let fields = Fields::new(value, path, &known)?;
    let number = |key: &str, most: u64, default: Option<u32>| {
        let expected = format!("an integer up to {most}");
        match fields.value(key) {
            None => default.ok_or_else(|| fields.wrong(key, &expected)),
            Some(value) => value
                .as_u64()
                .filter(|number| *number <= most)
                .and_then(|number| u32::try_from(number).ok())
                .ok_or_else(|| fields.wrong(key, &expected)),
        }
    };
    let granule_rows = number("granule_rows", 256, Some(1))?;
    if granule_rows == 0 {
        return Err(fields.wrong("granule_rows", "a positive integer"));
    }
    let (name, _) = full_name(&fields, plugin)?;
    Ok(BlockDescriptor {
        name,
        summary: line(&fields, "summary")?,
        granule_rows,
        group_bytes: number("group_bytes", 1 << 20, Some(0))?,
        row_bytes: number("row_bytes", 1 << 20, Some(0))?,
        value_bits: number("value_bits", 64, None)?,
    })
}

/// The name of a type or format, and the part of it before `@`.
fn full_name<'a>(fields: &Fields<'a>, plugin: &str) -> Result<(String, &'a str)> {
    let name = fields.text("name")?;
    let own = name.and_then(|name| name.strip_suffix(plugin)?.strip_suffix('@'));
    match own.filter(|own| is_name(&own.to_ascii_lowercase())) {
        Some(own) => Ok((format!("{own}@{plugin}"), own)),
        // What is built in has no such ending, and cannot be replaced therefore.
        None => Err(fields.wrong(
            "name",
            &format!("a name that ends in `@{plugin}`: plugins replace nothing that is built in"),
        )),
    }
}

/// A short text without anything that steers a terminal.
fn line(fields: &Fields<'_>, key: &str) -> Result<String> {
    let text = fields.text(key)?.unwrap_or_default();
    if text.len() > 200 || text.chars().any(char::is_control) {
        return Err(fields.wrong(key, "a line of at most 200 bytes"));
    }
    Ok(text.to_owned())
}

fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    (1..=32).contains(&text.len()) && text.chars().all(allowed)
}

fn usize_of(number: u64) -> Result<usize> {
    usize::try_from(number).map_err(|_| Error::limit(format!("{number} is too large")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:?}", Descriptor::parse(text.as_bytes()).unwrap_err())
    }

    fn with_type(ty: &str) -> String {
        error(&format!(r#"{{"abi":1,"name":"v","types":[{ty}]}}"#))
    }

    #[test]
    fn everything_is_read() {
        let text = r#"{"abi":1,"name":"v-2","version":"1.0","summary":"S.","types":[
            {"name":"q4_k-fast@v-2","ggml_type":12,"block":[256,144],"importance":"optional","params":true},
            {"name":"own@v-2","ggml_type":1000,"block":[8,5]}],
            "blocks":[{"name":"Half@v-2","value_bits":16,"row_bytes":4,"granule_rows":2}]}"#;
        let read = Descriptor::parse(text.as_bytes()).unwrap();
        assert_eq!(read.types[0].layout, Some(GgmlType::Q4K));
        assert!(read.types[0].params && read.types[0].importance == Need::Optional);
        assert_eq!((read.types[1].layout, read.types[1].block.bytes), (None, 5));
        assert_eq!((read.blocks[0].value_bits, read.blocks[0].granule_rows), (16, 2));
        assert_eq!(read.functions().len(), 8);
    }

    #[test]
    fn lies_are_named() {
        for (ty, part) in [
            (r#"{"name":"q4_k","ggml_type":12,"block":[256,144]}"#, "ends in `@v`"),
            (r#"{"name":"q4_k@w","ggml_type":12,"block":[256,144]}"#, "ends in `@v`"),
            (r#"{"name":"q4_k@v","ggml_type":12,"block":[256,143]}"#, "256 in 144"),
            (r#"{"name":"q4_k@v","ggml_type":14,"block":[256,210]}"#, "fills blocks of `q6_k`"),
            (r#"{"name":"q4_k@v","ggml_type":5000,"block":[256,144]}"#, "called after a type"),
            (r#"{"name":"x@v","ggml_type":4,"block":[1,1]}"#, "none of ggml's"),
            (r#"{"name":"x@v","ggml_type":-1,"block":[1,1]}"#, "types[0].ggml_type"),
            (r#"{"name":"x@v","ggml_type":1000,"block":[0,1]}"#, "types[0].block"),
            (
                r#"{"name":"x@v","ggml_type":1000,"block":[1,1],"paramz":1}"#,
                "unknown key `types[0].paramz`",
            ),
            (r#"{"name":"i8@v","ggml_type":24,"block":[1,1]}"#, "fills blocks of `i8`"),
            (r#"{"name":"\u001b@v","ggml_type":1000,"block":[1,1]}"#, "types[0].name"),
        ] {
            let said = with_type(ty);
            assert!(said.contains(part) && said.contains("Plugin"), "{ty}: {said}");
        }
        assert!(error(r#"{"abi":2}"#).contains("version `2`"));
        assert!(error(r#"{"abi":1,"name":"V"}"#).contains("`name` is"));
        assert!(error(r#"{"abi":1,"name":"v"}"#).contains("neither"));
        assert!(error("{").contains("not valid JSON"));
        assert!(error(r#"{"abi":1,"abi":1}"#).contains("twice"));
        let twice = r#"{"abi":1,"name":"v","blocks":[{"name":"a@v","value_bits":8},{"name":"a@v","value_bits":8}]}"#;
        assert!(error(twice).contains("`a@v` is there twice"));
        let long = format!(r#"{{"abi":1,"name":"v","summary":"{}"}}"#, "x".repeat(1 << 17));
        assert!(error(&long).contains("bytes"));
    }
}
