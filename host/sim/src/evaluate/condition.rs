//! Conditions on figures (`--fail-if`): one comparison or several, parsed once, evaluated for every row.
//!
//! ```text
//! p99_jct_us > 1.05 * baseline
//! makespan_us > 1.5 * lower_bound.makespan_us || fallback_rounds > 0
//! ```
//! A name is a figure of the row that is judged (`p99_jct_us` or `jct_us.p99`); `baseline` alone is, for the baseline,
//! the figure that the comparison names first; `baseline.FIGURE`, `random.FIGURE` and `lower_bound.FIGURE` are those of
//! the others. Numbers, `+ - * /`, parentheses, `> >= < <= == !=`, `&&`, `||`.

use std::fmt;
use std::str::FromStr;

use super::metric::{METRICS, metric};
use super::rows::Row;

/// A condition that must not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    text: String,
    root: Node,
}

/// Whose figure a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Row,
    Baseline,
    Random,
    LowerBound,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Number(f64),
    Figure(Whose, usize),
    /// `baseline` alone, until its comparison is read.
    SameOfBaseline,
    Negative(Box<Node>),
    Sum(char, Box<Node>, Box<Node>),
    Compare(&'static str, Box<Node>, Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
}

/// A condition that holds, as a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The rows that a row is compared with.
#[derive(Clone, Copy, Debug)]
struct Against<'a> {
    /// The row that `baseline` means.
    baseline: &'a Row,
    /// The row that `random` means.
    random: Option<&'a Row>,
    /// The row that `lower_bound` means.
    lower_bound: &'a Row,
}

impl Condition {
    /// Whether it names the baseline: then it says nothing about the baseline itself.
    #[must_use]
    pub fn needs_baseline(&self) -> bool {
        self.root.any(&|n| matches!(n, Node::Figure(Whose::Baseline, _)))
    }

    /// Whether it names the random policy.
    #[must_use]
    pub fn needs_random(&self) -> bool {
        self.root.any(&|n| matches!(n, Node::Figure(Whose::Random, _)))
    }

    /// Evaluates the condition for a row; returns the sentence when it holds. A figure that the row lacks counts as
    /// broken, so that a gate does not pass because figures are missing.
    #[must_use]
    pub fn judge(&self, row: &Row, baseline: &Row, random: Option<&Row>, lower_bound: &Row) -> Option<Broken> {
        let against = Against { baseline, random, lower_bound };
        match self.root.holds(row, &against) {
            Ok(None) => None,
            Ok(Some(found)) => Some(Broken(format!("{}: `{self}` holds: {found}", row.label))),
            Err(missing) => Some(Broken(format!("{}: `{self}` cannot be judged: {missing}", row.label))),
        }
    }
}

/// The figure as people write it.
fn shown(whose: Whose, at: usize) -> String {
    let name = METRICS[at].name;
    let name = name.split_once('.').map_or(name.to_owned(), |(group, part)| format!("{part}_{group}"));
    match whose {
        Whose::Row => name,
        Whose::Baseline => format!("baseline.{name}"),
        Whose::Random => format!("random.{name}"),
        Whose::LowerBound => format!("lower_bound.{name}"),
    }
}

impl Node {
    fn any(&self, test: &dyn Fn(&Self) -> bool) -> bool {
        test(self)
            || match self {
                Self::Number(_) | Self::Figure(..) | Self::SameOfBaseline => false,
                Self::Negative(a) => a.any(test),
                Self::Sum(_, a, b) | Self::Compare(_, a, b) | Self::And(a, b) | Self::Or(a, b) => {
                    a.any(test) || b.any(test)
                }
            }
    }

    /// The first figure of the row itself.
    fn first_figure(&self) -> Option<usize> {
        match self {
            Self::Figure(_, at) => Some(*at),
            Self::Number(_) | Self::SameOfBaseline => None,
            Self::Negative(a) => a.first_figure(),
            Self::Sum(_, a, b) | Self::Compare(_, a, b) | Self::And(a, b) | Self::Or(a, b) => {
                a.first_figure().or_else(|| b.first_figure())
            }
        }
    }

    fn settle(&mut self, figure: usize) {
        match self {
            Self::SameOfBaseline => *self = Self::Figure(Whose::Baseline, figure),
            Self::Number(_) | Self::Figure(..) => {}
            Self::Negative(a) => a.settle(figure),
            Self::Sum(_, a, b) | Self::Compare(_, a, b) | Self::And(a, b) | Self::Or(a, b) => {
                a.settle(figure);
                b.settle(figure);
            }
        }
    }

    /// Both sides of the comparison that holds, or what figure is missing.
    fn holds(&self, row: &Row, against: &Against<'_>) -> Result<Option<String>, String> {
        match self {
            Self::Or(a, b) => match a.holds(row, against)? {
                Some(found) => Ok(Some(found)),
                None => b.holds(row, against),
            },
            Self::And(a, b) => match (a.holds(row, against)?, b.holds(row, against)?) {
                (Some(a), Some(b)) => Ok(Some(format!("{a}, and {b}"))),
                _ => Ok(None),
            },
            Self::Compare(operator, a, b) => {
                let (left, right) = (a.value(row, against)?, b.value(row, against)?);
                let holds = match *operator {
                    ">" => left > right,
                    ">=" => left >= right,
                    "<" => left < right,
                    "<=" => left <= right,
                    "==" => left == right,
                    _ => left != right,
                };
                let side = |node: &Self, value: f64| match node {
                    Self::Number(x) => x.to_string(),
                    _ => format!("{} = {}", node.text(), number(value)),
                };
                Ok(holds.then(|| format!("{} {operator} {}", side(a, left), side(b, right))))
            }
            _ => Err("it compares nothing".to_owned()),
        }
    }

    fn value(&self, row: &Row, against: &Against<'_>) -> Result<f64, String> {
        Ok(match self {
            Self::Number(x) => *x,
            Self::Figure(whose, at) => {
                let of = match whose {
                    Whose::Row => Some(row),
                    Whose::Baseline => Some(against.baseline),
                    Whose::Random => against.random,
                    Whose::LowerBound => Some(against.lower_bound),
                };
                let value = of.map_or(f64::NAN, |r| r.value(*at));
                if value.is_nan() {
                    return Err(format!("{} has no value", shown(*whose, *at)));
                }
                value
            }
            Self::Negative(a) => -a.value(row, against)?,
            Self::Sum(operator, a, b) => {
                let (a, b) = (a.value(row, against)?, b.value(row, against)?);
                match operator {
                    '+' => a + b,
                    '-' => a - b,
                    '*' => a * b,
                    _ => a / b,
                }
            }
            _ => return Err("a comparison is not a number".to_owned()),
        })
    }

    /// How tightly its operator binds.
    fn binds(&self) -> u8 {
        match self {
            Self::Or(..) => 0,
            Self::And(..) => 1,
            Self::Compare(..) => 2,
            Self::Sum('+' | '-', ..) => 3,
            Self::Sum(..) => 4,
            Self::Negative(_) => 5,
            Self::Number(_) | Self::Figure(..) | Self::SameOfBaseline => 6,
        }
    }

    /// The text, in parentheses where it would not be read as one part otherwise.
    fn part(&self, of_at_least: u8) -> String {
        if self.binds() < of_at_least { format!("({})", self.text()) } else { self.text() }
    }

    fn text(&self) -> String {
        let (own, tighter) = (self.binds(), self.binds() + 1);
        match self {
            Self::Number(x) => x.to_string(),
            Self::Figure(whose, at) => shown(*whose, *at),
            Self::SameOfBaseline => "baseline".to_owned(),
            Self::Negative(a) => format!("-{}", a.part(own)),
            Self::Sum(operator, a, b) => format!("{} {operator} {}", a.part(own), b.part(tighter)),
            Self::Compare(operator, a, b) => format!("{} {operator} {}", a.part(tighter), b.part(tighter)),
            Self::And(a, b) => format!("{} && {}", a.part(own), b.part(tighter)),
            Self::Or(a, b) => format!("{} || {}", a.part(own), b.part(tighter)),
        }
    }
}

/// For people: whole numbers whole, others to six digits.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return format!("{value}");
    }
    let digits = (5 - value.abs().log10().floor().clamp(-10.0, 5.0) as i32).max(0) as usize;
    format!("{value:.digits$}")
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text, all: text };
        let root = reader.either()?;
        if !reader.rest.trim_start().is_empty() {
            return Err(reader.wrong("an operator or the end"));
        }
        Ok(Self { text: text.trim().to_owned(), root })
    }
}

/// Reads by recursive descent: `||`, `&&`, comparisons, sums, products, the rest.
struct Reader<'a> {
    rest: &'a str,
    all: &'a str,
}

impl Reader<'_> {
    fn wrong(&self, wanted: &str) -> String {
        let at = self.all.len() - self.rest.trim_start().len() + 1;
        format!("column {at}: expected {wanted}")
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn either(&mut self) -> Result<Node, String> {
        let mut node = self.both()?;
        while self.take("||") {
            node = Node::Or(node.into(), self.both()?.into());
        }
        Ok(node)
    }

    fn both(&mut self) -> Result<Node, String> {
        let mut node = self.comparison()?;
        while self.take("&&") {
            node = Node::And(node.into(), self.comparison()?.into());
        }
        Ok(node)
    }

    fn comparison(&mut self) -> Result<Node, String> {
        let left = self.sum()?;
        // The longer ones first.
        let operators = [">=", "<=", "==", "!=", ">", "<"];
        let Some(operator) = operators.into_iter().find(|o| self.take(o)) else {
            return Err(self.wrong("one of > >= < <= == !="));
        };
        let right = self.sum()?;
        let mut node = Node::Compare(operator, left.into(), right.into());
        if node.any(&|n| matches!(n, Node::SameOfBaseline)) {
            let figure = node.first_figure().ok_or("`baseline` stands without a figure to take of it")?;
            node.settle(figure);
        }
        Ok(node)
    }

    fn sum(&mut self) -> Result<Node, String> {
        let mut node = self.product()?;
        while let Some(operator) = ['+', '-'].into_iter().find(|o| self.take(&o.to_string())) {
            node = Node::Sum(operator, node.into(), self.product()?.into());
        }
        Ok(node)
    }

    fn product(&mut self) -> Result<Node, String> {
        let mut node = self.factor()?;
        while let Some(operator) = ['*', '/'].into_iter().find(|o| self.take(&o.to_string())) {
            node = Node::Sum(operator, node.into(), self.factor()?.into());
        }
        Ok(node)
    }

    fn factor(&mut self) -> Result<Node, String> {
        if self.take("-") {
            return Ok(Node::Negative(self.factor()?.into()));
        }
        if self.take("(") {
            let node = self.sum()?;
            return if self.take(")") { Ok(node) } else { Err(self.wrong("`)`")) };
        }
        let text = self.rest.trim_start();
        let of_a_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let end = text.find(|c| !of_a_word(c)).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let node = match word.chars().next() {
            None => return Err(self.wrong("a figure or a number")),
            Some(c) if c.is_ascii_digit() || c == '.' => {
                Node::Number(word.parse().map_err(|_| self.wrong("a number"))?)
            }
            Some(_) => Self::named(word)?,
        };
        self.rest = rest;
        Ok(node)
    }

    fn named(word: &str) -> Result<Node, String> {
        if word == "baseline" {
            return Ok(Node::SameOfBaseline);
        }
        let others = [("baseline.", Whose::Baseline), ("random.", Whose::Random), ("lower_bound.", Whose::LowerBound)];
        let other = others.into_iter().find_map(|(prefix, whose)| Some((whose, word.strip_prefix(prefix)?)));
        let (whose, name) = other.unwrap_or((Whose::Row, word));
        metric(name).map(|at| Node::Figure(whose, at)).ok_or_else(|| {
            let names: Vec<&str> = METRICS.iter().map(|m| m.name).collect();
            format!("there is no figure `{name}`; there are: {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::RunFigures;

    fn row(label: &str, p99: f64) -> Row {
        let values = [("jct_us.p99", p99), ("makespan_us", 100.0), ("fallback_rounds", 0.0)];
        Row { policy: label.into(), label: label.into(), runs: vec![RunFigures::known(&values)] }
    }

    fn judge(text: &str, p99: f64) -> Option<String> {
        let condition: Condition = text.parse().unwrap();
        let others = [row("base", 100.0), row("random", 200.0), row("lower-bound", 50.0)];
        condition.judge(&row("mine", p99), &others[0], Some(&others[1]), &others[2]).map(|b| b.0)
    }

    #[test]
    fn a_condition_holds_or_does_not() {
        assert_eq!(judge("p99_jct_us > 1.05 * baseline", 105.0), None);
        let broken = judge("p99_jct_us > 1.05 * baseline", 106.0).unwrap();
        assert_eq!(
            broken,
            "mine: `p99_jct_us > 1.05 * baseline` holds: p99_jct_us = 106 > 1.05 * baseline.p99_jct_us = 105"
        );
        assert!(judge("jct_us.p99 >= random.jct_us.p99 / 2 + 6", 106.0).is_some());
        let sentence = judge("fallback_rounds > 0 || 100 - (2 - 1) * (makespan_us - 1) <= 1", 1.0).unwrap();
        assert!(sentence.contains("100 - (2 - 1) * (makespan_us - 1) = 1 <= 1"), "read as it was written: {sentence}");
        assert!(judge("jct_us.p99 - lower_bound.p99_jct_us == 56", 106.0).is_some());
        assert!(judge("fallback_rounds > 0 || 2 * (makespan_us - 1) == 198", 1.0).is_some());
        assert!(judge("fallback_rounds > 0 && makespan_us > 0", 1.0).is_none());
        assert!(judge("makespan_us > -baseline && makespan_us != 7", 1.0).is_some());
    }

    #[test]
    fn what_cannot_be_judged_is_broken() {
        let broken = judge("jain_tenants < 0.9", 1.0).unwrap();
        assert!(broken.contains("cannot be judged: jain_tenants has no value"), "{broken}");
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for (text, part) in [
            ("", "column 1: expected a figure"),
            ("p99_jct_us", "expected one of >"),
            ("p99_jct_us >", "column 13"),
            ("p99_jct > 1", "there is no figure `p99_jct`; there are: makespan_us"),
            ("p99_jct_us > 1 2", "column 16: expected an operator"),
            ("(p99_jct_us > 1", "expected `)`"),
            ("1 > baseline", "without a figure"),
            ("makespan_us > 1.2.3", "expected a number"),
        ] {
            let error = text.parse::<Condition>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn it_says_whom_it_needs() {
        let of = |text: &str| text.parse::<Condition>().map(|c| (c.needs_baseline(), c.needs_random())).unwrap();
        assert_eq!(of("makespan_us > baseline"), (true, false));
        assert_eq!(of("makespan_us > random.makespan_us"), (false, true));
        assert_eq!(of("makespan_us > 3"), (false, false));
    }
}
