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
        pub queue_entries: usize,
        /// Bytes in the queue.
        pub queue_bytes: Size,
        /// The largest answer that is held.
        pub hold_limit: Size,
    }

    impl Default for Config {
        fn default() -> Self {
            Self {
                dir: PathBuf::from("touchmark-data"),
                durability: Durability::default(),
                on_failure: OnFailure::default(),
                sync_interval: Period::secs(1),
                segment_size: Size(64 << 20),
                queue_entries: 8192,
                queue_bytes: Size(64 << 20),
                hold_limit: Size(64 << 10),
            }
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
    }

    /// `telemetry.log`
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct LogConfig {
        /// Filter.
        pub level: String,
    }

    impl Default for LogConfig {
        fn default() -> Self {
            Self { level: "info".to_owned() }
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
