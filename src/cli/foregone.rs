//! Claims that no result can support any more, told before the results are computed.

use super::common::Global;
use super::exit::Exit;
use crate::plan::Plan;
use crate::report::{self, Foregone};
use crate::results::Layout;
use crate::run;
use crate::run::state::Index;

/// Configs named in one warning, at most; the rest is counted.
const MAX_NAMED: usize = 3;

/// The comparisons of a plan that can be EXPLORATORY at most once it is carried out.
///
/// # Errors
/// Results that cannot be read.
pub fn of_plan(plan: &Plan, layout: &Layout, index: &Index) -> Result<Vec<Foregone>, Exit> {
    Ok(report::foregone(&run::on_record(plan, layout, index)?.0))
}

/// Says on stderr what a plan foregoes.
///
/// # Errors
/// Results that cannot be read.
pub fn say(plan: &Plan, layout: &Layout, index: &Index, global: &Global) -> Result<(), Exit> {
    for warning in warnings(&of_plan(plan, layout, index)?) {
        global.say(format_args!("warning: {warning}"));
    }
    Ok(())
}

/// One sentence a reason.
pub fn warnings(foregone: &[Foregone]) -> Vec<String> {
    let mut by_reason: Vec<(&str, Vec<String>)> = Vec::new();
    for Foregone { point, config, reason, .. } in foregone {
        let name = match point {
            Some(point) => format!("{point}/{config}"),
            None => config.clone(),
        };
        match by_reason.iter_mut().find(|(known, _)| known == reason) {
            Some((_, names)) => names.push(name),
            None => by_reason.push((reason, vec![name])),
        }
    }
    let sentence = |(reason, names): &(&str, Vec<String>)| {
        let named = names[..names.len().min(MAX_NAMED)].join(", ");
        let more = match names.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "{named}{more} can be EXPLORATORY at most: {reason}; to claim, declare seeds that have no \
             results yet in an experiment of their own (--name NAME)"
        )
    };
    by_reason.iter().map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence_a_reason() {
        let of = |point: Option<&str>, config: &str, reason: &str| Foregone {
            point: point.map(str::to_owned),
            config: config.to_owned(),
            baseline: "geo".to_owned(),
            reason: reason.to_owned(),
        };
        assert_eq!(warnings(&[]), Vec::<String>::new());
        let mut all = vec![of(None, "late", "late was added after results existed")];
        all.extend(["a", "b", "c", "d"].map(|name| of(Some("lr=1"), name, "seed 3 was added")));
        let said = warnings(&all);
        assert_eq!(said.len(), 2);
        assert!(said[0].starts_with("late can be EXPLORATORY at most: late was added after"));
        assert!(said[1].starts_with("lr=1/a, lr=1/b, lr=1/c and 1 more can be"), "{}", said[1]);
    }
}
