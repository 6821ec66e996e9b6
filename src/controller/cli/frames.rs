//! The frames of the CLI: a big-endian length, an operation, a payload.

/// The longest payload that is taken. Controllers send their output in pieces of a few kilobytes.
pub(crate) const PAYLOAD_LIMIT: usize = 256 * 1024;

const ARG: u8 = 0;
const LOCALE: u8 = 1;
const ENCODING: u8 = 2;
const START: u8 = 3;
const EXIT: u8 = 4;
const STDOUT: u8 = 7;
const STDERR: u8 = 8;

/// What we say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say<'a> {
    /// The command's name, or one of its arguments.
    Arg(&'a str),
    /// The language of its messages.
    Locale(&'a str),
    /// The encoding of its output. It may be said again at any time, which makes it a sign of life.
    Encoding(&'a str),
    /// Everything is said: run the command.
    Start,
}

impl Say<'_> {
    /// Appends the frame; `None` if the text is too long for one.
    pub(crate) fn encode(self, to: &mut Vec<u8>) -> Option<()> {
        let (op, payload) = match self {
            Self::Arg(text) => (ARG, written(text)?),
            Self::Locale(text) => (LOCALE, written(text)?),
            Self::Encoding(text) => (ENCODING, written(text)?),
            Self::Start => (START, Vec::new()),
        };
        to.extend_from_slice(&u32::try_from(payload.len()).ok()?.to_be_bytes());
        to.push(op);
        to.extend_from_slice(&payload);
        Some(())
    }
}

/// Java's `writeUTF`: a two-byte length and modified UTF-8, in which NUL takes two bytes and a character beyond the
/// basic plane is a pair of surrogates of three bytes each.
fn written(text: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0, 0];
    for unit in text.encode_utf16() {
        match unit {
            0x01..=0x7f => bytes.push(low(unit)),
            0 | 0x80..=0x7ff => bytes.extend_from_slice(&[0xc0 | low(unit >> 6), 0x80 | low(unit & 0x3f)]),
            0x800.. => bytes.extend_from_slice(&[
                0xe0 | low(unit >> 12),
                0x80 | low((unit >> 6) & 0x3f),
                0x80 | low(unit & 0x3f),
            ]),
        }
    }
    let length = u16::try_from(bytes.len() - 2).ok()?;
    bytes[..2].copy_from_slice(&length.to_be_bytes());
    Some(bytes)
}

fn low(unit: u16) -> u8 {
    unit.to_be_bytes()[1]
}

/// What we are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The command is over, with this code.
    Exit(i32),
    /// It said something.
    Output(Vec<u8>),
    /// Anything else, which is nothing to us.
    Other(u8),
}

/// These bytes are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// The stream begins with something else than the zero byte.
    #[error("the answer does not begin as the CLI does")]
    Prologue,
    /// The length is negative or beyond reason.
    #[error("the answer has an impossible length in it")]
    Length,
    /// The exit code is none.
    #[error("the exit code is not four bytes long")]
    ExitCode,
}

/// Takes the bytes of the download as they come and gives frames. It never holds more than it was given.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    begun: bool,
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes more bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame; `None` until more bytes have come.
    pub(crate) fn next(&mut self) -> Result<Option<Heard>, FrameError> {
        if !self.begun {
            match self.bytes.first() {
                None => return Ok(None),
                Some(0) => {
                    self.bytes.remove(0);
                    self.begun = true;
                }
                Some(_) => return Err(FrameError::Prologue),
            }
        }
        let Some((&[a, b, c, d, op], rest)) = self.bytes.split_first_chunk::<5>() else { return Ok(None) };
        let length = usize::try_from(i32::from_be_bytes([a, b, c, d])).map_err(|_| FrameError::Length)?;
        if length > PAYLOAD_LIMIT {
            return Err(FrameError::Length);
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let heard = match op {
            EXIT => Heard::Exit(i32::from_be_bytes(payload.try_into().map_err(|_| FrameError::ExitCode)?)),
            STDOUT | STDERR => Heard::Output(payload.to_vec()),
            other => Heard::Other(other),
        };
        self.bytes.drain(..5 + length);
        Ok(Some(heard))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const RECORDING: &str = include_str!("../../../testbed/recordings/jenkins-2.578.json");

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn encoded(say: Say<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        say.encode(&mut bytes).unwrap();
        bytes
    }

    fn all(bytes: &[u8]) -> Result<Vec<Heard>, FrameError> {
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        let mut heard = Vec::new();
        while let Some(frame) = decoder.next()? {
            heard.push(frame);
        }
        Ok(heard)
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(encoded(Say::Arg("online-node")), unhex("0000000d00000b6f6e6c696e652d6e6f6465"));
        assert_eq!(encoded(Say::Encoding("UTF-8")), unhex("000000070200055554462d38"));
        assert_eq!(encoded(Say::Start), unhex("0000000003"));
        assert_eq!(
            encoded(Say::Arg("a\0é€😀")),
            unhex("000000100000".to_owned().as_str())
                .into_iter()
                .chain(unhex("0e61c080c3a9e282aceda0bdedb880"))
                .collect::<Vec<_>>()
        );
        assert_eq!(all(&unhex("00000000040400000006")), Ok(vec![Heard::Exit(6)]));
        assert!(Say::Arg(&"x".repeat(65_535)).encode(&mut Vec::new()).is_some());
        assert!(Say::Arg(&"x".repeat(65_536)).encode(&mut Vec::new()).is_none());
    }

    #[test]
    fn what_was_recorded_is_said_and_understood() {
        let exchanges: Vec<Value> = serde_json::from_str(RECORDING).unwrap();
        let mut seen = 0;
        for exchange in exchanges.iter().filter(|exchange| exchange["sent_hex"].is_string()) {
            let mut said = Vec::new();
            for arg in exchange["args"].as_array().unwrap() {
                Say::Arg(arg.as_str().unwrap()).encode(&mut said).unwrap();
            }
            for say in [Say::Encoding("UTF-8"), Say::Locale("en"), Say::Start] {
                say.encode(&mut said).unwrap();
            }
            assert_eq!(said, unhex(exchange["sent_hex"].as_str().unwrap()), "{}", exchange["what"]);
            let stream = format!("00{}", exchange["received_hex"].as_str().unwrap());
            let heard = all(&unhex(&stream)).unwrap();
            let exit = i32::try_from(exchange["exit"].as_i64().unwrap()).unwrap();
            assert_eq!(heard.last(), Some(&Heard::Exit(exit)), "{}", exchange["what"]);
            assert_eq!(heard.len(), exchange["received_frames"].as_array().unwrap().len());
            seen += 1;
        }
        assert!(seen >= 12, "{seen}");
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(all(b"<html>"), Err(FrameError::Prologue));
        assert_eq!(all(&unhex("00ffffffff08")), Err(FrameError::Length));
        assert_eq!(all(&unhex("007fffffff08")), Err(FrameError::Length));
        assert_eq!(all(&unhex("00000000030400000600000000")), Err(FrameError::ExitCode));
        assert_eq!(all(&unhex("000000000063")), Ok(vec![Heard::Other(0x63)]));
    }

    fn frames() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
        let output = (prop_oneof![Just(STDOUT), Just(STDERR)], proptest::collection::vec(any::<u8>(), 0..50));
        let exit = any::<i32>().prop_map(|code| (EXIT, code.to_be_bytes().to_vec()));
        proptest::collection::vec(prop_oneof![output, exit], 0..8)
    }

    fn stream(frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![0];
        for (op, payload) in frames {
            bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
            bytes.push(*op);
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    fn expected(frames: &[(u8, Vec<u8>)]) -> Vec<Heard> {
        let heard = |(op, payload): &(u8, Vec<u8>)| match *op {
            EXIT => Heard::Exit(i32::from_be_bytes(payload.as_slice().try_into().unwrap())),
            _ => Heard::Output(payload.clone()),
        };
        frames.iter().map(heard).collect()
    }

    proptest! {
        #[test]
        fn frames_arrive_however_they_are_cut(frames in frames(), size in 1_usize..20) {
            let mut decoder = Decoder::default();
            let mut heard = Vec::new();
            for piece in stream(&frames).chunks(size) {
                decoder.push(piece);
                while let Some(frame) = decoder.next().unwrap() {
                    heard.push(frame);
                }
            }
            prop_assert_eq!(heard, expected(&frames));
        }

        #[test]
        fn a_truncated_stream_gives_the_whole_frames_and_then_waits(frames in frames(), cut in 0.0..1.0_f64) {
            let bytes = stream(&frames);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short stream")]
            let cut = (bytes.len() as f64 * cut) as usize;
            let heard = all(&bytes[..cut]).unwrap();
            prop_assert!(expected(&frames).starts_with(&heard));
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = all(&bytes);
        }

        #[test]
        fn arguments_can_be_read_back(text in any::<String>()) {
            let mut bytes = Vec::new();
            prop_assume!(Say::Arg(&text).encode(&mut bytes).is_some());
            let length = usize::from(u16::from_be_bytes([bytes[5], bytes[6]]));
            prop_assert_eq!(bytes.len(), 7 + length);
            prop_assert_eq!(read_back(&bytes[7..]), text);
        }
    }

    /// Java's `readUTF`, from its definition.
    fn read_back(bytes: &[u8]) -> String {
        let mut units = Vec::new();
        let mut rest = bytes.iter().map(|byte| u16::from(*byte));
        while let Some(first) = rest.next() {
            let mut more = || rest.next().unwrap() & 0x3f;
            units.push(match first {
                0..=0x7f => first,
                0xc0..=0xdf => (first & 0x1f) << 6 | more(),
                _ => (first & 0x0f) << 12 | more() << 6 | more(),
            });
        }
        String::from_utf16(&units).unwrap()
    }
}
