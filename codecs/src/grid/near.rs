//! Which points of a grid are near a point that is not on it.
//!
//! Rounding a group of weights gives a point that may be missing in the grid. The format's
//! reference then compares the error of the grid points that are nearest by plain distance: those
//! with the one, two or three (depending on the type) smallest distances that occur, ordered by
//! distance and then by index; the first of equal errors wins.
//!
//! **Shortcut.** A neighbour `p` need not be looked at if another one, `q`, lies between the rounded
//! point `u` and `p` in every dimension: each weight is nearest to its digit in `u`, so no digit of
//! `q` is worse for it than that of `p`, and `q` comes first in the list because its distance is
//! smaller. Rounding of floats could turn this around only for weights halfway between two digits;
//! for those [`Near::all`] has the whole list.

use crate::grid::points::{FOUR, Points};

/// Candidates are kept in groups of this many; the last group of a list is filled up with its first.
pub(crate) const CHUNK: usize = 16;

/// The digits of a point, `bits` bits each, the first one lowest.
pub(crate) type Code = u16;

/// Bits of a digit in the [`Code`] of a point of `dims` digits.
#[inline(always)]
pub(crate) const fn bits(dims: usize) -> usize {
    if dims == FOUR { 3 } else { 2 }
}

/// Neighbours of every point of `D` digits below `L`.
pub(crate) struct Near<const D: usize, const L: usize> {
    /// By key.
    cells: Vec<Cell>,
    /// Candidates that are not ruled out by others.
    candidates: Vec<[Code; CHUNK]>,
    /// Whole lists.
    lists: Vec<Code>,
    /// Where whole lists begin, by key, and where the last ends.
    starts: Vec<u32>,
    /// Indexes of grid points, by code.
    indexes: Vec<u16>,
}

/// Candidates of one key.
#[derive(Clone, Copy)]
struct Cell {
    /// Index of the first chunk.
    first: u16,
    /// Candidates.
    count: u8,
    on_grid: bool,
}

impl<const D: usize, const L: usize> Near<D, L> {
    /// Finds the neighbours at the `distances` smallest distances.
    pub(crate) fn new<const COUNT: usize>(points: &Points<D, COUNT>, distances: usize) -> Self {
        let mut columns = [[0; COUNT]; D];
        let mut indexes = vec![0; 1 << (bits(D) * D)];
        let mut codes = [0; COUNT];
        let mut steps = [0; COUNT];
        for (index, point) in (0..).zip(points) {
            let at = usize::from(index);
            for i in 0..D {
                columns[i][at] = point[i];
            }
            codes[at] = code(point);
            steps[at] = thermometer(point);
            indexes[usize::from(codes[at])] = index;
        }
        let mut near = Self {
            cells: Vec::new(),
            candidates: Vec::new(),
            lists: Vec::new(),
            starts: vec![0],
            indexes,
        };
        let mut point = [0; D];
        let mut kept = Vec::new();
        let mut grid = points.iter().zip(codes).peekable();
        for _ in 0..L.pow(D.try_into().unwrap_or(0)) {
            kept.clear();
            let on_grid = grid.peek().is_some_and(|(next, _)| **next == point);
            if let Some((_, code)) = grid.next_if(|_| on_grid) {
                near.lists.push(code);
                kept.push(code);
            } else {
                let mut crossed: Vec<u32> = Vec::new();
                for at in nearest(&columns, &point, distances) {
                    near.lists.push(codes[at]);
                    // Steps between neighbouring digits on the way to it.
                    let way = steps[at] ^ thermometer(&point);
                    if !crossed.iter().any(|other| other & !way == 0) {
                        crossed.push(way);
                        kept.push(codes[at]);
                    }
                }
            }
            near.push(&kept, on_grid);
            for digit in &mut point {
                *digit = (*digit + 1) % L.to_le_bytes()[0];
                if *digit != 0 {
                    break;
                }
            }
        }
        near
    }

    /// Adds the lists of the next key.
    fn push(&mut self, kept: &[Code], on_grid: bool) {
        let first = u16::try_from(self.candidates.len()).unwrap_or(u16::MAX);
        for part in kept.chunks(CHUNK) {
            let mut chunk = [kept[0]; CHUNK];
            chunk[..part.len()].copy_from_slice(part);
            self.candidates.push(chunk);
        }
        let count = u8::try_from(kept.len()).unwrap_or(u8::MAX);
        self.cells.push(Cell { first, count, on_grid });
        self.starts.push(u32::try_from(self.lists.len()).unwrap_or(u32::MAX));
    }

    /// Whether the point of a key is a grid point.
    #[inline(always)]
    pub(crate) fn on_grid(&self, key: u32) -> bool {
        self.cells[key as usize].on_grid
    }

    /// The candidates for a key: just the point itself if it is a grid point.
    #[inline(always)]
    pub(crate) fn few(&self, key: u32) -> &[Code] {
        let cell = self.cells[key as usize];
        &self.candidates[usize::from(cell.first)..].as_flattened()[..usize::from(cell.count)]
    }

    /// The same, filled up.
    #[inline(always)]
    pub(crate) fn chunks(&self, key: u32) -> &[[Code; CHUNK]] {
        let cell = self.cells[key as usize];
        let count = usize::from(cell.count).div_ceil(CHUNK);
        &self.candidates[usize::from(cell.first)..][..count]
    }

    /// The whole list for a key.
    pub(crate) fn all(&self, key: u32) -> &[Code] {
        let key = key as usize;
        &self.lists[self.starts[key] as usize..self.starts[key + 1] as usize]
    }

    /// The index of a grid point.
    #[inline(always)]
    pub(crate) fn index(&self, code: Code) -> u16 {
        self.indexes[usize::from(code)]
    }
}

/// Packs digits.
fn code<const D: usize>(point: &[u8; D]) -> Code {
    point.iter().rev().fold(0, |code, digit| code << bits(D) | Code::from(*digit))
}

/// As many ones as a digit says, for each digit. The bits in which two points differ are the steps
/// between neighbouring digits that separate them.
fn thermometer<const D: usize>(point: &[u8; D]) -> u32 {
    let width = 32 / D;
    point.iter().rev().fold(0, |steps, digit| steps << width | ((1 << digit) - 1))
}

/// Indexes of the points at the smallest distances, by distance and index.
fn nearest<const D: usize, const COUNT: usize>(
    columns: &[[u8; COUNT]; D],
    point: &[u8; D],
    distances: usize,
) -> Vec<usize> {
    let mut squares = [0u8; COUNT];
    for (column, digit) in columns.iter().zip(point) {
        for (square, other) in squares.iter_mut().zip(column) {
            let difference = other.abs_diff(*digit);
            *square += difference * difference;
        }
    }
    // The largest distance that counts: no square reaches 255.
    let mut limit = None;
    for _ in 0..distances {
        let farther = |square: u8| limit.is_none_or(|limit| square > limit);
        let next = squares.map(|square| if farther(square) { square } else { u8::MAX });
        limit = Some(next.iter().fold(u8::MAX, |least, square| *square.min(&least)));
    }
    let limit = limit.unwrap_or_default();
    let mut found = Vec::new();
    for (block, squares) in squares.chunks(32).enumerate() {
        // Hardly any block has one.
        if squares.iter().fold(false, |any, square| any | (*square <= limit)) {
            let near = squares.iter().enumerate().filter(|(_, square)| **square <= limit);
            found.extend(near.map(|(at, square)| (*square, 32 * block + at)));
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(_, at)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::points::{IQ1, IQ2_XXS, IQ3_S};

    /// Checks the lists of some keys against the definition.
    fn check<const D: usize, const L: usize, const COUNT: usize>(
        points: &Points<D, COUNT>,
        distances: usize,
    ) {
        let near = Near::<D, L>::new(points, distances);
        let keys = u32::try_from(L.pow(u32::try_from(D).expect("few"))).expect("few");
        for key in (0..keys).step_by(37) {
            let digits: [u8; D] = std::array::from_fn(|i| {
                let digit = key as usize / L.pow(u32::try_from(i).expect("few")) % L;
                u8::try_from(digit).expect("a digit")
            });
            let way = |point: &[u8; D], i: usize| i32::from(point[i]) - i32::from(digits[i]);
            let distance = |point: &[u8; D]| (0..D).map(|i| way(point, i).pow(2)).sum::<i32>();
            let mut all: Vec<&[u8; D]> = points.iter().collect();
            // Stable, so that indexes decide between equal distances.
            all.sort_by_key(|point| distance(point));
            let mut steps: Vec<i32> = all.iter().map(|point| distance(point)).collect();
            steps.dedup();
            let limit = if steps[0] == 0 { 0 } else { steps[distances - 1] };
            all.retain(|point| distance(point) <= limit);
            let codes: Vec<Code> = all.iter().map(|point| code(point)).collect();
            assert_eq!(near.all(key), codes, "{digits:?}");
            assert_eq!(near.on_grid(key), limit == 0, "{digits:?}");
            // No other point of the list is between the rounded one and one that is looked at.
            let between = |q: &[u8; D], p: &[u8; D]| {
                (0..D).all(|i| way(q, i) * way(p, i) >= way(q, i).pow(2))
            };
            let ruled_out = |p: &[u8; D]| all.iter().any(|q| **q != *p && between(q, p));
            let few: Vec<Code> =
                all.iter().filter(|point| !ruled_out(point)).map(|point| code(point)).collect();
            assert_eq!(near.few(key), few, "{digits:?}");
            assert_eq!(near.chunks(key).as_flattened()[..few.len()], few);
            for (index, point) in (0..).zip(points).take(9) {
                assert_eq!(near.index(code(point)), index);
            }
        }
    }

    #[test]
    fn lists_are_as_defined() {
        check::<8, 3, 256>(&IQ2_XXS, 2);
        check::<8, 3, 2048>(&IQ1, 3);
        check::<4, 8, 512>(&IQ3_S, 3);
    }
}
