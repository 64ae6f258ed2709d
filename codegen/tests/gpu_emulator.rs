//! The emulator: small kernels compute what they should, and every kind of planted mistake is named with its place.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use inkwell::context::Context;
use inkwell::memory_buffer::MemoryBuffer;
use mokume_codegen::gpu::emulate::{Emulator, Fault, FaultKind};
use mokume_runtime::gpu::device::Launch;

const PRODUCT: &str = include_str!("gpu_kernels/product.ll");
const GROUP: &str = include_str!("gpu_kernels/group.ll");
const SUM: &str = include_str!("gpu_kernels/sum.ll");

fn emulator(text: &str) -> Emulator {
    let context = Context::create();
    let buffer = MemoryBuffer::create_from_memory_range_copy(text.as_bytes(), "kernel");
    let module = context.create_module_from_ir(buffer).unwrap();
    Emulator::new(&module).unwrap()
}

/// Replaces text that must be there.
fn plant(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in the kernel");
    text.replacen(from, to, 1)
}

fn random_bytes(count: usize, mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// Runs a product of `rows` and 16 columns over `steps` steps; gives the result and what it should be.
fn run_product(text: &str, launch: &Launch<'_>, rows: usize, steps: usize) -> Result<(Vec<u32>, Vec<u32>), Fault> {
    let (a, b) = (random_bytes(steps * rows * 32, 1), random_bytes(steps * 512, 2));
    let mut device = emulator(text);
    let (pa, pb, pc) = (device.upload(&a)?, device.upload(&b)?, device.alloc(rows * 64));
    device.launch(&Launch { args: &[pa, pb, pc, steps as u64], ..*launch })?;
    let mut c = vec![0u32; rows * 16];
    device.read(pc, bytemuck::cast_slice_mut(&mut c))?;
    let line = |bytes: &[u8], index: usize| bytes[index * 32..][..32].to_vec();
    let dot = |row, column| -> u32 {
        let lines = (0..steps).map(|step| (line(&a, step * rows + row), line(&b, step * 16 + column)));
        lines.flat_map(|(a, b)| a.into_iter().zip(b)).map(|(a, b)| (a & b).count_ones()).sum()
    };
    let expected = (0..rows * 16).map(|index| dot(index / 16, index % 16)).collect();
    Ok((c, expected))
}

fn product(text: &str, steps: usize) -> Result<(Vec<u32>, Vec<u32>), Fault> {
    run_product(text, &Launch { kernel: "product", grid: [1, 1, 1], block: [64, 1, 1], shared_bytes: 0, args: &[] }, 16, steps)
}

fn group(text: &str) -> Result<(Vec<u32>, Vec<u32>), Fault> {
    run_product(text, &Launch { kernel: "group", grid: [1, 1, 1], block: [128, 1, 1], shared_bytes: 512, args: &[] }, 64, 5)
}

fn fault_of_product(text: &str) -> Fault {
    product(text, 5).unwrap_err()
}

fn assert_fault(fault: &Fault, kind: FaultKind, says: &[&str]) {
    let text = fault.to_string();
    assert_eq!(fault.kind, kind, "{text}");
    says.iter().for_each(|part| assert!(text.contains(part), "`{part}` is not in: {text}"));
}

#[test]
fn a_product_through_shared_memory_is_exact() {
    for steps in [1, 2, 5, 37] {
        let (c, expected) = product(PRODUCT, steps).unwrap();
        assert_eq!(c, expected, "{steps} steps");
    }
}

#[test]
fn a_wrong_fragment_gives_wrong_numbers() {
    let wrong = plant(PRODUCT, "b1(i32 %a0, i32 %a1, i32 %a2, i32 %a3", "b1(i32 %a0, i32 %a2, i32 %a1, i32 %a3");
    let (c, expected) = product(&wrong, 5).unwrap();
    assert_ne!(c, expected);
}

#[test]
fn a_missing_wait_is_named() {
    let wait = "call void @llvm.nvvm.cp.async.wait.group(i32 1)";
    let without = fault_of_product(&plant(PRODUCT, wait, ""));
    assert_fault(&without, FaultKind::MissingWait, &["kernel `product`", "`tiles`", "before the wait", "ldmatrix"]);
    let too_weak = fault_of_product(&plant(PRODUCT, wait, "call void @llvm.nvvm.cp.async.wait.group(i32 2)"));
    assert_fault(&too_weak, FaultKind::MissingWait, &["copies asynchronously"]);
}

#[test]
fn a_missing_barrier_is_named_on_either_side() {
    let barrier = |which| format!("call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0) ; {which}");
    let before = fault_of_product(&plant(PRODUCT, &barrier("copies are there"), ""));
    assert_fault(&before, FaultKind::MissingBarrier, &["reads shared memory", "wrote after the last barrier", "byte"]);
    let after = fault_of_product(&plant(PRODUCT, &barrier("the stage is free"), ""));
    assert_fault(&after, FaultKind::MissingBarrier, &["writes shared memory", "read after the last barrier", "cp.async"]);
}

#[test]
fn accesses_out_of_bounds_are_named() {
    let global = fault_of_product(&plant(PRODUCT, "%p0, i32 128", "%p0, i32 256"));
    assert_fault(&global, FaultKind::OutOfBounds, &["an allocation of 1024 bytes", "offset 1024", "store <2 x i32>"]);
    assert_eq!((global.block, global.thread), ([0, 0, 0], [0, 0, 0]));
    let shared = fault_of_product(&plant(PRODUCT, "add i32 %b_inside, 512", "add i32 %b_inside, 2048"));
    assert_fault(&shared, FaultKind::OutOfBounds, &["shared array `tiles` (2048 bytes)"]);
    let too_long = fault_of_product(&plant(PRODUCT, "icmp ult i32 %next, %steps", "icmp ule i32 %next, %steps"));
    assert_fault(&too_long, FaultKind::OutOfBounds, &["an allocation of 2560 bytes", "cp.async"]);
}

#[test]
fn misaligned_and_uninitialized_accesses_are_named() {
    let odd = fault_of_product(&plant(PRODUCT, "add i32 %half_tile, %lane_bytes", "add i32 %half_tile, 4"));
    assert_fault(&odd, FaultKind::Misaligned, &["no multiple of that"]);
    let store =
        fault_of_product(&plant(PRODUCT, "%index = add i32 %line, %column", "%even = add i32 %line, %column\n  %index = add i32 %even, 1"));
    assert_fault(&store, FaultKind::Misaligned, &["writes 8 bytes", "no multiple of 8"]);
    let unset = fault_of_product(&PRODUCT.replace("call void @llvm.nvvm.cp.async.cg.shared.global.16(", "call void @nothing(").replace(
        "declare void @llvm.nvvm.cp.async.cg.shared.global.16(ptr addrspace(3), ptr addrspace(1))",
        "define internal void @nothing(ptr addrspace(3) %a, ptr addrspace(1) %b) { ret void }",
    ));
    assert_fault(&unset, FaultKind::Uninitialized, &["nobody wrote"]);
}

#[test]
fn a_divergent_collective_is_named() {
    let skips = plant(
        PRODUCT,
        "%a0 = extractvalue",
        "%odd = icmp eq i32 %tid, 7\n  br i1 %odd, label %gone, label %on\n\ngone:\n  ret void\n\non:\n  %a0 = extractvalue",
    );
    assert_fault(&fault_of_product(&skips), FaultKind::Divergence, &["thread 7", "has ended"]);
}

#[test]
fn a_product_of_a_group_of_warps_is_exact() {
    let (c, expected) = group(GROUP).unwrap();
    assert_eq!(c, expected);
}

#[test]
fn mistakes_around_a_product_of_a_group_of_warps_are_named() {
    let without = |what: &str| group(&plant(GROUP, what, "")).unwrap_err();
    let wait = without("call void @llvm.nvvm.wgmma.wait_group.sync.aligned(i64 0)");
    assert_fault(&wait, FaultKind::MissingWait, &["before the wait"]);
    let fence = without("call void @llvm.nvvm.wgmma.fence.sync.aligned()\n");
    assert_fault(&fence, FaultKind::MissingWait, &["without a fence of its registers"]);
    let proxy = without("call void @llvm.nvvm.fence.proxy.async.shared_cta()\n");
    assert_fault(&proxy, FaultKind::MissingWait, &["without a proxy fence", "`shared`"]);
    let barrier = without("call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)\n");
    assert_fault(&barrier, FaultKind::MissingBarrier, &["thread (32, 0, 0)", "wgmma"]);
    let short = group(&plant(GROUP, "lshr i64 %start, 4", "add i64 %start, 1")).unwrap_err();
    assert_fault(&short, FaultKind::OutOfBounds, &["`shared` (512 bytes)"]);
    let skip = plant(
        GROUP,
        "%step_words",
        "%skips = icmp eq i32 %warp, 2\n  br i1 %skips, label %gone, label %on\n\ngone:\n  ret void\n\non:\n  %step_words",
    );
    assert_fault(&group(&skip).unwrap_err(), FaultKind::Divergence, &["for thread 64", "has ended"]);
}

fn sums(text: &str) -> Result<(Vec<f32>, u32), Fault> {
    let x: Vec<f32> = (0..192).map(|i| i as f32).collect();
    let mut device = emulator(text);
    let (px, out, count) = (device.upload(bytemuck::cast_slice(&x))?, device.alloc(12), device.upload(&[0; 4])?);
    device.launch(&Launch { kernel: "sum", grid: [3, 1, 1], block: [64, 1, 1], shared_bytes: 0, args: &[px, out, count] })?;
    let (mut sums, mut blocks) = (vec![0f32; 3], [0u32]);
    device.read(out, bytemuck::cast_slice_mut(&mut sums))?;
    device.read(count, bytemuck::cast_slice_mut(&mut blocks))?;
    Ok((sums, blocks[0]))
}

#[test]
fn shuffles_shared_memory_and_atomics_add_up() {
    let expected = |block: u32| (0..64).map(|i| (64 * block + i) as f32).sum::<f32>();
    assert_eq!(sums(SUM).unwrap(), ((0..3).map(expected).collect(), 3));
}

#[test]
fn a_barrier_that_some_threads_skip_is_named() {
    let skips = plant(
        SUM,
        "  br i1 %leads, label %put, label %meet",
        "  %late = icmp ugt i32 %tid, 31\n  br i1 %late, label %end, label %on\n\non:\n  br i1 %leads, label %put, label %meet",
    );
    let fault = sums(&skips).unwrap_err();
    assert_fault(&fault, FaultKind::Barrier, &["barrier 0 for 64 threads, of which 32 came", "thread 32 has ended"]);
    let no_barrier = plant(SUM, "call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)", "");
    assert_fault(&sums(&no_barrier).unwrap_err(), FaultKind::MissingBarrier, &["`partial`", "thread 32 writes only then"]);
}

#[test]
fn launches_are_checked() {
    let mut device = emulator(SUM);
    let mut launch = |launch: Launch<'_>| device.launch(&launch).unwrap_err();
    let good = Launch { kernel: "sum", grid: [1, 1, 1], block: [64, 1, 1], shared_bytes: 0, args: &[0, 0, 0] };
    assert_fault(&launch(Launch { kernel: "none", ..good }), FaultKind::Launch, &["no such kernel"]);
    assert_fault(&launch(Launch { args: &[0], ..good }), FaultKind::Launch, &["1 arguments instead of 3"]);
    assert_fault(&launch(Launch { block: [2048, 1, 1], ..good }), FaultKind::Launch, &["2048 threads"]);
    assert_fault(&launch(Launch { shared_bytes: 1 << 20, ..good }), FaultKind::Launch, &["shared"]);
    assert_fault(&launch(good), FaultKind::OutOfBounds, &["reads 4 bytes at 0x0", "where no memory is"]);
}
