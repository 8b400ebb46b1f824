//! What commands print: documents, tables for people, lines of JSON for programs.

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::time::SystemTime;

use anstream::ColorChoice;
use anstyle::Style;
use bytes::Bytes;
use comfy_table::presets;
use comfy_table::{CellAlignment, Table};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::documents::Form;
use crate::failure::Outcome;
use crate::json::{Layout, lay_out};

/// Standard output, and how to write to it.
pub(crate) struct Output {
    to: BufWriter<StdoutLock<'static>>,
    /// Whether programs read it.
    pub(crate) json: bool,
    /// Whether it is a terminal that shows colours.
    styled: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let to = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        let styled = anstream::AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        Self { to, json, styled }
    }

    pub(crate) fn line(&mut self, text: impl Display) -> Outcome {
        Ok(writeln!(self.to, "{text}")?)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Outcome {
        Ok(self.to.write_all(bytes)?)
    }

    pub(crate) fn flush(&mut self) -> Outcome {
        Ok(self.to.flush()?)
    }

    /// Prints a heading above what follows, in bold where the terminal can.
    pub(crate) fn heading(&mut self, text: impl Display) -> Outcome {
        if self.styled {
            let bold = Style::new().bold();
            self.line(format_args!("{bold}{text}{bold:#}"))
        } else {
            self.line(text)
        }
    }

    /// Prints rows below their headings; the columns named in `right` are set to the right.
    pub(crate) fn table(
        &mut self,
        headings: &[&str],
        right: &[usize],
        rows: Vec<Vec<String>>,
    ) -> Outcome {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(headings).add_rows(rows);
        for (index, column) in table.column_iter_mut().enumerate() {
            let left = if index == 0 { 0 } else { 1 };
            column.set_padding((left, 1));
            if right.contains(&index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for (index, line) in table.lines().enumerate() {
            let line = line.trim_end();
            if index == 0 { self.heading(line)? } else { self.line(line)? }
        }
        Ok(())
    }

    /// Prints names and values, one pair a line; for programs as one object.
    pub(crate) fn facts(&mut self, facts: &[Fact]) -> Outcome {
        if self.json {
            let object: Map<String, Value> = facts
                .iter()
                .map(|fact| (fact.name.replace(' ', "_"), fact.value.clone()))
                .collect();
            return self.line(Value::Object(object));
        }
        let width = facts.iter().map(|fact| fact.name.len()).max().unwrap_or(0);
        for fact in facts {
            self.line(format_args!("{:width$}  {}", fact.name, fact.text))?;
        }
        Ok(())
    }

    /// Prints a value: JSON laid out for people, anything else as hexadecimal and its length.
    pub(crate) fn value(&mut self, value: &Bytes, form: Form) -> Outcome {
        let text = show(value, form, Layout::Pretty);
        self.line(text)
    }
}

/// A name and a value, as people and as programs read it.
pub(crate) struct Fact {
    name: &'static str,
    text: String,
    value: Value,
}

impl Fact {
    pub(crate) fn text(name: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { name, value: text.clone().into(), text }
    }

    pub(crate) fn count(name: &'static str, count: u64) -> Self {
        Self { name, text: count.to_string(), value: count.into() }
    }

    pub(crate) fn bytes(name: &'static str, bytes: u64) -> Self {
        Self { name, text: size(bytes), value: bytes.into() }
    }

    pub(crate) fn yes(name: &'static str, yes: bool) -> Self {
        Self { name, text: if yes { "yes" } else { "no" }.to_owned(), value: yes.into() }
    }
}

/// A value as text: JSON in this layout, anything else as hexadecimal and its length.
pub(crate) fn show(value: &[u8], form: Form, layout: Layout) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if form == Form::Json => lay_out(text, layout),
        _ => format!("{} ({} bytes)", hex::encode(value), value.len()),
    }
}

/// A key as text: hexadecimal after `0x` where it is no text, or holds what would not be seen.
pub(crate) fn key_text(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("0x{}", hex::encode(key)),
    }
}

/// An instant in RFC 3339, to the millisecond.
pub(crate) fn time_text(instant: SystemTime) -> String {
    Timestamp::try_from(instant)
        .map_or_else(|_| "beyond the year 9999".to_owned(), |time| format!("{time:.3}"))
}

/// A number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut scaled = bytes as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = next;
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{scaled:.1} {unit}") }
}

/// A key as the member of a JSON object: text, or hexadecimal where it is none.
pub(crate) fn key_json(key: &[u8]) -> Map<String, Value> {
    let (name, text) = match std::str::from_utf8(key) {
        Ok(text) => ("key", text.to_owned()),
        Err(_) => ("key_hex", hex::encode(key)),
    };
    Map::from_iter([(name.to_owned(), text.into())])
}

/// A version as JSON.
pub(crate) fn meta_json(meta: &ifmatch::Meta) -> Value {
    json!({
        "etag": meta.etag().to_string(),
        "parent": meta.parent().map(|tag| tag.to_string()),
        "revision": meta.revision().0,
        "modified": time_text(meta.modified()),
        "expires": meta.expires().map(time_text),
    })
}
