//! Requests to the hub: addresses, redirects, and what an answer that is no file means.
//!
//! Redirects are followed here and not by the library, for two reasons: the answer that redirects
//! carries the file's hash and commit, and the access token must not go on to the host that it
//! names.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{Response, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::super::error::Error;

/// Redirects that are followed before it is called a loop.
const MAX_REDIRECTS: usize = 8;

/// The longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(15);

/// Stands in the words of the TLS library where it does not trust a server.
const CERTIFICATE: &str = "invalid peer certificate";

/// A server that speaks the hub's protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Base address, without a slash at its end.
    pub(crate) url: String,
    /// The access token, if this server may have it.
    pub(crate) token: Option<String>,
}

/// Why a request gave no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No answer, or one that broke off.
    Network(String),
    /// An answer with this status; what the server says of it.
    Status {
        /// HTTP status.
        code: u16,
        /// The server's own words, if it has some.
        said: Option<String>,
        /// Seconds after which it wants to be asked again.
        retry_after_s: Option<u64>,
    },
    /// An answer that is not what was asked for.
    Wrong(String),
    /// A complete file that is not the one of the revision.
    Mismatch(String),
    /// The caller was asked to stop.
    Stopped,
    /// What was received cannot be stored here.
    Local(String),
}

impl Failure {
    /// Whether asking again may help.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Network(reason) => !reason.contains(CERTIFICATE),
            Self::Status { code, .. } => matches!(code, 408 | 425 | 429 | 500..=599),
            Self::Wrong(_) | Self::Mismatch(_) | Self::Stopped | Self::Local(_) => false,
        }
    }

    /// What happened, without the address.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Network(reason)
            | Self::Wrong(reason)
            | Self::Mismatch(reason)
            | Self::Local(reason) => reason.clone(),
            Self::Status { code, said, .. } => {
                let said = said.as_ref().map_or(String::new(), |said| format!(": {said}"));
                format!("{code} {}{said}", meaning(*code))
            }
            Self::Stopped => "stopped on a signal".to_owned(),
        }
    }

    /// What to do about it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Network(reason) if reason.contains(CERTIFICATE) => {
                "if your network opens its users' connections, set SSL_CERT_FILE to its certificates \
                 (PEM); otherwise check the address and the clock"
            }
            Self::Status { code: 401, .. } => {
                "set HF_TOKEN to a token that may read it, and check the id: the hub says 401 also \
                 of what does not exist"
            }
            Self::Status { code: 403, .. } => {
                "accept the conditions on its page with the account of HF_TOKEN"
            }
            Self::Status { code: 404, .. } => "check the id, the revision and the file",
            Self::Status { code: 429, .. } => {
                "wait a while, or set HF_TOKEN: the limit is higher for those who are known"
            }
            Self::Mismatch(_) => {
                "try again, or another server (HF_ENDPOINT, `endpoints` in [data]): this one does \
                 not hold what the revision says"
            }
            Self::Stopped => "run the same command again to go on",
            Self::Local(_) => "free some space, or set HF_HOME to a folder on another disk",
            _ => {
                "check the network, the proxy and HF_ENDPOINT, or run `xp data SPEC` where there is \
                 a network (xp data export moves the tokens); what was fetched before is used with \
                 HF_HUB_OFFLINE=1"
            }
        }
    }
}

fn meaning(code: u16) -> &'static str {
    match code {
        401 => "(not authorised)",
        403 => "(forbidden)",
        404 => "(not found)",
        408 | 504 => "(timed out)",
        416 => "(range not satisfiable)",
        429 => "(too many requests)",
        500..=599 => "(the server failed)",
        _ => "",
    }
}

/// The answer to a request for a file or a list.
pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    /// Headers that the hub sets on its own answer, also where that is a redirect.
    pub(crate) commit: Option<String>,
    /// Hash of the file's content as the hub has it.
    pub(crate) etag: Option<String>,
    /// Size of the whole file.
    pub(crate) size: Option<u64>,
}

/// An agent with the machine's proxies and certificates.
///
/// # Errors
/// Certificates named by `SSL_CERT_FILE` that cannot be read.
pub(crate) fn agent(silence: Duration) -> Result<Agent, Error> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(silence))
        .timeout_per_read(Some(silence))
        .user_agent(concat!("xp/", env!("CARGO_PKG_VERSION")))
        // A file is asked for as it is: its size and hash are those of the stored bytes.
        .accept_encoding("identity");
    let config = match certificates()? {
        Some(roots) => config.tls_config(TlsConfig::builder().root_certs(roots).build()),
        None => config,
    };
    Ok(config.build().into())
}

/// The certificates of a network that opens its users' connections, as other tools take them.
fn certificates() -> Result<Option<RootCerts>, Error> {
    let named = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"]
        .into_iter()
        .find_map(|name| Some((name, std::env::var_os(name).filter(|path| !path.is_empty())?)));
    let Some((name, path)) = named else { return Ok(None) };
    let wrong = |reason: String| Error::Environment {
        what: format!("{name} names `{}`: {reason}", Path::new(&path).display()),
        remedy: "name a file of certificates in PEM form, or unset it".to_owned(),
    };
    let bytes = std::fs::read(&path).map_err(|e| wrong(e.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| wrong(e.to_string()))? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(wrong("it holds no certificate".to_owned()));
    }
    Ok(Some(RootCerts::Specific(Arc::new(found))))
}

/// Asks for `path` of an endpoint from byte `from` on, following redirects; the token stays with
/// the host that it is for.
pub(crate) fn get(
    agent: &Agent,
    endpoint: &Endpoint,
    path: &str,
    from: u64,
) -> Result<Answer, Failure> {
    let mut url = format!("{}/{path}", endpoint.url);
    let first = parse(&url)?;
    let (mut commit, mut etag, mut size) = (None, None, None);
    for _ in 0..=MAX_REDIRECTS {
        let here = parse(&url)?;
        let mut request = agent.get(&url);
        if let Some(token) = endpoint.token.as_deref().filter(|_| same_host(&first, &here)) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let response = request.call().map_err(|error| {
            let words = error.to_string();
            let words = words.strip_prefix("io: ").unwrap_or(&words);
            // Where it went may be another host than the one that was asked, which is named anyway; a
            // signed address has its signature in the query.
            if same_host(&first, &here) {
                return Failure::Network(words.to_owned());
            }
            let place = without_user(url.split(['?', '#']).next().unwrap_or(&url));
            Failure::Network(format!("{place}: {words}"))
        })?;
        let header = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let status = response.status().as_u16();
        let moved = matches!(status, 301 | 302 | 303 | 307 | 308);
        // The hub's own host tells what the file is; where it lies, another host may say otherwise.
        if same_host(&first, &here) {
            commit = header("x-repo-commit").or(commit);
            size = header("x-linked-size").and_then(|text| text.parse().ok()).or(size);
            let own = if moved { None } else { header("etag") };
            etag = header("x-linked-etag").or(etag).or(own);
        }
        if moved {
            let location = header("location").ok_or_else(|| {
                let url = without_user(&url);
                Failure::Wrong(format!("{url} answers {status} without saying where to go"))
            })?;
            url = resolve(&here, &location)?;
            continue;
        }
        return match status {
            200 | 206 => {
                let size = size.or_else(|| full_size(&response));
                Ok(Answer { response, commit, etag, size })
            }
            code => {
                let said = header("x-error-message").map(|text| brief(&text));
                let retry_after_s = header("retry-after").and_then(|text| text.parse().ok());
                Err(Failure::Status { code, said, retry_after_s })
            }
        };
    }
    let url = without_user(&url);
    Err(Failure::Wrong(format!("{url}: redirected more than {MAX_REDIRECTS} times")))
}

/// Size of the whole file by `Content-Range` or `Content-Length`.
fn full_size(response: &Response<Body>) -> Option<u64> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    if response.status().as_u16() == 206 {
        return header("content-range")?.rsplit_once('/')?.1.parse().ok();
    }
    header("content-length")?.parse().ok()
}

fn parse(url: &str) -> Result<Uri, Failure> {
    let uri: Option<Uri> = url.parse().ok();
    uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
        .ok_or_else(|| Failure::Wrong(format!("`{}` is not a web address", brief(url))))
}

fn same_host(a: &Uri, b: &Uri) -> bool {
    a.scheme_str() == b.scheme_str() && a.authority() == b.authority()
}

/// Where a redirect leads.
fn resolve(from: &Uri, location: &str) -> Result<String, Failure> {
    let target = if location.starts_with("//") {
        format!("{}:{location}", from.scheme_str().unwrap_or("https"))
    } else if location.starts_with('/') {
        let authority = from.authority().map_or("", |authority| authority.as_str());
        format!("{}://{authority}{location}", from.scheme_str().unwrap_or("https"))
    } else {
        location.to_owned()
    };
    let uri = parse(&target)?;
    if from.scheme_str() == Some("https") && uri.scheme_str() == Some("http") {
        return Err(Failure::Wrong(format!(
            "{from} redirects to {target}, which is not encrypted"
        )));
    }
    Ok(target)
}

/// An address without the user and password that it may hold.
pub fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

/// At most one line of a text that a server sent.
pub(crate) fn brief(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved_and_do_not_leave_encryption() {
        let from = parse("https://hub.test:8443/a/b").unwrap();
        assert_eq!(resolve(&from, "/c?d=1").unwrap(), "https://hub.test:8443/c?d=1");
        assert_eq!(resolve(&from, "https://cdn.test/x").unwrap(), "https://cdn.test/x");
        assert_eq!(resolve(&from, "//cdn.test/x").unwrap(), "https://cdn.test/x");
        for wrong in ["http://cdn.test/x", "ftp://x/y", "x/y", ""] {
            assert!(matches!(resolve(&from, wrong), Err(Failure::Wrong(_))), "{wrong}");
        }
    }

    #[test]
    fn a_host_is_scheme_name_and_port() {
        let uri = |text| parse(text).unwrap();
        assert!(same_host(&uri("https://a/x"), &uri("https://a/y")));
        for other in ["http://a/x", "https://b/x", "https://a:444/x", "https://sub.a/x"] {
            assert!(!same_host(&uri("https://a/x"), &uri(other)), "{other}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_not_shown() {
        assert_eq!(without_user("https://me:secret@hub.example/x@y"), "https://hub.example/x@y");
        assert_eq!(without_user("https://hub.example"), "https://hub.example");
        assert_eq!(without_user("/a/folder"), "/a/folder");
    }

    #[test]
    fn what_a_server_says_is_one_clean_line() {
        assert_eq!(brief("a\u{1b}[31mb\nc"), "a[31mb");
        assert_eq!(brief(&"x".repeat(999)).len(), 200);
    }
}
