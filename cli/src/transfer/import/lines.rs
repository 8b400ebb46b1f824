//! The lines of the input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use bytes::Bytes;

use crate::failure::{Failure, Outcome};

/// So many bytes of lines share one buffer.
const TEXT_BYTES: usize = 256 << 10;
const READ_BYTES: usize = 1 << 20;

/// The input, read some lines at a time.
pub(super) struct Lines {
    source: Box<dyn BufRead + Send>,
    /// How many lines were read.
    number: u64,
}

/// A line and its number, from 1.
pub(super) struct NumberedLine {
    pub(super) number: u64,
    pub(super) text: Bytes,
}

impl Lines {
    /// Opens a file, or standard input; with how many bytes there are, if that is known.
    pub(super) fn open(file: Option<&Path>) -> Outcome<(Self, Option<u64>)> {
        let (source, len): (Box<dyn BufRead + Send>, _) =
            match file.filter(|path| *path != Path::new("-")) {
                None => (Box::new(BufReader::with_capacity(READ_BYTES, io::stdin())), None),
                Some(path) => {
                    let (file, len) = open(path)?;
                    (Box::new(BufReader::with_capacity(READ_BYTES, file)), Some(len))
                }
            };
        Ok((Self { source, number: 0 }, len))
    }

    /// The next lines; none at the end.
    pub(super) fn next_lines(&mut self) -> Outcome<Vec<NumberedLine>> {
        // A line holds a value in hexadecimal at most, and some members.
        let limit = 3 * ifmatch::MAX_VALUE_BYTES as u64;
        let (mut text, mut ends) = (Vec::with_capacity(TEXT_BYTES + (4 << 10)), Vec::new());
        while text.len() < TEXT_BYTES {
            let read = self.source.by_ref().take(limit).read_until(b'\n', &mut text);
            if read.map_err(|error| Failure::system("reading the lines failed", &error))? == 0 {
                break;
            }
            ends.push(text.len());
        }
        let text = Bytes::from(text);
        let (mut from, mut lines) = (0, Vec::with_capacity(ends.len()));
        for end in ends {
            self.number += 1;
            lines.push(NumberedLine { number: self.number, text: text.slice(from..end) });
            from = end;
        }
        Ok(lines)
    }
}

fn open(path: &Path) -> Outcome<(File, u64)> {
    let opened = File::open(path).and_then(|file| {
        let len = file.metadata()?.len();
        Ok((file, len))
    });
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::NotFound(format!("there is no file {path:?}")),
        _ => Failure::system(format_args!("opening {path:?} failed"), &error),
    })
}
