//! What is wrong with rules, and where.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;

/// One thing that is wrong with rules, or looks wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    warning: bool,
    text: Box<str>,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// In a file: counted from 1, in characters; the line, and how much of it is meant.
    Line {
        line: usize,
        column: usize,
        excerpt: Box<str>,
        indent: usize,
        width: usize,
    },
    /// In rules built in code: which part of them.
    Part(Box<str>),
    Whole,
}

impl Problem {
    /// What is wrong, and what would be right.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the rules work all the same, but perhaps not as they are meant.
    pub fn is_warning(&self) -> bool {
        self.warning
    }

    /// The line of the file, counted from 1; `None` for rules built in code, and where the last of very many
    /// problems says how many more there are.
    pub fn line(&self) -> Option<usize> {
        if let Place::Line { line, .. } = self.place { Some(line) } else { None }
    }

    /// The column in the line, in characters counted from 1.
    pub fn column(&self) -> Option<usize> {
        if let Place::Line { column, .. } = self.place { Some(column) } else { None }
    }
}

impl fmt::Display for Problem {
    /// Its kind, place and text; for one in a file its line below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.warning { "warning: " } else { "error: " })?;
        match &self.place {
            Place::Line { line, column, excerpt, indent, width } => {
                write!(f, "line {line}, column {column}: {}", self.text)?;
                let number = line.to_string();
                let margin = " ".repeat(number.len());
                write!(f, "\n {number} | {excerpt}\n {margin} | ")?;
                write!(f, "{}{}", " ".repeat(*indent), "^".repeat(*width))
            }
            Place::Part(part) => write!(f, "{part}: {}", self.text),
            Place::Whole => f.write_str(&self.text),
        }
    }
}

/// All that is wrong with rules: at least one error, and the warnings too.
///
/// ```
/// use rebate_rules::Rules;
///
/// let problems = Rules::parse("[[rule]]\npth = '/export'\nlimit = '50/huor'").unwrap_err();
/// let errors: Vec<_> = problems.iter().map(|problem| (problem.line(), problem.column())).collect();
/// assert_eq!(errors, [(Some(2), Some(1)), (Some(3), Some(13))]);
/// assert!(problems.to_string().contains("did you mean `path`?"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Problems {
    problems: Box<[Problem]>,
    syntax: bool,
}

impl Problems {
    /// Each of them, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// Whether the file is no TOML. The rest of it was looked at all the same, as far as it could be read.
    pub fn is_syntax(&self) -> bool {
        self.syntax
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let end = if at > 0 { "\n" } else { "" };
            write!(f, "{end}{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Problems {
    /// As people read it: what `unwrap` shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Problems\n{self}")
    }
}

impl StdError for Problems {}

/// Where something was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Where {
    /// In a file, by bytes.
    Span(Range<usize>),
    /// In a part of rules built in code.
    Part(Box<str>),
    /// In the rule at hand, or nowhere in particular.
    #[default]
    Here,
}

impl Where {
    /// This place, or where it tells none, `outer`.
    pub(crate) fn or<'a>(&'a self, outer: &'a Where) -> &'a Where {
        if *self == Where::Here { outer } else { self }
    }
}

/// The longest part of a line that is shown, in characters.
const EXCERPT: usize = 120;

/// How many problems are told; the rest are counted.
const TOLD: usize = 100;

/// How many are kept, so that the first in the file can be told.
const KEPT: usize = 10_000;

/// The longest text of a problem, in characters: it may quote a file of one word.
const LONGEST: usize = 600;

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Found {
    problems: Vec<(bool, Where, String)>,
    errors: usize,
    warnings: usize,
    syntax: bool,
}

impl Found {
    pub(crate) fn error(&mut self, place: &Where, text: impl Into<String>) {
        self.errors += 1;
        self.keep(false, place, text.into());
    }

    pub(crate) fn warning(&mut self, place: &Where, text: impl Into<String>) {
        self.warnings += 1;
        self.keep(true, place, text.into());
    }

    pub(crate) fn syntax(&mut self, place: Where, text: impl Into<String>) {
        self.error(&place, text);
        self.syntax = true;
    }

    fn keep(&mut self, warning: bool, place: &Where, mut text: String) {
        // An error is kept however many warnings there are.
        if self.problems.len() >= KEPT && (warning || self.errors > KEPT) {
            return;
        }
        if let Some((end, _)) = text.char_indices().nth(LONGEST) {
            text.truncate(end);
            text.push('…');
        }
        // It may quote what would do something to a terminal.
        if text.contains(unprintable) {
            let escaped = |c: char| if unprintable(c) { c.escape_default().collect() } else { String::from(c) };
            text = text.chars().map(escaped).collect();
        }
        self.problems.push((warning, place.clone(), text));
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether more errors are found than are told, so that it is no use to find what each should have been.
    pub(crate) fn is_full(&self) -> bool {
        self.errors > TOLD
    }

    /// The warnings, when there is nothing else.
    ///
    /// # Errors
    /// Everything, when something is wrong.
    pub(crate) fn finish(mut self, source: &str) -> Result<Box<[Problem]>, Problems> {
        let failed = self.has_errors();
        let start = |place: &Where| if let Where::Span(span) = place { span.start } else { 0 };
        self.problems.sort_by_key(|(_, place, _)| start(place));
        let found = self.problems.len();
        self.problems.dedup();
        let more = (self.errors + self.warnings - (found - self.problems.len())).saturating_sub(TOLD);
        if more > 0 {
            // Errors before warnings.
            self.problems.sort_by_key(|(warning, place, _)| (*warning, start(place)));
            self.problems.truncate(TOLD);
            self.problems.sort_by_key(|(_, place, _)| start(place));
            self.problems.push((!failed, Where::Here, format!("and {more} more")));
        }
        let lines = LineStarts::of(source);
        let problems = self.problems.into_iter().map(|(warning, place, text)| Problem {
            warning,
            text: text.into(),
            place: match place {
                Where::Span(span) => lines.place(&span),
                Where::Part(part) => Place::Part(part),
                Where::Here => Place::Whole,
            },
        });
        let problems = problems.collect();
        if failed { Err(Problems { problems, syntax: self.syntax }) } else { Ok(problems) }
    }
}

struct LineStarts<'a> {
    source: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineStarts<'a> {
    fn of(source: &'a str) -> Self {
        let starts = std::iter::once(0).chain(source.match_indices('\n').map(|(at, _)| at + 1)).collect();
        LineStarts { source, starts }
    }

    fn place(&self, span: &Range<usize>) -> Place {
        // A span may end within a character where a text is not what its reader took it for.
        let mut start = span.start.min(self.source.len());
        while !self.source.is_char_boundary(start) {
            start -= 1;
        }
        let number = self.starts.partition_point(|&line| line <= start);
        let line_start = self.starts[number - 1];
        let line = self.source[line_start..].split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let before = self.source[line_start..start].chars().count();
        let meant = &line.as_bytes()[(start - line_start).min(line.len())..];
        let meant = &meant[..span.len().min(meant.len())];
        let width = String::from_utf8_lossy(meant).chars().count().max(1);
        // Of a long line, the part around the place.
        let skipped = before.saturating_sub(EXCERPT / 2);
        let shown: String = line.chars().skip(skipped).take(EXCERPT).map(printable).collect();
        let width = width.min(EXCERPT + 1 - (before - skipped).min(EXCERPT));
        let shown_before = before - skipped;
        Place::Line { line: number, column: before + 1, excerpt: shown.into(), width, indent: shown_before }
    }
}

/// A character as a terminal may be given it.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if unprintable(c) => '·',
        c => c,
    }
}

/// Whether a terminal would do something else than show it: control characters, and those that turn the direction
/// of what follows.
fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
