//! JSON values as bytes whose order is that of the values: `docs/format.md`, "Entries of an index".
//!
//! The code of a value says where it ends: no code begins with another whole one. So codes can be
//! put one after the other, and their order is then that of the first values that differ.

use serde_json::{Map, Value};

use super::number::{Exact, Magnitude};
use super::order::sorted_members;

/// Where the code of an entry is cut, all its fields together.
pub(crate) const CUT_BYTES: usize = 256;

/// Most codes have room in this.
const USUAL_BYTES: usize = 40;

const END: u8 = 0x00;
const MISSING: u8 = 0x01;
const NULL: u8 = 0x02;
const FALSE: u8 = 0x03;
const TRUE: u8 = 0x04;
const NEGATIVE: u8 = 0x05;
const ZERO: u8 = 0x06;
const POSITIVE: u8 = 0x07;
const STRING: u8 = 0x08;
const ARRAY: u8 = 0x09;
const OBJECT: u8 = 0x0a;
/// Follows a NUL that is part of a string; a NUL without it ends the string.
const ESCAPED: u8 = 0xff;
/// How deep a code nests at most: as deep as a document.
const MAX_DEPTH: usize = 128;

/// Whether a code may have been cut, so that the values of two equal ones may differ.
pub(crate) fn is_cut(code: &[u8]) -> bool {
    code.len() >= CUT_BYTES
}

/// The codes of all values of a kind: from the first, on, up to the second and without that.
pub(crate) fn kind_bounds(kind: u8) -> (Vec<u8>, Vec<u8>) {
    let (first, last) = match kind {
        0 => (NULL, NULL),
        1 | 2 => (FALSE, TRUE),
        3 => (NEGATIVE, POSITIVE),
        4 => (STRING, STRING),
        5 => (ARRAY, ARRAY),
        _ => (OBJECT, OBJECT),
    };
    (vec![first], vec![last + 1])
}

/// The codes of all values that are there, in the same way.
pub(crate) fn present_bounds() -> (Vec<u8>, Vec<u8>) {
    (vec![NULL], vec![OBJECT + 1])
}

/// What the codes of all strings begin with that begin with this one.
pub(crate) fn string_prefix(prefix: &str) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.string(prefix);
    let mut code = encoder.finish();
    if !is_cut(&code) {
        // Without the end.
        code.truncate(code.len() - 2);
    }
    code
}

/// The code of one field; `None` is a missing one.
pub(crate) fn field_code(value: Option<&Value>, descending: bool) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.field(value, descending);
    encoder.finish()
}

/// Writes the codes of an entry's fields one after the other, and no more than [`CUT_BYTES`].
#[derive(Debug)]
pub(crate) struct Encoder {
    code: Vec<u8>,
    limit_bytes: usize,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::cut_at(CUT_BYTES)
    }
}

impl Encoder {
    /// Writes no more than this.
    pub(crate) fn cut_at(limit_bytes: usize) -> Self {
        Self { code: Vec::with_capacity(USUAL_BYTES), limit_bytes }
    }

    /// Appends a field; `None` is a missing one, which is less than every value.
    pub(crate) fn field(&mut self, value: Option<&Value>, descending: bool) {
        let start = self.code.len();
        match value {
            Some(value) => self.value(value),
            None => self.byte(MISSING),
        }
        if descending {
            let written = self.code.get_mut(start..).unwrap_or_default();
            written.iter_mut().for_each(|byte| *byte = !*byte);
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.code.truncate(self.limit_bytes);
        self.code
    }

    /// What is beyond the cut is not written, so a large value costs no more than a small one.
    fn is_full(&self) -> bool {
        self.code.len() >= self.limit_bytes
    }

    fn byte(&mut self, byte: u8) {
        self.code.push(byte);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.byte(NULL),
            Value::Bool(false) => self.byte(FALSE),
            Value::Bool(true) => self.byte(TRUE),
            Value::Number(number) => self.number(Exact::of(number)),
            Value::String(text) => self.string(text),
            Value::Array(elements) => self.array(elements),
            Value::Object(members) => self.object(members),
        }
    }

    fn number(&mut self, number: Exact) {
        let (tag, magnitude) = match number {
            Exact::Zero => return self.byte(ZERO),
            Exact::Negative(magnitude) => (NEGATIVE, magnitude),
            Exact::Positive(magnitude) => (POSITIVE, magnitude),
        };
        self.byte(tag);
        let start = self.code.len();
        self.code.extend(magnitude.power.to_be_bytes());
        // Seven bits a byte, the highest first; the lowest bit of a byte says that more follow.
        let mut rest = magnitude.fraction;
        loop {
            let bits = (rest >> 57) as u8;
            rest <<= 7;
            self.byte(bits << 1 | u8::from(rest != 0));
            if rest == 0 {
                break;
            }
        }
        if tag == NEGATIVE {
            let written = self.code.get_mut(start..).unwrap_or_default();
            written.iter_mut().for_each(|byte| *byte = !*byte);
        }
    }

    fn string(&mut self, text: &str) {
        self.byte(STRING);
        for byte in text.as_bytes() {
            if self.is_full() {
                return;
            }
            self.byte(*byte);
            if *byte == END {
                self.byte(ESCAPED);
            }
        }
        self.byte(END);
        self.byte(END);
    }

    fn array(&mut self, elements: &[Value]) {
        self.byte(ARRAY);
        for element in elements {
            if self.is_full() {
                return;
            }
            self.value(element);
        }
        self.byte(END);
    }

    fn object(&mut self, members: &Map<String, Value>) {
        self.byte(OBJECT);
        for (name, member) in sorted_members(members) {
            if self.is_full() {
                return;
            }
            self.string(name);
            self.value(member);
        }
        self.byte(END);
    }
}

/// Reads the codes of fields one after the other.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
    /// Whether the field that is read was written with its bytes complemented.
    complemented: bool,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(code: &'a [u8]) -> Self {
        Self { rest: code, complemented: false }
    }

    /// What follows the fields that were read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Passes over the next field, whatever is in it; `None` where the bytes are not a code, or a
    /// cut one.
    pub(crate) fn skip(&mut self, descending: bool) -> Option<()> {
        self.complemented = descending;
        match self.peek()? {
            MISSING => self.byte().map(drop),
            _ => self.skip_value(0),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().map(|byte| if self.complemented { !byte } else { *byte })
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.rest = self.rest.get(1..)?;
        Some(byte)
    }

    fn skip_value(&mut self, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.byte()? {
            NULL | FALSE | TRUE | ZERO => {}
            NEGATIVE => drop(self.magnitude(true)?),
            POSITIVE => drop(self.magnitude(false)?),
            STRING => self.skip_string()?,
            ARRAY => {
                while self.peek()? != END {
                    self.skip_value(depth + 1)?;
                }
                self.byte()?;
            }
            OBJECT => {
                while self.peek()? != END {
                    let STRING = self.byte()? else { return None };
                    self.skip_string()?;
                    self.skip_value(depth + 1)?;
                }
                self.byte()?;
            }
            _ => return None,
        }
        Some(())
    }

    fn skip_string(&mut self) -> Option<()> {
        loop {
            if self.byte()? == END {
                match self.byte()? {
                    END => return Some(()),
                    ESCAPED => {}
                    _ => return None,
                }
            }
        }
    }

    fn magnitude(&mut self, negative: bool) -> Option<Magnitude> {
        let mut next = || self.byte().map(|byte| if negative { !byte } else { byte });
        let power = u16::from_be_bytes([next()?, next()?]);
        let mut fraction = 0_u64;
        // 63 bits are nine times seven.
        for group in 0..9 {
            let byte = next()?;
            fraction |= u64::from(byte >> 1) << (57 - 7 * group);
            if byte & 1 == 0 {
                return Some(Magnitude { power, fraction });
            }
        }
        None
    }
}

/// The values in a code, for tests that compare it with the values that it was made of.
#[cfg(any(test, feature = "simulation"))]
impl Decoder<'_> {
    /// The next field, `Some(None)` for a missing one; `None` where the bytes are not a code, or a
    /// cut one.
    pub(crate) fn field(&mut self, descending: bool) -> Option<Option<Value>> {
        self.complemented = descending;
        match self.peek()? {
            MISSING => self.byte().map(|_| None),
            _ => self.value(0).map(Some),
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        Some(match self.byte()? {
            NULL => Value::Null,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            NEGATIVE => Value::Number(Exact::Negative(self.magnitude(true)?).to_number()?),
            ZERO => Value::from(0),
            POSITIVE => Value::Number(Exact::Positive(self.magnitude(false)?).to_number()?),
            STRING => Value::String(self.string()?),
            ARRAY => {
                let mut elements = Vec::new();
                while self.peek()? != END {
                    elements.push(self.value(depth + 1)?);
                }
                self.byte()?;
                Value::Array(elements)
            }
            OBJECT => {
                let mut members = Map::new();
                while self.peek()? != END {
                    let STRING = self.byte()? else { return None };
                    let name = self.string()?;
                    members.insert(name, self.value(depth + 1)?);
                }
                self.byte()?;
                Value::Object(members)
            }
            _ => return None,
        })
    }

    fn string(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        loop {
            match self.byte()? {
                END => match self.byte()? {
                    END => return String::from_utf8(bytes).ok(),
                    ESCAPED => bytes.push(END),
                    _ => return None,
                },
                byte => bytes.push(byte),
            }
        }
    }
}
