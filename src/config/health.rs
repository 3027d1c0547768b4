//! What is wrong by meaning in `backends[].health` and `backends[].health_check`.

use super::validate::{Problems, wrong};
use crate::proxy::{BackendConfig, CheckProtocol, HealthCheckConfig, UpstreamProtocol};
use crate::units::Period;

/// The shortest pause between two checks of one backend.
const INTERVAL_MIN: Period = Period::millis(100);

pub(super) fn validate(backend_key: &str, backend: &BackendConfig, report: &mut Problems) {
    let health = &backend.health;
    let key = |name: &str| format!("{backend_key}.health.{name}");
    let ejects = health.failures > 0 || health.failure_percentage > 0;
    if ejects && health.eject.limit().is_none() {
        let problem = "must be more than 0s: set failures and failure_percentage to 0 to switch it off";
        wrong(report, key("eject"), problem);
    }
    if ejects && health.eject_max < health.eject {
        wrong(report, key("eject_max"), format!("must be health.eject, {}, or more", health.eject));
    }
    for (name, share) in
        [("failure_percentage", health.failure_percentage), ("max_ejection_percent", health.max_ejection_percent)]
    {
        if share > 100 {
            wrong(report, key(name), "is a share in percent: write 0 to 100");
        }
    }
    if health.failure_percentage > 0 && health.window.limit().is_none() {
        wrong(report, key("window"), "must be more than 0s: set failure_percentage to 0 to switch it off");
    }
    if health.failure_percentage > 0 && health.minimum_calls == 0 {
        wrong(report, key("minimum_calls"), "must be 1 or more: no call says nothing");
    }
    if let Some(status) = health.statuses.iter().find(|status| !(400..600).contains(*status)) {
        wrong(report, key("statuses"), format!("{status} is no status of a failure: write 400 to 599"));
    }
    if let Some(check) = &backend.health_check {
        self::check(&format!("{backend_key}.health_check"), check, backend, report);
    }
}

fn check(check_key: &str, check: &HealthCheckConfig, backend: &BackendConfig, report: &mut Problems) {
    let key = |name: &str| format!("{check_key}.{name}");
    let protocol = check.protocol;
    match (&check.path, protocol) {
        (None, CheckProtocol::Http) => wrong(report, key("path"), "is missing: http asks for a path, such as /healthz"),
        (Some(path), CheckProtocol::Http) if !is_path(path) => {
            wrong(report, key("path"), format!("'{}' is no path: begin with '/'", path.escape_debug()));
        }
        (Some(_), protocol) if protocol != CheckProtocol::Http => {
            wrong(report, key("path"), "is for protocol http alone: the other ways have their own paths");
        }
        _ => {}
    }
    if check.status.is_some() && protocol != CheckProtocol::Http {
        wrong(report, key("status"), "is for protocol http alone: remove it");
    }
    if check.status.is_some_and(|status| !(200..600).contains(&status)) {
        wrong(report, key("status"), "is no status of an answer: write 200 to 599");
    }
    if check.service.is_some() && protocol != CheckProtocol::Grpc {
        wrong(report, key("service"), "is for protocol grpc alone: remove it");
    }
    if matches!(protocol, CheckProtocol::Grpc | CheckProtocol::OipGrpc) && backend.protocol == UpstreamProtocol::Http1 {
        wrong(report, key("protocol"), "gRPC needs HTTP/2: ask in another way, or set the backend's protocol to auto");
    }
    if protocol == CheckProtocol::TfsRest && backend.models.is_empty() {
        wrong(report, key("protocol"), "tfs-rest asks for models, and none is declared: add models, or ask with tcp");
    }
    if check.interval < INTERVAL_MIN {
        wrong(report, key("interval"), format!("must be {INTERVAL_MIN} or more: remove health_check to ask no more"));
    }
    if check.timeout.limit().is_none() {
        wrong(report, key("timeout"), "must be more than 0s: a server that never answers would never be found out");
    }
    if check.metadata_interval.limit().is_some_and(|pause| pause < check.interval.0) {
        wrong(report, key("metadata_interval"), "must be interval or more, or 0s to ask for no versions");
    }
    for (name, count) in
        [("healthy_threshold", check.healthy_threshold), ("unhealthy_threshold", check.unhealthy_threshold)]
    {
        if count == 0 {
            wrong(report, key(name), "must be 1 or more");
        }
    }
}

/// A path and perhaps a query, as a request's target may have it.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(extra: &serde_json::Value) -> Vec<String> {
        let mut value = json!({"name": "a", "url": "http://h:1"});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let mut report = Problems::new();
        validate("backends[0]", &serde_json::from_value(value).unwrap(), &mut report);
        report.into_iter().map(|(key, _)| key.trim_start_matches("backends[0].").to_owned()).collect()
    }

    #[test]
    fn what_cannot_be_meant_is_named_by_its_key() {
        assert!(problems(&json!({})).is_empty());
        assert!(problems(&json!({"health_check": {}})).is_empty());
        let off = json!({"failures": 0, "failure_percentage": 0, "eject": "0s", "window": "0s", "minimum_calls": 0});
        assert!(problems(&json!({"health": off})).is_empty());
        for (health, key) in [
            (json!({"eject": "0s"}), "eject"),
            (json!({"eject": "10m"}), "eject_max"),
            (json!({"failure_percentage": 101}), "failure_percentage"),
            (json!({"max_ejection_percent": 101}), "max_ejection_percent"),
            (json!({"window": "0s"}), "window"),
            (json!({"minimum_calls": 0}), "minimum_calls"),
            (json!({"statuses": [503, 200]}), "statuses"),
        ] {
            assert_eq!(problems(&json!({"health": health})), [format!("health.{key}")]);
        }
        for (check, key) in [
            (json!({"protocol": "http"}), "path"),
            (json!({"protocol": "http", "path": "health"}), "path"),
            (json!({"protocol": "http", "path": "/a b"}), "path"),
            (json!({"protocol": "http", "path": "/", "status": 100}), "status"),
            (json!({"path": "/health"}), "path"),
            (json!({"status": 200}), "status"),
            (json!({"protocol": "tcp", "service": "x"}), "service"),
            (json!({"protocol": "tfs-rest"}), "protocol"),
            (json!({"interval": "99ms"}), "interval"),
            (json!({"timeout": "0s"}), "timeout"),
            (json!({"metadata_interval": "1s"}), "metadata_interval"),
            (json!({"healthy_threshold": 0}), "healthy_threshold"),
            (json!({"unhealthy_threshold": 0}), "unhealthy_threshold"),
        ] {
            assert_eq!(problems(&json!({"health_check": check})), [format!("health_check.{key}")]);
        }
        let http1 = json!({"protocol": "http1", "health_check": {"protocol": "grpc"}});
        assert_eq!(problems(&http1), ["health_check.protocol"]);
    }
}
