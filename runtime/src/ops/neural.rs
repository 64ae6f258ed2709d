//! Ops of neural layers: contractions, convolutions, pools, norms, attention, recurrence, resampling, detection, signals,
//! quantized arithmetic.

use super::{
    OpContext, OpError, attention, bit, bit_gather, conv, conv_transpose, hadamard, matmul, normalize, pool, quantize, real, recurrent,
    resample, roi_align, rotary, signal, softmax,
};
use crate::tensor::Tensor;
use mokume_ir::op::Op;

/// Runs `op`, or gives none when it is not of this family. Half floats compute as f32.
pub fn run(op: &Op, inputs: &[&Tensor], cx: &OpContext<'_>) -> Option<Result<Vec<Tensor>, OpError>> {
    let function = function(op)?;
    let half = inputs.first().map(|x| x.elem()).filter(|&elem| real::is_half(elem));
    Some(match half {
        Some(elem) => real::through_f32(inputs, elem, cx, |inputs| function(inputs, cx)),
        None => function(inputs, cx),
    })
}

type Function<'a> = Box<dyn Fn(&[&Tensor], &OpContext<'_>) -> Result<Vec<Tensor>, OpError> + 'a>;

macro_rules! table {
    ($op:expr, $($name:ident => $function:path,)+) => {
        match $op {
            $(Op::$name(op) => Some(Box::new(|inputs, cx| $function(op, inputs, cx))),)+
            _ => None,
        }
    };
}

fn function(op: &Op) -> Option<Function<'_>> {
    table! { op,
        Matmul => matmul::matmul,
        Conv => conv::conv,
        ConvTranspose => conv_transpose::conv_transpose,
        Pool => pool::pool,
        Attention => attention::attention,
        Rotary => rotary::rotary,
        Resize => resample::resize,
        Recurrent => recurrent::recurrent,
        RoiAlign => roi_align::roi_align,
        Dft => signal::dft,
        Stft => signal::stft,
        Hadamard => hadamard::hadamard,
        Softmax => softmax::softmax,
        LogSoftmax => softmax::log_softmax,
        Hardmax => softmax::hardmax,
        LayerNorm => normalize::layer_norm,
        RmsNorm => normalize::rms_norm,
        GroupNorm => normalize::group_norm,
        Quantize => quantize::quantize,
        Dequantize => quantize::dequantize,
        BitGather => bit_gather::bit_gather,
        BitMatmul => bit::bit_matmul,
        BitConv => bit::bit_conv,
        LocalResponseNorm => normalize::local_response_norm,
    }
}
