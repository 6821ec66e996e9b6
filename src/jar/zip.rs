//! Whether a file is a whole jar.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

/// What a zip file begins with.
const BEGIN: &[u8] = b"PK\x03\x04";

/// What its list of entries begins with.
const LIST: &[u8] = b"PK\x01\x02";

/// What its last record begins with; in it are the list's size and place, and after it comes a comment.
const END: &[u8] = b"PK\x05\x06";

/// The size of the last record in bytes, without its comment, whose length is in the last two of them.
const END_SIZE: usize = 22;

/// A list whose place does not fit into the last record; no jar of an agent is so large.
const ELSEWHERE: u64 = 0xffff_ffff;

/// Looks whether it begins and ends as a zip file, and whether its list of entries is where its last record says. A login
/// page, or half a jar, is no jar.
///
/// # Errors
/// `InvalidData` with what is wrong with it, or those of the file system.
pub(super) fn check(mut file: &File) -> io::Result<()> {
    let no_jar = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    if read_at(file, 0, BEGIN.len())? != BEGIN {
        return Err(no_jar("it is no jar"));
    }
    let size = file.seek(SeekFrom::End(0))?;
    let tail_at = size.saturating_sub((END_SIZE + usize::from(u16::MAX)) as u64);
    let tail = read_at(file, tail_at, END_SIZE + usize::from(u16::MAX))?;
    let ends = tail.windows(END_SIZE).enumerate().rev();
    let mut ends = ends.filter(|(at, window)| {
        let comment = usize::from(u16::from_le_bytes([window[20], window[21]]));
        window.starts_with(END) && at + END_SIZE + comment <= tail.len()
    });
    let Some((at, end)) = ends.next() else { return Err(no_jar("it is only a part of a jar")) };
    let number = |from: usize| u64::from(u32::from_le_bytes([end[from], end[from + 1], end[from + 2], end[from + 3]]));
    let (list_size, list_at) = (number(12), number(16));
    if list_size == 0 || list_at == ELSEWHERE {
        return Ok(());
    }
    let fits = list_at + list_size <= tail_at + at as u64;
    if fits && read_at(file, list_at, LIST.len())? == LIST {
        Ok(())
    } else {
        Err(no_jar("its parts do not fit together"))
    }
}

fn read_at(mut file: &File, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::testing::jar;
    use super::*;

    fn checked(bytes: &[u8]) -> Result<(), String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        check(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_one_is_whole_and_everything_else_is_not() {
        let whole = jar("a class");
        assert_eq!(checked(&whole), Ok(()));
        assert_eq!(
            checked(&[whole.as_slice(), b"more"].concat()),
            Ok(()),
            "what follows is no business of a zip reader's"
        );
        for cut in 0..whole.len() {
            assert!(checked(&whole[..cut]).is_err(), "{cut} bytes of {}", whole.len());
        }
        assert!(checked(b"<html>please log in</html>").is_err());
        let middle_missing = [&whole[..5], &whole[9..]].concat();
        assert_eq!(checked(&middle_missing), Err("its parts do not fit together".to_owned()));
    }
}
