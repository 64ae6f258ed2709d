//! Normalization, attention, recurrence.

use super::check;

#[test]
fn normalizations() {
    check("softmax {axis = 1}", &["b x 4 x f32"], "b x 4 x f32");
    check("softmax {axis = 2}", &["b x 4 x f32"], "softmax: axis 2 is out of range for rank 2");
    check("layer_norm {axis = 1, epsilon = 1e-5}", &["b x 4 x f32", "4 x f32", "4 x f32"], "b x 4 x f32");
    check("rms_norm {axis = 1, epsilon = 1e-5}", &["b x 4 x f32", "4 x f32"], "b x 4 x f32");
    check("rms_norm {axis = 1, epsilon = 1e-5}", &["b x 4 x f32", "5 x f32"], "rms_norm: sizes 4 and 5 do not broadcast");
    check("group_norm {groups = 2, epsilon = 1e-5}", &["n x 8 x h x f32", "8 x f32", "8 x f32"], "n x 8 x h x f32");
    check("group_norm {groups = 3, epsilon = 1e-5}", &["n x 8 x h x f32", "8 x f32", "8 x f32"], "group_norm: 8 channels in 3 groups");
    check("hadamard {block = 12}", &["b x 24 x f32"], "b x 24 x f32");
    check("hadamard {block = 8}", &["b x n x f32"], "b x n x f32");
    check("hadamard {block = 16}", &["b x 24 x f32"], "hadamard: a last axis of 24 in blocks of 16");
    check("hadamard {block = 6}", &["b x 24 x f32"], "hadamard: no Hadamard matrix of order 6 is known");
    check("local_response_norm {size = 5, alpha = 0.1, beta = 0.75, bias = 1.0}", &["n x 8 x h x f32"], "n x 8 x h x f32");
}

#[test]
fn attention() {
    let plain = "attention {causal = true, softcap = 0.0, mask = false, join_heads = false}";
    check(plain, &["b x 9 x s x 64 x f32", "b x 3 x t x 64 x f32", "b x 3 x t x 32 x f32"], "b x 9 x s x 32 x f32");
    check(plain, &["b x 9 x s x 64 x f32", "b x 2 x t x 64 x f32", "b x 2 x t x 32 x f32"], "attention: 9 query heads on 2 key heads");
    check(
        plain,
        &["b x 9 x s x 64 x f32", "b x 3 x t x 32 x f32", "b x 3 x t x 32 x f32"],
        "attention: head sizes of q and k must be equal, not 64 and 32",
    );
    let rows = "!quant<4, unsigned, row, zero_point>";
    let keys = format!("b x 3 x t x 64 x {rows}");
    check(plain, &["b x 9 x s x 64 x f32", &keys, "b x 3 x t x 32 x !quant<8, signed, row>"], "b x 9 x s x 32 x f32");
    check(
        plain,
        &["b x 9 x s x 64 x f16", &keys, "b x 3 x t x 32 x f16"],
        &format!("attention: operands 0 and 1 have element types f16 and {rows}"),
    );
    let joined = "attention {causal = true, softcap = 0.0, mask = false, join_heads = true}";
    check(joined, &["b x 9 x s x 64 x f32", "b x 3 x t x 64 x f32", "b x 3 x t x 32 x f32"], "b x s x 288 x f32");
    let masked = "attention {causal = false, softcap = 0.0, mask = true, join_heads = false}";
    check(masked, &["b x 9 x s x 8 x f32", "b x 9 x t x 8 x f32", "b x 9 x t x 8 x f32", "b x 1 x s x t x bool"], "b x 9 x s x 8 x f32");
    check(masked, &["b x 9 x s x 8 x f32", "b x 9 x t x 8 x f32", "b x 9 x t x 8 x f32"], "attention: takes 4 operands, not 3");
}

#[test]
fn rotary() {
    check("rotary {interleaved = false, dims = 0}", &["b x 9 x s x 64 x f32", "s x 32 x f32", "s x 32 x f32"], "b x 9 x s x 64 x f32");
    check(
        "rotary {interleaved = false, dims = 65}",
        &["b x 9 x s x 64 x f32", "s x 32 x f32", "s x 32 x f32"],
        "rotary: rotates 65 elements of tensor<b x 9 x s x 64 x f32>",
    );
}

#[test]
fn recurrent() {
    let fixed = "activations = [], alphas = [], betas = [], clip = 0.0, input_forget = false, linear_before_reset = false";
    let flags = "bias = true, lengths = false, initial_h = false, initial_c = false, peephole = false";
    let op = |kind: &str| format!("recurrent {{kind = {kind}, direction = bidirectional, hidden = 8, {fixed}, {flags}}}");
    let lstm = ["s x b x 4 x f32", "2 x 32 x 4 x f32", "2 x 32 x 8 x f32", "2 x 64 x f32"];
    check(&op("lstm"), &lstm, "s x 2 x b x 8 x f32, 2 x b x 8 x f32, 2 x b x 8 x f32");
    let gru = ["s x b x 4 x f32", "2 x 24 x 4 x f32", "2 x 24 x 8 x f32", "2 x 48 x f32"];
    check(&op("gru"), &gru, "s x 2 x b x 8 x f32, 2 x b x 8 x f32");
    check(&op("gru"), &lstm, "recurrent: axis 1 of operand 1 and the size it belongs to must be equal, not 32 and 24");
}
