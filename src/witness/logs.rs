//! Which logs are known, and by which keys their checkpoints are believed.
//!
//! Compiled from the configuration and swapped whole by a reload. An entry names one log by its origin, or a family of
//! logs below a prefix: whoever runs many copies of a service has one key for all their logs, and new logs with every
//! copy. The `*` of a family stands for one segment, so that a prefix cannot take in more than was meant. A family's
//! logs sign under their own origins as the key's name; a single log's key is named as its verifier key says.

use std::collections::HashMap;

use super::config::{LogConfig, fits_a_line, fits_a_note};
use crate::tlog::{Scheme, VerifierKey};

/// What follows the prefix of a family.
const ANY: &str = "/*";

/// The known logs.
#[derive(Debug, Default)]
pub struct Logs {
    single: HashMap<String, Vec<VerifierKey>>,
    /// With its prefix, which ends in `/`.
    families: Vec<(String, VerifierKey)>,
}

impl Logs {
    /// Reads the configuration's entries.
    ///
    /// # Errors
    /// Everything that is wrong, by key, with the mend.
    pub fn compile(configs: &[LogConfig]) -> Result<Self, Vec<(String, String)>> {
        let (mut logs, mut problems) = (Self::default(), Vec::new());
        for (index, config) in configs.iter().enumerate() {
            if let Err((key, problem)) = logs.add(config) {
                problems.push((format!("witness.logs[{index}].{key}"), problem));
            }
        }
        if problems.is_empty() { Ok(logs) } else { Err(problems) }
    }

    /// Every key that a log of this origin may sign with; none where it is not known.
    pub fn keys(&self, origin: &str) -> Vec<VerifierKey> {
        let mut keys = self.single.get(origin).cloned().unwrap_or_default();
        for (prefix, key) in &self.families {
            let below = origin.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && !rest.contains('/'));
            // An origin that cannot name a key is no log's of ours.
            if let Some(key) = below.then(|| key.renamed(origin).ok()).flatten()
                && !keys.contains(&key)
            {
                keys.push(key);
            }
        }
        keys
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.single.values().map(Vec::len).sum::<usize>() + self.families.len()
    }

    /// Whether no log is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn add(&mut self, config: &LogConfig) -> Result<(), (&'static str, String)> {
        let key: VerifierKey = config.vkey.parse().map_err(|error| ("vkey", format!("{error}")))?;
        if key.scheme() == Scheme::CosignatureV1 {
            return Err(("vkey", format!("is a witness's: take the verifier key of the log {:?}", key.name())));
        }
        let origin = config.origin.as_deref().unwrap_or_else(|| key.name()).to_owned();
        let shown = origin.escape_debug();
        let (is_new, prefix) = match origin.strip_suffix(ANY) {
            Some(prefix) => (!self.families.contains(&(format!("{prefix}/"), key.clone())), prefix),
            None => (!self.keys_of_one(&origin).contains(&key), origin.as_str()),
        };
        if prefix.contains('*') {
            return Err(("origin", format!("'{shown}' has a '*' elsewhere than in '/*' at its end")));
        }
        // A single log's origin need not be a key's name: that of Go's checksum database has spaces.
        if prefix.len() < origin.len() && !fits_a_note(prefix) {
            return Err(("origin", format!("'{shown}' must be 1 to 255 bytes without spaces and '+'")));
        }
        if !fits_a_line(&origin) {
            return Err(("origin", format!("'{shown}' must be 1 to 255 bytes in one line")));
        }
        if !is_new {
            return Err(("vkey", format!("stands twice for '{shown}': keep one")));
        }
        if prefix.len() < origin.len() {
            self.families.push((format!("{prefix}/"), key));
        } else {
            self.single.entry(origin).or_default().push(key);
        }
        Ok(())
    }

    fn keys_of_one(&self, origin: &str) -> &[VerifierKey] {
        self.single.get(origin).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::Signer;

    fn vkey(name: &str, witness: bool) -> String {
        let der = Signer::generate_ed25519().unwrap();
        Signer::from_pkcs8(name, &der, witness).unwrap().verifier().to_string()
    }

    fn log(vkey: &str, origin: Option<&str>) -> LogConfig {
        LogConfig { vkey: vkey.to_owned(), origin: origin.map(str::to_owned) }
    }

    #[test]
    fn a_family_takes_in_one_segment_and_renames_the_key() {
        let (own, family) = (vkey("example.com/log", false), vkey("fraud-prod/0001", false));
        let logs = Logs::compile(&[log(&own, None), log(&family, Some("fraud-prod/*"))]).unwrap();
        assert_eq!(logs.len(), 2);
        assert_eq!(logs.keys("example.com/log")[0].to_string(), own);
        assert_eq!(logs.keys("fraud-prod/0001")[0].to_string(), family);
        let other = &logs.keys("fraud-prod/0002")[0];
        assert_eq!(other.name(), "fraud-prod/0002");
        assert_eq!(other.public_key(), family.parse::<VerifierKey>().unwrap().public_key());
        for unknown in ["fraud-prod/", "fraud-prod", "fraud-prod/a/b", "fraud-prod/a b", "fraud-production/a", ""] {
            assert!(logs.keys(unknown).is_empty(), "{unknown}");
        }
    }

    #[test]
    fn a_log_may_have_several_keys_and_another_name_than_they() {
        let (old, new) = (vkey("old.example", false), vkey("log.example", false));
        let logs = Logs::compile(&[log(&old, Some("log.example")), log(&new, None)]).unwrap();
        let names: Vec<String> = logs.keys("log.example").iter().map(|key| key.name().to_owned()).collect();
        assert_eq!(names, ["old.example", "log.example"]);
    }

    #[test]
    fn what_is_wrong_is_named_all_at_once() {
        let good = vkey("a", false);
        let wrong = [
            log("nonsense", None),
            log(&vkey("w", true), None),
            log(&good, Some("*/a")),
            log(&good, Some("a\nb")),
            log(&good, Some("a b/*")),
            log(&good, Some("/*")),
            log(&good, Some("b/*")),
            log(&good, Some("b/*")),
            log(&good, None),
            log(&good, None),
        ];
        let problems = Logs::compile(&wrong).unwrap_err();
        let text: Vec<String> = problems.iter().map(|(key, problem)| format!("{key}: {problem}")).collect();
        for (at, (key, what)) in [
            ("witness.logs[0].vkey", "NAME+ID+BASE64"),
            ("witness.logs[1].vkey", "is a witness's"),
            ("witness.logs[2].origin", "elsewhere"),
            ("witness.logs[3].origin", "one line"),
            ("witness.logs[4].origin", "without spaces"),
            ("witness.logs[5].origin", "1 to 255"),
            ("witness.logs[7].vkey", "twice"),
            ("witness.logs[9].vkey", "twice"),
        ]
        .into_iter()
        .enumerate()
        {
            assert!(text[at].starts_with(key) && text[at].contains(what), "{:?}", text[at]);
        }
        assert_eq!(text.len(), 8);
    }
}
