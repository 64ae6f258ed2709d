//! Turns the statements of a graph into nodes.

use super::cursor::Step;
use super::{Header, NodeText, Operand, Parser, PortRef, Statement};
use crate::diag::Diagnostic;
use crate::edit::Editor;
use crate::graph::State;
use crate::ids::{ConstId, ValueId};
use crate::text::lex::{Kind, Token};
use std::collections::HashMap;

impl<'t> Parser<'t, '_> {
    /// Fills the declared function of `header`.
    pub fn build(&mut self, header: Header<'t>, statements: Vec<Statement<'t>>, outputs: Vec<Operand<'t>>) -> Step<()> {
        let states = self.states(&header)?;
        if outputs.len() != header.outputs.len() {
            let message = format!("{} values are returned where the graph has {} outputs", outputs.len(), header.outputs.len());
            return Err(self.cursor.error("text::graph::outputs", message));
        }
        self.module[header.function].name = header.name;
        let editor = Editor::new(&mut self.module, header.function);
        let mut builder = Builder { editor, constants: &self.constants, values: HashMap::new(), errors: Vec::new() };
        for input in header.inputs {
            let value = builder.editor.add_input(input.name, input.ty);
            builder.define(&Operand { token: input.token, number: input.number }, Some(value));
        }
        statements.into_iter().for_each(|statement| builder.statement(statement));
        for (name, output) in header.outputs.into_iter().zip(&outputs) {
            if let Some(value) = builder.resolve(output) {
                builder.editor.add_output(name, value);
            }
        }
        states.into_iter().for_each(|state| builder.editor.declare_state(state));
        let errors = builder.errors;
        self.errors.extend(errors.into_iter().map(|error| self.cursor.error_at(error.token, error.code, error.message)));
        Ok(())
    }
    fn states(&self, header: &Header<'t>) -> Step<Vec<State>> {
        let inputs: Vec<&str> = header.inputs.iter().map(|input| input.name.as_str()).collect();
        let outputs: Vec<&str> = header.outputs.iter().map(String::as_str).collect();
        let states = header.states.iter().map(|(input, output, axis)| {
            Ok(State { input: self.port_index(&inputs, input)?, output: self.port_index(&outputs, output)?, axis: *axis })
        });
        states.collect()
    }
    fn port_index(&self, names: &[&str], port: &PortRef<'t>) -> Result<u32, Diagnostic> {
        match port {
            PortRef::Index(index) => Ok(*index),
            PortRef::Name(token, name) => {
                let index = names.iter().position(|other| other == name).map(|index| index as u32);
                index.ok_or_else(|| self.cursor.error_at(*token, "text::state::port", format!("there is no port {}", token.describe())))
            }
        }
    }
}

struct Builder<'t, 'm> {
    editor: Editor<'m>,
    constants: &'m HashMap<u32, Option<ConstId>>,
    /// None where the statement that defines the value had an error.
    values: HashMap<u32, Option<ValueId>>,
    errors: Vec<BuildError<'t>>,
}

struct BuildError<'t> {
    token: Token<'t>,
    code: &'static str,
    message: String,
}

impl<'t> Builder<'t, '_> {
    fn statement(&mut self, statement: Statement<'t>) {
        let Statement { results, node } = statement;
        let outputs = node.and_then(|node| self.node(node, results.len()));
        for (i, result) in results.iter().enumerate() {
            self.define(result, outputs.as_ref().map(|outputs| outputs[i]));
        }
    }
    /// The results of a node, which is inserted if all is well.
    fn node(&mut self, node: NodeText<'t>, results: usize) -> Option<Vec<ValueId>> {
        let operands: Vec<Option<ValueId>> = node.operands.iter().map(|operand| self.resolve(operand)).collect();
        let operands: Vec<ValueId> = operands.into_iter().collect::<Option<_>>()?;
        if node.types.len() != results {
            let message = format!("`{}` has {} types for {results} results", node.word.text, node.types.len());
            self.error(node.word, "text::node::types", message);
            return None;
        }
        let id = self.editor.insert_typed(node.op, &operands, node.types, node.loc);
        Some(self.editor[id].outputs.to_vec())
    }
    fn define(&mut self, result: &Operand<'t>, value: Option<ValueId>) {
        if self.values.insert(result.number, value).is_some() {
            self.error(result.token, "text::value::twice", format!("{} is defined twice", result.token.describe()));
        }
    }
    /// The value of an operand; an error is noted once, where it begins.
    fn resolve(&mut self, operand: &Operand<'t>) -> Option<ValueId> {
        let known = match operand.token.kind {
            Kind::Const => self.constants.get(&operand.number).map(|id| id.map(|id| self.editor.const_id_value(id))),
            _ => self.values.get(&operand.number).copied(),
        };
        known.unwrap_or_else(|| {
            self.error(operand.token, "text::value::undefined", format!("{} is not defined above", operand.token.describe()));
            None
        })
    }
    fn error(&mut self, token: Token<'t>, code: &'static str, message: String) {
        if self.errors.len() < crate::text::lex::MAX_ERRORS {
            self.errors.push(BuildError { token, code, message });
        }
    }
}
