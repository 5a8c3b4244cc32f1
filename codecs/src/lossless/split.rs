//! Elements in byte planes, and back.
//!
//! The upper 16 bits of an element (of types that have them) are rotated left by one, so that the
//! exponent of BF16 and F32 is a byte by itself, and the sign is below the mantissa. Plane k holds
//! byte k of every element.

/// Replaces `out` by plane `plane` of elements of `width` bytes, 1, 2, 4 or 8.
pub(crate) fn split(bytes: &[u8], width: usize, plane: usize, out: &mut Vec<u8>) {
    out.clear();
    match width {
        2 => of_two(bytes, plane, out),
        4 => of_four(bytes, plane, out),
        8 => of_eight(bytes, plane, out),
        _ => out.extend_from_slice(bytes),
    }
}

// One loop for each plane, of shifts by constants: the compiler makes vectors of them.

fn of_two(bytes: &[u8], plane: usize, out: &mut Vec<u8>) {
    let words = bytes.as_chunks().0.iter().map(|e| u16::from_le_bytes(*e).rotate_left(1));
    match plane {
        0 => out.extend(words.map(|w| (w & 0xff) as u8)),
        _ => out.extend(words.map(|w| (w >> 8) as u8)),
    }
}

fn of_four(bytes: &[u8], plane: usize, out: &mut Vec<u8>) {
    let words = bytes.as_chunks().0.iter().map(|e| u32::from_le_bytes(*e));
    match plane {
        0 => out.extend(words.map(|w| (w & 0xff) as u8)),
        1 => out.extend(words.map(|w| (w >> 8 & 0xff) as u8)),
        2 => out.extend(words.map(|w| ((w >> 15 & 0xfe | w >> 31) & 0xff) as u8)),
        _ => out.extend(words.map(|w| (w >> 23 & 0xff) as u8)),
    }
}

fn of_eight(bytes: &[u8], plane: usize, out: &mut Vec<u8>) {
    let words = bytes.as_chunks().0.iter().map(|e| u64::from_le_bytes(*e));
    match plane {
        6 => out.extend(words.map(|w| ((w >> 47 & 0xfe | w >> 63) & 0xff) as u8)),
        7 => out.extend(words.map(|w| (w >> 55 & 0xff) as u8)),
        _ => {
            out.extend(bytes.as_chunks::<8>().0.iter().map(|e| e.get(plane).copied().unwrap_or(0)));
        }
    }
}

/// Puts elements of `width` bytes together; all planes have as many bytes as `out` has elements.
pub(crate) fn join(planes: &[&[u8]], out: &mut [u8]) {
    match planes {
        [only] => out.copy_from_slice(only),
        [low, high] => {
            let (elements, _) = out.as_chunks_mut::<2>();
            for ((element, low), high) in elements.iter_mut().zip(*low).zip(*high) {
                *element = upper(*low, *high);
            }
        }
        [a, b, low, high] => {
            let (elements, _) = out.as_chunks_mut::<4>();
            let lower = a.iter().zip(*b);
            for ((element, (a, b)), (low, high)) in
                elements.iter_mut().zip(lower).zip(low.iter().zip(*high))
            {
                let [low, high] = upper(*low, *high);
                *element = [*a, *b, low, high];
            }
        }
        _ => {
            let width = planes.len().max(1);
            for (number, plane) in planes.iter().enumerate() {
                for (element, byte) in out.chunks_exact_mut(width).zip(*plane) {
                    if let Some(to) = element.get_mut(number) {
                        *to = *byte;
                    }
                }
            }
            for element in out.chunks_exact_mut(width) {
                if let Some(top) = element.last_chunk_mut::<2>() {
                    *top = upper(top[0], top[1]);
                }
            }
        }
    }
}

fn upper(low: u8, high: u8) -> [u8; 2] {
    u16::from_le_bytes([low, high]).rotate_right(1).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(bytes: &[u8], width: usize, number: usize) -> Vec<u8> {
        let mut out = vec![1, 2, 3];
        split(bytes, width, number, &mut out);
        out
    }

    #[test]
    fn planes_hold_what_they_say_and_join_again() {
        let bytes: Vec<u8> = (0..=255).map(|i: u8| i.wrapping_mul(151) ^ 0x5a).collect();
        for width in [1, 2, 4, 8] {
            let planes: Vec<Vec<u8>> = (0..width).map(|k| plane(&bytes, width, k)).collect();
            let planes: Vec<&[u8]> = planes.iter().map(Vec::as_slice).collect();
            assert!(planes.iter().all(|plane| plane.len() * width == bytes.len()));
            let mut joined = vec![0; bytes.len()];
            join(&planes, &mut joined);
            assert_eq!(joined, bytes, "{width}");
        }
        // -1.5 as BF16: exponent 127, mantissa 0x40, sign 1.
        let bytes = 0xbfc0u16.to_le_bytes();
        assert_eq!((plane(&bytes, 2, 0), plane(&bytes, 2, 1)), (vec![0x81], vec![127]));
        let bytes = (-1.5f32).to_le_bytes();
        assert_eq!((plane(&bytes, 4, 2), plane(&bytes, 4, 3)), (vec![0x81], vec![127]));
    }
}
