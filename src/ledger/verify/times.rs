//! The times that entries give: from when to when, and how often the clock went back. Pure.

/// The clock may go back by so many microseconds before it is said: predictions begin up to hours before they are
/// written, and are written in the order in which they end.
const BACK_US_MAX: i64 = 3_600_000_000;

/// When, by the entries' own word.
#[derive(Clone, Debug)]
pub(super) struct Times {
    earliest: Moment,
    latest: Moment,
    /// The entry with the earliest time.
    first: u64,
    /// How often the clock went back, and at which entry first.
    back: Option<(u64, u64)>,
}

/// A time as it is written, and in microseconds since 1970.
#[derive(Clone, Debug)]
struct Moment {
    text: String,
    micros: i64,
}

impl Moment {
    fn set(&mut self, text: &str, micros: i64) {
        text.clone_into(&mut self.text);
        self.micros = micros;
    }
}

impl Times {
    /// Those of one entry.
    pub(super) fn new(index: u64, text: &str, micros: i64) -> Self {
        let moment = Moment { text: text.to_owned(), micros };
        Self { earliest: moment.clone(), latest: moment, first: index, back: None }
    }

    /// Takes the next entry's.
    pub(super) fn take(&mut self, index: u64, text: &str, micros: i64) {
        if micros > self.latest.micros {
            return self.latest.set(text, micros);
        }
        if self.latest.micros - micros > BACK_US_MAX {
            let (count, first) = self.back.unwrap_or((0, index));
            self.back = Some((count + 1, first));
        }
        if micros < self.earliest.micros {
            self.earliest.set(text, micros);
            self.first = index;
        }
    }

    /// Takes those of the next segment.
    pub(super) fn join(&mut self, next: Self) {
        // Within the segment it was seen; here only whether all of it lies before what the others reached.
        let back = self.latest.micros - next.earliest.micros > BACK_US_MAX;
        let more = next.back.or(back.then_some((1, next.first)));
        self.back = match (self.back, more) {
            (Some((count, first)), Some((more, _))) => Some((count + more, first)),
            (before, more) => before.or(more),
        };
        if next.earliest.micros < self.earliest.micros {
            self.earliest = next.earliest;
        }
        if next.latest.micros > self.latest.micros {
            self.latest = next.latest;
        }
    }

    /// From when to when, in microseconds since 1970.
    pub(super) fn range(&self) -> (i64, i64) {
        (self.earliest.micros, self.latest.micros)
    }

    /// The same, as the entries write it.
    pub(super) fn texts(&self) -> [String; 2] {
        [self.earliest.text.clone(), self.latest.text.clone()]
    }

    /// What should be known of them.
    pub(super) fn remark(&self) -> Option<String> {
        let (count, first) = self.back?;
        Some(format!("times go back by more than an hour {count} times, at entry {first} first: the clock was set"))
    }
}
