//! Plugins that do what they must not: each ends in an error that says who, and nothing else happens.

use std::fs;
use std::process::Stdio;

use super::{FAILED, Lab};
use crate::support::{Ran, says};

const DESCRIPTOR: &str =
    r#"{"abi":1,"name":"bad","types":[{"name":"f32@bad","ggml_type":0,"block":[1,4]}]}"#;

/// What every failure names: the plugin, the tensor, and its rows.
const WHO: [&str; 3] = ["plugin `bad` (`given/bad.wasm`)", "tensor `v.weight`", "rows 0 to 63"];

/// What copies rows as they are.
const COPY: &str = "(memory.copy (local.get $dst) (local.get $src) (local.get $len)) (i32.const 0)";

/// Memory for everything that comes.
const ALLOC: &str = "(local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.and (i32.add (i32.add (local.get $at) (local.get 0)) (i32.const 15)) (i32.const -16)))
    (local.get $at)";

/// A module with these bodies of functions, and with `more` in it.
fn text(descriptor: &str, alloc: &str, quantize: &str, more: &str) -> String {
    let quoted = descriptor.replace('"', "\\\"");
    format!(
        r#"(module
          (memory (export "memory") 64)
          (global $free (mut i32) (i32.const 1024))
          (global $calls (mut i32) (i32.const 0))
          (func (export "gmat_abi") (result i32) (i32.const 1))
          (func (export "gmat_alloc") (param i32) (result i32) {alloc})
          (func (export "gmat_error") (param i32 i32) (result i32)
            (i32.store (local.get 0) (i32.const 0x21796877)) (i32.const 4))
          (func $quantize (export "gmat_quantize") (param $index i32) (param $src i32) (param $rows i32)
            (param $cols i32) (param $importance i32) (param $dst i32) (param $len i32) (result i32)
            {quantize})
          {more}
          (@custom "gmat:plugin" "{quoted}"))"#
    )
}

fn parsed(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// A plugin that quantizes like this.
pub(super) fn module(quantize: &str) -> Vec<u8> {
    parsed(&text(DESCRIPTOR, ALLOC, quantize, ""))
}

fn export(wasm: &[u8]) -> Ran {
    let lab = Lab::new();
    lab.give("bad.wasm", wasm);
    let ran = lab.export("m.gguf", &["--type", "f32@bad"]);
    assert_eq!(lab.at().join("m.gguf").exists(), ran.code == 0, "{}", ran.stderr);
    ran
}

/// Fails while it works on rows.
fn fails(quantize: &str, why: &str) {
    export(&module(quantize)).fails(FAILED, &[&WHO[..], &[why]].concat());
}

/// Cannot be used at all.
fn refused(wasm: &[u8], why: &str) {
    let ran = export(wasm).fails(FAILED, &["`f32@bad`", "plugin `bad`", "bad.wasm", why]);
    says(&ran, "\nhint: ");
}

#[test]
fn what_they_are_changed_from_works() {
    export(&module(COPY)).ok();
}

#[test]
fn an_endless_loop() {
    fails("(loop $again (br $again)) (unreachable)", "it does not end");
}

#[test]
fn deep_recursion() {
    let call = "(call $quantize (local.get 0) (local.get 1) (local.get 2) (local.get 3)
        (local.get 4) (local.get 5) (local.get 6)) (i32.const 1) (i32.add)";
    fails(call, "calls itself too deeply");
}

#[test]
fn a_trap() {
    fails("(unreachable)", "it gave up");
    fails("(i32.div_u (i32.const 1) (i32.const 0))", "divide by zero");
    fails("(i32.load (i32.const -8))", "out of bounds memory access");
}

#[test]
fn a_status_that_means_nothing() {
    fails("(i32.const 7)", "`gmat_quantize` answers with status 7");
    fails("(i32.const -5)", "`gmat_quantize` answers with status -5");
    fails("(i32.const -1)", "`gmat_quantize` failed: why!");
}

#[test]
fn numbers_that_are_none() {
    let store =
        |bits: &str| format!("{COPY} (i32.store offset=2048 (local.get $dst) (i32.const {bits}))");
    fails(&store("0x7fc00000"), "read back as `NaN` in its row 2, column 0");
    fails(&store("0xff800000"), "read back as `-inf`");
}

#[test]
fn writing_outside_of_the_buffer() {
    let behind =
        "(i32.store (i32.add (local.get $dst) (local.get $len)) (i32.const 1)) (i32.const 0)";
    fails(behind, "wrote behind its buffer");
    fails("(i32.store (i32.const 0x400000) (i32.const 1)) (i32.const 0)", "out of bounds");
}

#[test]
fn buffers_that_are_none() {
    for (alloc, why) in [
        ("(i32.const 0)", "`gmat_alloc` has no"),
        ("(i32.const 1001)", "not a multiple of 16"),
        ("(i32.const 1024)", "not free"),
        ("(i32.const -16)", "not free"),
        ("(i32.const 0x7ffff000)", "not in its memory"),
        ("(unreachable)", "in `gmat_alloc`"),
    ] {
        let ran = export(&parsed(&text(DESCRIPTOR, alloc, COPY, "")));
        ran.fails(FAILED, &[&WHO[..], &[why]].concat());
    }
}

#[test]
fn setting_up_that_does_not_end() {
    let more = "(func $start (loop $again (br $again))) (start $start)";
    let ran = export(&parsed(&text(DESCRIPTOR, ALLOC, COPY, more)));
    ran.fails(FAILED, &[&WHO[..], &["set up", "does not end"]].concat());
}

/// The engine is the same for all that is not valid, so one of each kind is enough.
#[test]
fn modules_that_are_not_valid() {
    for (more, why) in [
        (
            "(func (result v128) (f32x4.relaxed_madd (v128.const i64x2 0 0) (v128.const i64x2 0 0) (v128.const i64x2 0 0)))",
            "relaxed",
        ),
        ("(func (drop (i32.atomic.load (i32.const 0))))", "threads"),
        ("(table 100000000 funcref)", "set up"),
    ] {
        let ran = export(&parsed(&text(DESCRIPTOR, ALLOC, COPY, more)));
        ran.fails(FAILED, &[&WHO[..], &[why]].concat());
    }
    let other = text(DESCRIPTOR, ALLOC, COPY, "").replace(
        "gmat_abi\") (result i32) (i32.const 1)",
        "gmat_abi\") (result i32) (i32.const 2)",
    );
    export(&parsed(&other)).fails(FAILED, &[&WHO[..], &["`gmat_abi` answers 2"]].concat());
    let lacking = text(DESCRIPTOR, ALLOC, COPY, "").replace("gmat_error", "gmat_eror");
    export(&parsed(&lacking))
        .fails(FAILED, &[&WHO[..], &["does not export `gmat_error` with 2"]].concat());
    let huge = text(DESCRIPTOR, ALLOC, COPY, "").replace("\"memory\") 64", "\"memory\") 65536");
    refused(&parsed(&huge), "bytes of memory to start with");
}

#[test]
fn imports() {
    let text = text(DESCRIPTOR, ALLOC, COPY, "");
    for import in [
        r#"(import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))"#,
        r#"(import "env" "now" (global i64))"#,
    ] {
        let wasm = parsed(&text.replace("(module", &format!("(module {import}")));
        refused(&wasm, "plugins import nothing");
    }
}

#[test]
fn descriptors_that_lie_or_are_damaged() {
    let with = |descriptor: &str| parsed(&text(descriptor, ALLOC, COPY, ""));
    for (from, to, why) in [
        ("\"abi\":1", "\"abi\":9", "version `9` of the plugin interface"),
        ("[1,4]", "[1,2]", "1 weights in 2 bytes"),
        ("f32@bad", "f32", "ends in `@bad`"),
        ("f32@bad", "f32@search", "ends in `@bad`"),
        ("}]}", "}", "not valid JSON"),
        ("\"types\"", "\"typez\"", "unknown key `typez`"),
    ] {
        refused(&with(&DESCRIPTOR.replace(from, to)), why);
    }
    let none = wat::parse_str("(module)").unwrap();
    refused(&none, "no section `gmat:plugin`");
    let good = module(COPY);
    refused(&good[..good.len() - 3], "cut off");
    refused(b"#!/bin/sh\necho no module\n", "not a wasm module");
}

#[test]
fn a_name_of_what_is_built_in_stays_that() {
    let lab = Lab::new();
    lab.give(
        "bad.wasm",
        &parsed(&text(&DESCRIPTOR.replace("f32@bad", "f32"), ALLOC, "(unreachable)", "")),
    );
    let ran = lab.export("m.gguf", &["--type", "f32"]).ok();
    says(&ran, "plugins replace nothing that is built in");
}

#[test]
fn a_hundred_megabytes() {
    let lab = Lab::new();
    lab.give("bad.wasm", b"");
    let file = fs::File::options().write(true).open(lab.at().join("given/bad.wasm")).unwrap();
    file.set_len(100_000_000).unwrap();
    let ran = lab.export("m.gguf", &["--type", "f32@bad"]);
    ran.fails(FAILED, &["bad.wasm", "100000000 bytes; at most"]);
    // One function that takes compilers long, in a module of a size that is allowed.
    let long = "(drop (i32.const 0))".repeat(100_000);
    let wasm = module(&format!("{long} {COPY}"));
    refused(&wasm, "bytes; at most");
}

/// Each thread has one instance, and each instance its share of memory, which it cannot exceed.
#[test]
fn a_memory_bomb_stays_small() {
    let lab = Lab::new();
    let bomb = "(local $at i32) (local.set $at (i32.const 0x3fffff))
        (loop $more
            (drop (memory.grow (i32.const 1)))
            (local.set $at (i32.add (local.get $at) (i32.const 4096)))
            (i32.store (local.get $at) (i32.const 1))
            (local.set $at (i32.add (local.get $at) (i32.const 61440)))
            (br $more))
        (unreachable)";
    lab.give("bad.wasm", &module(bomb));
    let args = [
        "export",
        "-m",
        "model.gmat",
        "--arch",
        "generic",
        "--plugin-dir",
        "given",
        "--type",
        "f32@bad",
    ];
    let mut command = lab.command(&args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut most = 0u64;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let size = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        most = most.max(size.unwrap_or(0));
    }
    let ran = crate::support::finished(child.wait_with_output().unwrap());
    ran.fails(FAILED, &[&WHO[..], &["memory"]].concat());
    assert!(most < 400_000, "{most} kB");
}

/// What an instance remembers ends with its row group, so the number of threads makes no difference.
#[test]
fn what_is_not_the_same_every_time_is_made_so() {
    let lab = Lab::new();
    let counting = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (memory.copy (local.get $dst) (local.get $src) (local.get $len))
        (f32.store (local.get $dst) (f32.convert_i32_u (global.get $calls)))
        ;; The bits of a NaN, which are not the same on all machines, as a number.
        (f32.store offset=4 (local.get $dst) (f32.convert_i32_u (i32.reinterpret_f32
            (f32.div (f32.const 0) (f32.sub (f32.const 1) (f32.const 1))))))
        (i32.const 0)";
    lab.give("bad.wasm", &module(counting));
    for jobs in ["1", "2", "8"] {
        lab.export(&format!("{jobs}.gguf"), &["--type", "f32@bad", "--jobs", jobs]).ok();
        assert!(lab.read(&format!("{jobs}.gguf")) == lab.read("1.gguf"), "{jobs} threads");
    }
    let bytes = lab.read("1.gguf");
    let nan = f32::from_bits(0x7fc0_0000).to_bits() as f32;
    assert!(
        bytes.windows(8).any(|window| {
            window[..4] == 1.0f32.to_le_bytes() && window[4..] == nan.to_le_bytes()
        })
    );
}

const BLOCKS: &str = r#"{"abi":1,"name":"bad","blocks":[{"name":"Copy@bad","value_bits":32}]}"#;

/// A block format that copies, and then answers this.
pub(super) fn block(encoded: &str, decoded: &str) -> Vec<u8> {
    let more = format!(
        r#"(func (export "gmat_encode") (param $index i32) (param $src i32) (param $rows i32)
            (param $cols i32) (param $dst i32) (param $len i32) (result i32)
            (memory.copy (local.get $dst) (local.get $src) (local.get $len)) {encoded})
          (func (export "gmat_decode") (param $index i32) (param $src i32) (param $len i32)
            (param $rows i32) (param $cols i32) (param $dst i32) (result i32)
            (memory.copy (local.get $dst) (local.get $src) (local.get $len)) {decoded})"#
    );
    parsed(&text(BLOCKS, ALLOC, "(i32.const 0)", &more))
}

#[test]
fn lengths_and_values_of_block_formats() {
    let run = |wasm: &[u8]| {
        let lab = Lab::new();
        lab.give("bad.wasm", wasm);
        let import = [
            "import",
            "-m",
            "hf",
            "-o",
            "s.gmat",
            "--block-format",
            "Copy@bad",
            "--plugin-dir",
            "given",
        ];
        let ran = lab.gmat(&import);
        if ran.code != 0 {
            return ran;
        }
        let export = [
            "export",
            "-m",
            "s.gmat",
            "--arch",
            "generic",
            "--type",
            "f32",
            "--plugin-dir",
            "given",
        ];
        lab.gmat(&export)
    };
    run(&block("(local.get $len)", "(i32.const 0)")).ok();
    let fails = |encoded: &str, decoded: &str, why: &str| {
        let ran = run(&block(encoded, decoded));
        let [plugin, tensor, rows] = WHO;
        // A store is read by its row groups.
        let rows = if ran.stderr.contains(".gmat`") { "row group 0" } else { rows };
        ran.fails(FAILED, &[plugin, tensor, rows, why]);
    };
    fails("(i32.add (local.get $len) (i32.const 1))", "(i32.const 0)", "a length of 65537 bytes");
    fails("(i32.const -3)", "(i32.const 0)", "status -3");
    fails("(i32.const -1)", "(i32.const 0)", "`gmat_encode` failed: why!");
    fails("(local.get $len)", "(i32.const 1)", "`gmat_decode` answers with status 1");
    let nan = "(i32.store (local.get $dst) (i32.const 0x7fc00000)) (i32.const 0)";
    fails("(local.get $len)", nan, "read back as `NaN`");
    let behind =
        "(i32.store8 (i32.add (local.get $dst) (local.get $len)) (i32.const 1)) (i32.const 0)";
    fails("(local.get $len)", behind, "wrote behind its buffer");
    let behind = behind.replace("(i32.const 0)", "(local.get $len)");
    fails(&behind, "(i32.const 0)", "wrote behind its buffer");
}
