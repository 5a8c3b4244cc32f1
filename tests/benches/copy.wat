;; `f32@copy`: does nothing to the values, so that what remains is what calling a plugin costs.
(module
  (memory (export "memory") 32)
  (global $free (mut i32) (i32.const 16))
  (func (export "gmat_abi") (result i32) (i32.const 1))
  (func (export "gmat_error") (param i32 i32) (result i32) (i32.const 0))
  (func (export "gmat_alloc") (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free
      (i32.and (i32.add (i32.add (local.get $at) (local.get $len)) (i32.const 15)) (i32.const -16)))
    (local.get $at))
  (func (export "gmat_quantize")
    (param $index i32) (param $src i32) (param $rows i32) (param $cols i32)
    (param $importance i32) (param $dst i32) (param $len i32) (result i32)
    (memory.copy (local.get $dst) (local.get $src) (local.get $len))
    (i32.const 0))
  (@custom "gmat:plugin"
    "{\"abi\":1,\"name\":\"copy\",\"types\":[{\"name\":\"f32@copy\",\"ggml_type\":0,\"block\":[1,4]}]}"))
