//! Paths into a document: JSON Pointers (RFC 6901) in which `*` represents each element of an
//! array.

use std::fmt;

use serde_json::Value;

/// The longest path in bytes.
pub(crate) const MAX_POINTER_BYTES: usize = 1_024;

/// A checked path. The empty one is the whole document.
///
/// On an array a step is an element's number without leading zeros, or `*`; on an object it is a
/// member's name, where `~1` represents `/` and `~0` for `~`. `*` names no member of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Pointer {
    text: Box<str>,
    steps: Box<[Step]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// A member's name, or an element's number.
    Name(Box<str>),
    /// Each element of an array.
    Each,
}

impl Pointer {
    /// # Errors
    /// Which rule the text breaks.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_POINTER_BYTES {
            return Err("it is longer than 1 024 bytes");
        }
        let Some(rest) = text.strip_prefix('/') else {
            let empty = text.is_empty();
            let whole = Self { text: "".into(), steps: Box::default() };
            return empty.then_some(whole).ok_or("it does not begin with a /");
        };
        let steps = rest.split('/').map(Step::parse).collect::<Result<_, _>>()?;
        Ok(Self { text: text.into(), steps })
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The path that leads on from where this one leads; `None` where it is too long.
    pub(crate) fn join(&self, on: &Self) -> Option<Self> {
        let text = [&*self.text, &on.text].concat();
        let steps = self.steps.iter().chain(&on.steps).cloned().collect();
        (text.len() <= MAX_POINTER_BYTES).then(|| Self { text: text.into(), steps })
    }

    /// Whether there is a `*` in it.
    pub(crate) fn has_each(&self) -> bool {
        self.each_count() > 0
    }

    /// The number of `*`.
    pub(crate) fn each_count(&self) -> usize {
        self.steps.iter().filter(|step| **step == Step::Each).count()
    }

    /// Shows what the path leads to in a document, in order, until `visit` returns `true`; whether
    /// it did. Without `*` that is one value at most.
    pub(crate) fn any<'d>(
        &self,
        document: &'d Value,
        visit: &mut dyn FnMut(&'d Value) -> bool,
    ) -> bool {
        any(&self.steps, document, visit)
    }

    /// The first value that the path leads to.
    pub(crate) fn first<'d>(&self, document: &'d Value) -> Option<&'d Value> {
        let mut first = None;
        self.any(document, &mut |value| {
            first = Some(value);
            true
        });
        first
    }
}

impl Step {
    fn parse(token: &str) -> Result<Self, &'static str> {
        if token == "*" {
            return Ok(Self::Each);
        }
        let mut parts = token.split('~');
        let mut name = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (escaped, rest) = match part.split_at_checked(1) {
                Some(("0", rest)) => ('~', rest),
                Some(("1", rest)) => ('/', rest),
                _ => return Err("a ~ in it is not followed by 0 or 1"),
            };
            name.push(escaped);
            name.push_str(rest);
        }
        Ok(Self::Name(name.into()))
    }
}

/// A path nests no deeper than its text is long, and a document no deeper than 127 levels.
fn any<'d>(steps: &[Step], value: &'d Value, visit: &mut dyn FnMut(&'d Value) -> bool) -> bool {
    let Some((step, rest)) = steps.split_first() else { return visit(value) };
    match (step, value) {
        (Step::Each, Value::Array(elements)) => {
            elements.iter().any(|element| any(rest, element, visit))
        }
        (Step::Name(name), Value::Object(members)) => {
            members.get(&**name).is_some_and(|member| any(rest, member, visit))
        }
        (Step::Name(name), Value::Array(elements)) => element_number(name)
            .and_then(|number| elements.get(number))
            .is_some_and(|element| any(rest, element, visit)),
        _ => false,
    }
}

/// The number of an element as RFC 6901 §4 writes it.
fn element_number(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    if digits && canonical { text.parse().ok() } else { None }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
