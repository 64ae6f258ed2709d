//! Products of f32 matrices by cuBLASLt, which is loaded when it is there.

use super::driver::{Context, Result, check};
use crate::gpu::device::{Address, DeviceError, Product};
use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::{self, cublasComputeType_t, cudaDataType};
use std::ffi::c_void;

/// Memory that a product may use for partial results.
const WORKSPACE_BYTES: usize = 32 << 20;

/// The library with its workspace.
pub(super) struct Blas {
    handle: sys::cublasLtHandle_t,
    workspace: Address,
}

impl Blas {
    /// The library, when it is installed.
    pub(super) fn open() -> Result<Option<Self>> {
        // SAFETY: looking for a library runs its initializers, which do nothing visible.
        if !unsafe { sys::is_culib_present() } {
            return Ok(None);
        }
        let handle = lt(result::create_handle())?;
        // SAFETY: the context is current; the memory is freed with this value.
        let workspace = unsafe { cudarc::driver::result::malloc_sync(WORKSPACE_BYTES) };
        Ok(Some(Blas { handle, workspace: check(workspace, "allocating the workspace of cuBLASLt")? }))
    }
    /// Enqueues a product. cuBLASLt thinks in columns, so it computes the transposed product of the transposed operands.
    pub(super) fn multiply(&self, context: &Context, product: &Product) -> Result<()> {
        let Product { m, n, k, batch, .. } = *product;
        let b = match product.b_transposed {
            true => Layout::new((k, n, k), batch, product.b_stride)?,
            false => Layout::new((n, k, n), batch, product.b_stride)?,
        };
        let (a, c) = (Layout::new((k, m, k), batch, product.a_stride)?, Layout::new((n, m, n), batch, product.c_stride)?);
        let description = Description::new(product.b_transposed)?;
        let preference = Preference::new()?;
        let (one, zero) = (1f32, 0f32);
        // SAFETY: all descriptions live until the call returns, and the caller vouches for the addresses.
        unsafe {
            let chosen = result::get_matmul_algo_heuristic(self.handle, description.0, b.0, a.0, c.0, c.0, preference.0);
            let chosen = lt(chosen)?;
            let scalars = (std::ptr::from_ref(&one).cast::<c_void>(), std::ptr::from_ref(&zero).cast::<c_void>());
            let (pb, pa, pc) = (product.b as *const c_void, product.a as *const c_void, product.c as *mut c_void);
            let workspace = self.workspace as *mut c_void;
            lt(result::matmul(
                self.handle,
                description.0,
                scalars.0,
                scalars.1,
                pb,
                b.0,
                pa,
                a.0,
                pc,
                c.0,
                pc,
                c.0,
                &chosen.algo,
                workspace,
                WORKSPACE_BYTES,
                context.stream.cast(),
            ))
        }
    }
    /// Frees everything; nothing runs, and the context is current.
    pub(super) fn free(&mut self) {
        // SAFETY: nobody uses the library's objects any more. Errors have nobody left to go to.
        unsafe {
            let _ = result::destroy_handle(self.handle);
            let _ = cudarc::driver::result::free_sync(self.workspace);
        }
    }
}

fn lt<T>(result: std::result::Result<T, CublasError>) -> Result<T> {
    result.map_err(|error| DeviceError::Driver(format!("cuBLASLt: {:?}", error.0)))
}

/// A matrix in columns.
struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    fn new((rows, columns, lead): (usize, usize, usize), batch: usize, stride: usize) -> Result<Self> {
        use sys::cublasLtMatrixLayoutAttribute_t::{CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET};
        let layout = Layout(lt(result::create_matrix_layout(cudaDataType::CUDA_R_32F, rows as u64, columns as u64, lead as i64))?);
        let (batch, stride) = (batch as i32, stride as i64);
        // SAFETY: the attributes are an i32 and an i64.
        unsafe {
            lt(result::set_matrix_layout_attribute(layout.0, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, std::ptr::from_ref(&batch).cast(), 4))?;
            let offset = std::ptr::from_ref(&stride).cast();
            lt(result::set_matrix_layout_attribute(layout.0, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, offset, 8))?;
        }
        Ok(layout)
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: made by `new`, used by nobody else.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

/// What is computed: f32 throughout.
struct Description(sys::cublasLtMatmulDesc_t);

impl Description {
    fn new(first_transposed: bool) -> Result<Self> {
        let made = result::create_matmul_desc(cublasComputeType_t::CUBLAS_COMPUTE_32F, cudaDataType::CUDA_R_32F);
        let description = Description(lt(made)?);
        let how = i32::from(first_transposed);
        let attribute = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA;
        // SAFETY: the attribute is an i32: 0 as it is, 1 transposed.
        lt(unsafe { result::set_matmul_desc_attribute(description.0, attribute, std::ptr::from_ref(&how).cast(), 4) })?;
        Ok(description)
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: made by `new`, used by nobody else.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

/// What algorithms may use.
struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn new() -> Result<Self> {
        let preference = Preference(lt(result::create_matmul_pref())?);
        let attribute = sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        // SAFETY: the attribute is a usize.
        lt(unsafe { result::set_matmul_pref_attribute(preference.0, attribute, std::ptr::from_ref(&WORKSPACE_BYTES).cast(), 8) })?;
        Ok(preference)
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: made by `new`, used by nobody else.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}
