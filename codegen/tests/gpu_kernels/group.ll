; C[64][16] += popcount(A[64][k] & B[16][k]), 256 bits of k per step, by one group of four warps: A in registers, B in shared memory
; without swizzle: the halves of lines 128 bytes apart, eight lines 256. A and B are step after step lines of 32 bytes.
target triple = "nvptx64-nvidia-cuda"

@shared = external addrspace(3) global [0 x i8], align 128

define ptx_kernel void @group(ptr addrspace(1) %a, ptr addrspace(1) %b, ptr addrspace(1) %c, i32 %steps) {
entry:
  %tid = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %lane = and i32 %tid, 31
  %warp = lshr i32 %tid, 5
  %g = lshr i32 %lane, 2
  %t = and i32 %lane, 3
  %warp_row = mul i32 %warp, 16
  %row = add i32 %warp_row, %g
  %row_words = mul i32 %row, 8
  %my_word = add i32 %row_words, %t
  %copies = icmp ult i32 %tid, 32
  ; line tid / 2, half tid % 2
  %line = lshr i32 %lane, 1
  %half = and i32 %lane, 1
  %eight = lshr i32 %line, 3
  %eight_bytes = mul i32 %eight, 256
  %half_bytes = mul i32 %half, 128
  %in_eight = and i32 %line, 7
  %line_bytes = mul i32 %in_eight, 16
  %o1 = add i32 %eight_bytes, %half_bytes
  %to_offset = add i32 %o1, %line_bytes
  %to = getelementptr i8, ptr addrspace(3) @shared, i32 %to_offset
  %start = ptrtoint ptr addrspace(3) @shared to i64
  %units = lshr i64 %start, 4
  %descriptor = or i64 %units, 68720001024 ; 128 / 16 << 16 | 256 / 16 << 32
  br label %loop

loop:
  %k = phi i32 [ 0, %entry ], [ %next, %meet ]
  %c0 = phi i32 [ 0, %entry ], [ %d0, %meet ]
  %c1 = phi i32 [ 0, %entry ], [ %d1, %meet ]
  %c2 = phi i32 [ 0, %entry ], [ %d2, %meet ]
  %c3 = phi i32 [ 0, %entry ], [ %d3, %meet ]
  %c4 = phi i32 [ 0, %entry ], [ %d4, %meet ]
  %c5 = phi i32 [ 0, %entry ], [ %d5, %meet ]
  %c6 = phi i32 [ 0, %entry ], [ %d6, %meet ]
  %c7 = phi i32 [ 0, %entry ], [ %d7, %meet ]
  br i1 %copies, label %copy, label %go

copy:
  %step_bytes = mul i32 %k, 512
  %mine = mul i32 %tid, 16
  %from_offset = add i32 %step_bytes, %mine
  %from = getelementptr i8, ptr addrspace(1) %b, i32 %from_offset
  call void @llvm.nvvm.cp.async.cg.shared.global.16(ptr addrspace(3) %to, ptr addrspace(1) %from)
  br label %go

go:
  call void @llvm.nvvm.cp.async.commit.group()
  call void @llvm.nvvm.cp.async.wait.group(i32 0)
  call void @llvm.nvvm.fence.proxy.async.shared_cta()
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  %step_words = mul i32 %k, 512
  %word = add i32 %step_words, %my_word
  %p0 = getelementptr i32, ptr addrspace(1) %a, i32 %word
  %p1 = getelementptr i32, ptr addrspace(1) %p0, i32 64
  %p2 = getelementptr i32, ptr addrspace(1) %p0, i32 4
  %p3 = getelementptr i32, ptr addrspace(1) %p0, i32 68
  %a0 = load i32, ptr addrspace(1) %p0
  %a1 = load i32, ptr addrspace(1) %p1
  %a2 = load i32, ptr addrspace(1) %p2
  %a3 = load i32, ptr addrspace(1) %p3
  call void @llvm.nvvm.wgmma.fence.sync.aligned()
  %d = call { i32, i32, i32, i32, i32, i32, i32, i32 } @mokume.gpu.wgmma.m64k256.and.popc.n16(i32 %a0, i32 %a1, i32 %a2, i32 %a3, i64 %descriptor, i32 %c0, i32 %c1, i32 %c2, i32 %c3, i32 %c4, i32 %c5, i32 %c6, i32 %c7)
  %d0 = extractvalue { i32, i32, i32, i32, i32, i32, i32, i32 } %d, 0
  %d1 = extractvalue { i32, i32, i32, i32, i32, i32, i32, i32 } %d, 1
  %d2 = extractvalue { i32, i32, i32, i32, i32, i32, i32, i32 } %d, 2
  %d3 = extractvalue { i32, i32, i32, i32, i32, i32, i32, i32 } %d, 3
  %d4 = extractvalue { i32, i32, i32, i32, i32, i32, i32, i32 } %d, 4
  %d5 = extractvalue { i32, i32, i32, i32, i32, i32, i32, i32 } %d, 5
  %d6 = extractvalue { i32, i32, i32, i32, i32, i32, i32, i32 } %d, 6
  %d7 = extractvalue { i32, i32, i32, i32, i32, i32, i32, i32 } %d, 7
  call void @llvm.nvvm.wgmma.commit_group.sync.aligned()
  call void @llvm.nvvm.wgmma.wait_group.sync.aligned(i64 0)
  br label %meet

meet:
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  %next = add i32 %k, 1
  %more = icmp ult i32 %next, %steps
  br i1 %more, label %loop, label %store

store:
  %first = mul i32 %row, 16
  %pair = mul i32 %t, 2
  %index = add i32 %first, %pair
  %q0 = getelementptr i32, ptr addrspace(1) %c, i32 %index
  %q1 = getelementptr i32, ptr addrspace(1) %q0, i32 1
  %q2 = getelementptr i32, ptr addrspace(1) %q0, i32 128
  %q3 = getelementptr i32, ptr addrspace(1) %q0, i32 129
  %q4 = getelementptr i32, ptr addrspace(1) %q0, i32 8
  %q5 = getelementptr i32, ptr addrspace(1) %q0, i32 9
  %q6 = getelementptr i32, ptr addrspace(1) %q0, i32 136
  %q7 = getelementptr i32, ptr addrspace(1) %q0, i32 137
  store i32 %d0, ptr addrspace(1) %q0
  store i32 %d1, ptr addrspace(1) %q1
  store i32 %d2, ptr addrspace(1) %q2
  store i32 %d3, ptr addrspace(1) %q3
  store i32 %d4, ptr addrspace(1) %q4
  store i32 %d5, ptr addrspace(1) %q5
  store i32 %d6, ptr addrspace(1) %q6
  store i32 %d7, ptr addrspace(1) %q7
  ret void
}

declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare void @llvm.nvvm.cp.async.cg.shared.global.16(ptr addrspace(3), ptr addrspace(1))
declare void @llvm.nvvm.cp.async.commit.group()
declare void @llvm.nvvm.cp.async.wait.group(i32 immarg)
declare void @llvm.nvvm.fence.proxy.async.shared_cta()
declare void @llvm.nvvm.barrier.cta.sync.aligned.all(i32)
declare void @llvm.nvvm.wgmma.fence.sync.aligned()
declare void @llvm.nvvm.wgmma.commit_group.sync.aligned()
declare void @llvm.nvvm.wgmma.wait_group.sync.aligned(i64)
declare { i32, i32, i32, i32, i32, i32, i32, i32 } @mokume.gpu.wgmma.m64k256.and.popc.n16(i32, i32, i32, i32, i64, i32, i32, i32, i32, i32, i32, i32, i32)
