//! `tokens.bin`: a vocabulary as an implicit balanced search tree, with everything that goes with it.
//!
//! Definition: `docs/tokens-format.md`, version 1. The tree lies in an array: the children of node
//! `i` (counted from 1) are `2i` and `2i + 1`. Nothing points anywhere, so there can be no cycle,
//! and looking up or walking needs no recursion, whatever the size.

mod read;
mod tail;
mod tree;
mod write;

pub use self::read::read;
pub use self::tree::{Found, Tree};
pub use self::write::write;

/// First bytes of the file.
const MAGIC: &[u8; 8] = b"GMATTOKS";

/// The version written, and the newest one read.
const VERSION: u32 = 1;

/// Bytes of the header.
const HEADER: usize = 64;

/// Bytes of a tree node.
const NODE: usize = 20;

/// Bytes of the checksum at the end.
const CHECKSUM: usize = 32;

/// Place of the first node in the order of texts, in a tree of `count` nodes; 0 if it is empty.
fn first(count: usize) -> usize {
    if count == 0 { 0 } else { leftmost(1, count) }
}

/// Place of the node after `place` in the order of texts; 0 after the last.
fn next(place: usize, count: usize) -> usize {
    let right = 2 * place + 1;
    if right <= count {
        return leftmost(right, count);
    }
    // Up while coming from the right; then once more, to the parent whose left side is done. The
    // right spine ends at place 0.
    let mut place = place;
    while place % 2 == 1 {
        place /= 2;
    }
    place / 2
}

fn leftmost(mut place: usize, count: usize) -> usize {
    while 2 * place <= count {
        place *= 2;
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walk_visits_every_place_once() {
        for count in 0..200 {
            let mut seen = vec![false; count + 1];
            let mut place = first(count);
            let mut steps = 0;
            while place != 0 {
                assert!(!std::mem::replace(&mut seen[place], true));
                place = next(place, count);
                steps += 1;
            }
            assert_eq!(steps, count);
        }
    }

    #[test]
    fn walk_is_in_search_order() {
        // Left subtree before, right subtree after: the places of a full tree of 7 nodes.
        let mut order = Vec::new();
        let mut place = first(7);
        while place != 0 {
            order.push(place);
            place = next(place, 7);
        }
        assert_eq!(order, [4, 2, 5, 1, 6, 3, 7]);
    }
}
