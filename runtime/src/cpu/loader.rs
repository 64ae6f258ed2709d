//! Loads relocatable ELF objects for x86-64 or aarch64 into executable memory, without a linker.
//!
//! The memory is written, then made executable and never writable again. Objects hold code and read-only data; anything else
//! (writable data, undefined symbols, relocations other than 32-bit relative and 64-bit absolute) is refused.

use super::abi::KernelFn;
use memmap2::{Mmap, MmapMut};
use object::{File, Object, ObjectSection, ObjectSymbol, RelocationKind, RelocationTarget, Section, SectionIndex, SectionKind};
use std::collections::HashMap;

/// The architecture of this machine.
#[cfg(target_arch = "x86_64")]
const NATIVE: object::Architecture = object::Architecture::X86_64;
#[cfg(target_arch = "aarch64")]
const NATIVE: object::Architecture = object::Architecture::Aarch64;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const NATIVE: object::Architecture = object::Architecture::Unknown;

/// Why an object was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("native code refused: {0}")]
pub struct LoadError(String);

/// Functions in executable memory.
pub struct Code {
    functions: HashMap<String, usize>,
    memory: Mmap,
}

impl Code {
    /// Loads an object file. Its code is trusted: a hostile object runs when its functions are called.
    ///
    /// Errors  when it is no ELF object for this machine of the form described above.
    pub fn load(bytes: &[u8]) -> Result<Self, LoadError> {
        let file = File::parse(bytes).map_err(refuse)?;
        if (file.architecture(), file.format()) != (NATIVE, object::BinaryFormat::Elf) {
            return Err(LoadError(format!("not an ELF object for {}", std::env::consts::ARCH)));
        }
        let places = Places::of(&file)?;
        let mut memory = MmapMut::map_anon(places.size.max(1)).map_err(refuse)?;
        copy(&file, &places, &mut memory)?;
        relocate(&file, &places, &mut memory)?;
        let functions = functions(&file, &places)?;
        Ok(Code { functions, memory: memory.make_exec().map_err(refuse)? })
    }
    /// The kernel called `name`.
    pub fn kernel(&self, name: &str) -> Option<KernelFn> {
        let &offset = self.functions.get(name)?;
        let address = self.memory[offset..].as_ptr();
        // SAFETY: the object defines a function here; objects with functions of other types are not ours to call.
        Some(unsafe { std::mem::transmute::<*const u8, KernelFn>(address) })
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Code({} functions, {} bytes)", self.functions.len(), self.memory.len())
    }
}

fn refuse(why: impl std::fmt::Display) -> LoadError {
    LoadError(why.to_string())
}

/// Offsets of the loaded sections.
struct Places {
    offsets: HashMap<SectionIndex, (usize, usize)>,
    size: usize,
}

impl Places {
    fn of(file: &File<'_>) -> Result<Self, LoadError> {
        let mut places = Places { offsets: HashMap::new(), size: 0 };
        for section in file.sections() {
            if is_loaded(&section)? {
                places.push(&section)?;
            }
        }
        Ok(places)
    }
    fn push(&mut self, section: &Section<'_, '_>) -> Result<(), LoadError> {
        let data = section.data().map_err(refuse)?;
        let align = usize::try_from(section.align()).ok().filter(|align| *align <= 4096).ok_or_else(|| refuse("alignment"))?;
        let offset = self.size.next_multiple_of(align.max(1));
        self.offsets.insert(section.index(), (offset, data.len()));
        self.size = offset + data.len();
        Ok(())
    }
    /// Where a symbol lies in memory.
    fn symbol(&self, symbol: &object::Symbol<'_, '_>) -> Result<usize, LoadError> {
        let name = || symbol.name().unwrap_or("?").to_string();
        let place = symbol.section_index().and_then(|index| self.offsets.get(&index));
        let &(offset, len) = place.ok_or_else(|| refuse(format!("symbol {} is undefined", name())))?;
        let address = usize::try_from(symbol.address()).ok().filter(|address| *address <= len);
        Ok(offset + address.ok_or_else(|| refuse(format!("symbol {} lies outside its section", name())))?)
    }
}

/// Whether a section belongs in memory; writable ones are refused.
fn is_loaded(section: &Section<'_, '_>) -> Result<bool, LoadError> {
    match section.kind() {
        SectionKind::Text | SectionKind::ReadOnlyData | SectionKind::ReadOnlyString => Ok(section.name() != Ok(".eh_frame")),
        SectionKind::Data | SectionKind::UninitializedData | SectionKind::Tls | SectionKind::UninitializedTls if section.size() > 0 => {
            Err(refuse(format!("section {} is writable", section.name().unwrap_or("?"))))
        }
        _ => Ok(false),
    }
}

fn copy(file: &File<'_>, places: &Places, memory: &mut [u8]) -> Result<(), LoadError> {
    for section in file.sections() {
        if let Some(&(offset, len)) = places.offsets.get(&section.index()) {
            memory[offset..offset + len].copy_from_slice(section.data().map_err(refuse)?);
        }
    }
    Ok(())
}

fn relocate(file: &File<'_>, places: &Places, memory: &mut [u8]) -> Result<(), LoadError> {
    for section in file.sections() {
        let Some(&place) = places.offsets.get(&section.index()) else { continue };
        for (at, relocation) in section.relocations() {
            relocate_one(file, places, place, at, &relocation, memory)?;
        }
    }
    Ok(())
}

fn relocate_one(
    file: &File<'_>,
    places: &Places,
    (offset, len): (usize, usize),
    at: u64,
    relocation: &object::Relocation,
    memory: &mut [u8],
) -> Result<(), LoadError> {
    let RelocationTarget::Symbol(index) = relocation.target() else { return Err(refuse("a relocation without symbol")) };
    let target = places.symbol(&file.symbol_by_index(index).map_err(refuse)?)?;
    let bytes = usize::from(relocation.size() / 8);
    let at = usize::try_from(at).ok().filter(|at| at.checked_add(bytes).is_some_and(|end| end <= len));
    let at = offset + at.ok_or_else(|| refuse("a relocation outside its section"))?;
    let base = memory.as_ptr() as i64;
    match (relocation.kind(), relocation.size()) {
        (RelocationKind::Relative | RelocationKind::PltRelative, 32) => {
            let distance = (target as i64).wrapping_add(relocation.addend()).wrapping_sub(at as i64);
            let distance = i32::try_from(distance).map_err(|_| refuse("a relocation out of range"))?;
            memory[at..at + bytes].copy_from_slice(&distance.to_le_bytes());
        }
        (RelocationKind::Absolute, 64) => {
            let address = base.wrapping_add(target as i64).wrapping_add(relocation.addend());
            memory[at..at + bytes].copy_from_slice(&address.to_le_bytes());
        }
        (kind, size) => return Err(refuse(format!("relocation {kind:?} of {size} bits"))),
    }
    Ok(())
}

fn functions(file: &File<'_>, places: &Places) -> Result<HashMap<String, usize>, LoadError> {
    let defined = file.symbols().filter(|symbol| symbol.is_global() && symbol.is_definition());
    defined.map(|symbol| Ok((symbol.name().map_err(refuse)?.to_string(), places.symbol(&symbol)?))).collect()
}
