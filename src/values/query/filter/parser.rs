//! Reading a filter from its text form.
//!
//! ```text
//! any       = all { "or" all }
//! all       = one { "and" one }
//! one       = "not" one | "(" any ")" | "true" | "false" | condition
//! condition = path ( comparison value | "between" value "and" value | "in" array
//!                  | "prefix" string | "exists" | "contains" value | "has" "(" any ")" )
//! ```

use std::str::FromStr;

use serde_json::Value;

use super::build::MAX_DEPTH;
use super::text::ends_path;
use super::{Comparison, Filter, ParseFilterError};

/// The longest text that is read, in bytes.
const MAX_TEXT_BYTES: usize = 64 << 10;
const EXPECTED_CONDITION: &str =
    "a condition is expected: a path such as /price, `not`, `true`, `false` or a parenthesis";
const EXPECTED_OPERATOR: &str = "after a path =, !=, <, <=, >, >=, `between`, `in`, `prefix`, \
                                 `exists`, `contains` or `has` is expected";

type Parsed<T> = Result<T, ParseFilterError>;

impl FromStr for Filter {
    type Err = ParseFilterError;

    fn from_str(text: &str) -> Parsed<Self> {
        let mut parser = Parser { text, at: 0, depth: 0 };
        if text.len() > MAX_TEXT_BYTES {
            return Err(parser.error_at(0, "the text is longer than 64 KiB"));
        }
        let filter = parser.any()?;
        parser.skip_blanks();
        if parser.at < text.len() {
            return Err(parser.error("`and`, `or` or the end is expected"));
        }
        parser.checked(0, filter)
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// How many parentheses and `not` are open.
    depth: usize,
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Parsed<Filter> {
        let mut filters = vec![self.all()?];
        while self.word("or") {
            filters.push(self.all()?);
        }
        Ok(Filter::any(filters))
    }

    fn all(&mut self) -> Parsed<Filter> {
        let mut filters = vec![self.one()?];
        while self.word("and") {
            filters.push(self.one()?);
        }
        Ok(Filter::all(filters))
    }

    fn one(&mut self) -> Parsed<Filter> {
        if self.word("not") {
            return self.deeper(|parser| parser.one().map(Filter::not));
        }
        if self.word("true") {
            return Ok(Filter::all([]));
        }
        if self.word("false") {
            return Ok(Filter::any([]));
        }
        if self.symbol("(") {
            return self.group();
        }
        self.condition()
    }

    /// What is between a parenthesis that was opened and the one that closes it.
    fn group(&mut self) -> Parsed<Filter> {
        self.deeper(|parser| {
            let filter = parser.any()?;
            if parser.symbol(")") { Ok(filter) } else { Err(parser.error("a ) is expected")) }
        })
    }

    fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Parsed<Filter>) -> Parsed<Filter> {
        if self.depth == MAX_DEPTH {
            return Err(self.error("the filter nests deeper than 32 levels"));
        }
        self.depth += 1;
        let filter = read(self);
        self.depth -= 1;
        filter
    }

    fn condition(&mut self) -> Parsed<Filter> {
        self.skip_blanks();
        let start = self.at;
        let path = self.path()?;
        let path = path.as_str();
        let filter = if let Some(comparison) = self.comparison() {
            Filter::compare(path, comparison, &self.value()?)
        } else if self.word("between") {
            let low = self.value()?;
            if !self.word("and") {
                return Err(self.error("`and` and the upper bound are expected"));
            }
            Filter::between(path, low, self.value()?)
        } else if self.word("in") {
            Filter::is_in(path, self.array()?)
        } else if self.word("prefix") {
            Filter::prefix(path, self.string()?)
        } else if self.word("exists") {
            Filter::exists(path)
        } else if self.word("contains") {
            Filter::contains(path, self.value()?)
        } else if self.word("has") {
            if !self.symbol("(") {
                return Err(self.error("a ( is expected"));
            }
            Filter::element(path, self.group()?)
        } else {
            return Err(self.error(EXPECTED_OPERATOR));
        };
        self.checked(start, filter)
    }

    /// A path: up to a blank or a symbol, or a JSON string.
    fn path(&mut self) -> Parsed<String> {
        self.skip_blanks();
        let rest = self.rest();
        if rest.starts_with('"') {
            return self.string();
        }
        let len = rest.find(ends_path).unwrap_or(rest.len());
        let path = rest.get(..len).unwrap_or_default();
        if !path.starts_with('/') {
            return Err(self.error(EXPECTED_CONDITION));
        }
        self.at += len;
        Ok(path.to_owned())
    }

    fn comparison(&mut self) -> Option<Comparison> {
        use Comparison::{Eq, Ge, Gt, Le, Lt, Ne};

        // The longer ones first.
        let symbols = [("!=", Ne), ("<=", Le), (">=", Ge), ("=", Eq), ("<", Lt), (">", Gt)];
        symbols
            .into_iter()
            .find(|(symbol, _)| self.symbol(symbol))
            .map(|(_, comparison)| comparison)
    }

    fn value(&mut self) -> Parsed<Value> {
        self.skip_blanks();
        let rest = self.rest();
        if rest.starts_with(['"', '[', '{']) {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            let value = values.next();
            let len = values.byte_offset();
            return match value {
                Some(Ok(value)) => {
                    self.at += len;
                    Ok(value)
                }
                Some(Err(error)) => {
                    let at = self.at + offset_of(rest, &error);
                    Err(self
                        .error_at(at, format!("the JSON value cannot be read: {}", plain(&error))))
                }
                None => Err(self.error("a JSON value is expected")),
            };
        }
        let len = rest.find(ends_path).unwrap_or(rest.len());
        let word = rest.get(..len).unwrap_or_default();
        match serde_json::from_str(word) {
            Ok(value) => {
                self.at += len;
                Ok(value)
            }
            Err(_) => Err(self.error("a JSON value is expected")),
        }
    }

    fn array(&mut self) -> Parsed<Vec<Value>> {
        self.skip_blanks();
        let start = self.at;
        match self.value()? {
            Value::Array(values) => Ok(values),
            _ => Err(self.error_at(start, "a list of values in [ ] is expected")),
        }
    }

    fn string(&mut self) -> Parsed<String> {
        self.skip_blanks();
        let start = self.at;
        match self.value()? {
            Value::String(text) => Ok(text),
            _ => Err(self.error_at(start, "a string is expected")),
        }
    }

    /// Takes a word, in upper or lower case, if it is next.
    fn word(&mut self, word: &str) -> bool {
        self.skip_blanks();
        let Some((next, rest)) = self.rest().split_at_checked(word.len()) else { return false };
        let ends = rest.chars().next().is_none_or(|c| ends_path(c) || c == '/');
        let found = ends && next.eq_ignore_ascii_case(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        self.skip_blanks();
        let found = self.rest().starts_with(symbol);
        if found {
            self.at += symbol.len();
        }
        found
    }

    fn skip_blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The filter, unless it keeps an error.
    fn checked(&self, start: usize, filter: Filter) -> Parsed<Filter> {
        match filter.check() {
            Ok(()) => Ok(filter),
            Err(error) => Err(self.error_at(start, error.to_string())),
        }
    }

    fn error(&self, reason: impl Into<String>) -> ParseFilterError {
        self.error_at(self.at, reason)
    }

    fn error_at(&self, at: usize, reason: impl Into<String>) -> ParseFilterError {
        ParseFilterError::new(self.text, at, reason)
    }
}

/// The byte of a text at which its reading failed.
fn offset_of(text: &str, error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let offset = lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// The error without the place, which is that of the value alone.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}
