//! What is printed: results to standard output, everything else to standard error.

use std::io::{IsTerminal as _, Write as _};
use std::ops::ControlFlow;

use gmat_core::progress::{Event, Progress};
use gmat_core::tensor::Shape;
use gmat_core::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::args::{Common, ProgressMode};
use crate::interrupt;

/// The terminal, and how much the user wants to read there.
pub(crate) struct Console {
    quiet: bool,
    verbose: bool,
    mode: ProgressMode,
    bar: Option<ProgressBar>,
    tensors: usize,
    lost: Option<std::io::Error>,
}

impl Console {
    pub(crate) fn new(common: &Common) -> Self {
        let mode = match common.progress {
            _ if common.quiet => ProgressMode::None,
            ProgressMode::Auto if !std::io::stderr().is_terminal() => ProgressMode::Plain,
            mode => mode,
        };
        Self {
            quiet: common.quiet,
            verbose: common.verbose,
            mode,
            bar: None,
            tensors: 0,
            lost: None,
        }
    }

    /// One that says nothing but errors.
    pub(crate) fn silent() -> Self {
        let (quiet, verbose, mode) = (true, false, ProgressMode::None);
        Self { quiet, verbose, mode, bar: None, tensors: 0, lost: None }
    }

    /// A line of the result, on standard output.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        if !self.quiet {
            self.print(text.as_ref());
        }
    }

    /// A line that is the purpose of the command, printed even if the user wants quiet.
    pub(crate) fn result(&mut self, text: impl AsRef<str>) {
        self.print(text.as_ref());
    }

    /// Fails if something could not be printed.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.end();
        match self.lost.take() {
            Some(error) => Err(Error::io("cannot write to standard output", error)),
            None => Ok(()),
        }
    }

    /// A line about decisions, only with `--verbose`.
    pub(crate) fn detail(&mut self, text: impl AsRef<str>) {
        if self.verbose {
            self.line(text);
        }
    }

    /// Something the user should know, on standard error.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) {
        match self.mode {
            _ if self.quiet => {}
            ProgressMode::Json => self.json(&json!({"event": "note", "text": text.as_ref()})),
            _ => self.complain(&format!("Note: {}", text.as_ref())),
        }
    }

    /// Something that is probably wrong, on standard error.
    pub(crate) fn warn(&mut self, text: impl AsRef<str>) {
        match self.mode {
            ProgressMode::Json => self.json(&json!({"event": "warning", "text": text.as_ref()})),
            _ => self.complain(&format!("Warning: {}", text.as_ref())),
        }
    }

    /// The story of an error, on standard error.
    pub(crate) fn error(&mut self, error: &Error) {
        self.end();
        let mut lines = error.chain().into_iter();
        self.complain(&format!("error: {}", lines.next().unwrap_or_default()));
        for line in lines {
            self.complain(&format!("  caused by: {line}"));
        }
        if let Some(hint) = error.hint() {
            self.complain(&format!("\nhint: {hint}"));
        }
    }

    /// Removes the progress bar.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn print(&mut self, text: &str) {
        let text = printable(text);
        let write = || writeln!(std::io::stdout().lock(), "{text}");
        let result = match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
        // A reader that has gone away (`gmat … | head`) is no reason to fail.
        match result {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => self.lost = Some(error),
            _ => {}
        }
    }

    // If even standard error is gone, there is nobody to tell.
    fn complain(&self, text: &str) {
        let text = printable(text);
        let write = || writeln!(std::io::stderr().lock(), "{text}");
        let _ = match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
    }

    fn json(&self, value: &serde_json::Value) {
        let _ = writeln!(std::io::stderr().lock(), "{value}");
    }
}

impl Progress for Console {
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Start { tensors, bytes } => {
                self.tensors = tensors;
                match self.mode {
                    ProgressMode::Auto => self.bar = Some(bar(bytes)),
                    ProgressMode::Json => {
                        self.json(&json!({"event": "start", "tensors": tensors, "bytes": bytes}));
                    }
                    _ => {}
                }
            }
            Event::Tensor { index, name, dims, encoding } => match (&self.bar, self.mode) {
                (Some(bar), _) => {
                    bar.set_message(printable(&format!("{}/{} {name}", index + 1, self.tensors)));
                }
                (None, ProgressMode::Plain) => {
                    let shape = Shape::try_new(dims.to_vec()).map(|shape| shape.to_string());
                    let shape = shape.unwrap_or_default();
                    self.line(format!("[{}/{}] {name} {shape} {encoding}", index + 1, self.tensors));
                }
                (None, ProgressMode::Json) => self.json(&json!({
                    "event": "tensor", "index": index, "name": name, "shape": dims, "encoding": encoding
                })),
                _ => {}
            },
            Event::Bytes(done) => match (&self.bar, self.mode) {
                (Some(bar), _) => bar.set_position(done),
                (None, ProgressMode::Json) => self.json(&json!({"event": "bytes", "done": done})),
                _ => {}
            },
            Event::Note(text) => self.note(text),
            _ => {}
        }
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// The text with control characters escaped: names come from files, and must neither steer the
/// terminal nor pass for lines of ours. Only line breaks in front are ours.
fn printable(text: &str) -> String {
    let rest = text.trim_start_matches('\n');
    let mut out = "\n".repeat(text.len() - rest.len());
    for c in rest.chars() {
        // Marks that turn the direction of writing make a line look like another one.
        let steers = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || steers {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Says that the user ended the process.
pub(crate) fn interrupted() {
    let _ = writeln!(std::io::stderr().lock(), "error: interrupted");
}

fn bar(bytes: u64) -> ProgressBar {
    let template = "{bar:30} {percent:>3}% {decimal_bytes}/{decimal_total_bytes} \
                    {decimal_bytes_per_sec} eta {eta} {wide_msg}";
    // A template that does not parse would be our own mistake; the plain style does as well.
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn names_neither_steer_nor_break_lines() {
        assert_eq!(printable("\n\nhint: a\nb"), "\n\nhint: a\\nb");
        assert_eq!(printable("a\r\u{1b}[2J\u{202e}b"), "a\\r\\u{1b}[2J\\u{202e}b");
        assert_eq!(printable("Grüße, 東京"), "Grüße, 東京");
    }
}
