//! Evaluates nodes whose operands are all constants.
//!
//! Before  %2 = add @0, @1
//! After   @2, the sum
//!
//! Legal when  the result is small, or no larger than the operands are (casts may grow fourfold): folding a broadcast would trade
//!             a cheap node for bytes in the file. `dequantize` stays, for it is what keeps weights small.
//! Exactness   exact: the executor runs the op that would run later.
//! Cost        one evaluation per folded node.

use crate::pass::{Pass, PassContext, PassError};
use crate::query;
use mokume_ir::constant::{Constant, packed_bytes};
use mokume_ir::edit::Editor;
use mokume_ir::ids::NodeId;
use mokume_ir::op::Op;
use mokume_ir::order::order;

options! {
    /// Constant folding.
    FoldConstants {
        /// results up to this many bytes are folded even when they are larger than the operands
        limit: usize = 65536,
    }
}

impl Pass for FoldConstants {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        for id in order(editor) {
            match self.evaluate(editor, id, cx) {
                Ok(None) => {}
                Ok(Some(_)) if !cx.take() => return Ok(()),
                Ok(Some(results)) => replace(editor, id, results),
                Err(why) => cx.remark(editor, id, why),
            }
        }
        Ok(())
    }
}

impl FoldConstants {
    /// The outputs of a node of constants; none when it is no such node.
    ///
    /// Errors  with the reason why it is not folded.
    fn evaluate(&self, editor: &Editor<'_>, id: NodeId, cx: &PassContext<'_>) -> Result<Option<Vec<Constant>>, String> {
        let node = &editor[id];
        let Some(inputs) = node.inputs.iter().map(|&input| query::constant(editor, input)).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        if !query::callees(&node.op).is_empty() || matches!(node.op, Op::Dequantize(_)) || depends_on_sizes(&node.op) {
            return Ok(None);
        }
        let given: usize = inputs.iter().map(|input| input.byte_len()).sum();
        let allowed = if matches!(node.op, Op::Cast(_)) { 4 * given } else { given }.max(self.limit);
        if let Some(bytes) = output_bytes(editor, id)
            && bytes > allowed
        {
            return Err(format!("not folded: the result would take {bytes} bytes, the operands take {given}"));
        }
        let results = cx.executor.eval(&node.op, &inputs).map_err(|why| format!("not folded: {why}"))?;
        let bytes: usize = results.iter().map(Constant::byte_len).sum();
        match bytes > allowed {
            true => Err(format!("not folded: the result takes {bytes} bytes, the operands take {given}")),
            false => Ok(Some(results)),
        }
    }
}

/// Whether an attribute holds a symbol, which has a value at run time only.
fn depends_on_sizes(op: &Op) -> bool {
    use mokume_ir::attr::Attr;
    fn symbolic(attr: &Attr) -> bool {
        match attr {
            Attr::Dim(dim) => dim.known().is_none(),
            Attr::List(items) => items.iter().any(symbolic),
            _ => false,
        }
    }
    op.attrs().iter().any(|(_, attr)| symbolic(attr))
}

fn output_bytes(editor: &Editor<'_>, id: NodeId) -> Option<usize> {
    let bytes = |tensor: &mokume_ir::types::TensorType| packed_bytes(&tensor.shape.as_known()?, tensor.elem);
    editor[id].outputs.iter().map(|&output| bytes(editor.ty(output).as_tensor()?)).sum()
}

fn replace(editor: &mut Editor<'_>, id: NodeId, results: Vec<Constant>) {
    let outputs = editor[id].outputs.clone();
    for (output, constant) in outputs.into_iter().zip(results) {
        let value = editor.constant_value(constant);
        editor.replace_uses(output, value);
    }
    editor.erase(id);
}
