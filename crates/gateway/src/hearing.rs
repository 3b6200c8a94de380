//! The answer of a provider elsewhere as it arrives: its events come out as deltas.

use std::collections::VecDeque;
use std::sync::Arc;

use chat::{Delta, Deltas, Error};
use futures_util::{StreamExt, stream};
use wire::sse::{Frame, Parser};
use wire::upstream::Reader;

use crate::client::Pieces;
use crate::signatures::Kept;
use crate::upstream::{fault, unreachable, without_secrets};

/// Most bytes of one event.
const EVENT_BYTES: usize = 32 << 20;

/// An answer as it arrives. Dropping it closes the connection, which cancels the request.
pub(crate) struct Hearing {
    provider: Arc<str>,
    bytes: Pieces,
    parser: Parser,
    reader: Box<dyn Reader>,
    signatures: Arc<Kept>,
    heard: VecDeque<Delta>,
    /// Bytes since the last frame.
    unread: usize,
    ended: bool,
}

impl Hearing {
    pub(crate) fn of(provider: Arc<str>, pieces: Pieces, reader: Box<dyn Reader>, signatures: Arc<Kept>) -> Self {
        let (parser, heard) = (Parser::default(), VecDeque::new());
        Self { provider, bytes: pieces, parser, reader, signatures, heard, unread: 0, ended: false }
    }

    pub(crate) fn deltas(self) -> Deltas {
        Box::pin(stream::unfold(self, |mut hearing| async move { Some((hearing.next().await?, hearing)) }))
    }

    async fn next(&mut self) -> Option<Result<Delta, Error>> {
        loop {
            if let Some(delta) = self.heard.pop_front() {
                return Some(Ok(delta));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.hear().await {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }

    async fn hear(&mut self) -> Result<(), Error> {
        let (mut frames, mut deltas) = (Vec::new(), Vec::new());
        match self.bytes.next().await {
            Some(Ok(bytes)) => {
                self.unread += bytes.len();
                self.parser.feed(&bytes, &mut frames);
            }
            Some(Err(error)) => return Err(unreachable(&self.provider, &error)),
            None => {
                self.ended = true;
                self.reader.end(&mut deltas).map_err(without_secrets)?;
            }
        }
        if !frames.is_empty() {
            self.unread = 0;
        } else if self.unread > EVENT_BYTES {
            return Err(fault(&self.provider, "sent an event without an end"));
        }
        for frame in frames {
            if let Frame::Event { data, .. } = frame {
                self.reader.event(&data, &mut deltas).map_err(without_secrets)?;
                self.reader.signed().into_iter().for_each(|signed| self.signatures.keep(signed));
            }
        }
        self.heard.extend(deltas);
        Ok(())
    }
}
