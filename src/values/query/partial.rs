//! Documents read as far as paths lead into them: what no path names is skipped without a copy.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::pointer::{Pointer, Step};

/// The paths that are wanted of a document.
///
/// In what [`read`](Self::read) returns, each wanted path leads to the same values as in the whole
/// document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// A path ends here.
    whole: bool,
    /// Of an object the members, of an array the elements with these numbers.
    named: BTreeMap<Box<str>, Wanted>,
    /// Of an array all elements.
    each: Option<Box<Wanted>>,
}

impl Wanted {
    pub(crate) fn of<'p>(paths: impl IntoIterator<Item = &'p Pointer>) -> Self {
        let mut wanted = Self::default();
        paths.into_iter().for_each(|path| wanted.add(path));
        wanted
    }

    /// Adds what a path leads to.
    pub(crate) fn add(&mut self, path: &Pointer) {
        self.add_presence(path).whole = true;
    }

    /// Adds whether a path leads to something.
    pub(crate) fn add_presence(&mut self, path: &Pointer) -> &mut Self {
        path.steps().iter().fold(self, |at, step| match step {
            Step::Each => &mut **at.each.get_or_insert_default(),
            Step::Name(name) => at.named.entry(name.clone()).or_default(),
        })
    }

    fn member(&self, name: &str) -> Option<&Self> {
        self.named.get(name)
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// Where it is none; what is skipped is only checked for its brackets and strings.
    pub(crate) fn read(&self, json: &[u8]) -> serde_json::Result<Value> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let document = self.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(document)
    }
}

impl<'de> DeserializeSeed<'de> for &Wanted {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.whole {
            return serde::Deserialize::deserialize(deserializer);
        }
        deserializer.deserialize_any(self)
    }
}

/// Nothing leads on from a value that is neither an object nor an array, so any will do.
const NO_VALUE: Value = Value::Null;

impl<'de> Visitor<'de> for &Wanted {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some(wanted) = members.next_key_seed(Member(self))? {
            match wanted {
                Some((name, wanted)) => {
                    let value = members.next_value_seed(wanted)?;
                    // The last of several of one name counts, as in a whole document.
                    found.insert(name.into_owned(), value);
                }
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        if !self.named.is_empty() {
            // Some elements by number: these are few, or the array is.
            while let Some(element) = elements.next_element::<Value>()? {
                found.push(element);
            }
        } else if let Some(each) = &self.each {
            while let Some(element) = elements.next_element_seed(&**each)? {
                found.push(element);
            }
        } else {
            while elements.next_element::<IgnoredAny>()?.is_some() {}
        }
        Ok(Value::Array(found))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(NO_VALUE)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(NO_VALUE)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(NO_VALUE)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(NO_VALUE)
    }

    fn visit_str<E>(self, _: &str) -> Result<Value, E> {
        Ok(NO_VALUE)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(NO_VALUE)
    }
}

/// A member's name, and what is wanted of it.
struct Member<'w>(&'w Wanted);

impl<'w, 'de> DeserializeSeed<'de> for Member<'w> {
    type Value = Option<(Cow<'de, str>, &'w Wanted)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'w, 'de> Visitor<'de> for Member<'w> {
    type Value = Option<(Cow<'de, str>, &'w Wanted)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(self.0.member(name).map(|wanted| (Cow::Borrowed(name), wanted)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.member(name).map(|wanted| (Cow::Owned(name.to_owned()), wanted)))
    }
}
