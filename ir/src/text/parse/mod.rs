//! Parses a module; see [`text`](super) for the form.
//!
//! Recursive descent into statements, which [`build`] turns into graphs. After an error parsing goes on at the next line,
//! so that several errors are reported at once. The types written are taken as they are; the verifier checks them.

mod attrs;
mod build;
mod constants;
mod cursor;
mod types;

use super::Source;
use super::lex::{Kind, MAX_ERRORS, Token, lex};
use crate::diag::{Diagnostic, Report};
use crate::graph::{Graph, Module};
use crate::ids::{ConstId, FuncId};
use crate::loc::Loc;
use crate::op::Op;
use crate::types::Type;
use cursor::{Cursor, Step};
use std::collections::HashMap;

/// The module that `text` describes; `source` gives the data of constants that are named by hash.
///
/// Errors  all that were found, each at `line:column`.
pub fn parse(text: &str, source: &Source<'_>) -> Result<Module, Report> {
    let (tokens, errors) = lex(text);
    if let Some(report) = Report::from_findings(errors) {
        return Err(report);
    }
    let mut parser = Parser {
        cursor: Cursor::new(text, tokens),
        source,
        module: Module::new(""),
        functions: HashMap::new(),
        constants: HashMap::new(),
        errors: Vec::new(),
    };
    parser.module();
    parser.errors.sort_by_key(line_and_column);
    match Report::from_findings(parser.errors) {
        Some(report) => Err(report),
        None => Ok(parser.module),
    }
}

fn line_and_column(error: &Diagnostic) -> Option<(usize, usize)> {
    let (line, column) = error.place.as_deref()?.split_once(':')?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

struct Parser<'t, 's> {
    cursor: Cursor<'t>,
    source: &'s Source<'s>,
    module: Module,
    functions: HashMap<u32, FuncId>,
    /// None where the constant had an error.
    constants: HashMap<u32, Option<ConstId>>,
    errors: Vec<Diagnostic>,
}

/// The words around the nodes of a graph.
struct Header<'t> {
    function: FuncId,
    name: String,
    inputs: Vec<Input<'t>>,
    outputs: Vec<String>,
    states: Vec<(PortRef<'t>, PortRef<'t>, Option<u32>)>,
}

struct Input<'t> {
    token: Token<'t>,
    number: u32,
    name: String,
    ty: Type,
}

/// A port by name or position.
enum PortRef<'t> {
    Name(Token<'t>, String),
    Index(u32),
}

/// A value or a constant.
struct Operand<'t> {
    token: Token<'t>,
    number: u32,
}

/// A line of a graph; without an op where it had an error.
struct Statement<'t> {
    results: Vec<Operand<'t>>,
    node: Option<NodeText<'t>>,
}

struct NodeText<'t> {
    word: Token<'t>,
    op: Op,
    operands: Vec<Operand<'t>>,
    types: Vec<Type>,
    loc: Loc,
}

impl<'t> Parser<'t, '_> {
    fn module(&mut self) {
        if let Err(error) = self.module_header() {
            self.errors.push(error);
        }
        if self.functions.is_empty() {
            self.errors.push(self.cursor.error("text::module::empty", "there is no `graph`"));
        }
        while self.cursor.peek().kind != Kind::End && self.errors.len() < MAX_ERRORS {
            self.item();
        }
    }
    fn module_header(&mut self) -> Step<()> {
        self.cursor.expect_word("module")?;
        self.module.name = self.cursor.expect_string("the name of the module in quotes")?;
        self.declare_functions()
    }
    /// Functions may be referred to before they are written.
    fn declare_functions(&mut self) -> Step<()> {
        let tokens = self.cursor.tokens();
        let pairs = tokens.windows(2).filter(|pair| pair[0].text == "graph" && pair[1].kind == Kind::Func);
        for pair in pairs {
            let error = |what: &str| self.cursor.error_at(pair[1], "text::function::name", format!("{} {what}", pair[1].describe()));
            let number = pair[1].number().ok_or_else(|| error("is too large"))?;
            let id = match self.functions.is_empty() {
                true => self.module.entry,
                false => self.module.functions.push(Graph::new("")),
            };
            if self.functions.insert(number, id).is_some() {
                return Err(error("is defined twice"));
            }
        }
        Ok(())
    }
    fn item(&mut self) {
        let start = self.cursor.position();
        let result = match self.cursor.peek().text {
            "const" => self.constant(),
            "graph" => self.graph(),
            _ => Err(self.cursor.unexpected("`const` or `graph`")),
        };
        if let Err(error) = result {
            self.errors.push(error);
            self.cursor.skip_statement(start);
        }
    }
    /// `const @0 : tensor<2 x f32> = [0.5, 1e-5]`
    fn constant(&mut self) -> Step<()> {
        self.cursor.take();
        let token = self.cursor.peek();
        let number = self.cursor.expect_number(Kind::Const, "the number of the constant such as `@0`")?;
        if self.constants.insert(number, None).is_some() {
            return Err(self.cursor.error_at(token, "text::constant::twice", format!("{} is defined twice", token.describe())));
        }
        self.cursor.expect(b':')?;
        let ty = self.cursor.tensor_type()?;
        self.cursor.expect(b'=')?;
        let constant = self.contents(token, &ty)?;
        let id = self.module.constants.intern(constant);
        self.constants.insert(number, Some(id));
        Ok(())
    }
    fn graph(&mut self) -> Step<()> {
        let header = self.header()?;
        let statements = self.statements();
        let outputs = self.outputs()?;
        self.build(header, statements, outputs)
    }
    /// `graph @f0 "main"(…) -> (…) state(…) {`
    fn header(&mut self) -> Step<Header<'t>> {
        self.cursor.take();
        let function = self.function()?;
        let name = self.cursor.expect_string("the name of the graph in quotes")?;
        self.cursor.expect(b'(')?;
        let inputs = self.cursor.list(b')', input)?;
        self.cursor.expect_arrow(*b"->")?;
        self.cursor.expect(b'(')?;
        let outputs = self.cursor.list(b')', |cursor| cursor.expect_string("the name of an output in quotes"))?;
        let mut states = Vec::new();
        if self.cursor.eat_word("state") {
            self.cursor.expect(b'(')?;
            states = self.cursor.list(b')', state)?;
        }
        self.cursor.expect(b'{')?;
        Ok(Header { function, name, inputs, outputs, states })
    }
    /// A reference to a function, `@f1`.
    fn function(&mut self) -> Step<FuncId> {
        let token = self.cursor.peek();
        let number = self.cursor.expect_number(Kind::Func, "a function such as `@f0`")?;
        let id = self.functions.get(&number).copied();
        id.ok_or_else(|| self.cursor.error_at(token, "text::function::unknown", format!("there is no graph {}", token.describe())))
    }
    fn statements(&mut self) -> Vec<Statement<'t>> {
        let mut statements = Vec::new();
        while matches!(self.cursor.peek().kind, Kind::Value | Kind::Word)
            && !self.cursor.is_word("return")
            && self.errors.len() < MAX_ERRORS
        {
            statements.push(self.statement());
        }
        statements
    }
    /// `%2, %3 = split %1 {…} : (…) loc(…)`
    fn statement(&mut self) -> Statement<'t> {
        let start = self.cursor.position();
        let mut results = Vec::new();
        let node = self.results(&mut results).and_then(|()| self.node());
        let node = node.map_err(|error| {
            self.errors.push(error);
            self.cursor.skip_statement(start);
        });
        Statement { results, node: node.ok() }
    }
    fn results(&mut self, results: &mut Vec<Operand<'t>>) -> Step<()> {
        if self.cursor.peek().kind != Kind::Value {
            return Ok(());
        }
        loop {
            let token = self.cursor.peek();
            let number = self.cursor.expect_number(Kind::Value, "a value such as `%0`")?;
            results.push(Operand { token, number });
            if !self.cursor.eat(b',') {
                return self.cursor.expect(b'=');
            }
        }
    }
    fn node(&mut self) -> Step<NodeText<'t>> {
        let word = self.cursor.expect_kind(Kind::Word, "an op")?;
        let operands = self.operands()?;
        let attrs = self.attrs()?;
        let op = self.op(word, &attrs)?;
        self.cursor.expect(b':')?;
        let types = match self.cursor.eat(b'(') {
            true => self.cursor.list(b')', Cursor::ty)?,
            false => vec![self.cursor.ty()?],
        };
        Ok(NodeText { word, op, operands, types, loc: self.loc()? })
    }
    /// `%1, @0`, or nothing.
    fn operands(&mut self) -> Step<Vec<Operand<'t>>> {
        let mut operands = Vec::new();
        while matches!(self.cursor.peek().kind, Kind::Value | Kind::Const) {
            let token = self.cursor.peek();
            let number = self.cursor.expect_number(token.kind, "a value")?;
            operands.push(Operand { token, number });
            if !self.cursor.eat(b',') {
                break;
            }
        }
        Ok(operands)
    }
    fn loc(&mut self) -> Step<Loc> {
        if !self.cursor.eat_word("loc") {
            return Ok(Loc::default());
        }
        self.cursor.expect(b'(')?;
        let names = self.cursor.list(b')', |cursor| cursor.expect_string("a name in quotes"))?;
        Ok(Loc { names: names.into_iter().map(Into::into).collect() })
    }
    /// `return %1, %2 }`
    fn outputs(&mut self) -> Step<Vec<Operand<'t>>> {
        self.cursor.expect_word("return")?;
        let outputs = self.operands()?;
        self.cursor.expect(b'}')?;
        Ok(outputs)
    }
}

/// `%0 "x": tensor<…>`
fn input<'t>(cursor: &mut Cursor<'t>) -> Step<Input<'t>> {
    let token = cursor.peek();
    let number = cursor.expect_number(Kind::Value, "an input such as `%0`")?;
    let name = cursor.expect_string("the name of the input in quotes")?;
    cursor.expect(b':')?;
    Ok(Input { token, number, name, ty: cursor.ty()? })
}

/// `"past" <- "present" axis 2`
fn state<'t>(cursor: &mut Cursor<'t>) -> Step<(PortRef<'t>, PortRef<'t>, Option<u32>)> {
    let input = port(cursor)?;
    cursor.expect_arrow(*b"<-")?;
    let output = port(cursor)?;
    let axis = if cursor.eat_word("axis") { Some(cursor.expect_u32("an axis")?) } else { None };
    Ok((input, output, axis))
}

fn port<'t>(cursor: &mut Cursor<'t>) -> Step<PortRef<'t>> {
    let token = cursor.peek();
    match token.kind {
        Kind::Index => cursor.expect_number(Kind::Index, "a port").map(PortRef::Index),
        _ => cursor.expect_string("the name of a port in quotes").map(|name| PortRef::Name(token, name)),
    }
}
