; out[block] = Σ of 64 floats: a shuffle inside each warp, then shared memory between the two; atomics count the blocks.
target triple = "nvptx64-nvidia-cuda"

@partial = internal addrspace(3) global [2 x float] undef, align 4

define ptx_kernel void @sum(ptr addrspace(1) %x, ptr addrspace(1) %out, ptr addrspace(1) %count) {
entry:
  %tid = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %block = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %warp = lshr i32 %tid, 5
  %lane = and i32 %tid, 31
  %first = mul i32 %block, 64
  %index = add i32 %first, %tid
  %px = getelementptr float, ptr addrspace(1) %x, i32 %index
  %v0 = load float, ptr addrspace(1) %px, align 4
  %s0 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v0, i32 16, i32 31)
  %v1 = fadd float %v0, %s0
  %s1 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v1, i32 8, i32 31)
  %v2 = fadd float %v1, %s1
  %s2 = call float @llvm.nvvm.shfl.sync.down.f32(i32 -1, float %v2, i32 4, i32 31)
  %v3 = fadd float %v2, %s2
  %s3 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v3, i32 2, i32 31)
  %v4 = fadd float %v3, %s3
  %s4 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v4, i32 1, i32 31)
  %v5 = fadd float %v4, %s4
  %leads = icmp eq i32 %lane, 0
  br i1 %leads, label %put, label %meet

put:
  %slot = getelementptr float, ptr addrspace(3) @partial, i32 %warp
  store float %v5, ptr addrspace(3) %slot, align 4
  br label %meet

meet:
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  %finishes = icmp eq i32 %tid, 0
  br i1 %finishes, label %finish, label %end

finish:
  %l = load float, ptr addrspace(3) @partial, align 4
  %h = load float, ptr addrspace(3) getelementptr (i8, ptr addrspace(3) @partial, i64 4), align 4
  %total = fadd float %l, %h
  %po = getelementptr float, ptr addrspace(1) %out, i32 %block
  store float %total, ptr addrspace(1) %po, align 4
  %old = atomicrmw add ptr addrspace(1) %count, i32 1 monotonic, align 4
  br label %end

end:
  ret void
}

declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare float @llvm.nvvm.shfl.sync.bfly.f32(i32, float, i32, i32)
declare float @llvm.nvvm.shfl.sync.down.f32(i32, float, i32, i32)
declare void @llvm.nvvm.barrier.cta.sync.aligned.all(i32)
