//! Properties of random modules: they are sound, print and read back equal, and print alike under any ids.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mokume_ir::graph::Module;
use mokume_ir::random::{Rng, module, shuffled};
use mokume_ir::text::{no_data, parse, print, sidecar};
use mokume_ir::verify::verify;
use proptest::prelude::*;

fn random(seed: u64, nodes: usize) -> Module {
    module(seed, nodes).unwrap_or_else(|error| panic!("seed {seed}: {error}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_modules_are_sound(seed: u64, nodes in 1usize..60) {
        let module = random(seed, nodes);
        if let Err(report) = verify(&module) {
            panic!("{report}\n{}", print(&module));
        }
    }

    #[test]
    fn what_is_printed_reads_back_equal(seed: u64, nodes in 1usize..60) {
        let module = random(seed, nodes);
        let (text, weights) = (print(&module), sidecar::read(sidecar::write(&module).to_bytes().into()).unwrap());
        let back = parse(&text, &|hash| weights.get(hash)).unwrap_or_else(|report| panic!("{report}\n{text}"));
        prop_assert_eq!(module.difference(&back), None);
        prop_assert_eq!(print(&back), text);
        prop_assert!(verify(&back).is_ok());
    }

    #[test]
    fn text_does_not_depend_on_ids(seed: u64, nodes in 1usize..40) {
        let module = random(seed, nodes);
        let other = shuffled(&module, seed ^ 1);
        prop_assert_eq!(module.difference(&other), None);
        prop_assert_eq!(print(&module), print(&other));
        prop_assert_eq!(sidecar::write(&module).to_bytes(), sidecar::write(&other).to_bytes());
    }

    #[test]
    fn damaged_text_never_panics(seed: u64) {
        let mut rng = Rng::new(seed);
        let text = print(&random(seed % 40, 20));
        for _ in 0..25 {
            let damaged = damage(&text, &mut rng);
            if let Ok(module) = parse(&damaged, &no_data) {
                let _ = verify(&module);
                let again = print(&module);
                let back = parse(&again, &no_data).unwrap_or_else(|report| panic!("{report}\n{again}"));
                prop_assert_eq!(module.difference(&back), None);
            }
        }
    }
}

/// The text with a few characters or pieces removed, doubled, swapped or replaced.
fn damage(text: &str, rng: &mut Rng) -> String {
    const PIECES: [&str; 16] = [
        "<",
        ">",
        "(",
        "[",
        "{",
        "%0",
        "@0",
        "@f0",
        "-",
        "0x1",
        "9223372036854775808",
        "1e400",
        "\"",
        "?1",
        "floordiv(0, 0)",
        "mod(n, n - n)",
    ];
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..1 + rng.below(3) {
        if chars.is_empty() {
            break;
        }
        let at = rng.below(chars.len());
        let len = 1 + rng.below(4.min(chars.len() - at));
        match rng.below(4) {
            0 => drop(chars.drain(at..at + len)),
            1 => chars.truncate(at.max(1)),
            2 => {
                let copy: Vec<char> = chars[at..at + len].to_vec();
                chars.splice(at..at, copy);
            }
            _ => {
                let piece = *rng.pick(&PIECES).unwrap();
                chars.splice(at..at + len, piece.chars());
            }
        }
    }
    chars.into_iter().collect()
}

#[test]
fn random_modules_are_varied() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let module = random(seed, 40);
        module.functions.iter().for_each(|(_, graph)| seen.extend(graph.node_ids().map(|id| graph[id].op.name())));
    }
    for op in ["matmul", "call", "if", "reshape", "concat", "slice", "gather", "softmax", "split", "pad", "select", "conv", "layer_norm"] {
        assert!(seen.contains(op), "no {op} in {seen:?}");
    }
}
