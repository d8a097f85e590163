//! Requests to one registry: logged in where it asks for that, tried again where that can help.

use std::cell::RefCell;
use std::thread::sleep;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use ureq::http::{HeaderMap, Method, Request, StatusCode, header};
use ureq::tls::TlsConfig;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, AsSendBody, Body};

use super::challenge::Challenge;
use super::credentials::{self, Login};
use super::failure::{refused, unanswered};
use super::names::Names;
use super::{Transport, proxy, trust};
use crate::error::{Error, Result};
use crate::inspect::parse;
use crate::name::Name;

/// What a request may be answered with, at most; nothing of an infra image is near it.
const LONGEST: u64 = 16 << 20;
/// How often a request is made in all.
const TRIES: u32 = 5;
/// The wait after the first try; it doubles from then on.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest that a registry may ask us to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// A registry, and a repository in it.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    /// `https://host:port`
    base: String,
    /// `host:port`, as logins are filed.
    pub(super) host: String,
    repository: String,
    /// What may be done there, in a token's scope: `pull` or `pull,push`.
    actions: &'static str,
    /// The Authorization header, once one was asked for; and where the login was found.
    access: RefCell<Option<(String, Option<String>)>>,
}

/// A request.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// Operation and object, for errors.
    pub(super) what: String,
    pub(super) method: Method,
    /// A path on this registry, or a whole URL that it has given.
    pub(super) url: String,
    pub(super) accept: Option<&'a str>,
    /// Media type and content.
    pub(super) body: Option<(&'a str, &'a [u8])>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Client {
    /// For what may be done with images of that name.
    pub(super) fn new(name: &Name, actions: &'static str, transport: &Transport) -> Result<Client> {
        let address = name.address();
        let scheme = if transport.plain_http { "http" } else { "https" };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // Each request finds its own.
            .proxy(None)
            .user_agent(concat!("podkeel/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_recv_body(Some(Duration::from_secs(60)));
        if !transport.plain_http {
            let roots = trust::roots(address, transport.ca_file.as_deref())?;
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(Client {
            agent: Agent::with_parts(config.build(), DefaultConnector::default(), Names),
            base: format!("{scheme}://{address}"),
            host: name.registry().to_owned(),
            repository: name.repository().to_owned(),
            actions,
            access: RefCell::new(None),
        })
    }

    /// A path below this repository: `/v2/NAME/blobs/...`.
    pub(super) fn path(&self, below: &str) -> String {
        format!("/v2/{}/{below}", self.repository)
    }

    /// Asks, and expects one of these statuses; of any other the error says what it means.
    pub(super) fn expect(&self, call: &Call<'_>, wanted: &[u16]) -> Result<Answer> {
        let answer = self.ask(call)?;
        if wanted.contains(&answer.status.as_u16()) {
            return Ok(answer);
        }
        let access = self.access.borrow();
        let login = access.as_ref().and_then(|(_, found)| found.as_deref());
        Err(refused(&call.what, &self.host, login, &answer))
    }

    /// Asks; logs in if that is asked for; asks again while the registry is busy or hangs up.
    fn ask(&self, call: &Call<'_>) -> Result<Answer> {
        let (mut tries, mut wait, mut logged_in) = (1, FIRST_WAIT, false);
        loop {
            let done = self.once(call);
            let pause = match &done {
                Ok(answer) if answer.status == 401 && !logged_in => {
                    logged_in = true;
                    if self.log_in(call, answer)? {
                        continue;
                    }
                    return self.judged(call, done);
                }
                Ok(answer) if busy(answer.status) => answer.retry_after().unwrap_or(wait),
                Err(error) if passing(error) => wait,
                _ => return self.judged(call, done),
            };
            if tries == TRIES || pause > LONGEST_WAIT {
                return self.judged(call, done);
            }
            sleep(pause);
            tries += 1;
            wait *= 2;
        }
    }

    /// What came of a request, in words if it got no answer.
    fn judged(&self, call: &Call<'_>, done: Result<Answer, ureq::Error>) -> Result<Answer> {
        done.map_err(|error| unanswered(&call.what, &self.host, &self.url(call), error))
    }

    fn url(&self, call: &Call<'_>) -> String {
        match call.url.starts_with('/') {
            true => format!("{}{}", self.base, call.url),
            false => call.url.clone(),
        }
    }

    fn once(&self, call: &Call<'_>) -> Result<Answer, ureq::Error> {
        let url = self.url(call);
        let mut request = Request::builder().method(call.method.clone()).uri(&url);
        // A login is for the registry, not for where it sends us.
        if let Some((access, _)) = self.access.borrow().as_ref().filter(|_| self.is_ours(&url)) {
            request = request.header(header::AUTHORIZATION, access);
        }
        if let Some(accept) = call.accept {
            request = request.header(header::ACCEPT, accept);
        }
        match call.body {
            Some((kind, bytes)) => {
                self.send(request.header(header::CONTENT_TYPE, kind).body(bytes)?)
            }
            None if call.method == Method::POST => self.send(request.body(&[][..])?),
            None => self.send(request.body(())?),
        }
    }

    /// Sends a request, through a proxy if one is meant for it.
    fn send<B: AsSendBody>(&self, request: Request<B>) -> Result<Answer, ureq::Error> {
        // Our own words travel inside of the client's error.
        let via = proxy::to(&request.uri().to_string());
        let via = via.map_err(|error| ureq::Error::Other(Box::new(error)))?;
        let by = via.map(|via| via.proxy);
        let request = self.agent.configure_request(request).proxy(by).build();
        self.agent.run(request).and_then(Answer::read)
    }

    fn is_ours(&self, url: &str) -> bool {
        url.strip_prefix(&self.base).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Gets what this answer asks for. False where nothing more can be had.
    fn log_in(&self, call: &Call<'_>, answer: &Answer) -> Result<bool> {
        let headers = answer.headers.get_all(header::WWW_AUTHENTICATE);
        let Some(challenge) = Challenge::choose(headers.iter().filter_map(|h| h.to_str().ok()))
        else {
            return Ok(false);
        };
        let found = credentials::find(&self.host, &self.repository)?;
        let (login, file) = found.unzip();
        let access = match (challenge, login) {
            (Challenge::Basic, Some(Login::Password(user, password))) => {
                Some(basic(&user, &password))
            }
            (Challenge::Basic, _) => None,
            (Challenge::Bearer { realm, service }, login) => {
                Some(self.token(call, &realm, service.as_deref(), login, file.as_deref())?)
            }
        };
        let gained = access.is_some();
        *self.access.borrow_mut() = access.map(|access| (access, file));
        Ok(gained)
    }

    /// Asks the authority for a token (distribution's token specification; with an identity, the
    /// OAuth2 form of it).
    fn token(
        &self,
        call: &Call<'_>,
        realm: &str,
        service: Option<&str>,
        login: Option<Login>,
        file: Option<&str>,
    ) -> Result<String> {
        let what = format!("{}: get a token from {realm}", call.what);
        let scope = format!("repository:{}:{}", self.repository, self.actions);
        let mut fields = vec![("scope", scope.as_str())];
        fields.extend(service.map(|service| ("service", service)));
        let by = proxy::to(realm)?.map(|via| via.proxy);
        let answer = match &login {
            Some(Login::Identity(token)) => {
                fields.extend([
                    ("grant_type", "refresh_token"),
                    ("client_id", "podkeel"),
                    ("refresh_token", token),
                ]);
                self.agent.post(realm).config().proxy(by).build().send_form(fields)
            }
            login => {
                let request = self.agent.get(realm).config().proxy(by).build();
                let mut request = request.query_pairs(fields);
                if let Some(Login::Password(user, password)) = login {
                    request = request.header(header::AUTHORIZATION, basic(user, password));
                }
                request.call()
            }
        };
        let host = realm.split('/').nth(2).unwrap_or(realm);
        let answer =
            answer.and_then(Answer::read).map_err(|error| unanswered(&what, host, realm, error))?;
        if !answer.status.is_success() {
            return Err(refused(&what, &self.host, file, &answer));
        }
        let given: Token = parse(&answer.body, &format!("what {realm} says"))?;
        let token = given.token.or(given.access_token).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| Error::input(&what, "there is no token in its answer"))?;
        Ok(format!("Bearer {token}"))
    }
}

/// What an authority answers.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Answer {
    fn read(answer: ureq::http::Response<Body>) -> Result<Answer, ureq::Error> {
        let (parts, mut body) = answer.into_parts();
        let body = body.with_config().limit(LONGEST).read_to_vec()?;
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.parse().ok().map(Duration::from_secs)
    }

    /// What it says of an error: the messages of the distribution specification, or what of a
    /// text fits in a line.
    pub(super) fn words(&self) -> String {
        let document: Option<Value> = serde_json::from_slice(&self.body).ok();
        let errors = document.as_ref().and_then(|d| d["errors"].as_array());
        let messages = errors.into_iter().flatten().filter_map(|error| error["message"].as_str());
        let mut text = messages.collect::<Vec<_>>().join("; ");
        if text.is_empty() && document.is_none() {
            let body = String::from_utf8_lossy(&self.body);
            text = body.lines().next().unwrap_or_default().chars().take(120).collect();
        }
        if text.is_empty() { text } else { format!(": {}", text.trim()) }
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Whether a registry that says this may say something else in a moment.
fn busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Whether the same may go better in a moment: the other side was there, and hung up.
fn passing(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error {
        ureq::Error::Io(error) => {
            matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
        }
        ureq::Error::Timeout(_) => true,
        _ => false,
    }
}
