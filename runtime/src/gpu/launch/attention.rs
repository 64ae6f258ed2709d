//! Attention: a block per query row; keys and values may be state with room to grow, of f32 or of codes.
//!
//! Arguments  q, k, v, mask if there is one, result, heads of q and of k, rows of q, rows of k, width of q, width of v, elements
//!            between heads of k and of v (bytes of codes), elements between batches, heads and rows of the result, the scale, the bound of scores
//!            if there is one, elements of the mask between batches, heads, rows, and keys if there is one.

use super::{Cx, Result, Types, count, misfit, operand, spread};
use crate::gpu::codes::CodeRow;
use crate::gpu::kernel::{Attention as Config, Kernel, Mask, ROW_THREADS};
use crate::gpu::memory::DeviceTensor;
use mokume_ir::op::Attention;
use mokume_ir::types::Elem;

/// Elements of a result that a thread may hold.
const MAX_COLUMNS: usize = 4;

/// The kernels of an attention.
pub(crate) fn kernels(op: &Attention, types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    if types.elem(0)? != Elem::F32 {
        return Err(format!("operand 0 is {}", types.elem(0)?));
    }
    let mask = if op.mask { Some(types.elem(3)?) } else { None };
    let k_width = types.size(1, 3).ok_or("the width of its keys is not known")?;
    let v_width = types.size(2, 3).ok_or("the width of its values is not known")?;
    Ok(vec![Kernel::Attention(config(op, mask, (types.elem(1)?, k_width), (types.elem(2)?, v_width))?)])
}

/// Rows of codes; none for f32.
fn codes(elem: Elem, width: usize) -> std::result::Result<Option<CodeRow>, String> {
    match elem {
        Elem::F32 => Ok(None),
        Elem::Quant(ty) => CodeRow::of(&ty, width).map(Some),
        other => Err(format!("keys or values are {other}")),
    }
}

type Rows = (Elem, usize);

fn config(op: &Attention, mask: Option<Elem>, (k, k_width): Rows, (v, width): Rows) -> std::result::Result<Config, String> {
    let mask = match mask {
        None => Mask::None,
        Some(Elem::Bool) => Mask::Bool,
        Some(Elem::F32) => Mask::Added,
        Some(other) => return Err(format!("a mask of {other}")),
    };
    let columns = width.div_ceil(ROW_THREADS as usize).max(1);
    match columns <= MAX_COLUMNS {
        true => {
            let (keys, values) = (codes(k, k_width)?, codes(v, width)?);
            Ok(Config { columns: columns as u32, causal: op.causal, softcap: op.softcap > 0.0, mask, keys, values })
        }
        false => Err(format!("values of width {width}")),
    }
}

/// softmax(scale q kᵀ + mask) v.
pub(crate) fn attention(op: &Attention, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let q = operand(inputs, 0, Elem::F32)?;
    let [Some(k), Some(v)] = [inputs.get(1), inputs.get(2)] else { return misfit("keys or values are missing") };
    let wrong = || misfit(format!("queries {:?}, keys {:?} and values {:?} do not fit", q.dims, k.dims, v.dims));
    let (&[b, hq, s, d], &[kb, hk, t, kd], &[vb, vh, vt, e]) = (&q.dims[..], &k.dims[..], &v.dims[..]) else { return wrong() };
    let (Some(k_stride), Some(v_stride)) = (k.block_stride(2), v.block_stride(2)) else { return wrong() };
    let fits = kb == b && vb == b && vh == hk && vt == t && kd == d && (hk > 0 || hq == 0) && (hk == 0 || hq % hk == 0);
    let in_place = |x: &DeviceTensor| x.elem == Elem::F32 || x.spare.is_some();
    if !fits || !in_place(k) || !in_place(v) {
        return wrong();
    }
    let mask = if op.mask { Some(inputs.get(3).map_or_else(|| misfit("the mask is missing"), Ok)?) } else { None };
    let dims = if op.join_heads { vec![b, s, hq * e] } else { vec![b, hq, s, e] };
    let out = if op.join_heads { [s * hq * e, e, hq * e] } else { [hq * s * e, s * e, e] };
    [q, k, v].iter().try_for_each(|x| count(x.len()).map(drop))?;
    let y = cx.alloc(&dims, Elem::F32)?;
    let scale = op.scale.unwrap_or(1.0 / (d as f32).sqrt());
    let mut args = vec![q.address(), k.address(), v.address()];
    args.extend(mask.map(DeviceTensor::address));
    args.push(y.address());
    args.extend([hq, hk, s, t, d, e, k_stride, v_stride].into_iter().chain(out).map(|size| size as u64));
    args.push(scale.to_bits().into());
    args.extend((op.softcap > 0.0).then_some(u64::from(op.softcap.to_bits())));
    if let Some(mask) = mask {
        let Some(strides) = spread(&mask.dims, &[b, hq, s, t]) else { return misfit(format!("a mask {:?}", mask.dims)) };
        args.extend(strides.iter().map(|&stride| stride as u64));
    }
    let config = config(op, mask.map(|mask| mask.elem), (k.elem, d), (v.elem, e)).map_err(crate::ops::OpError::unsupported)?;
    let blocks = if e == 0 { 0 } else { b * hq * s };
    cx.launch(Kernel::Attention(config), [blocks, 1, 1], ROW_THREADS, &args)?;
    Ok(y)
}
