//! Stores with a base: what they take from it, what they export, and what happens when it is gone.

#![cfg(test)]

use std::fs;
use std::path::Path;

use gmat_core::block::{BlockFormat, GroupShape};
use gmat_core::store::{FromBase, Metadata};
use gmat_core::{DType, ErrorKind, Registry};
use gmat_tests::weights::{Rng, Rows, drifted, trained};
use tempfile::TempDir;

use crate::support::{copy_files, example_model, f32s, gmat, hinted, safetensors, says, tree};

fn lossless() -> &'static dyn BlockFormat {
    Registry::builtin(gmat_codecs::link()).unwrap().block("lossless").unwrap()
}

/// Rows as differences, after making sure that they come back.
fn difference(rows: &Rows, base: &[u8]) -> Vec<u8> {
    let mut out = vec![7];
    lossless().encode_against(rows.input(), base, &mut out).unwrap();
    let encoded = out.split_off(1);
    assert!(encoded.len() <= lossless().max_len(rows.shape).unwrap());
    let mut restored = vec![9];
    lossless().restore_against(&encoded, base, rows.shape, &mut restored).unwrap();
    assert!(restored.split_off(1) == rows.bytes, "{}", rows.name);
    encoded
}

#[test]
fn differences_of_any_bits_come_back() {
    let mut rng = Rng::new(1);
    for dtype in DType::PLAIN.into_iter().filter(|dtype| dtype.is_float()) {
        for (rows, cols) in [(1, 1), (1, 3), (3, 5), (7, 45), (64, 64)] {
            let shape = GroupShape { dtype, rows, cols };
            let len = shape.byte_len().unwrap();
            let base = rng.bytes(len)[..len].to_vec();
            let other = Rows::from_bytes("other", shape, rng.bytes(len)[..len].to_vec()).unwrap();
            difference(&other, &base);
            let same = Rows::from_bytes("same", shape, base.clone()).unwrap();
            assert_eq!(difference(&same, &base), [4]);
            let mut near = base.clone();
            for byte in near.iter_mut().step_by(7 * dtype.block().bytes) {
                *byte = byte.wrapping_add(1);
            }
            difference(&Rows::from_bytes("near", shape, near).unwrap(), &base);
            let zeros = Rows::from_bytes("zeros", shape, vec![0; len]).unwrap();
            difference(&zeros, &base);
        }
    }
    let empty = Rows::f32("empty", 0, Vec::new());
    assert!(difference(&empty, &[]).is_empty());
}

#[test]
fn differences_take_the_bits_that_are_promised() {
    let rows = Rows::generate("Gaussian", 512, 1024, {
        let mut rng = Rng::new(2);
        move || rng.normal() * 0.02
    });
    let bytes = rows.bytes.chunks(4).flat_map(|bytes| bytes.iter().skip(2).copied()).collect();
    let shape = GroupShape { dtype: DType::Bf16, ..rows.shape };
    let base = Rows::from_bytes("base", shape, bytes).unwrap();
    for (drift, most) in [(1e-4, 0.13), (1e-3, 1.0), (3e-3, 2.25), (1e-2, 3.95), (3e-2, 5.55)] {
        let tuned = drifted(&base, drift, 3).unwrap();
        let len = difference(&tuned, &base.bytes).len();
        let bits = len as f64 * 8.0 / base.values.len() as f64;
        assert!(bits <= most, "{drift}: {bits}");
    }
    // F32 that holds BF16 numbers takes what they take.
    let wide = |rows: &Rows| {
        let bytes = rows.bytes.chunks(2).flat_map(|pair| [0, 0, pair[0], pair[1]]).collect();
        Rows::from_bytes("wide", GroupShape { dtype: DType::F32, ..shape }, bytes).unwrap()
    };
    let tuned = drifted(&base, 1e-2, 3).unwrap();
    let (short, long) =
        (difference(&tuned, &base.bytes), difference(&wide(&tuned), &wide(&base).bytes));
    assert!(long.len() <= short.len() + 100, "{} {}", long.len(), short.len());
}

#[test]
fn broken_differences_are_refused_and_nothing_else_happens() {
    let mut rng = Rng::new(4);
    let base = trained().unwrap().swap_remove(1).slice(0, 4);
    let tuned = drifted(&base, 0.01, 5).unwrap();
    let encoded = difference(&tuned, &base.bytes);
    assert_eq!(encoded[0], 3);
    let read = |bytes: &[u8], base: &[u8]| {
        let mut out = vec![1];
        let result = lossless().restore_against(bytes, base, tuned.shape, &mut out);
        assert!(result.is_ok() || out == [1]);
        result
    };
    for len in 0..encoded.len() {
        let error = read(&encoded[..len], &base.bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{len}: {error}");
        assert!(error.to_string().contains("byte "), "{error}");
    }
    assert!(read(&[&encoded[..], &[0]].concat(), &base.bytes).is_err());
    assert!(read(&[4, 0], &base.bytes).is_err());
    for _ in 0..5000 {
        let mut broken = encoded.clone();
        for _ in 0..=rng.below(3) {
            let at = rng.below(broken.len());
            broken[at] ^= 1 << rng.below(8);
        }
        let _ = read(&broken, &base.bytes);
        let len = rng.below(200) + 8;
        let mut random = rng.bytes(len);
        random[0] = 3;
        random[1] = 0;
        let _ = read(&random, &base.bytes);
    }
    let error = read(&encoded, &base.bytes[2..]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    let error = lossless().restore(&encoded, tuned.shape, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("base"), "{error}");
    let raw = Registry::builtin(gmat_codecs::link()).unwrap().block("raw").unwrap();
    let error = raw.encode_against(tuned.input(), &base.bytes, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

/// Changes the weights of the blocks of a model whose number is not below `from`.
fn fine_tune(folder: &Path, from: usize) {
    let tensors: Vec<Rows> = trained().unwrap();
    let block = |name: &str| name.split('.').nth(2).and_then(|number| number.parse().ok());
    let changed = |rows: &Rows| block(&rows.name).is_some_and(|number: usize| number >= from);
    let all: Vec<_> = tensors
        .into_iter()
        .map(|rows| if changed(&rows) { drifted(&rows, 0.003, 6).unwrap() } else { rows })
        .collect();
    let file = all.iter().map(|rows| {
        let (rows_, cols) = (rows.shape.rows as u64, rows.shape.cols as u64);
        let dims = if rows_ == 1 { vec![cols] } else { vec![rows_, cols] };
        (rows.name.as_str(), rows.shape.dtype.name(), dims, rows.bytes.clone())
    });
    let file: Vec<_> = file.collect();
    copy_files(&example_model(), folder);
    fs::write(folder.join("tiny_llm.safetensors"), safetensors(&file)).unwrap();
}

pub(crate) fn metadata(store: &Path) -> Metadata {
    Metadata::parse(&fs::read(store.join("metadata.json")).unwrap()).unwrap()
}

/// `base` and `tuned`, a fine-tune of it from block 2 on, both as SafeTensors; `base/model.gmat`.
pub(crate) fn family(format: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    fine_tune(&at.join("hf/tuned"), 2);
    fine_tune(&at.join("hf/base"), usize::MAX);
    gmat(at, &["import", "-q", "-m", "hf/base", "-o", "base", "--block-format", format]).ok();
    dir
}

#[test]
fn a_fine_tune_takes_what_it_can_from_its_base() {
    let dir = family("lossless");
    let at = dir.path();
    let said = gmat(at, &["import", "-m", "hf/tuned", "-o", "tuned", "--base", "base"]).ok();
    assert!(said.stderr.contains("are those of the base"), "{}", said.stderr);
    gmat(at, &["import", "-q", "-m", "hf/tuned", "-o", "whole", "--block-format", "lossless"]).ok();
    let based = metadata(&at.join("tuned/model.gmat"));
    let made = based.made_against.clone().unwrap();
    assert_eq!(made.path.as_deref(), Some("../../base/model.gmat"));
    assert_eq!(made.checksum, metadata(&at.join("base/model.gmat")).checksum());
    let (mut same, mut differ) = (0, 0);
    for (id, record) in &based.tensors {
        let file = at.join(format!("tuned/model.gmat/tensors/{id}.gmat"));
        match record.from_base {
            Some(FromBase::Same(_)) => same += u32::from(!file.exists()),
            Some(FromBase::Difference(_)) => differ += u32::from(file.exists()),
            None => panic!("{}", record.name),
        }
    }
    assert!(same > 10 && differ > 10 && same + differ == 57, "{same} {differ}");
    let size = |store: &str| -> usize {
        tree(&at.join(store).join("model.gmat/tensors")).values().map(Vec::len).sum()
    };
    assert!(size("tuned") * 4 < size("whole"), "{} {}", size("tuned"), size("whole"));

    // Everything that reads a store reads this one.
    for ty in ["f32", "q4_k_m"] {
        for store in ["tuned", "whole"] {
            let output = format!("{store}.gguf");
            gmat(at, &["export", "-q", "-m", store, "--type", ty, "-o", &output]).ok();
        }
        let of = |store: &str| fs::read(at.join(format!("{store}.gguf"))).unwrap();
        assert!(of("tuned") == of("whole"), "{ty}");
    }
    let name = "model.layers.3.mlp.up_proj.weight";
    for store in ["tuned", "whole"] {
        gmat(at, &["export", "-q", "-m", store, "--generate-config", "--force"]).ok();
        fs::rename(at.join("export_config.json"), at.join(format!("{store}.json"))).unwrap();
    }
    assert!(fs::read(at.join("tuned.json")).unwrap() == fs::read(at.join("whole.json")).unwrap());
    let bars = |store: &str| {
        let said = gmat(at, &["inspect", store, "--histogram", name]).ok();
        said.stdout.lines().skip(3).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(bars("tuned"), bars("whole"));
    let said = gmat(at, &["inspect", "tuned", "--all"]).ok();
    assert!(said.stdout.contains("BF16 as difference"), "{}", said.stdout);
    assert!(said.stdout.contains("in base"), "{}", said.stdout);

    // It can be verified, made once more, and compared.
    gmat(at, &["verify", "tuned"]).ok();
    gmat(at, &["verify", "tuned", "--source", "hf/tuned"]).ok();
    gmat(at, &["verify", "tuned.gguf", "--source", "tuned"]).ok();
    gmat(at, &["verify", "tuned", "--source", "hf/base"]).fails(5, &["differ"]);
    gmat(at, &["compare", "tuned", "whole"]).ok();

    // A store made flat is what an import without base makes.
    gmat(at, &["store", "flatten", "tuned", "-o", "flat"]).ok();
    assert!(tree(&at.join("flat")) == tree(&at.join("whole")));
    gmat(at, &["store", "flatten", "flat", "-o", "again"]).fails(2, &["has no base"]);
    // A copy of the base has no tensor of its own.
    gmat(at, &["import", "-q", "-m", "hf/base", "-o", "copy", "--base", "base"]).ok();
    assert!(!at.join("copy/model.gmat/tensors").exists());
    gmat(at, &["verify", "copy"]).ok();
    gmat(at, &["store", "flatten", "copy", "-o", "copied"]).ok();
    assert!(tree(&at.join("copied")) == tree(&at.join("base")));
    // Neither is the base overwritten, nor a chain made.
    gmat(at, &["import", "-m", "hf/tuned", "-o", "base", "--base", "base"])
        .fails(2, &["would be removed"]);
    let chain = gmat(at, &["import", "-m", "hf/base", "-o", "chain", "--base", "tuned"]);
    hinted(chain, 3, &["cannot be a base", "tuned"]);
}

#[test]
fn a_base_is_found_where_it_is_and_missed_when_it_is_gone() {
    let dir = family("raw");
    let at = dir.path();
    gmat(at, &["import", "-q", "-m", "hf/tuned", "-o", "all/tuned.gmat", "--base", "base"]).ok();
    let based = metadata(&at.join("all/tuned.gmat"));
    assert_eq!(based.config.block_format, "lossless");
    let export = |more: &[&str]| {
        let args = ["export", "-m", "all/tuned.gmat", "--type", "q8_0", "-o", "out.gguf"];
        gmat(at, &[&args, more].concat())
    };
    export(&[]).ok();
    let good = fs::read(at.join("out.gguf")).unwrap();
    // Beside the store, whatever its name.
    fs::rename(at.join("base/model.gmat"), at.join("all/other.gmat")).unwrap();
    export(&[]).ok();
    assert!(fs::read(at.join("out.gguf")).unwrap() == good);
    // Elsewhere: only if told.
    fs::create_dir(at.join("far")).unwrap();
    fs::rename(at.join("all/other.gmat"), at.join("far/other.gmat")).unwrap();
    hinted(export(&[]), 4, &["base of `all/tuned.gmat` is missing", "../base/model.gmat"]);
    export(&["--base", "far/other.gmat"]).ok();
    assert!(fs::read(at.join("out.gguf")).unwrap() == good);
    let said = gmat(at, &["inspect", "all/tuned.gmat"]).ok();
    says(&said, "is missing");
    let said = gmat(at, &["inspect", "all/tuned.gmat", "--base", "far/other.gmat"]).ok();
    assert!(said.stderr.is_empty(), "{}", said.stderr);
    gmat(at, &["store", "flatten", "all/tuned.gmat", "-o", "x"]).fails(4, &["is missing"]);
    assert!(!at.join("x").exists());
    // Another store in its place.
    gmat(at, &["import", "-q", "-m", "hf/tuned", "-o", "base", "--block-format", "raw"]).ok();
    hinted(export(&[]), 2, &["is not the base of", "base/model.gmat", "checksum"]);
    hinted(export(&["--base", "nowhere"]), 4, &["nowhere"]);
    gmat(at, &["export", "-m", "far/other.gmat", "--base", "base", "-o", "o.gguf"])
        .fails(2, &["was not made against a base"]);
    // A base that was damaged is named.
    let id = based.tensors.iter().find_map(|(_, record)| match record.from_base {
        Some(FromBase::Difference(id)) => Some(id),
        _ => None,
    });
    let file = at.join(format!("far/other.gmat/tensors/{}.gmat", id.unwrap()));
    let mut bytes = fs::read(&file).unwrap();
    bytes[1000] ^= 1;
    fs::write(&file, bytes).unwrap();
    export(&["--base", "far/other.gmat"]).fails(3, &["base", "checksum does not match"]);
}

#[test]
fn a_lossy_base_gives_what_is_the_same_and_no_more() {
    let dir = family("B8x8");
    let at = dir.path();
    let said = gmat(at, &["import", "-m", "hf/tuned", "-o", "tuned", "--base", "base"]).ok();
    says(&said, "does not tell exact values");
    gmat(at, &["import", "-q", "-m", "hf/tuned", "-o", "whole"]).ok();
    let records = metadata(&at.join("tuned/model.gmat")).tensors;
    assert!(records.values().any(|r| matches!(r.from_base, Some(FromBase::Same(_)))));
    // Vectors are exact in every store.
    let lossy = records.values().filter(|record| record.shape.len() > 1);
    assert!(!lossy.into_iter().any(|r| matches!(r.from_base, Some(FromBase::Difference(_)))));
    gmat(at, &["store", "flatten", "tuned", "-o", "flat"]).ok();
    assert!(tree(&at.join("flat")) == tree(&at.join("whole")));
}

#[test]
fn a_base_that_gives_nothing_is_refused() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let tensor = |name, bytes| safetensors(&[(name, "F32", vec![64, 64], bytes)]);
    let mut other = f32s(4096);
    other[5] ^= 1;
    fs::write(at.join("a.safetensors"), tensor("a", f32s(4096))).unwrap();
    fs::write(at.join("b.safetensors"), tensor("b", f32s(4096))).unwrap();
    fs::write(at.join("c.safetensors"), tensor("a", other)).unwrap();
    gmat(at, &["import", "-q", "-m", "a.safetensors", "-o", "a"]).ok();
    let import = |model: &str| {
        let format = ["--block-format", "lossless"];
        gmat(at, &[&["import", "-m", model, "-o", "x", "--base", "a"][..], &format].concat())
    };
    hinted(import("b.safetensors"), 2, &["no tensor in common"]);
    hinted(import("c.safetensors"), 2, &["stored as `B8x8`", "exact values"]);
    assert!(!at.join("x").exists());
    hinted(gmat(at, &["import", "-m", "a.safetensors", "--base", "none", "-o", "x"]), 4, &["none"]);
}
