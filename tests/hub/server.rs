//! A hub on this machine: the parts of the real one's protocol that a download needs, and its
//! failures. Large files are redirected to a second server, as the real one does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha1::Digest as _;

/// What a server answers instead of the file.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// A status, with headers.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection ends after so many bytes of the body.
    Truncate(usize),
    /// Content-Length says so much more than comes, or less.
    WrongLength(i64),
    /// A web page, with status 200.
    Page,
    /// The connection is closed without an answer.
    Close,
    /// One bit of the body is another.
    Flip,
    /// Nothing comes any more after so many bytes, but the connection stays.
    Stall(usize),
    /// The whole file is sent, whatever range was asked for.
    NoRange,
    /// A redirect to itself.
    Loop,
    /// Headers are other ones.
    Header(&'static str, String),
}

/// A fault for the requests whose line holds a text, so many times.
#[derive(Debug, Clone)]
struct Trap {
    on: String,
    left: usize,
    fault: Fault,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `hub` or `cdn`.
    pub(crate) host: &'static str,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    /// First byte asked for.
    pub(crate) from: Option<usize>,
}

#[derive(Default)]
struct Repo {
    commit: String,
    files: BTreeMap<String, Vec<u8>>,
    /// The token that opens it.
    gate: Option<String>,
}

#[derive(Default)]
struct State {
    repos: BTreeMap<String, Repo>,
    traps: Vec<Trap>,
    log: Vec<Request>,
    /// Whether listings have sizes and hashes (`?blobs=true`).
    listings_have_hashes: bool,
    cdn: String,
}

/// The two servers. They run until the process ends.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

/// A file above this size is a large one, stored elsewhere.
const LARGE: usize = 1000;

impl Server {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State { listings_have_hashes: true, ..State::default() }));
        let listen = |host: &'static str| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let state = Arc::clone(&state);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = Arc::clone(&state);
                    // A client that goes away is a part of the tests.
                    std::thread::spawn(move || serve(host, &stream, &state).ok());
                }
            });
            port
        };
        let url = format!("http://127.0.0.1:{}", listen("hub"));
        // Another name of the same machine: another host to a client.
        let cdn = format!("http://localhost:{}", listen("cdn"));
        state.lock().unwrap().cdn = cdn;
        Self { url, state }
    }

    /// Puts a file into a repository (`datasets/a/b`, `models/a/b`), at the newest commit.
    pub(crate) fn put(&self, repo: &str, name: &str, content: impl Into<Vec<u8>>) {
        let mut state = self.state.lock().unwrap();
        let repo = state.repos.entry(repo.to_owned()).or_default();
        repo.files.insert(name.to_owned(), content.into());
        let mut sha1 = sha1::Sha1::new();
        for (name, content) in &repo.files {
            sha1.update(name);
            sha1.update(content);
        }
        repo.commit = hex(&sha1.finalize());
    }

    pub(crate) fn commit(&self, repo: &str) -> String {
        self.state.lock().unwrap().repos[repo].commit.clone()
    }

    /// Only this token opens the repository.
    pub(crate) fn gate(&self, repo: &str, token: &str) {
        self.state.lock().unwrap().repos.get_mut(repo).unwrap().gate = Some(token.to_owned());
    }

    /// Fails the next `times` requests whose path holds `on` on one of the two hosts (`hub /...`).
    pub(crate) fn fail(&self, on: &str, times: usize, fault: Fault) {
        let trap = Trap { on: on.to_owned(), left: times, fault };
        self.state.lock().unwrap().traps.push(trap);
    }

    pub(crate) fn listings_without_hashes(&self) {
        self.state.lock().unwrap().listings_have_hashes = false;
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().log.clone()
    }

    pub(crate) fn forget_requests(&self) {
        self.state.lock().unwrap().log.clear();
    }

    /// The files that were asked for, by name.
    pub(crate) fn fetched(&self) -> Vec<String> {
        let hub = self.requests().into_iter().filter(|request| request.host == "hub");
        hub.filter_map(|request| {
            Some(request.path.split_once("/resolve/")?.1.split_once('/')?.1.to_owned())
        })
        .collect()
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

pub(crate) fn sha256(content: &[u8]) -> String {
    hex(&sha2::Sha256::digest(content))
}

pub(crate) fn md5(content: &[u8]) -> String {
    hex(&md5::Md5::digest(content))
}

pub(crate) fn git_hash(content: &[u8]) -> String {
    let mut sha1 = sha1::Sha1::new();
    sha1.update(format!("blob {}\0", content.len()));
    sha1.update(content);
    hex(&sha1.finalize())
}

fn serve(host: &'static str, stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut request = Request { host, path, token: None, from: None };
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim();
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(": ").unwrap_or((header, ""));
            match name.to_lowercase().as_str() {
                "authorization" => {
                    request.token = value.strip_prefix("Bearer ").map(str::to_owned);
                }
                "range" => {
                    let from = value.strip_prefix("bytes=").and_then(|r| r.split('-').next());
                    request.from = from.and_then(|from| from.parse().ok());
                }
                _ => {}
            }
        }
        let (answer, fault) = {
            let mut state = state.lock().unwrap();
            state.log.push(request.clone());
            let key = format!("{host} {}", request.path);
            let trap = state.traps.iter_mut().find(|trap| trap.left > 0 && key.contains(&trap.on));
            let fault = trap.map(|trap| {
                trap.left -= 1;
                trap.fault.clone()
            });
            let asked = match fault {
                Some(Fault::NoRange) => Request { from: None, ..request.clone() },
                _ => request.clone(),
            };
            (answer(&state, &asked), fault)
        };
        if !send(stream, answer, fault, &request)? {
            return Ok(());
        }
    }
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

fn answer(state: &State, request: &Request) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default().trim_start_matches('/');
    let missing = |code: &str, message: &str| {
        Answer::new(404, message).with("x-error-code", code).with("x-error-message", message)
    };
    if request.host == "cdn" {
        let content = state.repos.values().flat_map(|repo| repo.files.values());
        let file = content.into_iter().find(|content| path == format!("blobs/{}", sha256(content)));
        let Some(file) = file else { return missing("", "no such blob") };
        // As large stores do it: an entity tag of its own, which is no hash of the file.
        return ranged(file, request.from).with("etag", "\"multipart-3\"");
    }
    let closed = |repo: &Repo| {
        repo.gate.as_ref().filter(|gate| request.token.as_ref() != Some(gate))?;
        let status = if request.token.is_some() { 403 } else { 401 };
        let message = "Access to this repository is restricted";
        Some(Answer::new(status, message).with("x-error-message", message))
    };
    if let Some(rest) = path.strip_prefix("api/") {
        let Some((id, revision)) = rest.split_once("/revision/") else {
            return missing("", "unknown path");
        };
        let Some(repo) = state.repos.get(id) else {
            return missing("RepoNotFound", "Repository not found");
        };
        if let Some(closed) = closed(repo) {
            return closed;
        }
        if revision != "main" && revision != repo.commit {
            return missing("RevisionNotFound", "Invalid rev id");
        }
        let siblings = repo.files.iter().map(|(name, content)| {
            if !state.listings_have_hashes {
                return serde_json::json!({ "rfilename": name });
            }
            let mut file = serde_json::json!({
                "rfilename": name, "size": content.len(), "blobId": git_hash(content),
            });
            if content.len() > LARGE {
                file["lfs"] = serde_json::json!({
                    "sha256": sha256(content), "size": content.len(), "pointerSize": 130,
                });
            }
            file
        });
        let siblings: Vec<_> = siblings.collect();
        let body = serde_json::json!({ "id": id, "sha": repo.commit, "siblings": siblings });
        return Answer::new(200, body.to_string()).with("content-type", "application/json");
    }
    let Some((repo_path, rest)) = path.split_once("/resolve/") else {
        return missing("", "unknown path");
    };
    let id = match repo_path.strip_prefix("datasets/") {
        Some(_) => repo_path.to_owned(),
        None => format!("models/{repo_path}"),
    };
    let Some(repo) = state.repos.get(&id) else {
        return missing("RepoNotFound", "Repository not found");
    };
    if let Some(closed) = closed(repo) {
        return closed;
    }
    let (revision, name) = rest.split_once('/').unwrap_or((rest, ""));
    if revision != "main" && revision != repo.commit {
        return missing("RevisionNotFound", "Invalid rev id");
    }
    let Some(content) = repo.files.get(name) else {
        return missing("EntryNotFound", "Entry not found");
    };
    if content.len() > LARGE {
        let sha256 = sha256(content);
        return Answer::new(302, "")
            .with("location", format!("{}/blobs/{sha256}?signature=secret", state.cdn))
            .with("x-linked-etag", format!("\"{sha256}\""))
            .with("x-linked-size", content.len().to_string())
            .with("x-repo-commit", &repo.commit);
    }
    ranged(content, request.from)
        .with("etag", format!("\"{}\"", git_hash(content)))
        .with("x-repo-commit", &repo.commit)
}

fn ranged(content: &[u8], from: Option<usize>) -> Answer {
    match from {
        Some(from) if from >= content.len() => {
            Answer::new(416, "").with("content-range", format!("bytes */{}", content.len()))
        }
        Some(from) => Answer::new(206, &content[from..])
            .with("content-range", format!("bytes {from}-{}/{}", content.len() - 1, content.len())),
        None => Answer::new(200, content),
    }
}

/// Sends an answer, spoilt by the fault; false if the connection is to be closed.
fn send(
    mut stream: &TcpStream,
    mut answer: Answer,
    fault: Option<Fault>,
    request: &Request,
) -> std::io::Result<bool> {
    let mut length = answer.body.len() as i64;
    let mut cut = None;
    let mut stall = false;
    match fault {
        None | Some(Fault::NoRange) => {}
        Some(Fault::Status(status, headers)) => {
            answer = Answer::new(status, "it failed");
            for (name, value) in headers {
                answer = answer.with(name, value);
            }
            length = answer.body.len() as i64;
        }
        Some(Fault::Truncate(n)) => cut = Some(n),
        Some(Fault::Stall(n)) => {
            cut = Some(n);
            stall = true;
        }
        Some(Fault::WrongLength(more)) => length += more,
        Some(Fault::Page) => {
            answer = Answer::new(200, "<!DOCTYPE html><html><body>Please log in</body></html>")
                .with("content-type", "text/html; charset=utf-8");
            length = answer.body.len() as i64;
        }
        Some(Fault::Close) => return Ok(false),
        Some(Fault::Flip) => {
            if let Some(byte) = answer.body.last_mut() {
                *byte ^= 1;
            }
        }
        Some(Fault::Loop) => {
            answer = Answer::new(302, "").with("location", request.path.clone());
            length = 0;
        }
        Some(Fault::Header(name, value)) => {
            answer.headers.retain(|(n, _)| n != name);
            answer = answer.with(name, value);
        }
    }
    let mut head = format!("HTTP/1.1 {} Status\r\ncontent-length: {length}\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    if let Some(n) = cut {
        stream.write_all(&answer.body[..n.min(answer.body.len())])?;
        stream.flush()?;
        if stall {
            // Until the client has had enough.
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            let _ = stream.read(&mut [0]);
        }
        return Ok(false);
    }
    stream.write_all(&answer.body)?;
    Ok(length == answer.body.len() as i64)
}

/// A proxy on this machine that lets everything through, and how many connections it has made.
pub(crate) fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let made = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&made);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let log = Arc::clone(&log);
            std::thread::spawn(move || tunnel(&stream, &log).ok());
        }
    });
    (url, made)
}

/// One connection through the proxy: `CONNECT`, or a request with the whole address in it.
fn tunnel(client: &TcpStream, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut head, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line)? > 2 {
        head += &line;
        line.clear();
    }
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let host = target.trim_start_matches("http://").split('/').next().unwrap_or("").to_owned();
    log.lock().unwrap().push(host.clone());
    let mut server = TcpStream::connect(&host)?;
    if method == "CONNECT" {
        let mut client = client;
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    } else {
        let own = head.replacen(&format!("http://{host}"), "", 1);
        server.write_all((own + "connection: close\r\n\r\n").as_bytes())?;
    }
    let (mut from, mut to) = (reader, server.try_clone()?);
    let up = std::thread::spawn(move || std::io::copy(&mut from, &mut to).ok());
    std::io::copy(&mut server, &mut client.try_clone()?)?;
    client.shutdown(std::net::Shutdown::Both)?;
    up.join().ok();
    Ok(())
}
