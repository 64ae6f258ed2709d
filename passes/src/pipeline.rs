//! Pipelines: lists of passes with options, and their text form.
//!
//! `canonicalize,quantize{w=4,a=8,group=32,levels=odd,symmetric=true,skip=["lm_head"]}`. A value is a number, `true`, `false`,
//! `none`, a word, a "string" (with `\"` and `\\`) or a list. `parse` and the `Display` form are inverse.

use crate::pass::Pass;
use crate::registry::{self, Row};
use crate::{pipeline::text::Parser, presets};
use mokume_ir::diag::{Diagnostic, Report, nearest};
use serde_json::Value;
use std::fmt;

mod text;

/// A list of passes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pipeline {
    steps: Vec<Step>,
}

/// A pass with the options that were given.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The pass.
    pub name: String,
    /// Options in the order they were written.
    pub options: Vec<(String, Arg)>,
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq)]
pub enum Arg {
    /// `none`
    None,
    /// `true`
    Bool(bool),
    /// `-3`
    Int(i64),
    /// `0.5`
    Float(f64),
    /// `odd`
    Word(String),
    /// `"lm_head*"`
    Str(String),
    /// `[1, 2]`
    List(Vec<Arg>),
}

impl Pipeline {
    /// The pipeline that `text` describes. Names and values are checked against the registry.
    ///
    /// Errors  with the column of everything that is wrong: syntax first, then every unknown name and every bad value.
    pub fn parse(text: &str) -> Result<Pipeline, Report> {
        let marked = Parser::new(text).pipeline()?;
        let findings: Vec<Diagnostic> = marked.iter().flat_map(|step| check(step).into_iter()).collect();
        match Report::from_findings(findings) {
            Some(report) => Err(report),
            None => Ok(Pipeline { steps: marked.into_iter().map(|step| step.step).collect() }),
        }
    }
    /// The passes.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
    /// How many passes come before the first that rounds to few bits.
    pub fn exact_steps(&self) -> usize {
        let rounds = |step: &Step| registry::find(&step.name).is_some_and(Row::rounds);
        self.steps.iter().position(rounds).unwrap_or(self.steps.len())
    }
    /// The passes from number `index` on.
    pub fn from_step(&self, index: usize) -> Pipeline {
        Pipeline { steps: self.steps[index.min(self.steps.len())..].to_vec() }
    }
}

impl Step {
    /// The pass, ready to run.
    ///
    /// Errors  when the registry has no such pass or an option does not fit.
    pub fn instantiate(&self) -> Result<Box<dyn Pass>, Report> {
        let row = registry::find(&self.name).ok_or_else(|| unknown_pass(&self.name))?;
        row.make(object(&self.options)).map_err(|why| bad_value(&self.name, &self.options, &why).into())
    }
}

impl Arg {
    fn to_json(&self) -> Value {
        match self {
            Arg::None => Value::Null,
            Arg::Bool(v) => (*v).into(),
            Arg::Int(v) => (*v).into(),
            Arg::Float(v) => (*v).into(),
            Arg::Word(v) | Arg::Str(v) => v.clone().into(),
            Arg::List(items) => items.iter().map(Arg::to_json).collect(),
        }
    }
}

/// A step and the columns of its parts.
pub(crate) struct Marked {
    step: Step,
    column: usize,
    option_columns: Vec<usize>,
}

fn check(marked: &Marked) -> Vec<Diagnostic> {
    let Some(row) = registry::find(&marked.step.name) else {
        return vec![unknown_pass(&marked.step.name).at(place(marked.column))];
    };
    let options = marked.step.options.iter().zip(&marked.option_columns);
    let checks = options.filter_map(|(option, &column)| Some(check_option(row, option)?.at(place(column))));
    checks.chain(repeated(marked)).collect()
}

fn check_option(row: &Row, option: &(String, Arg)) -> Option<Diagnostic> {
    let names: Vec<&str> = row.options().iter().map(|help| help.name).collect();
    if !names.contains(&option.0.as_str()) {
        return Some(unknown_option(row, &option.0, &names));
    }
    let why = row.make(object(std::slice::from_ref(option))).err()?;
    Some(bad_value(row.name, std::slice::from_ref(option), &why))
}

fn repeated(marked: &Marked) -> Option<Diagnostic> {
    let options = &marked.step.options;
    let twice = (1..options.len()).find(|&i| options[..i].iter().any(|option| option.0 == options[i].0))?;
    let message = format!("option `{}` of pass `{}` is given twice", options[twice].0, marked.step.name);
    Some(Diagnostic::input("pipeline::option::repeated", message).at(place(marked.option_columns[twice])))
}

fn object(options: &[(String, Arg)]) -> Value {
    Value::Object(options.iter().map(|(name, arg)| (name.clone(), arg.to_json())).collect())
}

fn unknown_pass(name: &str) -> Diagnostic {
    let error = Diagnostic::input("pipeline::pass::unknown", format!("there is no pass `{name}`"));
    if presets::find(name).is_some() {
        return error.help(format!("`{name}` is a preset: --preset {name}"));
    }
    match nearest(name, registry::PASSES.iter().map(|row| row.name)) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help("`mokume passes` lists all"),
    }
}

fn unknown_option(row: &Row, name: &str, names: &[&'static str]) -> Diagnostic {
    let message = format!("pass `{}` has no option `{name}`", row.name);
    let error = Diagnostic::input("pipeline::option::unknown", message);
    match nearest(name, names.iter().copied()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None if names.is_empty() => error.help(format!("`{}` has no options", row.name)),
        None => error.help(format!("options of `{}`: {}", row.name, names.join(", "))),
    }
}

fn bad_value(pass: &str, options: &[(String, Arg)], why: &str) -> Diagnostic {
    let given: Vec<String> = options.iter().map(|(name, arg)| format!("{name}={arg}")).collect();
    Diagnostic::input("pipeline::option::value", format!("pass `{pass}` does not take {}: {why}", given.join(",")))
}

pub(crate) fn place(column: usize) -> String {
    format!("column {column} of the pipeline")
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        separated(f, ",", &self.steps)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.options.is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        let options: Vec<String> = self.options.iter().map(|(name, arg)| format!("{name}={arg}")).collect();
        separated(f, ",", &options)?;
        f.write_str("}")
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arg::None => f.write_str("none"),
            Arg::Bool(v) => v.fmt(f),
            Arg::Int(v) => v.fmt(f),
            Arg::Float(v) => write!(f, "{v:?}"),
            Arg::Word(v) => f.write_str(v),
            Arg::Str(v) => write!(f, "\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\"")),
            Arg::List(items) => {
                f.write_str("[")?;
                separated(f, ",", items)?;
                f.write_str("]")
            }
        }
    }
}

fn separated<T: fmt::Display>(f: &mut fmt::Formatter<'_>, separator: &str, items: &[T]) -> fmt::Result {
    items.iter().enumerate().try_for_each(|(i, item)| write!(f, "{}{item}", if i > 0 { separator } else { "" }))
}

#[cfg(test)]
mod tests;
