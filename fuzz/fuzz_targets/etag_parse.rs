//! Reads any text as a tag and as a tag list. Parsing never panics, agrees with the plain rules
//! written here, and what it accepts survives being written and read again.
#![no_main]

use arbitrary::Arbitrary;
use ifmatch::{ETag, Tags};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
enum Input {
    /// Text as it comes.
    Text(String),
    /// A list put together of parts, most of them nearly right.
    List(Vec<Part>),
}

#[derive(Debug, Arbitrary)]
enum Part {
    Tag([u8; 16]),
    /// A tag with one of its characters exchanged.
    Nearly([u8; 16], u8, char),
    Upper([u8; 16]),
    Weak([u8; 16]),
    Quoted(String),
    Star,
    Comma,
    Blank(bool),
    Text(String),
}

impl Part {
    fn write_to(&self, text: &mut String) {
        match self {
            Self::Tag(tag) => text.push_str(&ETag(*tag).to_string()),
            Self::Nearly(tag, at, c) => {
                let tag = ETag(*tag).to_string();
                let at = usize::from(*at) % tag.len();
                text.push_str(&tag[..at]);
                text.push(*c);
                text.push_str(&tag[at + 1..]);
            }
            Self::Upper(tag) => text.push_str(&ETag(*tag).to_string().to_uppercase()),
            Self::Weak(tag) => {
                text.push_str("W/");
                text.push_str(&ETag(*tag).to_string());
            }
            Self::Quoted(inner) => {
                text.push('"');
                text.push_str(inner);
                text.push('"');
            }
            Self::Star => text.push('*'),
            Self::Comma => text.push(','),
            Self::Blank(tab) => text.push(if *tab { '\t' } else { ' ' }),
            Self::Text(other) => text.push_str(other),
        }
    }
}

fuzz_target!(|input: Input| {
    let text = match input {
        Input::Text(text) => text,
        Input::List(parts) => {
            let mut text = String::new();
            parts.iter().for_each(|part| part.write_to(&mut text));
            text
        }
    };
    let tag = text.parse::<ETag>().ok();
    assert_eq!(tag, plain_tag(&text));
    if let Some(tag) = tag {
        assert_eq!(tag.to_string(), text);
    }

    let tags = text.parse::<Tags>().ok();
    assert_eq!(tags, plain_tags(&text));
    if let Some(Tags::List(list)) = tags {
        let written: Vec<_> = list.iter().map(ETag::to_string).collect();
        // A list of nothing but foreign tags is legal to read and leaves nothing to write.
        if !written.is_empty() {
            assert_eq!(written.join(", ").parse(), Ok(Tags::List(list)));
        }
    }
});

/// The tag of the 32 lower-case hexadecimal digits between two quotes.
fn plain_tag(text: &str) -> Option<ETag> {
    let [b'"', digits @ .., b'"'] = text.as_bytes() else { return None };
    let digits: &[u8; 32] = digits.try_into().ok()?;
    let mut tag = [0; 16];
    for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(ETag(tag))
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// RFC 9110 §13.1.1 and §8.8.3, one character after the other: `*`, or a list with at least one
/// entity tag, empty elements and blanks around elements allowed.
fn plain_tags(text: &str) -> Option<Tags> {
    if text.trim_matches([' ', '\t']) == "*" {
        return Some(Tags::Any);
    }
    let (mut strong, mut weak, mut elements) = (Vec::new(), Vec::new(), 0);
    for element in split_outside_quotes(text) {
        let element = element.trim_matches([' ', '\t']);
        if element.is_empty() {
            continue;
        }
        elements += 1;
        let opaque = element.strip_prefix("W/").unwrap_or(element);
        let inner = opaque.strip_prefix('"')?.strip_suffix('"')?;
        if inner.chars().any(|c| matches!(c, '\0'..=' ' | '"' | '\x7f')) {
            return None;
        }
        match element.strip_prefix("W/") {
            Some(tag) => weak.extend(plain_tag(tag)),
            None => strong.extend(plain_tag(element)),
        }
    }
    let tags = if weak.is_empty() { Tags::List(strong) } else { Tags::Mixed { strong, weak } };
    (elements > 0).then_some(tags)
}

/// The elements between the commas that are outside quotes.
fn split_outside_quotes(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}
