//! Our reading of SafeTensors headers against the `safetensors` crate's, on good and damaged files.

use gmat_core::format::safetensors::{PREFIX, header_len, parse};
use gmat_core::tensor::TensorInfo;
use gmat_tests::weights::Rng;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};

/// Name, dtype, shape and offset of every tensor, by name.
type Listing = Vec<(String, String, Vec<u64>, u64)>;

fn ours(file: &[u8]) -> Option<Listing> {
    let prefix = *file.first_chunk::<8>()?;
    let len = header_len(prefix, file.len() as u64).ok()?;
    let json = file.get(8..8 + usize::try_from(len).ok()?)?;
    let header = parse(json, file.len() as u64).ok()?;
    let entry = |info: &TensorInfo, offset| {
        (info.name.clone(), info.dtype.name().to_owned(), info.shape.dims().to_vec(), offset)
    };
    let mut list: Listing =
        header.tensors.iter().map(|t| entry(&t.info, t.offset - PREFIX - len)).collect();
    list.sort();
    Some(list)
}

fn theirs(file: &[u8]) -> Option<Listing> {
    let tensors = SafeTensors::deserialize(file).ok()?;
    let (_, metadata) = SafeTensors::read_metadata(file).ok()?;
    let mut list: Listing = tensors
        .tensors()
        .iter()
        .map(|(name, view)| {
            let shape = view.shape().iter().map(|&dim| dim as u64).collect();
            let start = metadata.info(name).unwrap().data_offsets.0 as u64;
            (name.clone(), view.dtype().to_string(), shape, start)
        })
        .collect();
    list.sort();
    Some(list)
}

fn random_file(random: &mut Rng) -> Vec<u8> {
    let dtypes = [Dtype::F32, Dtype::BF16, Dtype::U8, Dtype::I64, Dtype::F8_E4M3, Dtype::BOOL];
    let count = random.below(6);
    let data = vec![0u8; 4096];
    let tensors: Vec<(String, TensorView<'_>)> = (0..count)
        .map(|number| {
            let dtype = dtypes[random.below(dtypes.len())];
            let shape: Vec<usize> = (0..random.below(4)).map(|_| random.below(5)).collect();
            let len = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            (format!("t{number}.weight"), TensorView::new(dtype, shape, &data[..len]).unwrap())
        })
        .collect();
    serialize(tensors, None).unwrap()
}

#[test]
fn good_headers_read_alike() {
    let mut random = Rng::new(3);
    for _ in 0..500 {
        let file = random_file(&mut random);
        let list = ours(&file);
        assert!(list.is_some());
        assert_eq!(list, theirs(&file));
    }
}

#[test]
fn damaged_headers_are_refused_alike() {
    let mut random = Rng::new(4);
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..20_000 {
        let mut file = random_file(&mut random);
        let header = usize::try_from(u64::from_le_bytes(*file.first_chunk().unwrap())).unwrap();
        match random.below(3) {
            // A digit becomes another: sizes, offsets and dtypes that lie.
            0 => {
                let digits: Vec<usize> =
                    (8..8 + header).filter(|&at| file[at].is_ascii_digit()).collect();
                if let Some(&at) = digits.get(random.below(digits.len())) {
                    file[at] = b'0' + u8::try_from(random.below(10)).unwrap();
                }
            }
            1 => {
                let at = random.below(8 + header);
                file[at] ^= 1 << random.below(8);
            }
            _ => file.truncate(random.below(file.len())),
        }
        let (a, b) = (ours(&file), theirs(&file));
        match (&a, &b) {
            (Some(_), _) => {
                assert_eq!(a, b, "{}", String::from_utf8_lossy(&file));
                accepted += 1;
            }
            // What only we refuse: dtypes that we do not know, and names that occur twice.
            (None, Some(_)) => {
                let text = String::from_utf8_lossy(&file[8..8 + header]);
                let known = [
                    "F32", "BF16", "U8", "I64", "F8_E4M3", "BOOL", "F64", "F16", "I8", "I16",
                    "I32", "U16", "U32", "U64", "F8_E5M2",
                ];
                let foreign =
                    b.iter().flatten().any(|(_, dtype, ..)| !known.contains(&dtype.as_str()));
                let twice = b.as_ref().unwrap().len() < text.matches("\"dtype\"").count();
                assert!(foreign || twice, "refused: {text}");
            }
            (None, None) => refused += 1,
        }
    }
    assert!(refused > 5000 && accepted > 500, "{refused} refused, {accepted} accepted");
}
