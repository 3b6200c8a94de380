//! A minimal HTTP/1.1 client that shows every byte, and whether a body is complete.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) addr: SocketAddr,
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(addr: SocketAddr, method: &'static str, path: &str) -> Self {
        let headers = vec![("host".into(), addr.to_string())];
        Self { addr, method, path: path.into(), headers, body: Vec::new() }
    }

    /// Sets a header, or removes it when `value` is empty.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        if !value.is_empty() {
            self.headers.push((name.into(), value.into()));
        }
        self
    }

    pub(crate) fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, body: Value) -> Self {
        self.header("content-type", "application/json").bytes(body.to_string())
    }

    /// Sends it and reads the whole response.
    pub(crate) async fn send(self) -> Response {
        // Boxed, so that the future of a test with many requests fits on the stack of its thread.
        Box::pin(async {
            let mut connection = self.connect().await;
            connection.read_response().await
        })
        .await
    }

    /// Sends it with its body in chunks of 64 KiB and reads the whole response.
    pub(crate) async fn send_chunked(mut self) -> Response {
        let body = std::mem::take(&mut self.body);
        let addr = self.addr;
        let mut bytes = self.header("transfer-encoding", "chunked").head(None);
        for chunk in body.chunks(64 << 10) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        Connection::connect(addr, bytes).await.read_response().await
    }

    /// Sends it. The caller reads the response part by part.
    pub(crate) async fn connect(self) -> Connection {
        let mut bytes = self.head(Some(self.body.len()));
        bytes.extend(&self.body);
        Connection::connect(self.addr, bytes).await
    }

    /// Sends only the head, whose headers announce a body.
    pub(crate) async fn connect_head_only(self) -> Connection {
        Connection::connect(self.addr, self.head(None)).await
    }

    fn head(&self, length: Option<usize>) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if let Some(length) = length {
            head.push_str(&format!("content-length: {length}\r\n"));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// A connection over which a request was sent.
pub(crate) struct Connection {
    socket: TcpStream,
    unread: Vec<u8>,
    request_sent: bool,
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body is complete; false if the connection was closed early.
    pub(crate) complete: bool,
    /// Whether the server received the whole request, so that any client would read the response.
    pub(crate) request_sent: bool,
}

impl Connection {
    async fn connect(addr: SocketAddr, request: Vec<u8>) -> Self {
        let mut socket = TcpStream::connect(addr).await.expect("the server listens");
        let sent = socket.write_all(&request).await.is_ok();
        Self { socket, unread: Vec::new(), request_sent: sent }
    }

    /// Reads status and headers; their names are in lower case.
    pub(crate) async fn head(&mut self) -> (u16, Vec<(String, String)>) {
        while !self.unread.windows(4).any(|window| window == b"\r\n\r\n") {
            assert!(self.read_more().await, "the connection ended inside the head: {:?}", self.unread);
        }
        let end = self.unread.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8(self.unread.drain(..end).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        (status, lines.map(header).collect())
    }

    /// The next chunk of a chunked body; empty at its end, `None` if the connection
    /// was closed early.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|window| window == b"\r\n") {
                let size = std::str::from_utf8(&self.unread[..end]).unwrap();
                let size = usize::from_str_radix(size, 16).expect("a chunk begins with its size");
                if self.unread.len() >= end + 2 + size + 2 {
                    let chunk = self.unread[end + 2..end + 2 + size].to_vec();
                    self.unread.drain(..end + 2 + size + 2);
                    return Some(chunk);
                }
            }
            if !self.read_more().await {
                return None;
            }
        }
    }

    pub(crate) async fn read_response(&mut self) -> Response {
        let (status, headers) = self.head().await;
        let mut response =
            Response { status, headers, body: Vec::new(), complete: true, request_sent: self.request_sent };
        if response.header("transfer-encoding") == Some("chunked") {
            loop {
                match self.chunk().await {
                    Some(chunk) if chunk.is_empty() => break,
                    Some(chunk) => response.body.extend(chunk),
                    None => {
                        response.complete = false;
                        break;
                    }
                }
            }
            return response;
        }
        let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.unread.len() < length && self.read_more().await {}
        response.complete = self.unread.len() >= length;
        response.body = self.unread.drain(..length.min(self.unread.len())).collect();
        response
    }

    /// Sends one more request over the same connection.
    pub(crate) async fn send_again(&mut self, request: Request) -> Response {
        let mut bytes = request.head(Some(request.body.len()));
        bytes.extend(&request.body);
        self.socket.write_all(&bytes).await.unwrap();
        self.read_response().await
    }

    async fn read_more(&mut self) -> bool {
        let mut buffer = [0; 64 << 10];
        match self.socket.read(&mut buffer).await {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.unread.extend(&buffer[..read]);
                true
            }
        }
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("bodies are UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The message of an error body.
    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().expect("an error has a message").to_owned()
    }

    /// The data of each event.
    pub(crate) fn events(&self) -> Vec<String> {
        let mut frames = Vec::new();
        wire::sse::SseParser::default().feed(&self.body, &mut frames).expect("a stream within its bounds");
        let data = |frame| match frame {
            wire::sse::SseFrame::Event { data, .. } => Some(data),
            wire::sse::SseFrame::Comment(_) => None,
        };
        frames.into_iter().filter_map(data).collect()
    }

    /// The body with its id and its time replaced.
    pub(crate) fn redacted(&self) -> String {
        let between = |text: &str, from: &str, to: &str| {
            let start = text.find(from)? + from.len();
            Some(text[start..start + text[start..].find(to)?].to_owned())
        };
        let text = self.text();
        let id = between(text, "\"id\":\"", "\"").expect("an answer has an id");
        let created = between(text, "\"created\":", ",").expect("an answer has a time");
        text.replace(&id, "ID").replace(&format!("\"created\":{created}"), "\"created\":TIME")
    }
}
