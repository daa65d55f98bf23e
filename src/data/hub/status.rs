//! What the environment says of the hub, and whether its servers answer.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Hub;
use super::client::{self, Endpoint, Failure};
use crate::data::error::Error;

/// The longest that a server is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the environment says of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubStatus {
    /// The folder of its files.
    pub folder: PathBuf,
    /// Whether only that folder may be used.
    pub offline: bool,
    /// Whether there is an access token, in HF_TOKEN or a file.
    pub token: bool,
    /// The servers that are asked, in this order.
    pub servers: Vec<ServerStatus>,
}

/// A server of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// Its address, without user and password.
    pub endpoint: String,
    /// Whether it answered, and how fast; what is wrong if not. `None` if it was not asked.
    pub answer: Option<Result<Duration, String>>,
}

/// Asks the servers of the environment and of a spec (`mirrors`) for a sign of life, unless the
/// environment says offline; waits five seconds at most for each. Nothing is fetched.
///
/// # Errors
/// An environment that names no folder, or certificates that cannot be read.
pub fn hub_status(cache: &Path, mirrors: &[String]) -> Result<HubStatus, Error> {
    let hub = Hub { silence: PATIENCE, ..Hub::from_env(cache, mirrors)? };
    let agent = client::agent(hub.silence)?;
    let servers = hub.endpoints.iter().map(|endpoint| {
        let asked = (!hub.offline).then(|| answer(&agent, endpoint));
        ServerStatus { endpoint: client::without_user(&endpoint.url), answer: asked }
    });
    Ok(HubStatus {
        servers: servers.collect(),
        token: hub.endpoints.iter().any(|endpoint| endpoint.token.is_some()),
        folder: hub.folder,
        offline: hub.offline,
    })
}

fn answer(agent: &ureq::Agent, endpoint: &Endpoint) -> Result<Duration, String> {
    let begin = Instant::now();
    let token = endpoint.token.is_some();
    // With a token it is asked whose that is; what it answers is not kept.
    let path = if token { "api/whoami-v2" } else { "api/models?limit=1" };
    match client::get(agent, endpoint, path, 0) {
        Err(Failure::Status { code: 401, .. }) if token => {
            Err("it refuses the token (HF_TOKEN): copy it again, or unset it".to_owned())
        }
        // It answers, if only that it does not know this question: a mirror need not.
        Ok(_) | Err(Failure::Status { code: 400..=499, .. }) => Ok(begin.elapsed()),
        Err(failure) => Err(failure.words()),
    }
}
