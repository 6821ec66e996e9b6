//! Just enough HTTP/1.1 on a raw socket: faults such as resets and bodies that never end are out of reach above it.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The largest request head, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;
/// The largest request body that is read as a whole, in bytes.
const BODY_LIMIT: usize = 1024 * 1024;

/// A request's first line and headers.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    keep_alive: bool,
}

impl Head {
    /// The first header of this name, whatever its case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn keep_alive(&self) -> bool {
        self.keep_alive
    }
}

/// Where in a request's body we are.
#[derive(Debug)]
enum Framing {
    /// This many bytes are left.
    Length(u64),
    /// Between two chunks.
    ChunkHead,
    /// This many bytes of the chunk are left.
    ChunkData(u64),
    /// After a chunk's data.
    ChunkEnd,
    /// After the last chunk.
    Trailer,
    /// All of it was read.
    Done,
}

/// The reading side of a connection. Its futures may be dropped at any time without losing a byte.
pub(crate) struct Reader {
    half: OwnedReadHalf,
    buffer: Vec<u8>,
    framing: Framing,
}

/// The writing side of a connection.
pub(crate) struct Writer {
    half: Option<OwnedWriteHalf>,
}

/// Both sides of a fresh connection.
pub(crate) fn connection(stream: TcpStream) -> (Reader, Writer) {
    let (read, write) = stream.into_split();
    (Reader { half: read, buffer: Vec::new(), framing: Framing::Done }, Writer { half: Some(write) })
}

impl Reader {
    /// The next request's head; `None` at the end of the connection.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some((head, framing, length)) = parse_head(&self.buffer)? {
                self.buffer.drain(..length);
                self.framing = framing;
                return Ok(Some(head));
            }
            if self.buffer.len() > HEAD_LIMIT {
                return Err(invalid("the request head is too large"));
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// The next piece of the body; `None` at its proper end, `UnexpectedEof` when the client went away before that.
    pub(crate) async fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            match self.take_piece()? {
                Taken::Piece(piece) => return Ok(Some(piece)),
                Taken::End => return Ok(None),
                Taken::More => {
                    if !self.fill().await? {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }

    /// The whole body.
    pub(crate) async fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
            if body.len() > BODY_LIMIT {
                return Err(invalid("the request body is too large"));
            }
        }
        Ok(body)
    }

    /// Returns once the client has closed its side or the connection is broken; what it sends until then is dropped.
    pub(crate) async fn closed(&mut self) {
        while matches!(self.fill().await, Ok(true)) {
            self.buffer.clear();
        }
    }

    async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.half.read_buf(&mut self.buffer).await? > 0)
    }

    fn take_piece(&mut self) -> io::Result<Taken> {
        loop {
            match self.framing {
                Framing::Done => return Ok(Taken::End),
                Framing::Length(0) => self.framing = Framing::Done,
                Framing::Length(left) | Framing::ChunkData(left) => {
                    if self.buffer.is_empty() {
                        return Ok(Taken::More);
                    }
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
                    let piece: Vec<u8> = self.buffer.drain(..count).collect();
                    let left = left - count as u64;
                    self.framing = match (&self.framing, left) {
                        (Framing::Length(_), left) => Framing::Length(left),
                        (_, 0) => Framing::ChunkEnd,
                        (_, left) => Framing::ChunkData(left),
                    };
                    return Ok(Taken::Piece(piece));
                }
                Framing::ChunkHead => {
                    let Some(line) = self.take_line() else { return Ok(Taken::More) };
                    let digits = line.split(';').next().unwrap_or_default().trim();
                    let size = u64::from_str_radix(digits, 16).map_err(|_| invalid("a chunk's size is no number"))?;
                    self.framing = if size == 0 { Framing::Trailer } else { Framing::ChunkData(size) };
                }
                Framing::ChunkEnd => {
                    if self.take_line().is_none() {
                        return Ok(Taken::More);
                    }
                    self.framing = Framing::ChunkHead;
                }
                Framing::Trailer => {
                    let Some(line) = self.take_line() else { return Ok(Taken::More) };
                    if line.is_empty() {
                        self.framing = Framing::Done;
                    }
                }
            }
        }
    }

    fn take_line(&mut self) -> Option<String> {
        let end = self.buffer.iter().position(|&byte| byte == b'\n')?;
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

enum Taken {
    Piece(Vec<u8>),
    End,
    More,
}

fn parse_head(buffer: &[u8]) -> io::Result<Option<(Head, Framing, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(buffer).map_err(|error| invalid(&error.to_string()))? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let headers = request
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    let mut head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        headers,
        keep_alive: request.version == Some(1),
    };
    if head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        head.keep_alive = false;
    }
    let framing = if head.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        Framing::ChunkHead
    } else if let Some(value) = head.header("content-length") {
        Framing::Length(value.trim().parse().map_err(|_| invalid("the content length is no number"))?)
    } else {
        Framing::Done
    };
    Ok(Some((head, framing, length)))
}

fn invalid(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

impl Writer {
    /// Sends bytes as they are.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.half {
            Some(half) => half.write_all(bytes).await,
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Sends a status line and headers.
    pub(crate) async fn head(&mut self, status: u16, headers: &[(String, String)]) -> io::Result<()> {
        self.raw(encode_head(status, headers).as_bytes()).await
    }

    /// Sends one chunk; an empty one would be the end, so it sends nothing.
    pub(crate) async fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
        self.raw(&out).await
    }

    /// Ends a chunked body.
    pub(crate) async fn last_chunk(&mut self) -> io::Result<()> {
        self.raw(b"0\r\n\r\n").await
    }

    /// Makes the coming close a reset; nothing can be written any more.
    pub(crate) fn reset_on_close(&mut self) {
        if let Some(half) = self.half.take() {
            // A socket that is already gone needs no reset.
            drop(half.as_ref().set_zero_linger());
            // Dropped, the half would end the stream properly first.
            half.forget();
        }
    }
}

/// The status line and headers as they go over the wire.
pub(crate) fn encode_head(status: u16, headers: &[(String, String)]) -> String {
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in headers {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head
}

/// The reason phrase that Jetty sends.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Payload Too Large",
        429 => "Too Many Requests",
        500 => "Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unknown",
    }
}
