; C[16][16] += popcount(A[16][k] & B[16][k]), 256 bits of k per step: two warps, each with 8 columns; both operands come through
; two stages of shared memory by asynchronous copies. A and B are step after step 16 lines of 32 bytes.
target triple = "nvptx64-nvidia-cuda"

@tiles = internal addrspace(3) global [2048 x i8] undef, align 128

define ptx_kernel void @product(ptr addrspace(1) %a, ptr addrspace(1) %b, ptr addrspace(1) %c, i32 %steps) {
entry:
  %tid = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %warp = lshr i32 %tid, 5
  %lane = and i32 %tid, 31
  %is_a = icmp eq i32 %warp, 0
  %source = select i1 %is_a, ptr addrspace(1) %a, ptr addrspace(1) %b
  %lane_bytes = mul i32 %lane, 16
  %half_tile = mul i32 %warp, 512
  %my_offset = add i32 %half_tile, %lane_bytes
  %my_tile = getelementptr i8, ptr addrspace(3) @tiles, i32 %my_offset
  %my_source = getelementptr i8, ptr addrspace(1) %source, i32 %lane_bytes
  call void @llvm.nvvm.cp.async.cg.shared.global.16(ptr addrspace(3) %my_tile, ptr addrspace(1) %my_source)
  call void @llvm.nvvm.cp.async.commit.group()
  ; lines of A for ldmatrix: row = lane % 16, half = lane / 16
  %a_row = and i32 %lane, 15
  %a_half = lshr i32 %lane, 4
  %a_row_bytes = mul i32 %a_row, 32
  %a_half_bytes = mul i32 %a_half, 16
  %a_offset = add i32 %a_row_bytes, %a_half_bytes
  ; lines of B: column = 8 warp + lane % 8, half = lane / 8 % 2
  %b_lane = and i32 %lane, 7
  %b_first = mul i32 %warp, 8
  %b_column = add i32 %b_first, %b_lane
  %b_eighth = lshr i32 %lane, 3
  %b_half = and i32 %b_eighth, 1
  %b_column_bytes = mul i32 %b_column, 32
  %b_half_bytes = mul i32 %b_half, 16
  %b_inside = add i32 %b_column_bytes, %b_half_bytes
  %b_offset = add i32 %b_inside, 512
  br label %loop

loop:
  %k = phi i32 [ 0, %entry ], [ %next, %last ]
  %c0 = phi i32 [ 0, %entry ], [ %d0, %last ]
  %c1 = phi i32 [ 0, %entry ], [ %d1, %last ]
  %c2 = phi i32 [ 0, %entry ], [ %d2, %last ]
  %c3 = phi i32 [ 0, %entry ], [ %d3, %last ]
  %next = add i32 %k, 1
  %more = icmp ult i32 %next, %steps
  br i1 %more, label %prefetch, label %compute

prefetch:
  %next_stage = and i32 %next, 1
  %next_bytes = mul i32 %next_stage, 1024
  %next_tile = getelementptr i8, ptr addrspace(3) %my_tile, i32 %next_bytes
  %source_bytes = mul i32 %next, 512
  %next_source = getelementptr i8, ptr addrspace(1) %my_source, i32 %source_bytes
  call void @llvm.nvvm.cp.async.cg.shared.global.16(ptr addrspace(3) %next_tile, ptr addrspace(1) %next_source)
  br label %compute

compute:
  call void @llvm.nvvm.cp.async.commit.group()
  call void @llvm.nvvm.cp.async.wait.group(i32 1)
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0) ; copies are there
  %stage = and i32 %k, 1
  %stage_bytes = mul i32 %stage, 1024
  %tile = getelementptr i8, ptr addrspace(3) @tiles, i32 %stage_bytes
  %a_line = getelementptr i8, ptr addrspace(3) %tile, i32 %a_offset
  %b_line = getelementptr i8, ptr addrspace(3) %tile, i32 %b_offset
  %as = call { i32, i32, i32, i32 } @llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.b16.p3(ptr addrspace(3) %a_line)
  %bs = call { i32, i32 } @llvm.nvvm.ldmatrix.sync.aligned.m8n8.x2.b16.p3(ptr addrspace(3) %b_line)
  %a0 = extractvalue { i32, i32, i32, i32 } %as, 0
  %a1 = extractvalue { i32, i32, i32, i32 } %as, 1
  %a2 = extractvalue { i32, i32, i32, i32 } %as, 2
  %a3 = extractvalue { i32, i32, i32, i32 } %as, 3
  %b0 = extractvalue { i32, i32 } %bs, 0
  %b1 = extractvalue { i32, i32 } %bs, 1
  %d = call { i32, i32, i32, i32 } @llvm.nvvm.mma.and.popc.m16n8k256.row.col.b1(i32 %a0, i32 %a1, i32 %a2, i32 %a3, i32 %b0, i32 %b1, i32 %c0, i32 %c1, i32 %c2, i32 %c3)
  %d0 = extractvalue { i32, i32, i32, i32 } %d, 0
  %d1 = extractvalue { i32, i32, i32, i32 } %d, 1
  %d2 = extractvalue { i32, i32, i32, i32 } %d, 2
  %d3 = extractvalue { i32, i32, i32, i32 } %d, 3
  br label %last

last:
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0) ; the stage is free
  br i1 %more, label %loop, label %store

store:
  ; element (g, 8 warp + 2 t)
  %g = lshr i32 %lane, 2
  %t = and i32 %lane, 3
  %line = mul i32 %g, 16
  %pair = mul i32 %t, 2
  %column = add i32 %b_first, %pair
  %index = add i32 %line, %column
  %p0 = getelementptr i32, ptr addrspace(1) %c, i32 %index
  %p2 = getelementptr i32, ptr addrspace(1) %p0, i32 128
  %low0 = insertelement <2 x i32> poison, i32 %d0, i32 0
  %low = insertelement <2 x i32> %low0, i32 %d1, i32 1
  %high0 = insertelement <2 x i32> poison, i32 %d2, i32 0
  %high = insertelement <2 x i32> %high0, i32 %d3, i32 1
  store <2 x i32> %low, ptr addrspace(1) %p0, align 8
  store <2 x i32> %high, ptr addrspace(1) %p2, align 8
  ret void
}

declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare void @llvm.nvvm.cp.async.cg.shared.global.16(ptr addrspace(3), ptr addrspace(1))
declare void @llvm.nvvm.cp.async.commit.group()
declare void @llvm.nvvm.cp.async.wait.group(i32 immarg)
declare void @llvm.nvvm.barrier.cta.sync.aligned.all(i32)
declare { i32, i32, i32, i32 } @llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.b16.p3(ptr addrspace(3))
declare { i32, i32 } @llvm.nvvm.ldmatrix.sync.aligned.m8n8.x2.b16.p3(ptr addrspace(3))
declare { i32, i32, i32, i32 } @llvm.nvvm.mma.and.popc.m16n8k256.row.col.b1(i32, i32, i32, i32, i32, i32, i32, i32, i32, i32)
