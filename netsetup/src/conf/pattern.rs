//! Regular expressions as the reference's allowlist has them: RE2's syntax without its
//! classes of Unicode and its flags. What isn't known is an error, never passed over.
//!
//! A pattern is compiled to a small program whose states are followed all at once, so
//! that the time doesn't grow with what a pattern could try (Thompson's construction).
//!
//! Source: the syntax of Go's regexp package (pkg.go.dev/regexp/syntax).

/// A pattern, ready to be looked for anywhere in a text.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<Op>);

/// One step of a pattern's program.
#[derive(Clone, Debug)]
enum Op {
    /// One character of these, or with `not` one of all others; on to the next step.
    One { of: Vec<(char, char)>, not: bool },
    /// On at both places.
    Both(usize, usize),
    /// On at this place.
    Go(usize),
    /// On only at the beginning.
    Begin,
    /// On only at the end.
    End,
    /// Found.
    Found,
}

/// Steps that one pattern may have: a line of a file is no more than that.
const OPS_MAX: usize = 10_000;
/// RE2's limit of `{n}`.
const REPEAT_MAX: usize = 1000;
/// Groups within groups.
const DEPTH_MAX: usize = 100;

impl Pattern {
    /// Compiles a pattern; the error says what is wrong with it.
    pub(super) fn new(text: &str) -> Result<Pattern, String> {
        let mut reader = Reader { rest: text.chars().collect(), at: 0, depth: 0 };
        let mut ops = reader.either()?;
        if reader.at < reader.rest.len() {
            return Err("there is a ) without a (".to_owned());
        }
        ops.push(Op::Found);
        Ok(Pattern(ops))
    }

    /// Whether it is found anywhere in a text.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let mut here = vec![false; self.0.len()];
        for at in 0..=text.len() {
            // A match may begin at each character.
            if self.reach(&mut here, 0, at, text.len()) {
                return true;
            }
            let Some(c) = text.get(at) else { break };
            let mut next = vec![false; self.0.len()];
            let is =
                |of: &[(char, char)]| of.iter().any(|(first, last)| (first..=last).contains(&c));
            for (i, op) in self.0.iter().enumerate().filter(|(i, _)| here[*i]) {
                if matches!(op, Op::One { of, not } if is(of) != *not)
                    && self.reach(&mut next, i + 1, at + 1, text.len())
                {
                    return true;
                }
            }
            here = next;
        }
        false
    }

    /// Marks all steps that are reached from one without a character; whether the last is.
    fn reach(&self, marked: &mut [bool], from: usize, at: usize, len: usize) -> bool {
        let mut todo = vec![from];
        while let Some(i) = todo.pop() {
            if std::mem::replace(&mut marked[i], true) {
                continue;
            }
            match &self.0[i] {
                Op::Both(one, other) => todo.extend([*one, *other]),
                Op::Go(to) => todo.push(*to),
                Op::Begin if at == 0 => todo.push(i + 1),
                Op::End if at == len => todo.push(i + 1),
                Op::Begin | Op::End | Op::One { .. } => {}
                Op::Found => return true,
            }
        }
        false
    }
}

/// What is left to read of a pattern.
struct Reader {
    rest: Vec<char>,
    at: usize,
    depth: usize,
}

/// Programs that are put together say where to go as seen from their first step.
fn shifted(ops: &[Op], by: usize) -> impl Iterator<Item = Op> + '_ {
    ops.iter().cloned().map(move |op| match op {
        Op::Both(one, other) => Op::Both(one + by, other + by),
        Op::Go(to) => Op::Go(to + by),
        op => op,
    })
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> bool {
        let is = self.peek() == Some(wanted);
        self.at += usize::from(is);
        is
    }

    fn next(&mut self, missing: &str) -> Result<char, String> {
        let c = self.peek().ok_or_else(|| missing.to_owned())?;
        self.at += 1;
        Ok(c)
    }

    /// Sequences with `|` between them.
    fn either(&mut self) -> Result<Vec<Op>, String> {
        let mut ops = self.sequence()?;
        while self.take('|') {
            let other = self.sequence()?;
            let (second, end) = (ops.len() + 2, ops.len() + 2 + other.len());
            let mut both = vec![Op::Both(1, second)];
            both.extend(shifted(&ops, 1));
            both.push(Op::Go(end));
            both.extend(shifted(&other, second));
            ops = limited(both)?;
        }
        Ok(ops)
    }

    fn sequence(&mut self) -> Result<Vec<Op>, String> {
        let mut ops = Vec::new();
        while !matches!(self.peek(), None | Some('|' | ')')) {
            let one = self.atom()?;
            let one = self.repeated(one)?;
            let by = ops.len();
            ops.extend(shifted(&one, by));
            ops = limited(ops)?;
        }
        Ok(ops)
    }

    fn atom(&mut self) -> Result<Vec<Op>, String> {
        let one = |of, not| vec![Op::One { of, not }];
        Ok(match self.next("it ends too early")? {
            '.' => one(vec![('\n', '\n')], true),
            '^' => vec![Op::Begin],
            '$' => vec![Op::End],
            '[' => vec![self.class()?],
            '(' => self.group()?,
            '\\' => match self.next("it ends in a \\")? {
                'A' => vec![Op::Begin],
                'z' => vec![Op::End],
                c => {
                    let (of, not) = escaped(c)?;
                    one(of, not)
                }
            },
            c @ ('*' | '+' | '?') => return Err(format!("there is nothing before {c} to repeat")),
            c => one(vec![(c, c)], false),
        })
    }

    fn group(&mut self) -> Result<Vec<Op>, String> {
        if self.take('?') && !self.take(':') {
            return Err("of groups that begin with (? only (?: is known".to_owned());
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("its groups go too deep".to_owned());
        }
        let ops = self.either()?;
        self.depth -= 1;
        if self.take(')') { Ok(ops) } else { Err("there is a ( without a )".to_owned()) }
    }

    /// `*`, `+`, `?` and `{n,m}` behind an atom; a `?` more says what is tried first,
    /// which changes no answer here.
    fn repeated(&mut self, one: Vec<Op>) -> Result<Vec<Op>, String> {
        let (least, most) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => match self.count() {
                Some(count) => return self.times(&one, count),
                None => return Ok(one),
            },
            _ => return Ok(one),
        };
        self.at += 1;
        self.times(&one, (least, most))
    }

    fn times(
        &mut self,
        one: &[Op],
        (least, most): (usize, Option<usize>),
    ) -> Result<Vec<Op>, String> {
        self.take('?');
        if matches!(self.peek(), Some('*' | '+' | '?'))
            || (self.peek() == Some('{') && self.count().is_some())
        {
            return Err("it repeats what is repeated already".to_owned());
        }
        if least.max(most.unwrap_or(0)) > REPEAT_MAX || most.is_some_and(|most| most < least) {
            return Err("the numbers between { and } make no sense".to_owned());
        }
        let mut ops = Vec::new();
        for _ in 0..least {
            let by = ops.len();
            ops.extend(shifted(one, by));
            ops = limited(ops)?;
        }
        match most {
            None => {
                let start = ops.len();
                ops.push(Op::Both(start + 1, start + one.len() + 2));
                ops.extend(shifted(one, start + 1));
                ops.push(Op::Go(start));
            }
            Some(most) => {
                for _ in least..most {
                    let start = ops.len();
                    ops.push(Op::Both(start + 1, start + one.len() + 1));
                    ops.extend(shifted(one, start + 1));
                    ops = limited(ops)?;
                }
            }
        }
        limited(ops)
    }

    /// `{n}`, `{n,}`, `{n,m}`; any other `{` is a character like others, as in RE2.
    fn count(&mut self) -> Option<(usize, Option<usize>)> {
        let close = self.rest[self.at..].iter().position(|c| *c == '}')?;
        let inside: String = self.rest[self.at + 1..self.at + close].iter().collect();
        let digits = |s: &str| {
            let plain = !s.is_empty() && s.len() < 6 && s.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| s.parse::<usize>().ok())?
        };
        let count = match inside.split_once(',') {
            None => digits(&inside).map(|n| (n, Some(n)))?,
            Some((least, "")) => (digits(least)?, None),
            Some((least, most)) => (digits(least)?, Some(digits(most)?)),
        };
        self.at += close + 1;
        Some(count)
    }

    /// What stands between `[` and `]`.
    fn class(&mut self) -> Result<Op, String> {
        const OPEN: &str = "there is a [ without a ]";
        let not = self.take('^');
        let mut of = Vec::new();
        loop {
            let first = match self.next(OPEN)? {
                // As the first of all it is a character like others.
                ']' if !of.is_empty() => return Ok(Op::One { of, not }),
                '[' if self.peek() == Some(':') => return Err("[: is not known".to_owned()),
                '\\' => match escaped(self.next(OPEN)?)? {
                    (one, false) if one.len() == 1 && one[0].0 == one[0].1 => one[0].0,
                    (many, false) => {
                        of.extend(many);
                        continue;
                    }
                    (_, true) => return Err("\\D, \\S and \\W are not known within [ ]".to_owned()),
                },
                c => c,
            };
            let is_range =
                self.peek() == Some('-') && self.rest.get(self.at + 1).is_some_and(|c| *c != ']');
            if !is_range {
                of.push((first, first));
                continue;
            }
            self.at += 1;
            let last = match self.next(OPEN)? {
                '\\' => match escaped(self.next(OPEN)?)?.0[..] {
                    [(one, last)] if one == last => one,
                    _ => return Err("a range within [ ] ends in no character".to_owned()),
                },
                c => c,
            };
            if last < first {
                return Err(format!("the range {first}-{last} is empty"));
            }
            of.push((first, last));
        }
    }
}

/// What a character behind a `\` stands for.
fn escaped(c: char) -> Result<(Vec<(char, char)>, bool), String> {
    let word = [('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
    let blank = [('\t', '\n'), ('\x0c', '\r'), (' ', ' ')];
    Ok(match c {
        'd' | 'D' => (vec![('0', '9')], c == 'D'),
        'w' | 'W' => (word.to_vec(), c == 'W'),
        's' | 'S' => (blank.to_vec(), c == 'S'),
        't' => (vec![('\t', '\t')], false),
        c if c.is_ascii_punctuation() => (vec![(c, c)], false),
        c => return Err(format!("\\{c} is not known")),
    })
}

fn limited(ops: Vec<Op>) -> Result<Vec<Op>, String> {
    if ops.len() <= OPS_MAX { Ok(ops) } else { Err("it is too long".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found() {
        for (pattern, found, not) in [
            (
                "^net.ipv4.conf.IFNAME.[a-z_]*$",
                "net.ipv4.conf.IFNAME.arp_filter",
                "net.ipv4.conf.all.arp_filter",
            ),
            (r"^net\.core\.somaxconn$", "net.core.somaxconn", "net.coreXsomaxconn"),
            ("core", "net.core.somaxconn", "net.ipv4.x"),
            ("^(net|vm).[^.]+$", "net.x", "net.x.y"),
            ("^a(?:b|cd|)e$", "acde", "abcde"),
            ("^a{2}b{1,}c{0,2}$", "aabbcc", "abc"),
            ("^a{,2}$", "a{,2}", "aa"),
            ("^(a*)*b$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac"),
            (r"^[]a\-\d]+\w?$", "]a-7z", "]a-7zz"),
            ("^[^a-c]x??$", "dx", "ax"),
            ("^$", "", "a"),
            (r"\Aa|b\z", "cb", "ca"),
            ("", "anything", "\0"),
        ] {
            let compiled = Pattern::new(pattern).unwrap();
            assert!(compiled.is_in(found), "{pattern} in {found}");
            assert!(pattern.is_empty() || !compiled.is_in(not), "{pattern} in {not}");
        }
    }

    #[test]
    fn what_is_not_known_is_said() {
        for bad in [
            "(",
            ")",
            "a)",
            "[",
            "[a",
            "[]",
            "[b-a]",
            "a**",
            "*",
            "a{2}{2}",
            "a{3,2}",
            "a{1001}",
            "\\",
            r"\pL",
            r"\b",
            "(?i)a",
            "(?P<n>a)",
            "[[:alpha:]]",
            r"[\D]",
            "((a{1000}){1000}){1000}",
            &"(".repeat(5000),
        ] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
    }
}
