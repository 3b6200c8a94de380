//! `GET /admin/tail`: requests as they start and end, as server-sent events.
//!
//! A reader is served in steps of [`TICK`] from the events that the gateway has published since, so
//! that a request neither waits for a reader nor wakes one.

mod sampler;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use chat::{Error, ErrorKind};
use futures_util::stream;
use gateway::RequestEvent;
use http::request::Parts;
use serde::Serialize;
use serde_json::json;
use store::{OutcomeClass, RecordOwner, Role, UsageFilter};
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::sampler::Sampler;
use super::records::ProjectNames;
use super::request::{AdminRequest, AdminResponse};
use super::usage_filters::read_filter;
use crate::app::AppState;
use crate::auth;
use crate::connection::ConnectionHandle;
use crate::tail_slots::{MAX_TAILS, MAX_TAILS_OF_USER, NoTailSlot, TailSlot};

/// The time between two looks at the events. Each look that finds some costs a write to the socket.
const TICK: Duration = Duration::from_millis(250);
/// The time between two checks of the reader's credential, and between two events `skipped`.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The silence after which a keep-alive is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The time after which a reader that takes nothing is dropped.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn tail(request: AdminRequest) -> Result<AdminResponse, Error> {
    // Whose requests are shown is decided for each event.
    let filter = read_filter(&request.query, RecordOwner::Everyone)?;
    let slot = request.app.tails.take(request.operator.account()).map_err(|limit| {
        let message = match limit {
            NoTailSlot::All => format!("{MAX_TAILS} tails are open, the most at a time: close another one"),
            NoTailSlot::OfUser => {
                format!("You have {MAX_TAILS_OF_USER} tails open, the most of one user at a time: close another one")
            }
        };
        Error { code: Some("too_many_tails"), ..Error::new(ErrorKind::RateLimited, message) }
    })?;
    let AdminRequest { app, operator, client, parts, .. } = request;
    let (sender, receiver) = mpsc::channel(1);
    let tail = Tail {
        events: app.gateway.accounting().request_events.subscribe(),
        readable: operator.readable_keys(),
        sampler: Sampler::new(Instant::now()),
        filter,
        projects: ProjectNames::default(),
        unknown_project: true,
        app,
        parts,
        peer: client.peer,
        send_timeout: SEND_TIMEOUT,
        _slot: slot,
    };
    tokio::spawn(tail.run(sender));
    let chunks = stream::unfold(receiver, |mut receiver| async move {
        let chunk: Bytes = receiver.recv().await?;
        Some((Ok::<_, io::Error>(chunk), receiver))
    });
    Ok(AdminResponse::events(Body::from_stream(chunks)))
}

/// The events for one reader.
struct Tail {
    app: Arc<AppState>,
    /// The head of the reader's request, which has its credential.
    parts: Parts,
    peer: IpAddr,
    events: broadcast::Receiver<RequestEvent>,
    /// The keys whose requests the reader may see.
    readable: Option<RecordOwner>,
    filter: UsageFilter,
    projects: ProjectNames,
    /// Whether a project was seen whose name is not known.
    unknown_project: bool,
    sampler: Sampler,
    send_timeout: Duration,
    _slot: TailSlot,
}

impl Tail {
    /// Sends events until the reader leaves, loses its access or takes nothing for
    /// `send_timeout`, or the server shuts down.
    async fn run(mut self, sender: mpsc::Sender<Bytes>) {
        let stopping = self.app.shutdown_started.clone();
        tokio::select! {
            () = stopping.cancelled() => {}
            () = sender.closed() => {}
            () = self.send_events(&sender) => {}
        }
    }

    async fn send_events(&mut self, sender: &mpsc::Sender<Bytes>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut checked_at = Instant::now();
        self.load_projects().await;
        // The first keep-alive is sent at once, so that the reader knows that it is connected.
        let mut text = keep_alive();
        loop {
            let sent_at = Instant::now();
            match sender.send_timeout(Bytes::from(text), self.send_timeout).await {
                Ok(()) => {}
                Err(SendTimeoutError::Closed(_)) => return,
                Err(SendTimeoutError::Timeout(_)) => {
                    tracing::info!(client = %self.peer, "tail ended: its reader takes nothing");
                    if let Some(connection) = self.parts.extensions.get::<ConnectionHandle>() {
                        connection.close(self.parts.version);
                    }
                    return;
                }
            }
            text = String::new();
            while text.is_empty() {
                ticks.tick().await;
                self.collect(&mut text);
                if checked_at.elapsed() >= CHECK_INTERVAL {
                    checked_at = Instant::now();
                    if let Err(error) = self.check_access().await {
                        tracing::info!(reason = error.message, "tail ended: its reader has lost access");
                        return;
                    }
                    if self.unknown_project {
                        self.load_projects().await;
                    }
                    if let Some(skipped) = self.sampler.take_skipped() {
                        write_event("skipped", &json!({"skipped": skipped}), &mut text);
                    }
                }
                if text.is_empty() && sent_at.elapsed() >= KEEP_ALIVE {
                    text = keep_alive();
                }
            }
        }
    }

    /// Writes the events since the last call.
    fn collect(&mut self, out: &mut String) {
        loop {
            match self.events.try_recv() {
                Ok(event) => {
                    let record = event.record();
                    self.unknown_project |= record.project_id.is_some() && self.projects.of(record).is_none();
                    if !self.shows(&event) || !self.sampler.admits(&event, Instant::now()) {
                        continue;
                    }
                    match &event {
                        RequestEvent::Started(_) => write_event("start", &self.projects.start_json(record), out),
                        RequestEvent::Ended(_) => write_event("end", &self.projects.record_json(record), out),
                    }
                }
                Err(broadcast::error::TryRecvError::Lagged(missed)) => self.sampler.record_skipped(missed),
                Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => return,
            }
        }
    }

    /// Whether the reader may see an event, and wants to.
    fn shows(&self, event: &RequestEvent) -> bool {
        let record = event.record();
        let key_id = record.key_id.as_deref();
        let may_see = match &self.readable {
            Some(RecordOwner::Everyone) => true,
            Some(RecordOwner::User(user_id)) => {
                let keys = &self.app.gateway.accounting().keys;
                key_id.is_some_and(|key_id| keys.belongs_to(key_id, Some(user_id)))
            }
            Some(RecordOwner::Key(own)) => key_id == Some(own),
            None => false,
        };
        may_see && self.matches(event)
    }

    /// Whether an event has one of the values of each filter. A start has no outcome.
    fn matches(&self, event: &RequestEvent) -> bool {
        let UsageFilter { owner: _, keys, projects, models, providers, classes } = &self.filter;
        let record = event.record();
        let is_in = |values: &[String], value: &str| values.is_empty() || values.iter().any(|one| one == value);
        let has_class = match event {
            RequestEvent::Started(_) => classes.is_empty(),
            RequestEvent::Ended(_) => classes.is_empty() || classes.contains(&OutcomeClass::of(&record.outcome)),
        };
        let has_key = is_in(keys, &record.key_name) || record.key_id.as_deref().is_some_and(|id| is_in(keys, id));
        has_class
            && has_key
            && (projects.is_empty() || self.projects.of(record).is_some_and(|name| is_in(projects, name)))
            && is_in(models, &record.model)
            && is_in(providers, &record.upstream)
    }

    /// Reads the names of the projects. Without them events have none.
    async fn load_projects(&mut self) {
        self.unknown_project = false;
        let Some(store) = self.app.gateway.accounting().store() else { return };
        match ProjectNames::load(store).await {
            Ok(projects) => self.projects = projects,
            // The store has logged the reason. The next request of a project tries again.
            Err(_) => self.unknown_project = true,
        }
    }

    /// Authenticates the reader again: its session, its key or its role may have ended.
    ///
    /// # Errors
    /// As [`auth::authenticate_operator`].
    async fn check_access(&mut self) -> Result<(), Error> {
        if let Some(session) = auth::find_cookie_session(&self.app, &self.parts.headers, self.peer).await {
            self.parts.extensions.insert(session);
        }
        self.readable = auth::authenticate_operator(&self.app, &self.parts, Role::Member)?.readable_keys();
        Ok(())
    }
}

fn write_event(name: &str, data: &impl Serialize, out: &mut String) {
    out.push_str("event: ");
    out.push_str(name);
    out.push('\n');
    let data = serde_json::to_string(data).expect("texts and numbers are written as JSON");
    wire::sse::write_event(&data, out);
}

fn keep_alive() -> String {
    ": keep-alive\n\n".to_owned()
}

#[cfg(test)]
mod tests;
