//! Fraud scoring by logistic regression, trained by stochastic gradient descent. Pure, and quick enough to be done
//! on the spot.
//!
//! The same dataset, parameters and seed always give the same model: weights are rounded to six decimals, so that
//! neither the machine's mathematics library nor its vector units show.

use std::fmt::Write as _;

use super::data::{COLUMNS, Dataset, Labelled, Transaction};
use super::random::Random;

/// The probability from which a transaction is looked at by a person.
pub(super) const THRESHOLD: f64 = 0.5;
/// Decimals of a weight, as a factor.
const WEIGHT_STEPS: f64 = 1e6;

/// How to train; stands in the lineage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Parameters {
    /// Passes over the data.
    pub(super) epochs: u32,
    /// How far a step goes in the first pass; the second goes half as far, the third a third.
    pub(super) rate: f64,
    /// Seeds the order of the rows.
    pub(super) seed: u64,
}

/// A trained model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Model {
    /// One weight a column; 0 for a column that the training data did not have.
    weights: [f64; COLUMNS.len()],
    bias: f64,
}

/// How well a model tells fraud from the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Quality {
    /// Transactions asked about.
    pub asked: usize,
    /// Those that were fraud.
    pub frauds: usize,
    /// Frauds that the model would have had looked at.
    pub caught: usize,
    /// Honest ones that it would have had looked at, too.
    pub false_alarms: usize,
}

impl Model {
    /// Trains on a dataset.
    pub(super) fn train(dataset: &Dataset, parameters: &Parameters) -> Self {
        let mut random = Random::new(parameters.seed);
        let mut order: Vec<usize> = (0..dataset.rows.len()).collect();
        let mut model = Self { weights: [0.0; COLUMNS.len()], bias: 0.0 };
        for epoch in 0..parameters.epochs {
            // Fisher and Yates's shuffle.
            for place in (1..order.len()).rev() {
                order.swap(place, random.below(place + 1));
            }
            let rate = parameters.rate / f64::from(epoch + 1);
            for &row in &order {
                model.step(&dataset.rows[row], dataset.columns, rate);
            }
        }
        model.rounded()
    }

    /// One step down the log loss's gradient.
    fn step(&mut self, row: &Labelled, columns: usize, rate: f64) {
        let features = features(&row.transaction);
        let error = self.score(&features) - f64::from(u8::from(row.fraud));
        for (weight, feature) in self.weights.iter_mut().zip(features).take(columns) {
            *weight -= rate * error * feature;
        }
        self.bias -= rate * error;
    }

    fn rounded(mut self) -> Self {
        for weight in self.weights.iter_mut().chain([&mut self.bias]) {
            *weight = (*weight * WEIGHT_STEPS).round() / WEIGHT_STEPS;
        }
        self
    }

    /// The probability that a transaction is fraud.
    pub(super) fn probability(&self, transaction: &Transaction) -> f64 {
        self.score(&features(transaction))
    }

    fn score(&self, features: &[f64; COLUMNS.len()]) -> f64 {
        let sum: f64 = self.weights.iter().zip(features).map(|(weight, feature)| weight * feature).sum();
        1.0 / (1.0 + (-(sum + self.bias)).exp())
    }

    /// Asks it about transactions of which the truth is known.
    pub(super) fn quality(&self, rows: &[Labelled]) -> Quality {
        let looked_at = |row: &&Labelled| self.probability(&row.transaction) >= THRESHOLD;
        let (frauds, honest): (Vec<&Labelled>, Vec<&Labelled>) = rows.iter().partition(|row| row.fraud);
        Quality {
            asked: rows.len(),
            frauds: frauds.len(),
            caught: frauds.into_iter().filter(looked_at).count(),
            false_alarms: honest.into_iter().filter(looked_at).count(),
        }
    }

    /// The file's text; its digest stands in the lineage.
    pub(super) fn json(&self) -> String {
        let mut json = String::from("{\"kind\":\"logistic_regression\",\"weights\":{");
        for (column, weight) in COLUMNS.iter().zip(self.weights) {
            let _infallible = write!(json, "\"{column}\":{weight},");
        }
        json.pop();
        let _infallible = writeln!(json, "}},\"bias\":{},\"threshold\":{THRESHOLD}}}", self.bias);
        json
    }
}

/// What the weights are applied to: each column brought to about 0 to 1.
fn features(transaction: &Transaction) -> [f64; COLUMNS.len()] {
    [
        transaction.amount_eur.max(0.0).ln_1p() / 6.0,
        if transaction.hour < 6.0 { 1.0 } else { 0.0 },
        transaction.km_from_home.max(0.0).ln_1p() / 6.0,
        1.0 / (1.0 + (transaction.device_age_days / 3.0).powi(2)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::data::unseen;
    use super::*;

    const PARAMETERS: Parameters = Parameters { epochs: 8, rate: 0.5, seed: 42 };

    #[test]
    fn the_same_in_gives_the_same_model() {
        let model = Model::train(&Dataset::v1(), &PARAMETERS);
        assert_eq!(model.json(), Model::train(&Dataset::v1(), &PARAMETERS).json());
        assert_ne!(model, Model::train(&Dataset::v1(), &Parameters { seed: 43, ..PARAMETERS }));
        assert_ne!(model, Model::train(&Dataset::v2(), &PARAMETERS));
    }

    #[test]
    fn it_separates_what_it_was_trained_on() {
        for dataset in [Dataset::v1(), Dataset::v2()] {
            let quality = Model::train(&dataset, &PARAMETERS).quality(&dataset.rows);
            assert!(quality.caught * 10 >= quality.frauds * 8, "{}: {quality:?}", dataset.version);
            assert!(quality.false_alarms * 100 <= quality.asked * 2, "{}: {quality:?}", dataset.version);
        }
    }

    #[test]
    fn the_newer_data_is_what_shows_the_new_fraud() {
        let rows = unseen(4_000);
        let old = Model::train(&Dataset::v1(), &PARAMETERS);
        let new = Model::train(&Dataset::v2(), &PARAMETERS);
        let (before, after) = (old.quality(&rows), new.quality(&rows));
        assert!(before.caught * 3 < after.caught * 2, "{before:?} {after:?}");
        // A column that the data did not have has no say.
        assert!(old.weights[3].abs() < f64::EPSILON);
    }

    #[test]
    fn the_file_is_json() {
        let model = Model::train(&Dataset::v1(), &PARAMETERS);
        let file: serde_json::Value = serde_json::from_str(&model.json()).unwrap();
        assert_eq!(file["weights"]["device_age_days"], 0);
        assert_eq!(file["bias"].as_f64(), Some(model.bias));
    }
}
