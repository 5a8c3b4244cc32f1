//! An importance matrix in an export: which tensors have weights for their columns, and which rows
//! take which.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::export::finished::hash_of;
use crate::format::gguf::Meta;
use crate::format::imatrix::Imatrix;
use crate::io::Files;
use crate::quant::{Need, QuantType};
use crate::recipe::{self, FileType};

/// Longest text that `llama-quantize` keeps in a key, in bytes.
const TEXT: usize = 127;

/// The one tensor whose importance may have another size than it: `llama-quantize` leaves it out
/// then.
const EMBEDDING: &str = "token_embd.weight";

/// An importance matrix, open.
pub struct Importance<'a> {
    files: &'a dyn Files,
    file: String,
    given: String,
    matrix: Imatrix,
}

impl<'a> Importance<'a> {
    /// Opens a file of a folder; `given` is how the user calls it, which ends up in the GGUF file.
    ///
    /// # Errors
    /// As [`Imatrix::open`].
    pub fn open(files: &'a dyn Files, file: &str, given: &str) -> Result<Self> {
        let matrix = Imatrix::open(files, file)?;
        Ok(Self { files, file: file.to_owned(), given: given.to_owned(), matrix })
    }

    /// BLAKE3 of the file.
    ///
    /// # Errors
    /// `Io` if it cannot be read.
    pub(crate) fn hash(&self) -> Result<blake3::Hash> {
        let len = self.files.len(&self.file)?.unwrap_or(0);
        hash_of(self.files, &self.file, 0..len)
    }

    /// Number of tensors it covers.
    pub(crate) fn len(&self) -> usize {
        self.matrix.len()
    }

    /// How the user calls the file.
    pub(crate) fn given(&self) -> &str {
        &self.given
    }

    /// Weights of some slices of a tensor, each as long as a row.
    pub(crate) fn read(
        &self,
        tensor: &str,
        slices: &Slices,
        range: &Range<u64>,
    ) -> Result<Vec<f32>> {
        let values = range.start * slices.cols..range.end * slices.cols;
        self.matrix.read(self.files, &self.file, tensor, values)
    }

    /// Writes where the weights came from, under the keys of `llama-quantize`.
    pub(crate) fn write(&self, meta: &mut Meta) -> Result<()> {
        let text =
            |text: &str| text.get(..text.floor_char_boundary(TEXT)).unwrap_or(text).to_owned();
        meta.set("quantize.imatrix.file", text(&self.given));
        if let Some(dataset) = &self.matrix.dataset {
            meta.set("quantize.imatrix.dataset", text(dataset));
        }
        meta.set_count("quantize.imatrix.entries_count", self.matrix.len() as u64)?;
        if self.matrix.chunks > 0 {
            meta.set("quantize.imatrix.chunks_count", self.matrix.chunks);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Importance<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Importance").field("file", &self.given).finish_non_exhaustive()
    }
}

/// How the rows of a tensor find the weights of their columns: a stack of experts has one set for
/// each of them, anything else has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slices {
    /// Number of sets.
    pub(crate) count: u64,
    /// Rows that share one.
    pub(crate) rows: u64,
    /// Weights in one: the length of a row.
    pub(crate) cols: u64,
}

impl Slices {
    /// Of a tensor with these dimensions, fastest first.
    fn of(dims: &[u64]) -> Result<Self> {
        let dim = |at: usize| dims.get(at).copied().unwrap_or(1);
        let count = dims.iter().skip(2).try_fold(1u64, |count, &dim| count.checked_mul(dim));
        let count = count.ok_or_else(|| Error::limit("tensor too large"))?;
        Ok(Self { count, rows: dim(1).max(1), cols: dim(0) })
    }

    /// The sets that some rows take.
    pub(crate) fn range(&self, rows: &Range<u64>) -> Range<u64> {
        rows.start / self.rows..rows.end.div_ceil(self.rows)
    }

    /// Bytes of the sets that `rows` consecutive rows take at most.
    pub(crate) fn cost(&self, rows: u64) -> u64 {
        let sets = (rows / self.rows).saturating_add(2).min(self.count);
        sets.saturating_mul(self.cols).saturating_mul(4)
    }
}

/// The weights of the columns of one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weights {
    /// There are none, or the type has no use for them.
    None,
    /// All alike, for a type that cannot do without.
    Ones,
    /// Those of the importance matrix.
    Matrix(Slices),
}

/// Finds the weights of tensors, and remembers what there is to tell.
pub(crate) struct Weighing<'a> {
    importance: Option<&'a Importance<'a>>,
    file_type: FileType,
    allow_unweighted: bool,
    found: usize,
    unweighted: Vec<String>,
    mismatched: Option<String>,
}

impl<'a> Weighing<'a> {
    pub(crate) fn new(
        importance: Option<&'a Importance<'a>>,
        file_type: FileType,
        allow_unweighted: bool,
    ) -> Self {
        let (unweighted, mismatched) = (Vec::new(), None);
        Self { importance, file_type, allow_unweighted, found: 0, unweighted, mismatched }
    }

    /// The weights of a tensor of that GGUF name and dimensions (fastest first).
    ///
    /// # Errors
    /// `Shape` if its importance has another size; `Config` if the type needs importance and there
    /// is none.
    pub(crate) fn weights(
        &mut self,
        name: &str,
        dims: &[u64],
        quant: &dyn QuantType,
    ) -> Result<Weights> {
        let entry = self.importance.and_then(|i| Some((i, i.matrix.values(name)?)));
        self.found += usize::from(entry.is_some());
        if quant.block().elems == 1 {
            return Ok(Weights::None);
        }
        let slices = Slices::of(dims)?;
        if let Some((importance, values)) = entry {
            let (count, cols) = (slices.count, slices.cols);
            let fits = cols.checked_mul(count) == Some(values);
            if fits && quant.importance() != Need::Ignored {
                return Ok(Weights::Matrix(slices));
            }
            if !fits && name != EMBEDDING {
                return Err(Error::shape(format!(
                    "`{}` has {values} values for tensor `{name}`, which has {count} x {cols} columns",
                    importance.given
                ))
                .with_hint("the importance matrix must be one of this model"));
            }
            if !fits {
                self.mismatched = Some(format!(
                    "`{}` has {values} values for `{name}`, which has {cols} columns: it is not used",
                    importance.given
                ));
            }
        }
        if quant.importance() == Need::Ignored {
            return Ok(Weights::None);
        }
        let required = quant.importance() == Need::Required;
        let needed = required || recipe::needs_importance(self.file_type, name, quant.name());
        if needed && !self.allow_unweighted {
            return Err(self.missing(name, quant));
        }
        if needed || self.importance.is_some() {
            self.unweighted.push(name.to_owned());
        }
        Ok(if required { Weights::Ones } else { Weights::None })
    }

    fn missing(&self, name: &str, quant: &dyn QuantType) -> Error {
        let lacking = match self.importance {
            Some(importance) => format!("`{}` has none for it", importance.given),
            None => "there is none".to_owned(),
        };
        let hint = match self.importance {
            Some(_) => "give it another type, or add --allow-unweighted",
            None => "give a matrix with --imatrix, choose another type, or add --allow-unweighted",
        };
        let ty = quant.name();
        Error::config(format!("tensor `{name}` as `{ty}` needs importance, and {lacking}"))
            .with_hint(hint)
    }

    /// What the user should know.
    pub(crate) fn finish(self, notes: &mut Vec<String>, warnings: &mut Vec<String>) {
        notes.extend(self.mismatched);
        if !self.unweighted.is_empty() {
            let (count, names) = (self.unweighted.len(), super::model::some(&self.unweighted));
            notes.push(format!(
                "quantized without importance, all columns alike, {count} tensors: {names}"
            ));
        }
        if let Some(importance) = self.importance.filter(|_| self.found == 0) {
            warnings.push(format!(
                "none of the {} entries of `{}` is for a tensor of this model",
                importance.len(),
                importance.given()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::io::Chunk;
    use crate::quant::{BlockSize, QuantCx};

    /// A type of that need.
    struct Fake(&'static str, Need);

    impl QuantType for Fake {
        fn name(&self) -> &'static str {
            self.0
        }
        fn ggml_type(&self) -> u32 {
            0
        }
        fn block(&self) -> BlockSize {
            BlockSize { elems: 32, bytes: 18 }
        }
        fn importance(&self) -> Need {
            self.1
        }
        fn quantize(&self, _: &[f32], _: &QuantCx<'_>, _: &mut [u8]) -> Result<()> {
            Ok(())
        }
        fn weights(&self, _: &[f32], _: &QuantCx<'_>, _: &mut [f32]) -> Result<()> {
            Ok(())
        }
        fn dequantize(&self, _: &[u8], _: &mut [f32]) -> Result<()> {
            Ok(())
        }
    }

    /// A matrix for `w` with 64 values, in the older form.
    struct File(Vec<u8>);

    impl File {
        fn new() -> Self {
            let head = [1i32, 1].into_iter().flat_map(i32::to_le_bytes);
            let sizes = [1i32, 64].into_iter().flat_map(i32::to_le_bytes);
            let values = [1.0f32; 64].into_iter().flat_map(f32::to_le_bytes);
            Self(head.chain(*b"w").chain(sizes).chain(values).collect())
        }
    }

    impl Files for File {
        fn names(&self) -> Result<Vec<String>> {
            Ok(Vec::new())
        }
        fn len(&self, _: &str) -> Result<Option<u64>> {
            Ok(Some(self.0.len() as u64))
        }
        fn read(&self, _: &str, range: Range<u64>) -> Result<Chunk<'_>> {
            let at = |place: u64| usize::try_from(place).unwrap();
            Ok(Box::new(&self.0[at(range.start)..at(range.end)]))
        }
        fn place(&self, name: &str) -> String {
            name.to_owned()
        }
    }

    #[test]
    fn who_gets_weights_and_who_may_not_do_without() {
        let file = File::new();
        let importance = Importance::open(&file, "f", "dir/f").unwrap();
        let one = |given: bool, allow, name: &str, quant: &Fake| {
            let importance = given.then_some(&importance);
            let mut weighing = Weighing::new(importance, FileType::Q4KM, allow);
            let weights = weighing.weights(name, &[64, 8], quant);
            let (mut notes, mut warnings) = (Vec::new(), Vec::new());
            weighing.finish(&mut notes, &mut warnings);
            (weights, notes.len(), warnings.len())
        };
        let matrix = Weights::Matrix(Slices { count: 1, rows: 8, cols: 64 });
        let (ignoring, taking) = (Fake("q8_0", Need::Ignored), Fake("q4_k", Need::Optional));
        let (low, needing) = (Fake("iq2_s", Need::Optional), Fake("iq2_xxs", Need::Required));
        // Given a matrix or not, name, type, allowed to go without: weights, notes, warnings.
        for (given, allow, name, quant, wanted) in [
            (true, false, "w", &ignoring, (Weights::None, 0, 0)),
            (true, false, "w", &taking, (matrix, 0, 0)),
            (true, false, "w", &needing, (matrix, 0, 0)),
            (true, false, "x", &taking, (Weights::None, 1, 1)),
            (true, false, "x", &ignoring, (Weights::None, 0, 1)),
            (false, false, "w", &taking, (Weights::None, 0, 0)),
            (false, true, "w", &low, (Weights::None, 1, 0)),
            (false, true, "w", &needing, (Weights::Ones, 1, 0)),
            (true, true, "x", &needing, (Weights::Ones, 1, 1)),
            (false, false, "output.weight", &low, (Weights::None, 0, 0)),
            (false, true, "output.weight", &needing, (Weights::Ones, 1, 0)),
        ] {
            let (weights, notes, warnings) = one(given, allow, name, quant);
            assert_eq!((weights.unwrap(), notes, warnings), wanted, "{name} as {}", quant.0);
        }
        for (given, name, quant) in [
            (false, "w", &low),
            (false, "w", &needing),
            (true, "x", &low),
            (false, "output.weight", &needing),
        ] {
            let error = one(given, false, name, quant).0.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            for part in [name, quant.0] {
                assert!(error.message().contains(&format!("`{part}`")), "{error}");
            }
            let hint = error.hint().unwrap();
            assert!(hint.contains("--allow-unweighted") && hint.contains("--imatrix") != given);
        }
        let mut weighing = Weighing::new(Some(&importance), FileType::Q4KM, true);
        let error = weighing.weights("w", &[64, 8, 2], &ignoring).unwrap_err();
        assert!(error.message().contains("64 values") && error.message().contains("2 x 64"));
    }

    #[test]
    fn rows_of_stacks_find_their_expert() {
        let slices = Slices::of(&[256, 32, 4]).unwrap();
        assert_eq!(slices, Slices { count: 4, rows: 32, cols: 256 });
        assert_eq!(slices.range(&(0..32)), 0..1);
        assert_eq!(slices.range(&(31..33)), 0..2);
        assert_eq!(slices.range(&(96..128)), 3..4);
        assert_eq!(slices.cost(128), 4 * 256 * 4);
        assert_eq!(slices.cost(1), 2 * 256 * 4);
        let matrix = Slices::of(&[256, 320]).unwrap();
        assert_eq!((matrix.range(&(7..320)), matrix.cost(16)), (0..1, 1024));
        assert_eq!(Slices::of(&[8]).unwrap(), Slices { count: 1, rows: 1, cols: 8 });
        assert!(Slices::of(&[1, 1, 1 << 40, 1 << 40]).is_err());
    }
}
