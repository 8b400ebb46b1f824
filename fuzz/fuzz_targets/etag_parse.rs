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
    fn text(&self) -> String {
        match self {
            Self::Tag(tag) => ETag(*tag).to_string(),
            Self::Nearly(tag, at, c) => {
                let text = ETag(*tag).to_string();
                let at = usize::from(*at) % text.len();
                format!("{}{c}{}", &text[..at], &text[at + 1..])
            }
            Self::Upper(tag) => ETag(*tag).to_string().to_uppercase(),
            Self::Weak(tag) => format!("W/{}", ETag(*tag)),
            Self::Quoted(text) => format!("\"{text}\""),
            Self::Star => "*".to_owned(),
            Self::Comma => ",".to_owned(),
            Self::Blank(tab) => if *tab { "\t" } else { " " }.to_owned(),
            Self::Text(text) => text.clone(),
        }
    }
}

fuzz_target!(|input: Input| {
    let text = match input {
        Input::Text(text) => text,
        Input::List(parts) => parts.iter().map(Part::text).collect(),
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
    let (mut tags, mut elements) = (Vec::new(), 0);
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
        tags.extend(plain_tag(element));
    }
    (elements > 0).then_some(Tags::List(tags))
}

/// The elements between the commas that are outside quotes.
fn split_outside_quotes(text: &str) -> Vec<String> {
    let (mut elements, mut quoted) = (vec![String::new()], false);
    for c in text.chars() {
        quoted ^= c == '"';
        match elements.last_mut() {
            Some(element) if c != ',' || quoted => element.push(c),
            _ => elements.push(String::new()),
        }
    }
    elements
}
