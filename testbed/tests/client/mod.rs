//! A client that shares no code with the simulated controller's HTTP side: what it sees is what is on the wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use agent_wrap_testbed::simulated::frames::{ARG, ENCODING, EXIT, Frame, LOCALE, START};
use serde_json::Value;

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One connection, which can be asked again and again.
pub struct Client {
    pub stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(url: &str) -> Self {
        Self { stream: BufReader::new(TcpStream::connect(authority(url)).unwrap()) }
    }

    pub fn ask(&mut self, method: &str, path: &str, headers: &[(String, String)], body: Option<&str>) -> Answer {
        self.try_ask(method, path, headers, body).unwrap()
    }

    pub fn try_ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Option<&str>,
    ) -> std::io::Result<Answer> {
        self.send(method, path, headers, body)?;
        let mut answer = self.head()?;
        if method != "HEAD" && answer.status != 304 {
            answer.body = self.body(&answer)?;
        }
        Ok(answer)
    }

    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Option<&str>,
    ) -> std::io::Result<()> {
        let mut out = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n");
        for (name, value) in headers {
            out += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body {
            out += &format!("Content-Length: {}\r\n", body.len());
        }
        out += "\r\n";
        out += body.unwrap_or_default();
        self.stream.get_mut().write_all(out.as_bytes())
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    pub fn head(&mut self) -> std::io::Result<Answer> {
        let status = self.line()?;
        let mut words = status.splitn(3, ' ').skip(1);
        let mut answer = Answer {
            status: words.next().unwrap().parse().unwrap(),
            reason: words.next().unwrap_or_default().to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(answer);
            }
            let (name, value) = line.split_once(": ").unwrap();
            answer.headers.push((name.to_owned(), value.to_owned()));
        }
    }

    pub fn body(&mut self, answer: &Answer) -> std::io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if let Some(length) = answer.header("content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.stream.read_exact(&mut body)?;
        } else {
            while let Some(chunk) = self.chunk()? {
                body.extend(chunk);
            }
        }
        Ok(body)
    }

    /// The next chunk of a body; `None` after the last.
    pub fn chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let size = usize::from_str_radix(&self.line()?, 16).unwrap();
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk)?;
        self.line()?;
        Ok((size > 0).then_some(chunk))
    }
}

/// A command over HTTP.
pub struct Cli {
    url: String,
    authorization: Option<String>,
    session: String,
    download: Client,
    pub answer: Answer,
    pub upload: Option<Client>,
}

impl Cli {
    /// Sends the first request and reads the head of its answer.
    pub fn open(url: &str, authorization: Option<&str>) -> Self {
        let mut download = Client::connect(url);
        let local = download.stream.get_ref().local_addr().unwrap().port();
        let session = format!("00000000-0000-4000-8000-{local:012}");
        let authorization = authorization.map(str::to_owned);
        let headers = cli_headers(&authorization, &session, "download");
        download.send("POST", &format!("{}cli?remoting=false", path(url)), &headers, Some("")).unwrap();
        let answer = download.head().unwrap();
        Self { url: url.to_owned(), authorization, session, download, answer, upload: None }
    }

    /// Sends the second request with these bytes and leaves it open.
    pub fn send(&mut self, frames: &[u8]) {
        let upload = self.upload.get_or_insert_with(|| {
            let mut upload = Client::connect(&self.url);
            let mut headers = cli_headers(&self.authorization, &self.session, "upload");
            headers.push(("Transfer-Encoding".to_owned(), "chunked".to_owned()));
            upload.send("POST", &format!("{}cli?remoting=false", path(&self.url)), &headers, None).unwrap();
            upload
        });
        let mut chunk = format!("{:x}\r\n", frames.len()).into_bytes();
        chunk.extend_from_slice(frames);
        chunk.extend_from_slice(b"\r\n");
        upload.stream.get_mut().write_all(&chunk).unwrap();
    }

    /// Reads what comes until EXIT or the end of the stream: the first byte, and the rest.
    pub fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut received = Vec::new();
        while let Some(chunk) = self.download.chunk().unwrap() {
            received.extend(chunk);
            let mut rest = received.get(1..).unwrap_or_default().to_vec();
            while let Some(frame) = Frame::take(&mut rest).unwrap() {
                if frame.op == EXIT {
                    return (received[0], received[1..].to_vec());
                }
            }
        }
        (received[0], received[1..].to_vec())
    }

    pub fn run(&mut self, frames: &[u8]) -> (u8, Vec<u8>) {
        self.send(frames);
        self.receive()
    }
}

fn cli_headers(authorization: &Option<String>, session: &str, side: &str) -> Vec<(String, String)> {
    let headers =
        [Some(("Session", session)), Some(("Side", side)), authorization.as_deref().map(|a| ("Authorization", a))];
    headers.into_iter().flatten().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The frames of a command as `jenkins-cli.jar` sends them.
pub fn command_frames(arguments: &[String]) -> Vec<u8> {
    let mut frames: Vec<Frame> = arguments.iter().map(|argument| Frame::text(ARG, argument)).collect();
    frames.extend([Frame::text(ENCODING, "UTF-8"), Frame::text(LOCALE, "en"), Frame::bytes(START, [])]);
    frames.iter().flat_map(Frame::encode).collect()
}

/// An agent's connection; dropped, it ends without a goodbye.
pub struct Agent {
    pub client: Client,
}

impl Agent {
    pub fn connect(url: &str, node: &str, secret: &str) -> Self {
        Self::try_connect(url, node, secret).unwrap()
    }

    pub fn try_connect(url: &str, node: &str, secret: &str) -> Result<Self, u16> {
        let mut client = Client::connect(url);
        let headers = [("Agent-Secret", secret), ("Transfer-Encoding", "chunked")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        client.send("POST", &format!("{}testbed/connect/{node}", path(url)), &headers, None).unwrap();
        let answer = client.head().unwrap();
        if answer.status != 200 {
            return Err(answer.status);
        }
        assert_eq!(client.chunk().unwrap().unwrap(), b"connected\n");
        Ok(Self { client })
    }

    pub fn say_goodbye(mut self) {
        self.client.stream.get_mut().write_all(b"0\r\n\r\n").unwrap();
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn authority(url: &str) -> String {
    url.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned()
}

/// The root's path with slashes around it.
pub fn path(url: &str) -> String {
    let (_, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    format!("/{path}")
}

pub fn basic(user: &str, secret: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::from("Basic ");
    for group in format!("{user}:{secret}").into_bytes().chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, &byte| (bits << 8) | u32::from(byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            if digit <= group.len() {
                out.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
            } else {
                out.push('=');
            }
        }
    }
    out
}
