//! Gives the shared arrays of a module addresses in shared memory.
//!
//! Arrays that a kernel uses do not overlap; arrays of different kernels may. The array without a size, whose bytes the launch
//! decides, comes last.

use super::access::Space;
use super::rewrite::{instruction_of, name_of};
use super::shared::{Array, BASE};
use inkwell::AddressSpace;
use inkwell::module::Module;
use inkwell::targets::TargetData;
use inkwell::types::{AnyTypeEnum, BasicTypeEnum};
use inkwell::values::{AnyValueEnum, BasicValue, BasicValueUse, GlobalValue, PointerValue};
use std::collections::{BTreeMap, BTreeSet};

/// The address space of shared memory.
const SHARED: u16 = 3;
/// What the dynamic array is aligned to: enough for every swizzled layout.
const DYNAMIC_ALIGN: u64 = 1024;

/// The shared arrays of one function.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrays {
    pub(super) fixed: Vec<Array>,
    /// The array without a size.
    pub(super) dynamic: Option<Array>,
}

impl Arrays {
    fn end(&self) -> u64 {
        self.fixed.iter().map(|array| array.start + array.bytes).max().unwrap_or(BASE)
    }
    /// All arrays when the launch gives the dynamic one so many bytes.
    pub(super) fn with(&self, shared_bytes: u32) -> Vec<Array> {
        let dynamic = self.dynamic.iter().map(|array| Array { bytes: shared_bytes.into(), ..array.clone() });
        self.fixed.iter().cloned().chain(dynamic).collect()
    }
}

/// Places every shared array and replaces it by its address; gives the arrays by function.
pub(super) fn place(module: &Module<'_>, layout: &TargetData) -> BTreeMap<String, Arrays> {
    let mut arrays: BTreeMap<String, Arrays> = BTreeMap::new();
    let shared = |global: &GlobalValue<'_>| Space::of(global.as_pointer_value().get_type().get_address_space()) == Space::Shared;
    let mut globals: Vec<_> = module.get_globals().filter(shared).collect();
    globals.sort_by_key(|global| bytes(global, layout) == 0);
    for global in globals {
        let users = users(global.as_pointer_value());
        let bytes = bytes(&global, layout);
        let align = if bytes == 0 { DYNAMIC_ALIGN } else { u64::from(global.get_alignment()).max(16) };
        let end = users.iter().filter_map(|name| arrays.get(name)).map(Arrays::end).max().unwrap_or(BASE);
        let array = Array { name: global.get_name().to_string_lossy().into_owned(), start: end.next_multiple_of(align), bytes };
        for name in users {
            let arrays = arrays.entry(name).or_default();
            match bytes {
                0 => arrays.dynamic = Some(array.clone()),
                _ => arrays.fixed.push(array.clone()),
            }
        }
        replace(module, global, array.start);
    }
    arrays
}

fn bytes(global: &GlobalValue<'_>, layout: &TargetData) -> u64 {
    match global.get_value_type() {
        AnyTypeEnum::ArrayType(ty) if ty.is_empty() => 0,
        ty => BasicTypeEnum::try_from(ty).map_or(0, |ty| layout.get_abi_size(&ty)),
    }
}

fn replace(module: &Module<'_>, global: GlobalValue<'_>, start: u64) {
    let context = module.get_context();
    let address = context.i64_type().const_int(start, false);
    let pointer = address.const_to_pointer(context.ptr_type(AddressSpace::from(SHARED)));
    global.as_pointer_value().replace_all_uses_with(pointer);
    // SAFETY: it has no uses left.
    unsafe { global.delete() };
}

/// The functions that use a pointer, also through constant expressions.
fn users(pointer: PointerValue<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut next = pointer.get_first_use();
    while let Some(usage) = next {
        names.extend(user(usage));
        next = usage.get_next_use();
    }
    names
}

fn user(usage: BasicValueUse<'_>) -> BTreeSet<String> {
    match usage.get_user() {
        AnyValueEnum::PointerValue(pointer) if pointer.as_instruction().is_none() => users(pointer),
        AnyValueEnum::IntValue(int) if int.as_instruction().is_none() => int.get_first_use().map(user).unwrap_or_default(),
        other => {
            let function = instruction_of(other).and_then(|instruction| instruction.get_parent()).and_then(|block| block.get_parent());
            function.iter().map(name_of).collect()
        }
    }
}
