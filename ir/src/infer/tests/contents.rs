//! Shape arithmetic as exporters write it.

use super::check_contents;

const SHAPE: &str = "%1 = shape_of %0 {start = 0} : tensor<3 x i64>\n";

fn of_shape(rest: &str, expected: &str) {
    check_contents("b x s x 576 x f32", &format!("{SHAPE}{rest}"), expected);
}

#[test]
fn shapes_are_followed() {
    of_shape("", "[b, s, 576]");
    of_shape("%2 = slice %1 {starts = [1], ends = [3], axes = [0], steps = [1]} : tensor<2 x i64>", "[s, 576]");
    of_shape("%2 = slice %1 {starts = [-1], ends = [-4], axes = [0], steps = [-1]} : tensor<3 x i64>", "[576, s, b]");
    of_shape("%2 = reduce %1 {kind = prod, axes = [0], all = false, keep_dims = false} : tensor<i64>", "576*b*s");
    of_shape("%2 = size_of %0 : tensor<i64>", "576*b*s");
    of_shape("%2 = cast %1 {to = i32, saturate = true} : tensor<3 x i32>", "[b, s, 576]");
    of_shape("%2 = cast %1 {to = i8, saturate = true} : tensor<3 x i8>", "none");
    of_shape("%2, %3 = split %1 {axis = 0, sizes = [1, 2]} : (tensor<1 x i64>, tensor<2 x i64>)", "[b]");
    of_shape("%2 = tile %1 {repeats = [2]} : tensor<6 x i64>", "[b, s, 576, b, s, 576]");
    of_shape("%2 = cumulative %1 {axis = [0], product = false, exclusive = true, reverse = false} : tensor<3 x i64>", "[0, b, b + s]");
    of_shape("%2 = exp %0 : tensor<b x s x 576 x f32>", "none");
}

#[test]
fn elements_are_chosen_and_joined() {
    let pick = "%2 = dims_of {dims = [1], scalar = true} : tensor<i64>\n%3 = gather %1, %2 {axis = 0} : tensor<i64>\n";
    of_shape(pick, "s");
    of_shape(
        &format!("{pick}%4 = unsqueeze %3 {{axes = [0]}} : tensor<1 x i64>\n%5 = concat %4, %1 {{axis = 0}} : tensor<4 x i64>"),
        "[s, b, s, 576]",
    );
    of_shape(&format!("{pick}%4 = broadcast %3 {{shape = [2]}} : tensor<2 x i64>"), "[s, s]");
    let range = "%4 = dims_of {dims = [0], scalar = true} : tensor<i64>\n%5 = dims_of {dims = [4], scalar = true} : tensor<i64>\n%6 = dims_of {dims = [2], scalar = true} : tensor<i64>\n%7 = range %4, %5, %6 : tensor<2 x i64>\n";
    of_shape(range, "[0, 2]");
    of_shape(&format!("{range}%8 = gather %1, %7 {{axis = 0}} : tensor<2 x i64>"), "[b, 576]");
}

#[test]
fn arithmetic() {
    let with = |op: &str, value: &str, ty: &str| {
        format!("%2 = dims_of {{dims = [{value}], scalar = true}} : tensor<i64>\n%3 = {op} %1, %2 : tensor<3 x {ty}>")
    };
    of_shape(&with("add", "past", "i64"), "[b + past, past + s, past + 576]");
    of_shape(&with("mul", "2", "i64"), "[2*b, 2*s, 1152]");
    of_shape(&with("div", "64", "i64"), "[floordiv(b, 64), floordiv(s, 64), 9]");
    of_shape(&with("div", "-2", "i64"), "none");
    of_shape(&with("mod", "5", "i64"), "[mod(b, 5), mod(s, 5), 1]");
    of_shape(&with("sub", "s", "i64"), "[b - s, 0, -s + 576]");
    of_shape(&with("max", "0", "i64"), "[b, s, 576]");
    of_shape(&with("eq", "-1", "bool"), "[0, 0, 0]");
    of_shape(&with("lt", "0", "bool"), "[0, 0, 0]");
    of_shape(&with("eq", "5", "bool"), "none");
}

#[test]
fn selection_by_a_decided_condition() {
    let ones = "%2 = dims_of {dims = [-1], scalar = true} : tensor<i64>\n%3 = eq %1, %2 : tensor<3 x bool>\n%4 = dims_of {dims = [1, 1, 1], scalar = false} : tensor<3 x i64>\n";
    of_shape(&format!("{ones}%5 = select %3, %4, %1 : tensor<3 x i64>"), "[b, s, 576]");
}

#[test]
fn two_axes_on_the_way() {
    let pads = "%2 = dims_of {dims = [s, 1, 2, 3], scalar = false} : tensor<4 x i64>\n%3 = reshape %2 {shape = [2, 2], allow_zero = false} : tensor<2 x 2 x i64>\n\
        %4 = slice %3 {starts = [-1], ends = [-3], axes = [0], steps = [-1]} : tensor<2 x 2 x i64>\n%5 = transpose %4 {perm = [1, 0]} : tensor<2 x 2 x i64>\n";
    of_shape(pads, "none");
    of_shape(&format!("{pads}%6 = reshape %5 {{shape = [4], allow_zero = false}} : tensor<4 x i64>"), "[2, s, 3, 1]");
}

#[test]
fn scatters() {
    let scatter =
        "%2 = dims_of {dims = [2], scalar = false} : tensor<1 x i64>\n%3 = dims_of {dims = [7], scalar = false} : tensor<1 x i64>\n";
    of_shape(&format!("{scatter}%4 = scatter_elements %1, %2, %3 {{axis = 0, kind = none}} : tensor<3 x i64>"), "[b, s, 7]");
    of_shape(
        &format!(
            "{scatter}%4 = reshape %2 {{shape = [1, 1], allow_zero = false}} : tensor<1 x 1 x i64>\n%5 = scatter_nd %1, %4, %3 {{kind = add}} : tensor<3 x i64>"
        ),
        "[b, s, 583]",
    );
}

#[test]
fn integers_are_followed_through_floats() {
    let size = "%2 = dims_of {dims = [s], scalar = true} : tensor<i64>\n%3 = cast %2 {to = f32, saturate = true} : tensor<f32>\n";
    let two = "%4 = dims_of {dims = [2], scalar = true} : tensor<i64>\n%5 = cast %4 {to = f32, saturate = true} : tensor<f32>\n";
    let with = |rest: &str| format!("{size}{two}{rest}");
    of_shape(&with("%6 = mul %3, %5 : tensor<f32>"), "2*s");
    of_shape(
        &with("%6 = mul %3, %5 : tensor<f32>\n%7 = floor %6 : tensor<f32>\n%8 = cast %7 {to = i64, saturate = true} : tensor<i64>"),
        "2*s",
    );
    of_shape(&with("%6 = mul %3, %5 : tensor<f32>\n%7 = div %6, %5 : tensor<f32>"), "s");
    of_shape(&with("%6 = div %3, %5 : tensor<f32>"), "none");
    of_shape(&with("%6 = div %3, %3 : tensor<f32>"), "none");
    of_shape(&with("%6 = sub %5, %5 : tensor<f32>\n%7 = range %6, %5, %5 : tensor<1 x f32>"), "[0]");
    of_shape(&with("%6 = cast %3 {to = f16, saturate = true} : tensor<f16>"), "none");
}
