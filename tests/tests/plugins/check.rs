//! `gmat plugins check`.

use std::fs;

use super::hostile::module;
use super::{FAILED, Lab, by_hand, example};

#[test]
fn the_examples_keep_the_laws() {
    let lab = Lab::new();
    fs::write(lab.at().join("wat.wasm"), by_hand()).unwrap();
    let (search, half) = (example("q4k_search"), example("half_rows"));
    let template = example("my_plugin");
    let built = [&search, &half, &template].map(|path| path.to_str().unwrap());
    for path in built.into_iter().chain(["wat.wasm"]) {
        let ran = lab.gmat(&["plugins", "check", path]).ok();
        assert!(!ran.stdout.contains("BROKEN"), "{}", ran.stdout);
        assert!(ran.stdout.matches("  ok  ").count() >= 6, "{}", ran.stdout);
        if path == search.to_str().unwrap() {
            let error = |name: &str| -> f64 {
                let start = format!("  {name:<20} error ");
                let line = ran.stdout.lines().find_map(|line| line.strip_prefix(&start));
                line.and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap()
            };
            assert!(error("q4_k@search") < error("q4_k"), "{}", ran.stdout);
        }
    }
}

#[test]
fn what_remembers_is_found_out() {
    let lab = Lab::new();
    // The number of calls so far, in the place of the first value.
    let counting = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (memory.copy (local.get $dst) (local.get $src) (local.get $len))
        (f32.store (local.get $dst) (f32.convert_i32_u (global.get $calls)))
        (i32.const 0)";
    fs::write(lab.at().join("c.wasm"), module(counting)).unwrap();
    let ran = lab.gmat(&["plugins", "check", "c.wasm"]);
    let ran = ran.fails(FAILED, &["plugin `bad` breaks"]);
    let broken = "BROKEN  nothing is remembered from one call to the next";
    assert!(ran.stdout.contains(broken), "{}", ran.stdout);
}
