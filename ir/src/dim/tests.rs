//! Normal forms, against evaluation on many sizes.

use super::*;
use proptest::prelude::*;

fn dim(text: &str) -> Dim {
    let module = format!("module \"m\"\ngraph @f0 \"f\"(%0 \"x\": tensor<{text} x f32>) -> () {{ return }}");
    let module = crate::text::parse(&module, &crate::text::no_data).unwrap();
    let graph = module.main();
    graph.ty(graph.inputs()[0].value).dims().unwrap()[0].clone()
}

#[test]
fn equal_expressions_have_one_form() {
    let (p, s) = (Dim::symbol("past"), Dim::symbol("seq"));
    assert_eq!(p.plus(&s), s.plus(&p));
    assert_eq!(p.plus(&s).minus(&p), s);
    assert_eq!(p.plus(&s).to_string(), "past + seq");
    let two = Dim::from(2i64);
    assert_eq!(p.times(&two).floor_div(&two), p);
    assert_eq!(p.times(&s).exact_div(&s), Some(p.clone()));
    assert_eq!(p.minus(&two).call(DimFn::Max, &p), p);
    assert_eq!(p.call(DimFn::Broadcast, &Dim::from(1i64)), p);
}

#[test]
fn evaluates_floor_division_and_mod_like_python() {
    assert_eq!(DimFn::FloorDiv.apply(-7, 2), Some(-4));
    assert_eq!(DimFn::Mod.apply(-7, 2), Some(1));
    assert_eq!(DimFn::FloorDiv.apply(1, 0), None);
    assert_eq!(DimFn::Broadcast.apply(3, 4), None);
}

#[test]
fn quotients_are_simplified() {
    for (written, normal) in [
        ("floordiv(2*h + 1, 2)", "h"),
        ("floordiv(h - 1, 2) + 1", "floordiv(h + 1, 2)"),
        ("floordiv(floordiv(h + 1, 2) + 1, 2)", "floordiv(h + 3, 4)"),
        ("floordiv(4*h + 6, 8)", "floordiv(h + 1, 2)"),
        ("floordiv(b*s + 3*b, b)", "s + 3"),
        ("floordiv(a*p + a*s, p + s)", "a"),
        ("floordiv(mod(h, 4), 4)", "0"),
        ("mod(8*h + 9, 8)", "1"),
        ("mod(h + 4, 4)", "mod(h, 4)"),
        ("mod(b*s, b)", "0"),
    ] {
        assert_eq!(dim(written).to_string(), normal, "{written}");
    }
}

#[test]
fn extremes_are_decided() {
    for (written, normal) in [
        ("max(0, h)", "h"),
        ("min(past + seq, seq)", "seq"),
        ("min(max(0, h - 1), h - 1)", "h - 1"),
        ("max(h, min(h, 5))", "h"),
        ("min(floordiv(w, 2), floordiv(w + 1, 2))", "floordiv(w, 2)"),
        ("min(min(a, b), min(b, c))", "min(min(a, b), c)"),
        ("max(5, min(3, a))", "5"),
        ("broadcast(broadcast(a, b), a)", "broadcast(a, b)"),
        ("broadcast(broadcast(a, b), 7)", "7"),
        ("broadcast(a, min(512, a))", "a"),
        ("broadcast(a, min(1, a))", "broadcast(a, min(1, a))"),
    ] {
        assert_eq!(dim(written).to_string(), normal, "{written}");
    }
}

#[test]
fn signs_are_found() {
    assert!(dim("h + 1").is_positive());
    assert!(!dim("h").is_positive());
    assert!(dim("-h - 1").is_negative());
    assert!(dim("max(h, 3) - 2").is_positive());
    assert!(dim("h - floordiv(h, 2)").is_non_negative());
    assert!(!dim("h - 1").is_non_negative());
    assert!(!dim("a - b").is_negative());
}

#[test]
fn hostile_numbers_do_not_panic() {
    let numbers = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX];
    let dims = || numbers.into_iter().flat_map(|n| [Dim::from(n), Dim::symbol("h").times(&Dim::from(n)).plus(&Dim::from(n))]);
    for a in dims() {
        for b in dims() {
            for function in [DimFn::FloorDiv, DimFn::Mod, DimFn::Min, DimFn::Max, DimFn::Broadcast] {
                let _ = a.call(function, &b).is_non_negative();
            }
            let _ = (a.exact_div(&b), a.try_times(&b, 64), a.minus(&b).is_negative());
        }
    }
}

#[test]
fn growth_is_bounded() {
    let sum = (0..20).fold(Dim::from(0i64), |sum, i| sum.plus(&Dim::symbol(format!("s{i}"))));
    let power = (0..40).try_fold(Dim::from(1i64), |power, _| power.try_times(&sum, 256));
    assert_eq!(power, None);
}

/// A recipe for an expression, evaluated on the side.
#[derive(Debug, Clone)]
enum Recipe {
    Number(i64),
    Symbol(usize),
    Plus(Box<Recipe>, Box<Recipe>),
    Minus(Box<Recipe>, Box<Recipe>),
    Times(Box<Recipe>, Box<Recipe>),
    Call(DimFn, Box<Recipe>, Box<Recipe>),
}

const NAMES: [&str; 3] = ["a", "b", "c"];

impl Recipe {
    fn dim(&self) -> Dim {
        match self {
            Recipe::Number(n) => Dim::from(*n),
            Recipe::Symbol(i) => Dim::symbol(NAMES[*i]),
            Recipe::Plus(a, b) => a.dim().plus(&b.dim()),
            Recipe::Minus(a, b) => a.dim().minus(&b.dim()),
            Recipe::Times(a, b) => a.dim().times(&b.dim()),
            Recipe::Call(f, a, b) => a.dim().call(*f, &b.dim()),
        }
    }
    fn value(&self, sizes: &[i64; 3]) -> Option<i64> {
        match self {
            Recipe::Number(n) => Some(*n),
            Recipe::Symbol(i) => Some(sizes[*i]),
            Recipe::Plus(a, b) => a.value(sizes)?.checked_add(b.value(sizes)?),
            Recipe::Minus(a, b) => a.value(sizes)?.checked_sub(b.value(sizes)?),
            Recipe::Times(a, b) => a.value(sizes)?.checked_mul(b.value(sizes)?),
            Recipe::Call(f, a, b) => f.apply(a.value(sizes)?, b.value(sizes)?),
        }
    }
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let leaf = prop_oneof![(-6i64..7).prop_map(Recipe::Number), (0usize..3).prop_map(Recipe::Symbol)];
    leaf.prop_recursive(4, 24, 2, |inner| {
        let boxed = (inner.clone().prop_map(Box::new), inner.prop_map(Box::new));
        let functions = prop_oneof![Just(DimFn::FloorDiv), Just(DimFn::Mod), Just(DimFn::Min), Just(DimFn::Max), Just(DimFn::Broadcast)];
        prop_oneof![
            boxed.clone().prop_map(|(a, b)| Recipe::Plus(a, b)),
            boxed.clone().prop_map(|(a, b)| Recipe::Minus(a, b)),
            boxed.clone().prop_map(|(a, b)| Recipe::Times(a, b)),
            (functions, boxed).prop_map(|(f, (a, b))| Recipe::Call(f, a, b)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Wherever the expression as written is defined, the normal form has its value, and says no wrong sign.
    #[test]
    fn normal_forms_keep_values(recipe in recipe(), sizes in prop::collection::vec([0i64..9, 0i64..9, 0i64..9], 8)) {
        let dim = recipe.dim();
        for sizes in sizes {
            if let Some(value) = recipe.value(&sizes) {
                let size_of = |symbol: &Symbol| NAMES.iter().position(|name| *name == symbol.name()).map(|i| sizes[i]);
                prop_assert_eq!(dim.eval(&size_of), Some(value), "{:?} as {} at {:?}", recipe, dim, sizes);
                prop_assert!(!dim.is_negative() || value < 0);
                prop_assert!(!dim.is_non_negative() || value >= 0);
            }
        }
    }

    /// Normalizing again changes nothing: what is printed reads back equal.
    #[test]
    fn normal_forms_are_stable(recipe in recipe()) {
        let dim = recipe.dim();
        prop_assert_eq!(&dim.substitute(&|symbol| symbol.clone().into()), &dim);
    }
}
