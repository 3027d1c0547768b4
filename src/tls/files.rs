//! PEM files, read and judged: what is wrong is said of the key and the file, with what to do about it.

use std::fs;
use std::path::Path;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};

use crate::sha256::Sha256;

/// TLS cannot be set up as configured.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct TlsError {
    /// The configuration's key.
    pub key: String,
    /// What is wrong, and how to mend it.
    pub problem: String,
}

impl TlsError {
    pub(super) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }
}

/// What has been read, and a running hash over it: whether the files have changed since.
pub(super) struct Files<'a> {
    provider: &'a CryptoProvider,
    digest: &'a mut Sha256,
}

impl<'a> Files<'a> {
    pub(super) fn new(provider: &'a CryptoProvider, digest: &'a mut Sha256) -> Self {
        Self { provider, digest }
    }

    /// A certificate's chain and its key, which fit each other and can be used today.
    pub(super) fn identity(
        &mut self,
        section: &str,
        certificate: &Path,
        key: &Path,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = self.certificates(&format!("{section}.certificate"), certificate)?;
        self.judge_dates(&format!("{section}.certificate"), certificate, &chain)?;
        let name = format!("{section}.key");
        let bytes = self.read(&name, key)?;
        let private = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
            let problem = match error {
                pem::Error::NoItemsFound => "holds no private key: it must begin with -----BEGIN PRIVATE KEY-----",
                _ => "is no PEM file, or is damaged",
            };
            TlsError::new(&name, format!("{} {problem}", key.display()))
        })?;
        match CertifiedKey::from_der(chain.clone(), private.clone_key(), self.provider) {
            Ok(_) => Ok((chain, private)),
            Err(rustls::Error::InconsistentKeys(_)) => {
                let problem = format!("{} does not belong to {}", key.display(), certificate.display());
                Err(TlsError::new(name, format!("{problem}: one of the two is another's, or was not renewed yet")))
            }
            Err(error) => Err(TlsError::new(name, format!("{} cannot be used: {error}", key.display()))),
        }
    }

    /// Authorities.
    pub(super) fn authorities(&mut self, name: &str, path: &Path) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(name, path)? {
            roots.add(certificate).map_err(|error| {
                TlsError::new(name, format!("{} holds a certificate that is no authority: {error}", path.display()))
            })?;
        }
        Ok(roots)
    }

    fn certificates(&mut self, name: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let bytes = self.read(name, path)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        match read {
            Ok(chain) if chain.is_empty() => {
                let problem = "holds no certificate: it must begin with -----BEGIN CERTIFICATE-----";
                Err(TlsError::new(name, format!("{} {problem}", path.display())))
            }
            Ok(chain) => Ok(chain),
            Err(_) => Err(TlsError::new(name, format!("{} is no PEM file, or is damaged", path.display()))),
        }
    }

    fn read(&mut self, name: &str, path: &Path) -> Result<Vec<u8>, TlsError> {
        let bytes = fs::read(path)
            .map_err(|error| TlsError::new(name, format!("{} cannot be read: {error}", path.display())))?;
        self.digest.update((bytes.len() as u64).to_le_bytes());
        self.digest.update(&bytes);
        Ok(bytes)
    }

    /// Peers would refuse it, each with an error of its own: better to say so here.
    fn judge_dates(&self, name: &str, path: &Path, chain: &[CertificateDer<'_>]) -> Result<(), TlsError> {
        let wrong = |problem: &str| Err(TlsError::new(name, format!("{} {problem}", path.display())));
        let Some(Ok(leaf)) = chain.first().map(EndEntityCert::try_from) else {
            return wrong("holds something that is no X.509 certificate");
        };
        let algorithms = self.provider.signature_verification_algorithms.all;
        // Without authorities it never verifies; its own dates are looked at first.
        match leaf.verify_for_usage(algorithms, &[], &[], UnixTime::now(), AnyUsage, None, None) {
            Err(webpki::Error::CertExpired { not_after, .. }) => {
                wrong(&format!("expired on {}: renew it", day(not_after)))
            }
            Err(webpki::Error::CertNotValidYet { not_before, .. }) => {
                wrong(&format!("is not valid before {}: is this machine's clock right?", day(not_before)))
            }
            _ => Ok(()),
        }
    }
}

struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

fn day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "an unknown day".to_owned(), |time| time.to_string())
}
