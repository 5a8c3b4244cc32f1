//! Elements as differences to those of a base model, bit-exact.
//!
//! Bits of a floating point number become an integer in the order of the numbers; what differs is the
//! difference of two such integers, a number of steps between neighbouring values. Fine-tuning moves
//! weights of all sizes by about the same amount, which is few steps for a large weight and many for a
//! small one: how many to expect is told by the exponent in the base. Therefore each exponent has its
//! own code. The bytes are defined in `docs/block-formats.md`, section 3.6.

mod bits;
mod rans;
mod steps;
mod tables;

use gmat_core::{DType, Result};

use self::bits::{BitReader, BitWriter};
use self::rans::{Decoder, encode};
use self::steps::{Kind, Steps};
use self::tables::{CONTEXTS, Tables};
use super::input::Input;

/// Appends the elements of `bytes` as differences to those of `base`, which has as many of the same
/// type, at least one. False if there is no code for them, with nothing appended.
pub(crate) fn write_difference(dtype: DType, bytes: &[u8], base: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(kind) = Kind::of(dtype) else { return false };
    let dropped = kind.zero_bytes(bytes).min(kind.zero_bytes(base));
    let top = kind.top(base);
    let steps = Steps::new(kind, dropped, top);
    let elems = base.len() / kind.width();
    let (mut tokens, mut contexts) = (Vec::with_capacity(elems), Vec::with_capacity(elems));
    let mut counts = vec![[0u32; 256]; CONTEXTS];
    let mut extra = BitWriter::default();
    steps.each(bytes, base, |context, token, rest, len| {
        if let Some(own) = counts.get_mut(usize::from(context)) {
            own[usize::from(token)] += 1;
        }
        tokens.push(token);
        contexts.push(context);
        extra.put(rest, len);
    });
    let tables = Tables::of(&counts);
    let coded = encode(&tokens, &contexts, &tables);
    let mut lengths = BitWriter::default();
    let own = tables.write(&mut lengths);
    let (lengths, extra) = (lengths.finish(), extra.finish());
    let len32 = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    out.extend(dropped.to_le_bytes().iter().take(1));
    out.extend(top.to_le_bytes());
    out.extend(own.to_le_bytes());
    out.extend(len32(lengths.len()));
    out.extend(lengths);
    out.extend(coded.states.iter().flat_map(|state| state.to_le_bytes()));
    out.extend(len32(coded.words.len()));
    out.extend(coded.words.iter().rev().flat_map(|word| word.to_le_bytes()));
    out.extend(len32(extra.len()));
    out.extend(extra);
    true
}

/// Appends the elements that [`write_difference`] was given.
///
/// # Errors
/// `Malformed` if the bytes are not what it writes; what was appended then is meaningless.
pub(crate) fn read_difference(
    input: &mut Input<'_>,
    dtype: DType,
    base: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    let kind = Kind::of(dtype);
    let kind = kind.ok_or_else(|| input.malformed("elements that have no differences"))?;
    let dropped = u32::from(input.byte()?);
    if dropped as usize >= kind.width() {
        return Err(input.malformed(format!("{dropped} bytes of every element left out")));
    }
    let steps = Steps::new(kind, dropped, u16::from_le_bytes(input.array()?));
    let own = u16::from_le_bytes(input.array()?);
    let len = input.len()?;
    let mut lengths = BitReader::new(input.take(len)?);
    let tables = Tables::read(own, &mut lengths).filter(|_| lengths.is_done());
    let tables = tables.ok_or_else(|| input.malformed("frequencies that do not add up"))?;
    let mut states = [0; rans::STATES];
    for state in &mut states {
        *state = u32::from_le_bytes(input.array()?);
    }
    let words = input.len()?;
    let words = input.take(words.saturating_mul(2))?;
    let mut decoder = Decoder::new(states, words, &tables);
    let len = input.len()?;
    let mut extra = BitReader::new(input.take(len)?);
    let next = |lane, context| decoder.next(lane, context);
    let done = steps.restore(base, out, next, |len| extra.take(len));
    match done && decoder.is_done() && extra.is_done() {
        true => Ok(()),
        false => Err(input.malformed("coded differences end too early or too late")),
    }
}
