//! `q4_k@search`: blocks of `q4_k` with a smaller squared error than those of ggml's reference.
//!
//! The file it makes is an ordinary one. All that is particular is in `search`.

mod search;

use gmat_plugin_abi::{Failure, Quantizer, Rows};
use search::{BYTES, LEN, quantize};

/// How often factors and codes are made to fit each other.
struct Search {
    rounds: u32,
}

impl Quantizer for Search {
    /// `{"rounds": 1 to 9}`, 2 if not given. One number does not need a JSON library.
    fn new(params: &str) -> Result<Self, Failure> {
        let inner = params.trim().trim_start_matches('{').trim_end_matches('}').trim();
        if inner.is_empty() {
            return Ok(Self { rounds: 2 });
        }
        let value = inner.strip_prefix("\"rounds\"").and_then(|rest| rest.trim().strip_prefix(':'));
        match value.and_then(|value| value.trim().parse().ok()) {
            Some(rounds @ 1..=9) => Ok(Self { rounds }),
            _ => Err(format!("`{params}` is not `{{\"rounds\": N}}` with N from 1 to 9")),
        }
    }

    fn quantize(
        &self,
        rows: Rows<'_>,
        importance: Option<&[f32]>,
        out: &mut [u8],
    ) -> Result<(), Failure> {
        let row_len = rows.cols / LEN * BYTES;
        for (x, out) in rows.values.chunks_exact(rows.cols).zip(out.chunks_exact_mut(row_len)) {
            quantize(x, importance, self.rounds, out);
        }
        Ok(())
    }
}

gmat_plugin_abi::plugin! {
    name: "search", version: env!("CARGO_PKG_VERSION"),
    summary: "Smaller squared error in the blocks of q4_k, in several times the time.",
    types: [
        {
            name: "q4_k", ggml_type: 12, block: [256, 144], importance: optional, params: true,
            by: Search,
        },
    ],
    blocks: [],
}
