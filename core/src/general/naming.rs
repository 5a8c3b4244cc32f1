//! Names: the parts of a model id such as `org/Base-Name-7B-Instruct-v0.2`, titles, size labels.

/// What a model id says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameParts {
    /// The whole id without the organization.
    pub name: Option<String>,
    /// What stands before the first `/`.
    pub organization: Option<String>,
    /// The family, such as `Meta-Llama-3.1`.
    pub basename: Option<String>,
    /// What it was tuned for, such as `Instruct`.
    pub finetune: Option<String>,
    /// Such as `v0.2`.
    pub version: Option<String>,
    /// Such as `8x7B`, `mini`.
    pub size_label: Option<String>,
}

/// One part between hyphens and what it can be; a version can be part of the base name, too.
struct Part {
    text: String,
    basename: bool,
    size: bool,
    finetune: bool,
    version: bool,
    quantization: bool,
}

impl Part {
    fn is_annotated(&self) -> bool {
        self.size || self.finetune || self.version || self.quantization
    }
}

/// Words that say how large a model is.
const SIZE_WORDS: [&str; 6] = ["small", "mini", "medium", "large", "xl", "xxl"];
/// Words that say what a model was tuned for, wherever they stand.
const FINETUNE_WORDS: [&str; 4] = ["chat", "instruct", "vision", "lora"];

impl NameParts {
    /// Takes an id apart. `parameters` is the size of the model, 0 if unknown: a number far from it
    /// is no size of the model, but probably a context length.
    #[must_use]
    pub fn of(id: &str, parameters: u64) -> Self {
        if id.contains(' ') {
            // A sentence, not an id.
            return Self { name: Some(id.to_owned()), ..Self::default() };
        }
        let (organization, name) = match id.split_once('/') {
            // `./x` and `../x` are paths.
            Some((organization, name)) => {
                (Some(organization).filter(|o| !o.starts_with('.')), name)
            }
            None => (None, id),
        };
        let mut parts: Vec<Part> = name
            .split('-')
            .filter(|text| !text.is_empty())
            .enumerate()
            .map(|(i, text)| annotate(text, i == 0, parameters))
            .collect();
        // A number says more than a word.
        if parts.iter().any(|p| p.size && p.text.contains(|c: char| c.is_ascii_digit())) {
            for part in parts.iter_mut().filter(|p| p.text.chars().all(char::is_alphabetic)) {
                part.size = false;
            }
        }
        mark_basename(&mut parts);
        let join = |pick: fn(&Part) -> bool| {
            let texts: Vec<&str> =
                parts.iter().filter(|part| pick(part)).map(|part| part.text.as_str()).collect();
            (!texts.is_empty()).then(|| texts.join("-"))
        };
        let mut sizes: Vec<&str> = Vec::new();
        for part in parts.iter().filter(|part| part.size) {
            if !sizes.contains(&part.text.as_str()) {
                sizes.push(&part.text);
            }
        }
        let size_label = (!sizes.is_empty()).then(|| sizes.join("-"));
        let finetune = join(|part| part.finetune);
        let version = join(|part| part.version && !part.basename);
        // Without any other part, the whole name would be the base name: that says nothing.
        let telling = size_label.is_some() || finetune.is_some() || version.is_some();
        Self {
            name: Some(name.to_owned()),
            organization: organization.map(str::to_owned),
            basename: join(|part| part.basename).filter(|_| telling),
            finetune,
            version,
            size_label,
        }
    }
}

/// What a single part looks like. The first part is never a size or a tuning.
fn annotate(text: &str, first: bool, parameters: u64) -> Part {
    let mut part = Part {
        text: text.to_owned(),
        basename: false,
        size: false,
        finetune: false,
        version: false,
        quantization: false,
    };
    let is_word = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_version(text) {
        part.version = true;
    } else if is_quantization(text) {
        part.quantization = true;
        part.text = text.to_uppercase();
    } else if first {
    } else if is_word(&SIZE_WORDS) {
        part.size = true;
    } else if let Some((digits, unit, count)) = numeric_size(text) {
        let far = parameters > 0 && count.is_some_and(|count| is_far(count, parameters));
        part.finetune = far;
        part.size = !far;
        part.text = digits;
        part.text.push(if far { unit.to_ascii_lowercase() } else { unit.to_ascii_uppercase() });
    } else if is_word(&FINETUNE_WORDS) {
        part.finetune = true;
    }
    part
}

/// Marks the parts at the start that make the base name, and calls every other part without a
/// meaning a tuning. Versions at the very end belong to the model, not to the base.
fn mark_basename(parts: &mut [Part]) {
    let mut at_start = true;
    for part in &mut *parts {
        let plain = !part.is_annotated();
        at_start &= part.version || (plain && part.text.starts_with(char::is_alphabetic));
        part.basename = at_start;
        part.finetune |= plain && !at_start;
    }
    for part in parts.iter_mut().rev() {
        if !(part.basename && part.version) {
            break;
        }
        part.basename = false;
    }
}

/// `3`, `v0.1`, `iter2`.
fn is_version(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let number = lower.strip_prefix("iter").or(lower.strip_prefix('v')).unwrap_or(&lower);
    number.split('.').all(is_digits)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `q4_k_m`, `iq2_s`, `f16`, `bf16`, `fp32`.
fn is_quantization(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let float = lower.strip_prefix('b').unwrap_or(&lower).strip_prefix('f');
    if float.is_some_and(|bits| matches!(bits.strip_prefix('p').unwrap_or(bits), "16" | "32")) {
        return true;
    }
    let mut chars = lower.strip_prefix('i').unwrap_or(&lower).chars();
    if chars.next() != Some('q') || !chars.next().is_some_and(|c| c.is_ascii_digit()) {
        return false;
    }
    // Pairs of an underscore and one more character.
    let word = |c: char| c.is_alphanumeric() || c == '_';
    loop {
        match (chars.next(), chars.next()) {
            (None, _) => return true,
            (Some('_'), Some(c)) if word(c) => {}
            _ => return false,
        }
    }
}

/// Splits `7B`, `1_6b`, `8x22B`, `A2.7B` or `7b1` (which is 7.1) into digits, unit and, if it is a
/// plain number, the count it stands for.
fn numeric_size(text: &str) -> Option<(String, char, Option<f64>)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut start = usize::from(text.starts_with(['a', 'A']));
    let leading = digits(text);
    if leading > 0 && text.get(leading..)?.starts_with(['x', 'X']) {
        start = leading + 1;
    }
    let mut end = start + digits(text.get(start..)?);
    if end == start {
        return None;
    }
    if text.get(end..)?.starts_with(['.', '_']) {
        let fraction = digits(text.get(end + 1..)?);
        if fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    }
    let mut rest = text.get(end..)?.chars();
    let unit = rest.next()?;
    let scale = *[1e3, 1e6, 1e9, 1e12].get("kmbt".find(unit.to_ascii_lowercase())?)?;
    let mut number = text.get(..end)?.replace('_', ".");
    match (rest.next(), rest.next()) {
        (None, _) => {}
        (Some(digit), None) if digit.is_ascii_digit() => {
            number.push('.');
            number.push(digit);
        }
        _ => return None,
    }
    let count = number.parse::<f64>().ok().map(|number| number * scale);
    Some((number, unit, count))
}

/// Whether `count` is less than an eighth of `parameters` or more than fifteen eighths.
fn is_far(count: f64, parameters: u64) -> bool {
    let most = u128::from(parameters) * 7 / 8;
    (count - parameters as f64).abs() > most as f64
}

/// An id as a title: hyphens become spaces and lowercase words are capitalized, except those that
/// are numbers or versions.
#[must_use]
pub fn title(id: &str) -> String {
    let spaced = id.replace('-', " ");
    let words: Vec<String> = spaced.split_whitespace().map(title_word).collect();
    words.join(" ")
}

fn title_word(word: &str) -> String {
    let numeric = word.starts_with(|c: char| c.is_ascii_digit());
    let version = word.strip_prefix('v').is_some_and(|number| number.split('.').all(is_digits));
    let lower = word.chars().any(char::is_lowercase) && !word.chars().any(char::is_uppercase);
    if numeric || version || !lower {
        return word.to_owned();
    }
    let mut out = String::with_capacity(word.len());
    let mut inside = false;
    for c in word.chars() {
        let cased = c.is_lowercase();
        if cased && !inside {
            // The title of a ligature has one capital: ß becomes Ss.
            let mut upper = c.to_uppercase();
            out.extend(upper.next());
            out.extend(upper.flat_map(char::to_lowercase));
        } else {
            out.push(c);
        }
        inside = cased;
    }
    out
}

/// Counts parameters over the tensors of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parameters {
    total: u64,
    shared: u64,
    expert: u64,
    experts: u64,
    stacks: u64,
}

impl Parameters {
    /// Counts a tensor of that GGUF name and those dimensions, slowest first.
    pub fn add(&mut self, name: &str, dims: &[u64]) {
        let size = dims.iter().fold(1u64, |size, &dim| size.saturating_mul(dim));
        self.total = self.total.saturating_add(size);
        // Stacked experts: [experts, rows, columns], biases have a dimension less to the right.
        let from_end = if name.contains(".bias") { 2 } else { 3 };
        let experts = match name.contains("_exps.") && dims.len() >= 3 {
            true => dims.len().checked_sub(from_end).and_then(|i| dims.get(i)).copied(),
            false => None,
        };
        match experts.filter(|&experts| experts > 0) {
            Some(experts) => {
                self.expert = self.expert.saturating_add(size / experts);
                self.experts = self.experts.saturating_add(experts);
                self.stacks += 1;
            }
            None => self.shared = self.shared.saturating_add(size),
        }
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// `8.0B`, or `8x7.2B` with experts.
    #[must_use]
    pub fn label(&self) -> String {
        let experts = self.experts.checked_div(self.stacks).unwrap_or(0);
        size_label(self.total, self.shared, self.expert, experts)
    }
}

/// The size of a model in words: `8.0B` parameters; with `experts`, their number and the parameters
/// of the model as if it had one (`shared` and those of one `expert`), as in `8x7.2B`.
#[must_use]
pub fn size_label(total: u64, shared: u64, expert: u64, experts: u64) -> String {
    match experts {
        0 => count_label(total),
        _ => format!("{experts}x{}", count_label(shared.saturating_add(expert))),
    }
}

/// At least two digits, decimals only where there are fewer before the point.
fn count_label(count: u64) -> String {
    let (scale, unit) = match count {
        1_000_000_000_000.. => (1e-12, 'T'),
        1_000_000_000.. => (1e-9, 'B'),
        1_000_000.. => (1e-6, 'M'),
        _ => (1e-3, 'K'),
    };
    let scaled = count as f64 * scale;
    let decimals = match scaled.round_ties_even() {
        whole if whole < 1.0 => 2,
        whole if whole < 10.0 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(id: &str, parameters: u64) -> [Option<String>; 4] {
        let parts = NameParts::of(id, parameters);
        [parts.basename, parts.finetune, parts.version, parts.size_label]
    }

    fn some(texts: [&str; 4]) -> [Option<String>; 4] {
        texts.map(|text| (!text.is_empty()).then(|| text.to_owned()))
    }

    #[test]
    fn unusual_names() {
        assert_eq!(parts("bloom-7b1", 0), some(["bloom", "", "", "7.1B"]));
        assert_eq!(parts("a-3.5b2-x", 1000), some(["a", "x", "", "3.5.2B"]));
        assert_eq!(parts("m-8X7b-8x7B-q4_k_m", 0), some(["m", "", "", "8X7B-8x7B"]));
        assert_eq!(parts("x-7.b", 0), some(["x", "7.b", "", ""]));
        assert_eq!(parts("--7b--v2--", 0), some(["", "7b", "v2", ""]));
        assert_eq!(parts("a-1-2-3", 0), some(["a", "", "1-2-3", ""]));
        assert_eq!(parts("m-1-iQ3_x_x-z", 0), some(["m-1", "z", "", ""]));
        assert_eq!(parts("", 0), some([""; 4]));
        assert_eq!(parts("---", 7), some([""; 4]));
        assert_eq!(parts("é-ü7b-7€b-x7b", 9), some(["é-ü7b", "7€b-x7b", "", ""]));
        assert_eq!(NameParts::of("./model", 0).organization, None);
        assert_eq!(NameParts::of("A b-7B", 0).name.as_deref(), Some("A b-7B"));
        assert_eq!(NameParts::of("A b-7B", 0).size_label, None);
        assert_eq!(NameParts::of("org/a/b", 0).name.as_deref(), Some("a/b"));
    }

    #[test]
    fn titles() {
        assert_eq!(title("my_model-v2.1-7b"), "My_Model v2.1 7b");
        assert_eq!(title(" -c4ai--o'neil- "), "C4Ai O'Neil");
        assert_eq!(title("v2x-GPT-iPhone-éa-ßx"), "V2X GPT iPhone Éa Ssx");
    }

    #[test]
    fn labels_round_half_to_even() {
        for (count, label) in [
            (0, "0.00K"),
            (499, "0.50K"),
            (500, "0.50K"),
            (501, "0.5K"),
            (9_499, "9.5K"),
            (9_500, "10K"),
            (99_500, "100K"),
            (999_999, "1000K"),
            (1_250_000, "1.2M"),
            (1_350_000_000, "1.4B"),
            (u64::MAX, "18446744T"),
        ] {
            assert_eq!(size_label(count, 0, 0, 0), label, "{count}");
        }
    }

    #[test]
    fn experts_are_counted_once() {
        let mut parameters = Parameters::default();
        parameters.add("token_embd.weight", &[1000, 100]);
        parameters.add("blk.0.ffn_up_exps.weight", &[8, 200, 100]);
        parameters.add("blk.0.ffn_gate_inp.weight", &[8, 100]);
        assert_eq!(parameters.total(), 260_800);
        assert_eq!(parameters.label(), "8x121K");
        parameters.add("x_exps.weight", &[u64::MAX, u64::MAX, 2]);
        assert_eq!(parameters.total(), u64::MAX);
    }
}
