//! Source cut into words: what stands in a comment or in a string is no code.

/// Blanks comments and the contents of strings and characters; lines stay lines.
pub(super) fn code_of(source: &str) -> String {
    let text: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < text.len() {
        let end = skipped(&text, at);
        if end == at {
            code.push(text[at]);
            at += 1;
        } else {
            code.extend(text[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment, string or character that begins at `at` ends; `at` if none does.
fn skipped(text: &[char], at: usize) -> usize {
    let next = text.get(at + 1).copied();
    match (text[at], next) {
        ('/', Some('/')) => find(text, at, |rest| rest[0] == '\n'),
        ('/', Some('*')) => end_of_block(text, at),
        ('"', _) => end_of_quoted(text, at + 1, '"'),
        ('r', Some('"' | '#')) if !in_word(text, at) => end_of_raw(text, at),
        ('b' | 'c', Some('r')) if !in_word(text, at) => match end_of_raw(text, at + 1) {
            end if end == at + 1 => at,
            end => end,
        },
        // 'x' and '\n' are characters; 'a without a closing quote is a lifetime.
        ('\'', Some('\\')) => end_of_quoted(text, at + 1, '\''),
        ('\'', Some(_)) if text.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

fn in_word(text: &[char], at: usize) -> bool {
    // b"..." and br"..." are strings, whatever letter stands before the quote.
    at > 0 && is_word(text[at - 1]) && !matches!(text[at - 1], 'b' | 'c')
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn find(text: &[char], from: usize, is_end: impl Fn(&[char]) -> bool) -> usize {
    (from..text.len()).find(|at| is_end(&text[*at..])).unwrap_or(text.len())
}

fn end_of_block(text: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at < text.len() {
        match text[at..] {
            ['/', '*', ..] => depth += 1,
            ['*', '/', ..] => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    at
}

fn end_of_quoted(text: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// r"..." and r#"..."#; `r#word` is no string.
fn end_of_raw(text: &[char], at: usize) -> usize {
    let hashes = text[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if text.get(open) != Some(&'"') {
        return at;
    }
    let closes = |rest: &[char]| {
        rest[0] == '"' && rest[1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    (find(text, open + 1, closes) + 1 + hashes).min(text.len())
}

/// The words of code, with the number of their line.
pub(super) fn words(code: &str) -> Vec<(usize, &str)> {
    let lines = code.lines().enumerate();
    lines
        .flat_map(|(number, line)| {
            line.split(|c| !is_word(c)).filter(|w| !w.is_empty()).map(move |w| (number + 1, w))
        })
        .collect()
}
