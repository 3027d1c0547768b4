//! `proxy.tls`, `admin.tls` and `backends[].tls`: files and names. Whether the files hold what they should shows when they are read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `proxy.tls` and `admin.tls`: TLS for a listener. Without it clients are met in the clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TlsConfig {
    /// PEM file with our certificate: the leaf first, then what leads to its authority.
    pub certificate: PathBuf,
    /// PEM file with its private key, in PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
    /// PEM file with authorities. With it every client must show a certificate that one of them signed.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Who may call, by subject alternative name: DNS names, or URIs such as `spiffe://cluster.local/ns/a/sa/b`. A
    /// client's certificate must have one of them. Empty lets in everybody whom `client_ca` vouches for.
    #[serde(default)]
    pub client_names: Vec<String>,
}

/// `backends[].tls`: TLS to a model server whose URL begins with `https://`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BackendTlsConfig {
    /// PEM file with authorities, one of which must have signed the server's certificate. Default: the system's.
    pub ca: Option<PathBuf>,
    /// The name that the server's certificate must have, and that it is asked for (SNI). Default: the URL's host.
    pub server_name: Option<String>,
    /// Subject alternative names, DNS names or URIs, of which the server's certificate must have one. They take the
    /// place of its name, as in a mesh whose certificates name workloads and not hosts. Empty: the name counts.
    pub server_names: Vec<String>,
    /// PEM file with the certificate that we show to a server that asks for one.
    pub certificate: Option<PathBuf>,
    /// PEM file with its private key.
    pub key: Option<PathBuf>,
}

impl TlsConfig {
    /// Every file that is read.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten()
    }
}

impl BackendTlsConfig {
    /// Every file that is read.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.ca, &self.certificate, &self.key].into_iter().flatten()
    }
}
