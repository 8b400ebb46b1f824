//! Reads any text as a filter: never a panic, an error points into the text, and what is read comes
//! back from its text and its JSON form and means the same.
#![no_main]

use arbitrary::Arbitrary;
use ifmatch::Filter;
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
enum Input {
    /// Text as it comes.
    Text(String),
    /// Words of the language in any order.
    Words(Vec<Word>),
}

#[derive(Debug, Arbitrary)]
enum Word {
    And,
    Or,
    Not,
    True,
    Open,
    Close,
    Path(u8),
    QuotedPath(String),
    Compare(u8),
    Between,
    In,
    Prefix,
    Exists,
    Contains,
    Has,
    Number(i64),
    Float(f64),
    Text(String),
    List(Vec<i8>),
    Other(char),
}

impl Word {
    fn text(&self) -> String {
        let quoted = |text: &String| serde_json::to_string(text).expect("a text is JSON");
        match self {
            Self::And => "and".to_owned(),
            Self::Or => "or".to_owned(),
            Self::Not => "not".to_owned(),
            Self::True => "true".to_owned(),
            Self::Open => "(".to_owned(),
            Self::Close => ")".to_owned(),
            Self::Path(n) => ["/a", "/b/*", "/a/0", "/", "/é~1"][usize::from(*n) % 5].to_owned(),
            Self::QuotedPath(path) => quoted(path),
            Self::Compare(n) => ["=", "!=", "<", "<=", ">", ">="][usize::from(*n) % 6].to_owned(),
            Self::Between => "between".to_owned(),
            Self::In => "in".to_owned(),
            Self::Prefix => "prefix".to_owned(),
            Self::Exists => "exists".to_owned(),
            Self::Contains => "contains".to_owned(),
            Self::Has => "has".to_owned(),
            Self::Number(n) => n.to_string(),
            Self::Float(n) => n.to_string(),
            Self::Text(text) => quoted(text),
            Self::List(list) => format!("{list:?}"),
            Self::Other(c) => c.to_string(),
        }
    }
}

fuzz_target!(|input: Input| {
    let text = match input {
        Input::Text(text) => text,
        Input::Words(words) => words.iter().map(Word::text).collect::<Vec<_>>().join(" "),
    };
    match text.parse::<Filter>() {
        Err(error) => {
            let line = text.split('\n').nth(error.line() - 1).expect("a line of the text");
            assert!(error.column() <= line.chars().count() + 1);
            assert_eq!(error.to_string().lines().count(), 3);
        }
        Ok(filter) => {
            assert_eq!(filter.to_string().parse(), Ok(filter.clone()));
            let json = serde_json::to_string(&filter).expect("a filter is JSON");
            let read: Filter = serde_json::from_str(&json).expect("what was written");
            assert_eq!(read, filter);
        }
    }
});
