//! Card transactions that the demo makes up, as two versions of one dataset. Pure.
//!
//! Version v1.0 covers the spring, when fraud meant stolen cards: large amounts, at night, far from home. In autumn
//! fraudsters take accounts over instead: small amounts by day, near home, from a device never seen before. Version
//! v2.0 adds the autumn and, so that it can be seen at all, the column with the device's age. A model trained on
//! v1.0 is blind to the new fraud: this is why it matters which data a decision comes from.

use std::fmt::Write as _;

use super::random::Random;

/// What both models are asked with, in the order of the input tensor. The last column is not in v1.0.
pub(super) const COLUMNS: [&str; 4] = ["amount_eur", "hour", "km_from_home", "device_age_days"];

/// Seeds the spring and the autumn; part of the dataset's versions.
const SEEDS: [u64; 2] = [20_260_301, 20_260_901];
/// Seeds transactions that no model was trained on.
const UNSEEN_SEED: u64 = 20_261_101;
/// Transactions of one season.
const SEASON_ROWS: usize = 6_000;
/// The share of transactions that are fraud.
const FRAUD_SHARE: f64 = 0.1;
/// The share of the autumn's fraud that is the new kind.
const TAKEOVER_SHARE: f64 = 0.7;

/// One card transaction: a row of the input tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Transaction {
    /// Euro, to the cent.
    pub(super) amount_eur: f64,
    /// Hour of the day, from 0 to 23.
    pub(super) hour: f64,
    /// Kilometres between the shop and the card holder's home.
    pub(super) km_from_home: f64,
    /// Days since the device was first seen.
    pub(super) device_age_days: f64,
}

impl Transaction {
    pub(super) fn from_row(row: [f64; 4]) -> Self {
        let [amount_eur, hour, km_from_home, device_age_days] = row;
        Self { amount_eur, hour, km_from_home, device_age_days }
    }

    pub(super) fn row(&self) -> [f64; 4] {
        [self.amount_eur, self.hour, self.km_from_home, self.device_age_days]
    }
}

/// A transaction of which it has turned out what it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Labelled {
    pub(super) transaction: Transaction,
    pub(super) fraud: bool,
}

/// One version of a dataset.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dataset {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    /// The raw datasets that it was made of.
    pub(super) seasons: &'static [&'static str],
    /// How many of [`COLUMNS`] it has.
    pub(super) columns: usize,
    pub(super) rows: Vec<Labelled>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Season {
    Spring,
    Autumn,
}

impl Dataset {
    /// The spring, without the device's age.
    pub(super) fn v1() -> Self {
        Self {
            name: "transactions",
            version: "v1.0",
            seasons: &["payments@2026-spring"],
            columns: 3,
            rows: season(Season::Spring, SEEDS[0], SEASON_ROWS),
        }
    }

    /// The spring and the autumn, with it.
    pub(super) fn v2() -> Self {
        let mut rows = season(Season::Spring, SEEDS[0], SEASON_ROWS);
        rows.extend(season(Season::Autumn, SEEDS[1], SEASON_ROWS));
        let seasons = &["payments@2026-spring", "payments@2026-autumn"];
        Self { name: "transactions", version: "v2.0", seasons, columns: 4, rows }
    }

    /// The file's text; its digest stands in the lineage.
    pub(super) fn csv(&self) -> String {
        let mut csv = COLUMNS[..self.columns].join(",") + ",fraud\n";
        for Labelled { transaction, fraud } in &self.rows {
            for value in &transaction.row()[..self.columns] {
                let _infallible = write!(csv, "{value},");
            }
            csv.push_str(if *fraud { "1\n" } else { "0\n" });
        }
        csv
    }
}

/// The payments of both seasons, as they came in.
pub(super) fn raw() -> [Dataset; 2] {
    let of = |version, kind, seed| Dataset {
        name: "payments",
        version,
        seasons: &[],
        columns: COLUMNS.len(),
        rows: season(kind, seed, SEASON_ROWS),
    };
    [of("2026-spring", Season::Spring, SEEDS[0]), of("2026-autumn", Season::Autumn, SEEDS[1])]
}

/// The autumn's transactions that the demo's traffic is made of; no model has seen them.
pub(super) fn unseen(len: usize) -> Vec<Labelled> {
    season(Season::Autumn, UNSEEN_SEED, len)
}

fn season(season: Season, seed: u64, len: usize) -> Vec<Labelled> {
    let mut random = Random::new(seed);
    (0..len).map(|_| labelled(season, &mut random)).collect()
}

fn labelled(season: Season, random: &mut Random) -> Labelled {
    let fraud = random.chance(FRAUD_SHARE);
    let takeover = random.chance(TAKEOVER_SHARE) && season == Season::Autumn;
    let transaction = match (fraud, takeover) {
        (false, _) => honest(random),
        (true, false) => stolen_card(random),
        (true, true) => taken_over(random),
    };
    Labelled { transaction, fraud }
}

fn honest(random: &mut Random) -> Transaction {
    transaction([3.2 + 0.9 * random.normal(), by_day(random), random.exponential(12.0), random.exponential(400.0)])
}

fn stolen_card(random: &mut Random) -> Transaction {
    let hour = if random.chance(0.6) { 6.0 * random.uniform() } else { by_day(random) };
    transaction([5.3 + 0.8 * random.normal(), hour, random.exponential(600.0), random.exponential(400.0)])
}

fn taken_over(random: &mut Random) -> Transaction {
    let age = 3.0 * random.uniform();
    transaction([3.5 + 0.7 * random.normal(), by_day(random), random.exponential(12.0), age])
}

fn by_day(random: &mut Random) -> f64 {
    (14.0 + 4.0 * random.normal()).rem_euclid(24.0)
}

/// From the amount's logarithm and the rest, rounded as a card network would send it.
fn transaction([log_amount, hour, km, age]: [f64; 4]) -> Transaction {
    let round = |value: f64, steps: f64| (value * steps).round() / steps;
    Transaction {
        amount_eur: round(log_amount.exp(), 100.0),
        hour: hour.floor(),
        km_from_home: round(km, 10.0),
        device_age_days: age.floor(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_the_same_each_time_and_build_on_each_other() {
        let (v1, v2) = (Dataset::v1(), Dataset::v2());
        assert_eq!(v1.csv(), Dataset::v1().csv());
        assert_eq!(v2.rows[..v1.rows.len()], v1.rows[..]);
        assert_eq!(v2.rows.len(), 2 * v1.rows.len());
    }

    #[test]
    fn a_file_has_its_columns_and_nothing_else() {
        for (dataset, head) in [
            (Dataset::v1(), "amount_eur,hour,km_from_home,fraud"),
            (Dataset::v2(), "amount_eur,hour,km_from_home,device_age_days,fraud"),
        ] {
            let csv = dataset.csv();
            let mut lines = csv.lines();
            assert_eq!(lines.next(), Some(head));
            assert!(lines.clone().all(|line| line.split(',').count() == dataset.columns + 1));
            assert_eq!(lines.count(), dataset.rows.len());
        }
    }

    #[test]
    fn rows_are_plausible() {
        for Labelled { transaction, .. } in Dataset::v2().rows {
            assert!(transaction.amount_eur > 0.0 && (0.0..24.0).contains(&transaction.hour), "{transaction:?}");
            assert!(transaction.km_from_home >= 0.0 && transaction.device_age_days >= 0.0, "{transaction:?}");
            assert_eq!(Transaction::from_row(transaction.row()), transaction);
        }
        let frauds = Dataset::v1().rows.iter().filter(|row| row.fraud).count();
        assert!((500..700).contains(&frauds), "{frauds}");
    }
}
