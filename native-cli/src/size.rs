//! Sizes as people write and read them.

/// Bytes from `5000000000`, `5GB` (10^9) or `5GiB` (2^30); fractions are allowed with a unit.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
        ("kb", 1000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("b", 1),
    ];
    let wrong =
        || format!("`{text}` is not a size; write bytes such as 5000000000, or 5GB, 4.5GiB, 512MB");
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = UNITS
        .iter()
        .find_map(|&(suffix, unit)| Some((lower.strip_suffix(suffix)?.trim_end(), unit)))
        .unwrap_or((&lower, 1));
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let large = || format!("`{text}` is too large a size; the largest is {} bytes", u64::MAX);
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(unit).ok_or_else(large)?,
        Err(_) if digits => return Err(large()),
        Err(_) if unit > 1 => fraction(number, unit).ok_or_else(wrong)?,
        Err(_) => return Err(wrong()),
    };
    if bytes == 0 { Err("a size must be more than 0".to_owned()) } else { Ok(bytes) }
}

/// Bytes from a number of gigabytes such as `1.8`, or from a size with a unit.
pub(crate) fn parse_gigabytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let with_unit = if plain { format!("{text}GB") } else { text.to_owned() };
    parse_size(&with_unit)
        .map_err(|_| format!("`{text}` is not a size; write gigabytes such as 1.8, or 500MB, 2GiB"))
}

/// `number` (digits, a point, digits) times `unit`, rounded down, in integers.
fn fraction(number: &str, unit: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.')?;
    let digits = |text: &str| {
        !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit())
    };
    if !digits(whole) || !digits(part) {
        return None;
    }
    let scale = 10u128.pow(u32::try_from(part.len()).ok()?);
    let value = whole.parse::<u128>().ok()? * scale + part.parse::<u128>().ok()?;
    u64::try_from(value * u128::from(unit) / scale).ok()
}

/// `1.50 GB`: decimal units, two digits.
pub(crate) fn show_size(bytes: u64) -> String {
    let units = ["B", "KB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.995 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.2} {}", units.get(unit).unwrap_or(&"")),
    }
}

/// `6.74 B`: a count with the letter people use for model sizes, if it has one.
pub(crate) fn show_count(count: u64) -> Option<String> {
    let letters = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")];
    let value = count as f64;
    letters
        .iter()
        .find(|(unit, _)| value >= *unit)
        .map(|(unit, letter)| format!("{:.2} {letter}", value / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("5000000000", 5_000_000_000),
            ("5GB", 5_000_000_000),
            ("4 gib", 4 << 30),
            ("4.5GiB", 9 << 29),
            ("1.5mb", 1_500_000),
            ("7b", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "-1", "1.5", "5XB", "GB", "1..5GB", "99999999999999999999", "1e9"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        for text in ["99999999999999999999999", "99999999999TB"] {
            assert!(parse_size(text).is_err_and(|said| said.contains("too large")), "{text}");
        }
        assert_eq!(parse_gigabytes("1.8"), Ok(1_800_000_000));
        assert_eq!(parse_gigabytes("5"), Ok(5_000_000_000));
        assert_eq!(parse_gigabytes("1.5MB"), Ok(1_500_000));
        for text in ["", "0", "0.0", "-1", "x", "1.2.3", "."] {
            assert!(parse_gigabytes(text).is_err(), "{text}");
        }
        assert_eq!(show_size(13_644_312), "13.64 MB");
        assert_eq!(show_size(999), "999 B");
        assert_eq!(show_size(999_999_999), "1.00 GB");
        assert_eq!(show_count(6_738_415_616).as_deref(), Some("6.74 B"));
        assert_eq!(show_count(12), None);
    }
}
