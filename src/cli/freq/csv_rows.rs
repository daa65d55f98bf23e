//! The answer as CSV: a row for each channel of each set.

use super::number::digits_17;
use super::sets::Named;

/// Columns: expression, k, `inv_freq` (radians a position), period (positions; empty if infinite),
/// turns within the training and the target length, ratio to the reference, name.
pub(super) fn text(named: &[Named]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let number = |value: Option<f64>| value.map_or(String::new(), digits_17);
    let header =
        ["expression", "k", "inv_freq", "period", "turns_train", "turns_target", "ratio", "name"];
    writer.write_record(header).expect("memory takes all");
    for one in named {
        for (k, w) in one.set.inv_freq.iter().enumerate() {
            let period = Some(one.set.period(k)).filter(|period| period.is_finite());
            let turns = |length: Option<u64>| number(length.map(|length| one.turns(k, length)));
            let row = [
                one.set.expression.clone(),
                k.to_string(),
                digits_17(*w),
                number(period),
                turns(one.train_len),
                turns(one.target_len),
                number(one.ratio(k)),
                one.name.clone(),
            ];
            writer.write_record(row).expect("memory takes all");
        }
    }
    let bytes = writer.into_inner().expect("memory takes all");
    String::from_utf8(bytes).expect("made of text")
}
