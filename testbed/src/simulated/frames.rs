//! The frames of the controller's command line protocol: length of the payload, operation, payload.

/// One frame of either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The operation: one of this module's constants.
    pub op: u8,
    /// What comes after the operation.
    pub payload: Vec<u8>,
}

/// Operation: one argument, as Java's modified UTF-8 with a 16-bit length.
pub const ARG: u8 = 0;
/// Operation: the client's locale, encoded like an argument.
pub const LOCALE: u8 = 1;
/// Operation: the client's encoding, encoded like an argument.
pub const ENCODING: u8 = 2;
/// Operation: run the command.
pub const START: u8 = 3;
/// Operation, from the server: the exit code, 32 bits.
pub const EXIT: u8 = 4;
/// Operation: bytes for the command's input.
pub const STDIN: u8 = 5;
/// Operation: the end of the command's input.
pub const END_STDIN: u8 = 6;
/// Operation, from the server: bytes of the command's output.
pub const STDOUT: u8 = 7;
/// Operation, from the server: bytes of the command's errors.
pub const STDERR: u8 = 8;

/// The longest payload that is accepted, in bytes.
const LIMIT: usize = 1024 * 1024;

impl Frame {
    /// A frame with bytes as they are.
    #[must_use]
    pub fn bytes(op: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { op, payload: payload.into() }
    }

    /// A frame with a text: `ARG`, `LOCALE` or `ENCODING`. At most 65535 encoded bytes are kept.
    #[must_use]
    pub fn text(op: u8, text: &str) -> Self {
        let mut encoded = modified_utf8(text);
        encoded.truncate(usize::from(u16::MAX));
        let length = u16::try_from(encoded.len()).unwrap_or(u16::MAX);
        Self { op, payload: [length.to_be_bytes().to_vec(), encoded].concat() }
    }

    /// The frame that ends a command.
    #[must_use]
    pub fn exit(code: i32) -> Self {
        Self::bytes(EXIT, code.to_be_bytes())
    }

    /// The text of an `ARG`, `LOCALE` or `ENCODING`; `None` when the payload is no such thing.
    #[must_use]
    pub fn as_text(&self) -> Option<String> {
        let (length, text) = self.payload.split_first_chunk::<2>()?;
        (usize::from(u16::from_be_bytes(*length)) == text.len()).then(|| from_modified_utf8(text))?
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        [&length.to_be_bytes()[..], &[self.op], &self.payload].concat()
    }

    /// Takes the first whole frame out of the buffer; `None` when there is none yet.
    ///
    /// # Errors
    /// When the length is beyond reason.
    pub fn take(buffer: &mut Vec<u8>) -> Result<Option<Self>, String> {
        let Some((length, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > LIMIT {
            return Err(format!("a frame of {length} bytes is too long"));
        }
        if rest.len() < length + 1 {
            return Ok(None);
        }
        let frame = Self { op: rest[0], payload: rest[1..=length].to_vec() };
        buffer.drain(..length + 5);
        Ok(Some(frame))
    }
}

/// Java's encoding: a zero takes two bytes, a character beyond the basic plane is written as its two surrogates.
fn modified_utf8(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        match unit {
            1..=0x7f => out.push(unit.to_le_bytes()[0]),
            0 | 0x80..=0x7ff => out.extend([lead(0xc0, unit >> 6), trail(unit)]),
            _ => out.extend([lead(0xe0, unit >> 12), trail(unit >> 6), trail(unit)]),
        }
    }
    out
}

fn lead(mark: u8, bits: u16) -> u8 {
    mark | bits.to_le_bytes()[0]
}

fn trail(bits: u16) -> u8 {
    0x80 | (bits.to_le_bytes()[0] & 0x3f)
}

fn from_modified_utf8(bytes: &[u8]) -> Option<String> {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        let extra = match first {
            0..=0x7f => 0,
            0xc0..=0xdf => 1,
            0xe0..=0xef => 2,
            _ => return None,
        };
        let mut unit = u16::from(match extra {
            0 => first,
            1 => first & 0x1f,
            _ => first & 0x0f,
        });
        for &byte in after.get(..extra)? {
            unit = (unit << 6) | u16::from(byte & 0x3f);
        }
        units.push(unit);
        rest = after.get(extra..)?;
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::super::text::hex;
    use super::*;

    #[test]
    fn the_known_frames() {
        for (frame, bytes) in [
            (Frame::text(ARG, "online-node"), "0000000d00000b6f6e6c696e652d6e6f6465"),
            (Frame::text(ENCODING, "UTF-8"), "000000070200055554462d38"),
            (Frame::bytes(START, []), "0000000003"),
            (Frame::exit(6), "000000040400000006"),
        ] {
            assert_eq!(hex(&frame.encode()), bytes);
        }
    }

    #[test]
    fn modified_utf8_differs_where_java_does() {
        assert_eq!(modified_utf8("a\0é€😀"), b"a\xc0\x80\xc3\xa9\xe2\x82\xac\xed\xa0\xbd\xed\xb8\x80");
        for text in ["", "n1", "a\0b", "käse €", "😀"] {
            assert_eq!(Frame::text(ARG, text).as_text().as_deref(), Some(text));
        }
    }

    #[test]
    fn a_frame_comes_out_whatever_the_pieces() {
        let sent = [Frame::text(ARG, "x"), Frame::bytes(START, [])];
        let wire = [sent[0].encode(), sent[1].encode()].concat();
        let mut buffer = Vec::new();
        let mut got = Vec::new();
        for byte in wire {
            buffer.push(byte);
            got.extend(Frame::take(&mut buffer).expect("a frame"));
        }
        assert_eq!(got, sent);
    }

    #[test]
    fn an_absurd_length_is_refused() {
        assert!(Frame::take(&mut vec![0xff; 8]).is_err());
    }
}
