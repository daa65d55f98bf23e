//! What the environment says of the hub, and whether its servers answer.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::client::{self, Failure};
use super::{Hub, OFFICIAL};
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
    /// The server that is asked; without user and password.
    pub endpoint: String,
    /// Whether it answered, and how fast; what is wrong if not. `None` if it was not asked.
    pub answer: Option<Result<Duration, String>>,
}

/// Asks the server of the environment for a sign of life, unless that says offline; waits five
/// seconds at most. Nothing is fetched.
///
/// # Errors
/// An environment that names no folder, or certificates that cannot be read.
pub fn hub_status(cache: &Path) -> Result<HubStatus, Error> {
    let hub = Hub { silence: PATIENCE, ..Hub::from_env(cache, &[])? };
    let endpoint = hub.endpoints.first();
    let token = endpoint.and_then(|endpoint| endpoint.token.as_ref()).is_some();
    let answer = match endpoint {
        Some(endpoint) if !hub.offline => {
            let agent = client::agent(hub.silence)?;
            let begin = Instant::now();
            // With a token it is asked whose that is; what it answers is not kept.
            let path = if token { "api/whoami-v2" } else { "api/models?limit=1" };
            Some(match client::get(&agent, endpoint, path, 0) {
                Err(Failure::Status { code: 401, .. }) if token => {
                    Err("it refuses the token (HF_TOKEN): copy it again, or unset it".to_owned())
                }
                // It answers, if only that it does not know this question: a mirror need not.
                Ok(_) | Err(Failure::Status { code: 400..=499, .. }) => Ok(begin.elapsed()),
                Err(failure) => Err(failure.words()),
            })
        }
        _ => None,
    };
    Ok(HubStatus {
        folder: hub.folder,
        offline: hub.offline,
        token,
        endpoint: client::without_user(endpoint.map_or(OFFICIAL, |endpoint| &endpoint.url)),
        answer,
    })
}
