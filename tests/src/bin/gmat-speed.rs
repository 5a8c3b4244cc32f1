//! Speed of the quantization types beside ggml's, for `tests/interop/speed.sh`.
//!
//! `gmat-speed DRIVER FOLDER [NAME...]`: DRIVER is the built `speed.cpp`, FOLDER takes its input, and
//! NAMEs select types by prefix. For each type, with and without importance, ggml, `standard` and
//! `trellis` take turns on the same rows; of each the best turn counts, since whatever disturbs a
//! turn only slows it. Prints a Markdown table.

use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use gmat_core::Registry;
use gmat_core::quant::{Goal, Need, QuantCx, QuantType, Search};
use gmat_tests::golden_input::{Big, big_importance};

const ROWS: u64 = 64;
const COLS: u64 = 4096;
/// Turns of each, and how long one takes at least.
const TURNS: usize = 5;
const TURN: Duration = Duration::from_millis(80);
/// Searches, in the order of the columns.
const SEARCHES: [Search; 2] = [Search::Standard, Search::Trellis(Goal::USUAL)];

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [driver, folder, names @ ..] = &arguments[..] else {
        return Err("usage: gmat-speed DRIVER FOLDER [NAME...]".into());
    };
    let registry = Registry::builtin(gmat_codecs::link())?;
    let x = Big::Gauss.rows(ROWS, COLS);
    let importance = big_importance(COLS);
    let mut ggml = Ggml::start(driver, Path::new(folder), &x, &importance)?;
    let mut out = io::stdout().lock();
    writeln!(out, "| type | importance | ggml | standard | × | trellis | × | standard = ggml |")?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for q in registry.quants() {
        let selected = names.is_empty() || names.iter().any(|name| q.name().starts_with(name));
        // ggml has no quantizer for rows that stay what they are.
        if !selected || q.name() == "f32" {
            continue;
        }
        let (without, with) = (q.importance() != Need::Required, q.importance() != Need::Ignored);
        for weights in [without.then_some(None), with.then_some(Some(&importance[..]))] {
            let Some(weights) = weights else { continue };
            let row = compare(*q, &mut ggml, &x, weights)?;
            writeln!(out, "{row}")?;
            out.flush()?;
        }
    }
    ggml.stop()
}

/// A row of the table.
fn compare(
    q: &dyn QuantType,
    ggml: &mut Ggml,
    x: &[f32],
    importance: Option<&[f32]>,
) -> Result<String, Failure> {
    let len = q.block().len_of(x.len() as u64).ok_or("rows are not whole blocks")?;
    let mut bytes = vec![0; usize::try_from(len)?];
    let (mut theirs, mut ours) = (0.0f64, [0.0f64; 2]);
    let mut same = true;
    for _ in 0..TURNS {
        let (speed, hash) = ggml.turn(q.ggml_type(), importance.is_some())?;
        theirs = theirs.max(speed);
        for (best, search) in ours.iter_mut().zip(SEARCHES) {
            let cx = QuantCx { search, ..QuantCx::standard(usize::try_from(COLS)?, importance) };
            *best = best.max(turn(q, x, &cx, &mut bytes)?);
            same &= search != Search::Standard || fnv_1a(&bytes) == hash;
        }
    }
    let [standard, trellis] = ours;
    Ok(format!(
        "| {} | {} | {theirs:.0} | {standard:.0} | {:.1} | {trellis:.0} | {:.1} | {} |",
        q.name(),
        if importance.is_some() { "yes" } else { "no" },
        standard / theirs,
        trellis / theirs,
        if same { "yes" } else { "**no**" },
    ))
}

/// Megabytes of `f32` per second.
#[expect(clippy::cast_precision_loss, reason = "sizes are small")]
fn turn(q: &dyn QuantType, x: &[f32], cx: &QuantCx<'_>, out: &mut [u8]) -> Result<f64, Failure> {
    let (start, mut rounds) = (Instant::now(), 0);
    loop {
        q.quantize(black_box(x), cx, black_box(&mut *out))?;
        rounds += 1;
        let spent = start.elapsed();
        if spent >= TURN {
            return Ok(4e-6 * x.len() as f64 * f64::from(rounds) / spent.as_secs_f64());
        }
    }
}

fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The driver around ggml.
struct Ggml {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Ggml {
    fn start(driver: &str, folder: &Path, x: &[f32], importance: &[f32]) -> Result<Self, Failure> {
        let (rows, weights) = (folder.join("rows.f32"), folder.join("importance.f32"));
        for (path, values) in [(&rows, x), (&weights, importance)] {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            fs::write(path, bytes)?;
        }
        let mut child = Command::new(driver)
            .arg(rows)
            .arg(COLS.to_string())
            .arg(weights)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let requests = child.stdin.take().ok_or("the driver has no input")?;
        let answers = BufReader::new(child.stdout.take().ok_or("the driver has no output")?);
        Ok(Self { child, requests, answers })
    }

    /// Speed, and hash of the bytes.
    fn turn(&mut self, ggml_type: u32, importance: bool) -> Result<(f64, u64), Failure> {
        let importance = u8::from(importance);
        writeln!(self.requests, "{ggml_type} {importance} {}", TURN.as_secs_f64())?;
        self.requests.flush()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let (speed, hash) = answer.trim_end().split_once(' ').ok_or("the driver has stopped")?;
        Ok((speed.parse()?, hash.parse()?))
    }

    fn stop(mut self) -> Result<(), Failure> {
        drop(self.requests);
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the driver ended with {status}").into())
        }
    }
}
