//! What `run.json` says a run is, against its ids and the declaration in `lock.json`.

use serde_json::Value as Json;

use super::{Finding, Subject, finding};
use crate::canonical;
use crate::data::SplitKind;
use crate::freq::{self, FrequencySet};
use crate::model::Config;
use crate::plan::{Identity, LayerSets, eval_id};
use crate::results::{Frequencies, Point, Status, TokenData};

impl Subject {
    /// Ids, frequencies and data, as far as nothing needs to be computed anew but hashes and sets.
    pub(super) fn check_identity(&self, point: &Point, found: &mut Vec<Finding>) {
        let wrong = [
            self.wrong_train_id(point),
            self.wrong_eval_id(),
            self.wrong_protocol(point),
            self.wrong_frequencies(point),
            self.wrong_status(),
            self.wrong_tokens(point),
            self.wrong_data(point),
        ];
        found.extend(wrong.into_iter().flatten().map(|what| finding("run.json", what)));
    }

    fn wrong_train_id(&self, point: &Point) -> Option<String> {
        let record = &self.record;
        let vec_id = record.freq.as_ref().map_or("", |freq| freq.vec_id.as_str());
        let (training, evaluation) = (point.training.clone(), Json::Null);
        let own = Identity { training, evaluation }.train_id(vec_id, record.seed);
        (own != record.train_id).then(|| {
            format!("its train id is {}, of what it says was trained {own}", record.train_id)
        })
    }

    fn wrong_eval_id(&self) -> Option<String> {
        let record = &self.record;
        let own = eval_id(&record.train_id, record.evaluation.as_ref()?);
        (own != record.eval_id)
            .then(|| format!("its eval id is {}, of its evaluation {own}", record.eval_id))
    }

    fn wrong_protocol(&self, point: &Point) -> Option<String> {
        let (own, declared) = (&self.record.protocol, point.compatible_protocols(Some(&self.lock)));
        (!declared.contains(own.as_str())).then(|| {
            let declared = Vec::from_iter(declared).join(" or ");
            format!("its protocol is {own}, declared in lock.json is {declared}")
        })
    }

    /// The expression must give the frequencies, the scale and the ids that stand beside it.
    fn wrong_frequencies(&self, point: &Point) -> Option<String> {
        let recorded = self.record.freq.as_ref()?;
        let model = Config::of_training(&point.training).ok()?;
        let set = |one: &Frequencies| self.recover(one, point, &model);
        let Some(sets) = LayerSets::of_recorded(recorded, model.layers, set) else {
            let (freq, id) = (&recorded.expression, &recorded.vec_id);
            return Some(format!(
                "its frequencies, {freq}, do not give its vec_id {id} and expr_id"
            ));
        };
        let json = |freq: &Frequencies| serde_json::to_value(freq).expect("frequencies are JSON");
        let differences = canonical::differences(&json(recorded), &json(&sets.recorded()));
        let first = differences.first()?;
        Some(format!("freq is not what its expression gives: {first}"))
    }

    fn recover(&self, one: &Frequencies, point: &Point, model: &Config) -> Option<FrequencySet> {
        let head_dim = u32::try_from(model.head_dim).ok()?;
        let lengths = self.lock.longest_lengths(self.record.point.as_deref());
        let ids = (one.expr_id.as_str(), one.vec_id.as_str());
        let context = (head_dim, Some(point.seq_len));
        freq::recover(&one.expression, ids, context, lengths).map(|(set, _)| set)
    }

    fn wrong_status(&self) -> Option<String> {
        let (record, train) = (&self.record, self.record.train.as_ref()?);
        let ended =
            train.final_loss.is_some() || train.weights.is_some() || !record.eval.is_empty();
        (record.status == Status::Diverged && ended)
            .then(|| "it diverged, and has a last loss, weights or results".to_owned())
    }

    fn wrong_tokens(&self, point: &Point) -> Option<String> {
        let train = self.record.train.as_ref()?;
        let batch_size = point.training.pointer("/schedule/batch_size")?.as_u64()?;
        let own = train.steps.checked_mul(batch_size)?.checked_mul(point.seq_len)?;
        (own != train.tokens)
            .then(|| format!("it has {} tokens of training, its steps have {own}", train.tokens))
    }

    /// The token streams must be those that lock.json found, where it says so.
    fn wrong_data(&self, point: &Point) -> Option<String> {
        let data = self.record.data.as_ref()?;
        let splits = [
            (SplitKind::Train, &point.training, &data.train_tokens),
            (SplitKind::Validation, &point.evaluation, &data.validation_tokens),
        ];
        splits.into_iter().find_map(|(split, part, own)| {
            let known = self.lock.data.get(&TokenData::key(&part["data"]))?;
            (*own != known.id && !own.is_empty()).then(|| {
                let split = split.word();
                format!("its {split} tokens are {own}, those of lock.json {}", known.id)
            })
        })
    }
}
