;; `bf16@wat`: the upper halves of numbers, rounded to nearest, ties to even.
;;
;; A whole plugin by hand: what docs/plugin-abi.md asks for, and no more.
(module
  (memory (export "memory") 1)

  ;; The first free byte. An instance lives for one row group, so nothing is ever given back.
  (global $free (mut i32) (i32.const 16))

  (func (export "gmat_abi") (result i32)
    (i32.const 1))

  (func (export "gmat_alloc") (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    ;; Buffers begin at multiples of 16.
    (global.set $free
      (i32.and (i32.add (i32.add (local.get $at) (local.get $len)) (i32.const 15)) (i32.const -16)))
    ;; Pages of 64 KiB: as many as are missing.
    (block $enough
      (br_if $enough
        (i32.le_u (global.get $free) (i32.shl (memory.size) (i32.const 16))))
      (if (i32.eq (i32.const -1)
            (memory.grow
              (i32.sub
                (i32.shr_u (i32.add (global.get $free) (i32.const 65535)) (i32.const 16))
                (memory.size))))
        (then (return (i32.const 0)))))
    (local.get $at))

  ;; This plugin never fails, so it has nothing to say.
  (func (export "gmat_error") (param $at i32) (param $len i32) (result i32)
    (i32.const 0))

  (func (export "gmat_quantize")
    (param $index i32) (param $src i32) (param $rows i32) (param $cols i32)
    (param $importance i32) (param $dst i32) (param $dst_len i32) (result i32)
    (local $end i32)
    (local $bits i32)
    (local.set $end (i32.add (local.get $dst) (local.get $dst_len)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $dst) (local.get $end)))
        (local.set $bits (i32.load (local.get $src)))
        (i32.store16 (local.get $dst)
          (i32.shr_u
            (i32.add
              (i32.add (local.get $bits) (i32.const 0x7fff))
              (i32.and (i32.shr_u (local.get $bits) (i32.const 16)) (i32.const 1)))
            (i32.const 16)))
        (local.set $src (i32.add (local.get $src) (i32.const 4)))
        (local.set $dst (i32.add (local.get $dst) (i32.const 2)))
        (br $next)))
    (i32.const 0))

  (@custom "gmat:plugin"
    "{\"abi\":1,\"name\":\"wat\",\"version\":\"1\",\"summary\":\"bf16, written by hand.\",\"types\":[{\"name\":\"bf16@wat\",\"ggml_type\":30,\"block\":[1,2]}]}")
)
