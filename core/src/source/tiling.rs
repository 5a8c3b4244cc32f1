//! Whether scales of some shape fit weights of some shape.

use super::derived::Tiles;
use super::method::Tiling;

/// Matrix rows and columns, and the dimensions of the stack in front of them.
fn split(dims: &[u64]) -> Option<(&[u64], u64, u64)> {
    match dims {
        [stack @ .., rows, cols] => Some((stack, *rows, *cols)),
        _ => None,
    }
}

/// How scales of shape `scale` are spread over weights of shape `dims`, if they can be in that way.
pub(super) fn fit(tiling: Tiling, dims: &[u64], scale: &[u64]) -> Option<Tiles> {
    let (stack, matrix, columns) = split(dims)?;
    let whole = Tiles { matrix, rows: matrix, cols: columns, step: 1, width: 1 };
    match tiling {
        Tiling::Tensor => {
            if scale.iter().all(|&dim| dim == 1) {
                return Some(Tiles { step: 0, ..whole });
            }
            let rest = scale.strip_prefix(stack)?;
            (rest.len() <= 2 && rest.iter().all(|&dim| dim == 1)).then_some(whole)
        }
        Tiling::Rows => {
            let rest = scale.strip_prefix(stack)?;
            let rows = Tiles { rows: 1, step: matrix, ..whole };
            (rest == [matrix] || rest == [matrix, 1]).then_some(rows)
        }
        Tiling::Columns => (scale.strip_prefix(stack)? == [1, columns]).then_some(Tiles {
            cols: 1,
            width: columns,
            ..whole
        }),
        Tiling::Blocks(rows, cols) => {
            let (step, width) = (matrix.div_ceil(rows.max(1)), columns.div_ceil(cols.max(1)));
            let tiles = Tiles { matrix, rows, cols, step, width };
            (scale.strip_prefix(stack)? == [step, width]).then_some(tiles)
        }
        Tiling::Groups(cols) => {
            let width = columns.div_ceil(cols.max(1));
            let tiles = Tiles { matrix, rows: 1, cols, step: matrix, width };
            (scale.strip_prefix(stack)? == [matrix, width]).then_some(tiles)
        }
        Tiling::AnyGroups => {
            let width = *scale.last().filter(|&&width| width > 0)?;
            let cols = columns.is_multiple_of(width).then(|| columns / width)?;
            fit(Tiling::Groups(cols), dims, scale)
        }
    }
}

/// The shapes that fit, for a message.
pub(super) fn expected(tilings: &[Tiling], dims: &[u64]) -> String {
    let Some((stack, rows, cols)) = split(dims) else {
        return "a scale of a matrix (these weights are none)".to_owned();
    };
    let shape = |dims: &[u64]| format!("{:?}", [stack, dims].concat());
    let each = tilings.iter().map(|tiling| match *tiling {
        Tiling::Tensor => "[] or [1]".to_owned(),
        Tiling::Rows => shape(&[rows, 1]),
        Tiling::Columns => shape(&[1, cols]),
        Tiling::Blocks(height, width) => {
            let tiles = shape(&[rows.div_ceil(height.max(1)), cols.div_ceil(width.max(1))]);
            format!("{tiles} (tiles of {height} x {width})")
        }
        Tiling::Groups(width) => {
            format!("{} (groups of {width})", shape(&[rows, cols.div_ceil(width.max(1))]))
        }
        Tiling::AnyGroups => format!("{} (groups of a row)", shape(&[rows]).replace(']', ", n]")),
    });
    let mut each: Vec<String> = each.collect();
    each.dedup();
    match each.is_empty() {
        true => "none".to_owned(),
        false => each.join(" or "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_recognised_by_their_shape() {
        let fits = |tiling, dims: &[u64], scale: &[u64]| fit(tiling, dims, scale).is_some();
        let blocks = Tiling::Blocks(128, 128);
        for (tiling, dims, scale) in [
            (Tiling::Tensor, &[6, 8][..], &[][..]),
            (Tiling::Tensor, &[6, 8], &[1]),
            (Tiling::Tensor, &[3, 6, 8], &[3]),
            (Tiling::Tensor, &[3, 6, 8], &[3, 1, 1]),
            (Tiling::Rows, &[6, 8], &[6]),
            (Tiling::Rows, &[3, 6, 8], &[3, 6, 1]),
            (Tiling::Columns, &[3, 6, 8], &[3, 1, 8]),
            (blocks, &[129, 300], &[2, 3]),
            (blocks, &[5, 129, 300], &[5, 2, 3]),
            (Tiling::Groups(16), &[4, 48], &[4, 3]),
            (Tiling::AnyGroups, &[4, 48], &[4, 3]),
        ] {
            assert!(fits(tiling, dims, scale), "{tiling:?} {dims:?} {scale:?}");
        }
        for (tiling, dims, scale) in [
            (Tiling::Tensor, &[6, 8][..], &[6][..]),
            (Tiling::Tensor, &[3, 6, 8], &[2]),
            (Tiling::Tensor, &[3, 6, 8], &[3, 1, 1, 1]),
            (Tiling::Rows, &[6, 8], &[8]),
            (Tiling::Rows, &[8], &[8]),
            (blocks, &[129, 300], &[3, 2]),
            (blocks, &[129, 300], &[2, 4]),
            (Tiling::Groups(16), &[4, 48], &[4, 4]),
            (Tiling::AnyGroups, &[4, 48], &[4, 5]),
            (Tiling::AnyGroups, &[4, 48], &[4, 0]),
        ] {
            assert!(!fits(tiling, dims, scale), "{tiling:?} {dims:?} {scale:?}");
        }
        let text = expected(&[blocks, Tiling::Rows], &[5, 129, 300]);
        assert_eq!(text, "[5, 2, 3] (tiles of 128 x 128) or [5, 129, 1]");
    }
}
