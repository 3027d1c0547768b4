//! Deliveries of a real server, and what others might send in their place.

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

/// Of `tests/real/mlflow_registry.py`.
const SECRET: &[u8] = b"whsec-of-a-test-alone";
const RECORDED: &str = include_str!("../fixtures/deliveries.json");

#[derive(Clone, Deserialize)]
struct Delivery {
    headers: std::collections::BTreeMap<String, String>,
    body: String,
}

impl Delivery {
    fn verify(&self, secret: &[u8], late: i64) -> Result<Event, WebhookError> {
        let signed: i64 = self.headers[TIMESTAMP].parse().unwrap_or_default();
        let now = UNIX_EPOCH + Duration::from_secs(u64::try_from(signed + late).unwrap());
        verify(secret, &self.heads(), self.body.as_bytes(), now)
    }

    fn heads(&self) -> HeaderMap {
        let headers = self.headers.iter();
        headers
            .map(|(name, value)| (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap()))
            .collect()
    }

    fn with(mut self, header: &str, value: &str) -> Self {
        self.headers.insert(header.to_owned(), value.to_owned());
        self
    }
}

fn recorded() -> Vec<Delivery> {
    serde_json::from_str(RECORDED).unwrap()
}

#[test]
fn what_a_real_server_delivers_is_believed() {
    let said: Vec<_> = recorded().iter().map(|delivery| delivery.verify(SECRET, 1).unwrap()).collect();
    let told = |entity: &str, action: &str| {
        said.iter()
            .any(|event| event.entity == entity && event.action == action && event.model.as_deref() == Some("fraud"))
    };
    assert!(told("model_version_alias", "created") && told("model_version_alias", "deleted"), "{said:?}");
    assert!(told("model_version_tag", "deleted"), "{said:?}");
}

#[test]
fn what_was_changed_or_signed_by_others_is_not() {
    let genuine = recorded().remove(0);
    let refused = |delivery: &Delivery| delivery.verify(SECRET, 0).unwrap_err();
    assert_eq!(genuine.verify(b"another-secret!!", 0), Err(WebhookError::Signature));
    let mut body = genuine.clone();
    body.body = body.body.replace("champion", "champions");
    assert_eq!(refused(&body), WebhookError::Signature);
    assert_eq!(refused(&genuine.clone().with(DELIVERY, "another")), WebhookError::Signature);
    assert_eq!(refused(&genuine.clone().with(TIMESTAMP, "1795274100")), WebhookError::Signature);
    assert_eq!(refused(&genuine.clone().with(SIGNATURE, "v1,AAAA")), WebhookError::Signature);
    for wrong in ["", "v1,", "v1,not base64", "v2,AAAA"] {
        let found = refused(&genuine.clone().with(SIGNATURE, wrong));
        assert!(matches!(found, WebhookError::Header(SIGNATURE) | WebhookError::Signature), "{wrong}: {found:?}");
    }
    for header in [SIGNATURE, TIMESTAMP, DELIVERY] {
        let mut without = genuine.clone();
        without.headers.remove(header);
        let found = verify(SECRET, &without.heads(), without.body.as_bytes(), SystemTime::now());
        assert_eq!(found, Err(WebhookError::Header(header)));
    }
}

#[test]
fn a_delivery_wakes_who_waits() {
    let file = std::env::temp_dir().join(format!("touchmark-webhook-{}", std::process::id()));
    let load = |secret: &str| {
        std::fs::write(&file, secret).unwrap();
        let loaded = Receiver::load(Some(&file));
        std::fs::remove_file(&file).unwrap();
        loaded
    };
    assert!(load("short").unwrap_err().to_string().contains("openssl rand"));
    let receiver = load("whsec-of-a-test-alone\n").unwrap();
    assert!(!format!("{receiver:?}").contains("whsec"));
    let waits = || {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(receiver.news()).poll(&mut context).is_pending()
    };
    assert!(waits());
    let genuine = recorded().remove(0);
    let at = UNIX_EPOCH + Duration::from_secs(genuine.headers[TIMESTAMP].parse().unwrap());
    let forged = receiver.take(&genuine.with(DELIVERY, "another").heads(), b"{}", at);
    assert!(forged.is_err() && waits());
    let genuine = recorded().remove(0);
    receiver.take(&genuine.heads(), genuine.body.as_bytes(), at).unwrap();
    assert!(!waits());
    let off = Receiver::load(None).unwrap().take(&HeaderMap::new(), b"", at).unwrap_err();
    assert_eq!((off, off.status()), (WebhookError::Off, StatusCode::NOT_FOUND));
}

#[test]
fn an_old_delivery_is_not_sent_again() {
    let genuine = recorded().remove(0);
    assert!(genuine.verify(SECRET, 299).is_ok() && genuine.verify(SECRET, -299).is_ok());
    assert_eq!(genuine.verify(SECRET, 301), Err(WebhookError::Time));
    assert_eq!(genuine.verify(SECRET, -301), Err(WebhookError::Time));
}

/// Signs as MLflow does.
fn signed(body: &[u8]) -> Result<Event, WebhookError> {
    let mut message = b"d.1700000000.".to_vec();
    message.extend_from_slice(body);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), &message);
    let signature = format!("v1,{}", BASE64.encode(tag.as_ref()));
    let headers = [(SIGNATURE, signature.as_str()), (TIMESTAMP, "1700000000"), (DELIVERY, "d")];
    let headers = headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(value).unwrap()));
    verify(SECRET, &HeaderMap::from_iter(headers), body, UNIX_EPOCH + Duration::from_secs(1_700_000_000))
}

#[test]
fn what_is_signed_and_not_of_the_registry_names_no_model() {
    let event = |body: &str| signed(body.as_bytes()).unwrap();
    assert_eq!(event(r#"{"entity":"prompt","action":"created","data":{"name":"fraud"}}"#).model, None);
    assert_eq!(
        event(r#"{"entity":"registered_model","action":"created","data":{"name":"a"},"new":1}"#).model.unwrap(),
        "a"
    );
    assert_eq!(event(r#"{"entity":"model_version","action":"created"}"#).model, None);
    assert_eq!(signed(b"[]"), Err(WebhookError::Body));
    assert_eq!(signed(&vec![b' '; BODY_BYTES_MAX + 1]), Err(WebhookError::TooLarge));
}

proptest! {
    #[test]
    fn nothing_forged_is_believed(tag in any::<[u8; 32]>(), body in "\\PC{0,64}") {
        let forged = Delivery { body, ..recorded().remove(0) }.with(SIGNATURE, &format!("v1,{}", BASE64.encode(tag)));
        prop_assert_eq!(forged.verify(SECRET, 0), Err(WebhookError::Signature));
    }
}
