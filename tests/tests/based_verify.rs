//! Verifying and comparing stores with a base, with the base at hand and without.

#![cfg(test)]

use std::fs;

use gmat_core::format::store::{Index, checksum, head};
use gmat_core::store::FromBase;
use gmat_tests::memory::Memory;
use serde_json::{Value, json};

use crate::based::{family, metadata};
use crate::support::{gmat, hinted};

/// What is stored as a difference has the hash of its source, as far as the base is there to tell.
#[test]
fn differences_are_verified_with_their_base() {
    let dir = family("lossless");
    let at = dir.path();
    gmat(at, &["import", "-q", "-m", "hf/tuned", "-o", "all/tuned.gmat", "--base", "base"]).ok();
    gmat(at, &["import", "-q", "-m", "hf/tuned", "-o", "whole", "--block-format", "lossless"]).ok();
    let run = |args: &[&str]| gmat(at, args);
    let verify = |more: &[&str]| run(&[&["verify", "all/tuned.gmat"], more].concat());
    let facts = |more: &[&str]| -> Value {
        serde_json::from_str(&verify(&[more, &["--json"]].concat()).stdout).unwrap()
    };
    let records = metadata(&at.join("all/tuned.gmat")).tensors;
    let differ: Vec<_> = records
        .iter()
        .filter(|(_, record)| matches!(record.from_base, Some(FromBase::Difference(_))))
        .collect();
    let hashed = format!("source hashes of {} of 57 tensors", differ.len());
    let said = verify(&[]).ok().stdout;
    assert!(said.contains(&hashed) && !said.contains("not checked"), "{said}");
    assert_eq!(facts(&[])["not_hashed"], json!([]));

    // Without the base, what is there is verified, and what is not is named.
    fs::create_dir(at.join("far")).unwrap();
    fs::rename(at.join("base/model.gmat"), at.join("far/other.gmat")).unwrap();
    let said = verify(&[]).ok().stdout;
    for part in ["source hashes of 0 of 57", "not checked", "--base", &differ[0].1.name] {
        assert!(said.contains(part), "`{part}`: {said}");
    }
    assert_eq!(facts(&[])["not_hashed"].as_array().unwrap().len(), differ.len());
    let there = ["--base", "far/other.gmat"];
    assert!(verify(&there).ok().stdout.contains(&hashed));
    hinted(verify(&["--source", "hf/tuned"]), 4, &["is missing"]);
    verify(&[&there[..], &["--source", "hf/tuned"]].concat()).ok();
    hinted(verify(&["--base", "nowhere"]), 4, &["nowhere"]);
    hinted(run(&["verify", "whole", "--base", "far/other.gmat"]), 2, &["not made against"]);
    gmat(at, &["convert", "-q", "-i", "all/tuned.gmat", there[0], there[1], "-o", "arrays"]).ok();
    let arrays = ["verify", "arrays", "--source", "all/tuned.gmat"];
    hinted(run(&arrays), 4, &["is missing"]);
    run(&[&arrays[..], &there].concat()).ok();
    hinted(run(&[&arrays[..2], &there].concat()), 2, &["`--base` is for stores"]);

    // Two models, each with the base that is its own.
    let compare = ["compare", "all/tuned.gmat", "whole"];
    hinted(run(&compare), 4, &["is missing"]);
    let said = run(&[&compare[..], &there].concat()).ok().stdout;
    assert!(said.contains("57 of them the same"), "{said}");
    let both = run(&["compare", "all/tuned.gmat", "hf/tuned", there[0], there[1]]).ok();
    assert!(both.stdout.contains("57 of them the same"), "{}", both.stdout);
    hinted(run(&["compare", "whole", "whole", there[0], there[1]]), 2, &["is not the base of"]);

    // Another store in the place of the base: what is verified anyway is said.
    gmat(at, &["import", "-q", "-m", "hf/tuned", "-o", "base", "--block-format", "raw"]).ok();
    let said = verify(&[]).fails(5, &["1 difference"]).stdout;
    assert!(said.contains("is not the base of") && said.contains("not checked"), "{said}");
    hinted(verify(&["--base", "base"]), 2, &["is not the base of", "checksum"]);
    let wrong = run(&[&compare[..], &["--base", "base"]].concat());
    hinted(wrong, 2, &["is not the base of"]);
    fs::remove_dir_all(at.join("base")).unwrap();

    // A bit of the base, in rows that something differs from.
    let Some((_, FromBase::Difference(id))) =
        differ.first().and_then(|(id, record)| Some((id, record.from_base?)))
    else {
        panic!("no difference")
    };
    let file = at.join(format!("far/other.gmat/tensors/{id}.gmat"));
    let bytes = fs::read(&file).unwrap();
    let mut broken = bytes.clone();
    broken[1000] ^= 1;
    fs::write(&file, &broken).unwrap();
    let said = verify(&there).fails(5, &["1 difference"]).stdout;
    assert!(said.contains(&format!("{id}.gmat")) && said.contains("are damaged"), "{said}");
    fs::remove_file(&file).unwrap();
    let said = verify(&there).fails(5, &["1 difference"]).stdout;
    assert!(said.contains("the file is missing"), "{said}");
    fs::write(&file, &bytes).unwrap();
    verify(&there).ok();
}

/// A difference that is whole and restores to something else than the source is found by its hash.
#[test]
fn a_wrong_difference_has_another_hash() {
    let dir = family("lossless");
    let at = dir.path();
    gmat(at, &["import", "-q", "-m", "hf/tuned", "-o", "tuned", "--base", "base"]).ok();
    let store = at.join("tuned/model.gmat");
    let records = metadata(&store).tensors;
    let difference = records.iter().find_map(|(id, record)| match record.from_base {
        Some(FromBase::Difference(_)) if record.shape.len() == 2 => Some((id, record)),
        _ => None,
    });
    let (id, record) = difference.unwrap();
    let path = store.join(format!("tensors/{id}.gmat"));
    let bytes = fs::read(&path).unwrap();
    let len = bytes.len() as u64;
    let mut index = Index::read(len, |at, len| {
        let at = usize::try_from(at).unwrap();
        Ok(bytes[at..at + len].to_vec())
    })
    .unwrap();
    assert_eq!(index.groups.len(), 1);
    // The rows of the base in the place of what differs from them, with checksums that are right.
    index.groups[0].len = 1;
    index.groups[0].sum = checksum(&[4]);
    let mut file = [&head()[..], &[4]].concat();
    file.extend_from_slice(&index.to_bytes(file.len() as u64));
    fs::write(&path, &file).unwrap();
    let mut changed = metadata(&store);
    changed.tensors.get_mut(id).unwrap().stored_bytes = file.len() as u64;
    let mut memory = Memory::default();
    changed.write(&mut memory).unwrap();
    fs::write(store.join("metadata.json"), &memory.files["metadata.json"]).unwrap();
    let said = gmat(at, &["verify", "tuned"]).fails(5, &["1 difference"]).stdout;
    assert!(said.contains("do not have the hash") && said.contains(&record.name), "{said}");
}
