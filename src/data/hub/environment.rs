//! Which servers, which folder, which token: as the environment has it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::client::Endpoint;
use super::{Hub, OFFICIAL};
use crate::data::error::Error;

impl Hub {
    /// From `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`,
    /// `HF_HUB_OFFLINE`, `HF_HUB_DOWNLOAD_TIMEOUT` and `XP_HUB_RETRY_S`; `mirrors` are asked
    /// after `HF_ENDPOINT`, and instead of the hub itself.
    ///
    /// The token goes to the hub and to `HF_ENDPOINT`, which the user has chosen; never to a
    /// server that a spec names.
    pub(crate) fn from_env(cache: &Path, mirrors: &[String]) -> Result<Self, Error> {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = match var("HF_HOME") {
            Some(home) => PathBuf::from(home),
            None => match var("XDG_CACHE_HOME") {
                Some(caches) => Path::new(&caches).join("huggingface"),
                None => etcetera::home_dir()
                    .map_err(|_| Error::Environment {
                        what: "no home folder, so no hub cache folder".to_owned(),
                        remedy: "set HF_HOME".to_owned(),
                    })?
                    .join(".cache/huggingface"),
            },
        };
        let folder = var("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from);
        let truth = |name: &str| {
            var(name)
                .is_some_and(|v| matches!(v.to_lowercase().as_str(), "1" | "true" | "yes" | "on"))
        };
        let token = var("HF_TOKEN").or_else(|| {
            let path = var("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
            let text = std::fs::read_to_string(path).ok()?;
            Some(text.trim().to_owned()).filter(|token| !token.is_empty())
        });
        // One that is no header would fail later, with the token in the message.
        if token.as_ref().is_some_and(|t| !t.bytes().all(|b| (33..127).contains(&b))) {
            return Err(Error::Environment {
                what: "the hub token (HF_TOKEN) has characters that no token has".to_owned(),
                remedy: "copy it again".to_owned(),
            });
        }
        let seconds = |name: &str, default: u64| {
            Duration::from_secs(var(name).and_then(|text| text.parse().ok()).unwrap_or(default))
        };
        let own = var("HF_ENDPOINT");
        let mut endpoints: Vec<Endpoint> = Vec::new();
        let mut add = |url: &str, trusted: bool| {
            let url = url.trim_end_matches('/').to_owned();
            let token = token.clone().filter(|_| trusted || url == OFFICIAL);
            if endpoints.iter().all(|endpoint| endpoint.url != url) {
                endpoints.push(Endpoint { url, token });
            }
        };
        own.iter().for_each(|url| add(url, true));
        mirrors.iter().for_each(|url| add(url, false));
        if endpoints.is_empty() {
            endpoints.push(Endpoint { url: OFFICIAL.to_owned(), token });
        }
        Ok(Self {
            folder,
            listings: cache.join("hub"),
            endpoints,
            offline: truth("HF_HUB_OFFLINE"),
            patience: seconds("XP_HUB_RETRY_S", 60),
            silence: seconds("HF_HUB_DOWNLOAD_TIMEOUT", 30).max(Duration::from_secs(1)),
        })
    }
}
