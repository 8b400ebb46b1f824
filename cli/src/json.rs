//! The layout of JSON text, which keeps every member, its order and the form of its numbers.

/// How JSON is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// On one line, without blanks.
    Compact,
    /// One member or element a line, indented by two blanks a level.
    Pretty,
}

/// Lays out a valid JSON text; text that is none comes out as it is, but for its blanks.
pub(crate) fn lay_out(text: &str, layout: Layout) -> String {
    let mut out = String::with_capacity(text.len());
    let mut depth = 0_usize;
    let mut significant = text.chars().peekable();
    let mut in_string = false;
    while let Some(c) = significant.next() {
        if in_string {
            out.push(c);
            match c {
                '"' => in_string = false,
                '\\' => out.extend(significant.next()),
                _ => {}
            }
            continue;
        }
        match c {
            ' ' | '\t' | '\n' | '\r' => {}
            '{' | '[' => {
                out.push(c);
                while significant.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(close) = significant.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    break_line(&mut out, depth, layout);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut out, depth, layout);
                out.push(c);
            }
            ',' => {
                out.push(c);
                break_line(&mut out, depth, layout);
            }
            ':' if layout == Layout::Pretty => out.push_str(": "),
            _ => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    out
}

fn break_line(out: &mut String, depth: usize, layout: Layout) {
    if layout == Layout::Pretty {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_blanks_changes() {
        let text = " {\"b\" : [1.0, 2e2 ,\n {}], \"a\":\"x: \\\" ,{\", \"c\": [ ] } ";
        let compact = lay_out(text, Layout::Compact);
        assert_eq!(compact, r#"{"b":[1.0,2e2,{}],"a":"x: \" ,{","c":[]}"#);
        let pretty = lay_out(&compact, Layout::Pretty);
        let expected = "{\n  \"b\": [\n    1.0,\n    2e2,\n    {}\n  ],\n  \"a\": \"x: \\\" ,{\",\n  \"c\": []\n}";
        assert_eq!(pretty, expected);
        assert_eq!(lay_out(&pretty, Layout::Compact), compact);
    }
}
