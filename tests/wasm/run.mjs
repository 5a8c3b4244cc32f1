// Prints the text that a module of tests/wasm makes. The module imports nothing.
import { readFileSync } from "node:fs";

const { instance } = await WebAssembly.instantiate(readFileSync(process.argv[2]), {});
const { memory, text_len, text_start } = instance.exports;
const length = text_len();
process.stdout.write(Buffer.from(memory.buffer, text_start(), length).toString("utf8"));
