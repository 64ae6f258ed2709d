//! What a CUDA device says when there is none, and with one that memory and errors are as the trait says.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "tests")]

use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::cuda::{CudaDevice, Ptx, devices};
use mokume_runtime::gpu::device::{Device, DeviceError, Launch, Mark, Product};

/// `out[i] = i + add`, for a block of 32 threads.
const COUNT: &str = ".version 7.1
.target sm_80
.address_size 64
.visible .entry count(.param .u64 out, .param .u32 add)
{
    .reg .b32 %r<4>;
    .reg .b64 %rd<5>;
    ld.param.u64 %rd1, [out];
    ld.param.u32 %r1, [add];
    cvta.to.global.u64 %rd2, %rd1;
    mov.u32 %r2, %tid.x;
    add.s32 %r3, %r2, %r1;
    mul.wide.u32 %rd3, %r2, 4;
    add.s64 %rd4, %rd2, %rd3;
    st.global.u32 [%rd4], %r3;
    ret;
}
";

/// The first device, or none where there is none, which is said.
fn device() -> Option<CudaDevice> {
    match CudaDevice::open(0, &[Ptx { arch: Arch::Sm80, text: COUNT }]) {
        Err(DeviceError::Missing(why)) => {
            println!("skipped: no CUDA device: {why}");
            None
        }
        other => Some(other.unwrap()),
    }
}

#[test]
fn a_missing_driver_is_said_not_met() {
    match devices() {
        Ok(found) => assert!(!found.is_empty()),
        Err(error) => assert!(matches!(error, DeviceError::Missing(_)), "{error}"),
    }
}

#[test]
fn kernels_run_alone_and_in_batches() {
    let Some(mut device) = device() else { return };
    let out = device.alloc(128).unwrap();
    let read = |device: &mut CudaDevice| {
        let mut numbers = [0u32; 32];
        device.read(out, bytemuck::cast_slice_mut(&mut numbers)).unwrap();
        numbers
    };
    for add in [7u64, 9, 11] {
        device.begin_batch().unwrap();
        device.fill(out, 0, 128).unwrap();
        device.launch(&Launch { kernel: "count", grid: [1; 3], block: [32, 1, 1], shared_bytes: 0, args: &[out, add] }).unwrap();
        device.write(out, &5u32.to_le_bytes()).unwrap();
        device.end_batch().unwrap();
        let numbers = read(&mut device);
        assert_eq!((numbers[0], numbers[31]), (5, 31 + add as u32));
    }
}

#[test]
fn refusals_say_why() {
    let Some(mut device) = device() else { return };
    let launch = Launch { kernel: "none", grid: [1; 3], block: [32, 1, 1], shared_bytes: 0, args: &[] };
    assert_eq!(device.launch(&launch).unwrap_err(), DeviceError::NoKernel("none".into()));
    assert!(matches!(device.launch(&Launch { kernel: "count", block: [4096, 1, 1], ..launch }), Err(DeviceError::Launch { .. })));
    assert!(matches!(device.alloc(1 << 50), Err(DeviceError::OutOfMemory { .. })));
    assert!(matches!(device.read(64, &mut [0]), Err(DeviceError::BadRange { .. })));
    assert!(matches!(CudaDevice::open(0, &[]), Err(DeviceError::WrongArch { .. })));
    assert!(matches!(CudaDevice::open(0, &[Ptx { arch: Arch::Sm80, text: "nonsense" }]), Err(DeviceError::Driver(_))));
}

#[test]
fn the_library_multiplies_matrices_in_rows() {
    let Some(mut device) = device() else { return };
    let (a, b) = ([1f32, 2.0, 3.0, 4.0, 5.0, 6.0], [1f32, 0.0, -1.0, 2.0, 1.0, 0.0]);
    let at = [24usize, 24, 16].map(|bytes| device.alloc(bytes).unwrap());
    device.write(at[0], bytemuck::cast_slice(&a)).unwrap();
    device.write(at[1], bytemuck::cast_slice(&b)).unwrap();
    for (b_transposed, expected) in [(false, [2f32, 4.0, 5.0, 10.0]), (true, [-2.0, 4.0, -2.0, 13.0])] {
        let (a, b, c) = (at[0], at[1], at[2]);
        let product = Product { batch: 1, m: 2, n: 2, k: 3, a, a_stride: 6, b, b_stride: 6, b_transposed, c, c_stride: 4 };
        if !device.multiply(&product).unwrap() {
            return println!("skipped: no cuBLASLt");
        }
        let mut c = [0f32; 4];
        device.read(at[2], bytemuck::cast_slice_mut(&mut c)).unwrap();
        assert_eq!(c, expected);
    }
}

#[test]
fn marks_measure_time() {
    let Some(mut device) = device() else { return };
    let block = device.alloc(64 << 20).unwrap();
    let mark = |device: &mut CudaDevice| -> Mark { device.mark().unwrap() };
    let from = mark(&mut device);
    device.fill(block, 1, 64 << 20).unwrap();
    let to = mark(&mut device);
    assert!(device.elapsed_ns(from, to).unwrap() > 1000);
}
