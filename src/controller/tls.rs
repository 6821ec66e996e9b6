//! Which certificates are trusted: the system's, and the authority that `--ca-file` names.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore};

use super::error::SetupError;
use crate::files::{self, FileError};
use crate::shortage::Shortage;

/// The most that is read of a file with authorities, in bytes; the bundle of a system has a quarter of a million.
const LONGEST: usize = 16 * 1024 * 1024;

/// The TLS side of every connection.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) config: ClientConfig,
    /// Whether there is any certificate to trust. A system without one is no error before a handshake needs it.
    pub(crate) knows_authorities: bool,
}

/// The TLS side of every connection, which trusts the authority in this file besides those of the system.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<Tls, SetupError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system_certificates());
    if let Some(path) = ca_file {
        let refuse = |why: String| SetupError::CaFile { path: path.to_owned(), why };
        let text = files::read(path, LONGEST).map_err(|error| match error {
            FileError::System(error) if Shortage::of_error(&error).is_some() => SetupError::Shortage(error),
            error => refuse(error.to_string()),
        })?;
        let mut added = 0_u32;
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
            roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
            added += 1;
        }
        if added == 0 {
            return Err(refuse("there is no certificate in it".to_owned()));
        }
    }
    let knows_authorities = !roots.is_empty();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::Client(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { config, knows_authorities })
}

/// Where distributions keep all authorities in one file.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// The authorities that the system trusts. The bundle alone where there is one: the directory beside it holds the same
/// once more, a file each, and reading those took longer than everything else before the agent's start together.
fn system_certificates() -> Vec<CertificateDer<'static>> {
    let chosen = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some());
    let bundle = BUNDLES.iter().map(Path::new).find(|path| path.exists()).filter(|_| !chosen);
    let found = match bundle {
        Some(bundle) => rustls_native_certs::load_certs_from_paths(Some(bundle), None),
        None => rustls_native_certs::load_native_certs(),
    };
    found.certs
}

/// What is wrong with a handshake, and the cure.
pub(crate) fn explain(error: &rustls::Error, knows_authorities: bool) -> String {
    if matches!(error, rustls::Error::InvalidMessage(_)) {
        return "what answers there speaks no TLS; the URL may have to begin with http://, or name another port"
            .to_owned();
    }
    let rustls::Error::InvalidCertificate(problem) = error else { return error.to_string() };
    // The problems that only a few certificates have are described well enough by the library.
    if is_unknown_issuer(problem) && !knows_authorities {
        return format!(
            "there is no certificate of any authority here, as in an image made FROM scratch; bring a bundle to {} (a \
             volume, or COPY from an image that has one), or name it with SSL_CERT_FILE or --ca-file",
            BUNDLES[0]
        );
    }
    if is_unknown_issuer(problem) {
        return "its certificate comes from an authority that this machine does not know; name the authority's \
                certificate with --ca-file, or install it in the system"
            .to_owned();
    }
    let text = problem.to_string();
    if is_wrong_name(problem) {
        return format!("its certificate is made for another name; use that name in the URL ({text})");
    }
    if is_out_of_date(problem) {
        return format!("its certificate is not valid today; renew it, or correct this machine's clock ({text})");
    }
    // The library names this one only by its variant.
    if text.contains("CaUsedAsEndEntity") {
        return "its certificate is that of an authority (CA:TRUE, as `openssl req -x509` makes it), which no server may \
                show; make the server one with CA:FALSE"
            .to_owned();
    }
    format!("its certificate cannot be trusted: {text}")
}

fn is_unknown_issuer(problem: &CertificateError) -> bool {
    matches!(problem, CertificateError::UnknownIssuer)
}

fn is_wrong_name(problem: &CertificateError) -> bool {
    matches!(problem, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
}

fn is_out_of_date(problem: &CertificateError) -> bool {
    matches!(
        problem,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(client_config(None).is_ok());
        assert!(matches!(client_config(Some(file.path())), Err(SetupError::CaFile { .. })));
        assert!(matches!(client_config(Some(Path::new("/nonexistent"))), Err(SetupError::CaFile { .. })));
        std::fs::write(file.path(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(matches!(client_config(Some(file.path())), Err(SetupError::CaFile { .. })));
    }

    #[test]
    fn every_explanation_has_a_cure() {
        let invalid = rustls::Error::InvalidCertificate;
        let explain = |error| explain(&invalid(error), true);
        assert!(explain(CertificateError::UnknownIssuer).contains("this machine does not know"));
        assert!(explain(CertificateError::UnknownIssuer).contains("--ca-file"));
        assert!(explain(CertificateError::NotValidForName).contains("name in the URL"));
        assert!(explain(CertificateError::Expired).contains("clock"));
    }

    #[test]
    fn without_any_authority_that_is_the_explanation() {
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let why = explain(&unknown, false);
        assert!(why.contains("SSL_CERT_FILE") && why.contains("/etc/ssl/certs/ca-certificates.crt"), "{why}");
    }
}
