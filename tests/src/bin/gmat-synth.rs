//! Writes a synthetic Llama of a given size: `gmat-synth FOLDER TOTAL_MB LARGEST_TENSOR_MB`.

use std::path::Path;
use std::process::ExitCode;

use gmat_tests::synth::Llama;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let megabytes = |text: &String| text.parse::<u64>().ok().map(|mb| mb * 1_000_000);
    let [folder, total, largest] = args.as_slice() else { return ExitCode::from(2) };
    let (Some(total), Some(largest)) = (megabytes(total), megabytes(largest)) else {
        return ExitCode::from(2);
    };
    match Llama::of_size(total, largest).write(Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
