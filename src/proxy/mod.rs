//! The data path.

mod backend_config;
mod config;

pub use backend_config::{BackendConfig, HealthConfig, ModelConfig, ServedAs, UpstreamProtocol};
pub use config::{Config, ForwardedConfig, Http2Config, LimitsConfig, OnMismatch, TimeoutsConfig};
