//! The operations of a device that the host does not have, by the names under which kernels call them.

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// A special register.
    Special(Special),
    /// A function of f32 that the device computes approximately.
    Math(Math),
    /// Four products of bytes, added.
    Dot4 { a_signed: bool, b_signed: bool },
    /// Picks bytes of two words.
    Permute,
    /// Starts a copy from global to shared memory.
    CopyAsync { bytes: u32, counted: bool },
    /// Ends a group of copies.
    Commit,
    /// Waits until at most so many groups of copies are left.
    WaitGroup,
    /// Waits for all copies.
    WaitAll,
    /// Orders memory accesses, which the emulator never reorders.
    Fence,
    /// Makes writes to shared memory visible to asynchronous operations.
    ProxyFence,
    /// Orders registers before products of a group of warps.
    GroupFence,
    /// Ends a group of such products.
    GroupCommit,
    /// Waits until at most so many groups of such products are left.
    GroupWait,
    /// Uses a result of such a product.
    GroupUse,
    /// Ends the program.
    Trap,
    /// Copies memory.
    MemCopy,
    /// Fills memory.
    MemFill,
    /// Waits for the threads of a warp.
    SyncWarp,
    /// Moves a register between the threads of a warp.
    Shuffle { mode: Shuffle, predicate: bool },
    /// Counts a condition over a warp.
    Vote(Vote),
    /// Combines a register over a warp.
    Reduce(Reduce),
    /// The threads with the same value.
    MatchAny,
    /// Loads 8 x 8 matrices of 16-bit elements, one row per thread's address.
    LoadMatrix { count: u8, transposed: bool },
    /// Adds a matrix product.
    Mma(Mma),
    /// Begins products of a group of four warps, of so many columns: one of bits, or four of bytes.
    GroupMma { n: u16, bytes: bool },
    /// Waits for the threads of a block.
    Barrier { counted: bool, reduce: Option<Vote> },
}

/// Special registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    Thread(u8),
    BlockSize(u8),
    Block(u8),
    GridSize(u8),
    Lane,
    Warp,
    WarpSize,
}

/// Functions of f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Math {
    Exp2,
    Log2,
    Sin,
    Cos,
    Tanh,
    Sqrt,
    ReciprocalSqrt,
    Reciprocal,
    Divide,
    Max,
    Min,
    Fma,
}

/// Which thread a shuffle reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shuffle {
    Xor,
    Down,
    Up,
    Index,
}

/// How conditions are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
    Count,
}

/// How integers are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reduce {
    Add,
    Min,
    Max,
    UnsignedMin,
    UnsignedMax,
    And,
    Or,
    Xor,
}

/// A matrix product `[m, k] x [k, 8]` of one warp; registers are words of 32 bits along k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mma {
    /// Rows: 8 or 16.
    pub(super) m: u8,
    /// Words along k: 4 or 8.
    pub(super) words: u8,
    /// What a word holds.
    pub(super) kind: MmaKind,
}

/// Elements of a matrix product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MmaKind {
    And,
    Xor,
    Bytes { a_signed: bool, b_signed: bool },
    Half,
    BFloat,
    TFloat,
}

impl Op {
    /// The operation that functions of this name stand for; none when the emulator does not know it.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "llvm.trap" | "llvm.nvvm.exit" => return Some(Op::Trap),
            _ if name.starts_with("llvm.memcpy.") || name.starts_with("llvm.memmove.") => return Some(Op::MemCopy),
            _ if name.starts_with("llvm.memset.") => return Some(Op::MemFill),
            _ => {}
        }
        for (prefix, bytes) in [("mokume.gpu.wgmma.m64k256.and.popc.n", false), ("mokume.gpu.wgmma.m64k128.u8.s8.n", true)] {
            if let Some(n) = name.strip_prefix(prefix) {
                return n.parse().ok().map(|n| Op::GroupMma { n, bytes });
            }
        }
        let name = name.strip_prefix("llvm.nvvm.")?;
        thread_op(name).or_else(|| warp_op(name)).or_else(|| barrier(name))
    }
    /// Whether threads wait for each other in it.
    pub(super) fn is_collective(self) -> bool {
        self.is_warp() || matches!(self, Op::Barrier { .. } | Op::GroupMma { .. })
    }
    /// Whether the threads of a warp do it together.
    pub(super) fn is_warp(self) -> bool {
        use Op::*;
        matches!(self, SyncWarp | Shuffle { .. } | Vote(_) | Reduce(_) | MatchAny | LoadMatrix { .. } | Mma(_))
    }
    /// Whether all threads of a warp must be at the same instruction.
    pub(super) fn is_aligned(self) -> bool {
        matches!(self, Op::LoadMatrix { .. } | Op::Mma(_) | Op::GroupMma { .. } | Op::Barrier { .. })
    }
}

fn thread_op(name: &str) -> Option<Op> {
    if let Some(register) = name.strip_prefix("read.ptx.sreg.") {
        return special(register).map(Op::Special);
    }
    if let Some((_, bytes)) = name.strip_prefix("cp.async.").and_then(|name| name.split_once(".shared.global.")) {
        return copy_async(bytes);
    }
    Some(match name {
        "cp.async.commit.group" => Op::Commit,
        "cp.async.wait.group" => Op::WaitGroup,
        "cp.async.wait.all" => Op::WaitAll,
        "wgmma.fence.sync.aligned" => Op::GroupFence,
        "wgmma.commit_group.sync.aligned" => Op::GroupCommit,
        "wgmma.wait_group.sync.aligned" => Op::GroupWait,
        _ if name.starts_with("fence.proxy.async") => Op::ProxyFence,
        "membar.cta" | "membar.gl" | "membar.sys" => Op::Fence,
        "idp4a.s.s" => Op::Dot4 { a_signed: true, b_signed: true },
        "idp4a.s.u" => Op::Dot4 { a_signed: true, b_signed: false },
        "idp4a.u.s" => Op::Dot4 { a_signed: false, b_signed: true },
        "idp4a.u.u" => Op::Dot4 { a_signed: false, b_signed: false },
        "prmt" => Op::Permute,
        _ => return math(name).map(Op::Math),
    })
}

/// `16`, or `16.s` with an operand that counts the bytes to take.
fn copy_async(name: &str) -> Option<Op> {
    let (bytes, counted) = name.strip_suffix(".s").map_or((name, false), |bytes| (bytes, true));
    let bytes = bytes.parse().ok().filter(|bytes| [4, 8, 16].contains(bytes))?;
    Some(Op::CopyAsync { bytes, counted })
}

fn special(register: &str) -> Option<Special> {
    let axis = |name: &str| ["x", "y", "z"].iter().position(|&axis| axis == name).map(|axis| axis as u8);
    match register {
        "laneid" => return Some(Special::Lane),
        "warpid" => return Some(Special::Warp),
        "warpsize" => return Some(Special::WarpSize),
        _ => {}
    }
    let (register, name) = register.split_once('.')?;
    Some(match register {
        "tid" => Special::Thread(axis(name)?),
        "ntid" => Special::BlockSize(axis(name)?),
        "ctaid" => Special::Block(axis(name)?),
        "nctaid" => Special::GridSize(axis(name)?),
        _ => return None,
    })
}

fn math(name: &str) -> Option<Math> {
    let name = name.trim_end_matches(".f32").trim_end_matches(".f").trim_end_matches(".ftz");
    Some(match name {
        "ex2.approx" => Math::Exp2,
        "lg2.approx" => Math::Log2,
        "sin.approx" => Math::Sin,
        "cos.approx" => Math::Cos,
        "tanh.approx" => Math::Tanh,
        "sqrt.approx" | "sqrt.rn" | "sqrt" => Math::Sqrt,
        "rsqrt.approx" => Math::ReciprocalSqrt,
        "rcp.approx" | "rcp.rn" => Math::Reciprocal,
        "div.approx" | "div.full" | "div.rn" => Math::Divide,
        "fmax" => Math::Max,
        "fmin" => Math::Min,
        "fma.rn" => Math::Fma,
        _ => return None,
    })
}

fn warp_op(name: &str) -> Option<Op> {
    if name == "bar.warp.sync" {
        return Some(Op::SyncWarp);
    }
    if name.starts_with("match.any.sync.") {
        return Some(Op::MatchAny);
    }
    if let Some(rest) = name.strip_prefix("shfl.sync.") {
        return shuffle(rest);
    }
    if let Some(rest) = name.strip_prefix("vote.") {
        return vote(rest.strip_suffix(".sync")?).map(Op::Vote);
    }
    if let Some(rest) = name.strip_prefix("redux.sync.") {
        return reduce(rest).map(Op::Reduce);
    }
    if let Some(rest) = name.strip_prefix("ldmatrix.sync.aligned.m8n8.x") {
        return load_matrix(rest);
    }
    mma(name.strip_prefix("mma.")?).map(Op::Mma)
}

fn shuffle(name: &str) -> Option<Op> {
    let (mode, ty) = name.split_once('.')?;
    let mode = match mode {
        "bfly" => Shuffle::Xor,
        "down" => Shuffle::Down,
        "up" => Shuffle::Up,
        "idx" => Shuffle::Index,
        _ => return None,
    };
    Some(Op::Shuffle { mode, predicate: ty.ends_with('p') })
}

fn vote(name: &str) -> Option<Vote> {
    Some(match name {
        "all" => Vote::All,
        "any" => Vote::Any,
        "uni" => Vote::Uniform,
        "ballot" => Vote::Ballot,
        _ => return None,
    })
}

fn reduce(name: &str) -> Option<Reduce> {
    Some(match name {
        "add" => Reduce::Add,
        "min" => Reduce::Min,
        "max" => Reduce::Max,
        "umin" => Reduce::UnsignedMin,
        "umax" => Reduce::UnsignedMax,
        "and" => Reduce::And,
        "or" => Reduce::Or,
        "xor" => Reduce::Xor,
        _ => return None,
    })
}

fn load_matrix(name: &str) -> Option<Op> {
    let (count, rest) = name.split_once('.')?;
    let count = count.parse().ok().filter(|count| [1, 2, 4].contains(count))?;
    let transposed = rest.starts_with("trans.");
    rest.trim_start_matches("trans.").starts_with("b16").then_some(Op::LoadMatrix { count, transposed })
}

/// `and.popc.m16n8k256.row.col.b1`, `m16n8k32.row.col.u8.s8`, `m16n8k16.row.col.f32.f32`, …
fn mma(name: &str) -> Option<Mma> {
    let (kind, shape, types) = match name.split_once(".popc.") {
        Some((kind, rest)) => (Some(kind), rest.split_once(".row.col.")?.0, "b1"),
        None => (None, name.split_once(".row.col.")?.0, name.split_once(".row.col.")?.1),
    };
    let (kind, bits) = match (kind, types) {
        (Some("and"), _) => (MmaKind::And, 1),
        (Some("xor"), _) => (MmaKind::Xor, 1),
        (None, "s8") => (MmaKind::Bytes { a_signed: true, b_signed: true }, 8),
        (None, "u8") => (MmaKind::Bytes { a_signed: false, b_signed: false }, 8),
        (None, "s8.u8") => (MmaKind::Bytes { a_signed: true, b_signed: false }, 8),
        (None, "u8.s8") => (MmaKind::Bytes { a_signed: false, b_signed: true }, 8),
        (None, "f32.f32") => (MmaKind::Half, 16),
        (None, "bf16") => (MmaKind::BFloat, 16),
        (None, "tf32") => (MmaKind::TFloat, 32),
        _ => return None,
    };
    let (m, k) = shape.strip_prefix('m')?.split_once("n8k")?;
    let (m, k): (u8, u32) = (m.parse().ok()?, k.parse().ok()?);
    let words = (k * bits / 32) as u8;
    ([8, 16].contains(&m) && [4, 8].contains(&words)).then_some(Mma { m, words, kind })
}

fn barrier(name: &str) -> Option<Op> {
    let rest = name.strip_prefix("barrier.cta.")?;
    let counted = rest.ends_with(".count");
    let reduce = match rest.split('.').collect::<Vec<_>>()[..] {
        ["sync", ..] => None,
        ["red", "and", ..] => Some(Vote::All),
        ["red", "or", ..] => Some(Vote::Any),
        ["red", "popc", ..] => Some(Vote::Count),
        _ => return None,
    };
    Some(Op::Barrier { counted, reduce })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_to_do() {
        let and = Op::Mma(Mma { m: 16, words: 8, kind: MmaKind::And });
        let bytes = Op::Mma(Mma { m: 16, words: 4, kind: MmaKind::Bytes { a_signed: false, b_signed: true } });
        let cases = [
            ("llvm.nvvm.mma.and.popc.m16n8k256.row.col.b1", and),
            ("llvm.nvvm.mma.m16n8k16.row.col.u8.s8", bytes),
            ("llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.trans.b16.p3", Op::LoadMatrix { count: 4, transposed: true }),
            ("llvm.nvvm.shfl.sync.bfly.i32p", Op::Shuffle { mode: Shuffle::Xor, predicate: true }),
            ("llvm.nvvm.barrier.cta.sync.aligned.all", Op::Barrier { counted: false, reduce: None }),
            ("llvm.nvvm.cp.async.ca.shared.global.4.s", Op::CopyAsync { bytes: 4, counted: true }),
            ("mokume.gpu.wgmma.m64k256.and.popc.n64", Op::GroupMma { n: 64, bytes: false }),
            ("llvm.nvvm.vote.ballot.sync", Op::Vote(Vote::Ballot)),
            ("llvm.nvvm.ex2.approx.ftz.f32", Op::Math(Math::Exp2)),
            ("llvm.nvvm.rsqrt.approx.ftz.f", Op::Math(Math::ReciprocalSqrt)),
            ("llvm.nvvm.read.ptx.sreg.ctaid.y", Op::Special(Special::Block(1))),
        ];
        for (name, op) in cases {
            assert_eq!(Op::of(name), Some(op), "{name}");
        }
        assert_eq!(Op::of("llvm.nvvm.mma.m16n8k16.row.col.f64"), None);
    }
}
