//! Numbers as `xp freq` prints them.

/// 17 significant digits, without trailing zeros; always with a point or an exponent.
pub(super) fn digits_17(value: f64) -> String {
    let scientific = format!("{value:.16e}");
    let exponent: i32 = scientific
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok())
        .expect("the format has an exponent");
    let trim = |text: &str| {
        let trimmed = text.trim_end_matches('0');
        if trimmed.ends_with('.') { format!("{trimmed}0") } else { trimmed.to_owned() }
    };
    if (-5..16).contains(&exponent) {
        return trim(&format!("{value:.*}", (16 - exponent) as usize));
    }
    let (mantissa, _) = scientific.split_once('e').expect("the format has an exponent");
    format!("{}e{exponent}", trim(mantissa))
}

/// Four significant digits.
pub(super) fn short(value: f64) -> String {
    if !value.is_finite() {
        return "inf".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.3e}");
    let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok());
    match exponent {
        Some(exponent @ -3..6) => format!("{value:.*}", (3 - exponent).max(0) as usize),
        _ => scientific,
    }
}
