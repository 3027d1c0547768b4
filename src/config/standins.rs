//! The sections of modules that are not here yet, as far as the configuration needs them.

/// `ledger`
pub mod ledger {
    use std::path::PathBuf;

    use serde::{Deserialize, Serialize};

    use crate::exchange::OnFailure;
    use crate::units::{Period, Size};

    /// When an answer may leave.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Durability {
        /// The entry is queued.
        Queue,
        /// The entry is written.
        #[default]
        Write,
        /// The entry is synced.
        Sync,
    }

    /// The `ledger` section.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        /// Where the ledger lies.
        pub dir: PathBuf,
        /// When an answer may leave.
        pub durability: Durability,
        /// What happens where the ledger cannot take an entry.
        pub on_failure: OnFailure,
        /// The longest time between syncs.
        pub sync_interval: Period,
        /// Bytes of a segment file.
        pub segment_size: Size,
        /// Entries in the queue.
        pub queue_entries: u64,
        /// Bytes in the queue.
        pub queue_bytes: Size,
        /// The largest answer that is held.
        pub hold_limit: Size,
    }

    impl Default for Config {
        fn default() -> Self {
            Self {
                dir: PathBuf::from("./touchmark-data"),
                durability: Durability::default(),
                on_failure: OnFailure::default(),
                sync_interval: Period::secs(1),
                segment_size: Size(64 << 20),
                queue_entries: 65_536,
                queue_bytes: Size(64 << 20),
                hold_limit: Size(64 << 10),
            }
        }
    }

    impl Config {
        /// Everything that is wrong by meaning, as `key: problem`.
        pub fn problems(&self) -> Vec<String> {
            let mut problems = Vec::new();
            if self.sync_interval.limit().is_none() {
                problems.push("ledger.sync_interval: 0s would never sync, take 1s".to_owned());
            }
            problems
        }
    }
}

/// `telemetry`
pub mod telemetry {
    use serde::{Deserialize, Serialize};

    /// The `telemetry` section.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        /// Log lines.
        pub log: LogConfig,
        /// Spans.
        pub traces: TracesConfig,
    }

    /// `telemetry.log`
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct LogConfig {
        /// Format.
        pub format: String,
        /// Level.
        pub level: String,
        /// Which predictions get a line.
        pub predictions: String,
    }

    impl Default for LogConfig {
        fn default() -> Self {
            Self { format: "json".to_owned(), level: "info".to_owned(), predictions: "failed".to_owned() }
        }
    }

    /// `telemetry.traces`
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct TracesConfig {
        /// The collector.
        pub endpoint: Option<String>,
        /// How spans travel.
        pub protocol: String,
        /// Which traces are exported.
        pub sampler: String,
        /// The share that is kept.
        pub ratio: f64,
        /// Whether spans carry the input's hash.
        pub input_hash: bool,
    }

    impl Default for TracesConfig {
        fn default() -> Self {
            Self {
                endpoint: None,
                protocol: "grpc".to_owned(),
                sampler: "parentbased_traceidratio".to_owned(),
                ratio: 0.01,
                input_hash: false,
            }
        }
    }
}

/// `admin`
pub mod admin {
    use std::net::{Ipv4Addr, SocketAddr};

    use serde::{Deserialize, Serialize};

    /// The `admin` section.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        /// The admin listener's address.
        pub listen: SocketAddr,
    }

    impl Default for Config {
        fn default() -> Self {
            Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9091)) }
        }
    }
}

/// `protocol`
pub mod protocol {
    use serde::{Deserialize, Serialize};

    /// `proxy.patterns[]`
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct PatternConfig {
        /// The path's template.
        pub path: String,
    }
}
