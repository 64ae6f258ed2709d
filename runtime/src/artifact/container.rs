//! The outer form of an artifact: header, section table, sections. Knows nothing of what sections mean.
//!
//! ```text
//!   0  magic, 8 bytes          8  version u32      12  number of sections u32
//!  16  file length u64        24  0 u64            32  BLAKE3 of bytes 0..32 and the section table
//!  64  section table, 64 bytes each: kind u32, 0 u32, offset u64, length u64, 0 u64, BLAKE3 of the section
//!      sections in the order of the table, each at the next multiple of 64, zeros between
//! ```
//!
//! Numbers are little endian. The layout is fully determined by kinds, lengths and contents, so that equal programs give
//! equal bytes and every other arrangement is refused.

use bytes::Bytes;
use mokume_ir::diag::{Diagnostic, Report};
use rayon::prelude::*;
use std::io::{self, Write};

/// First bytes of every artifact; not text, so that line-end conversion is noticed.
pub(crate) const MAGIC: [u8; 8] = *b"\x8fMOKUME\n";
/// The version this library writes, and the newest it reads.
pub(crate) const VERSION: u32 = 4;
/// Sections start at multiples of this.
pub(crate) const ALIGN: usize = 64;
const HEADER: usize = 64;
const ENTRY: usize = 64;
/// What helps against damage.
const AGAIN: &str = "copy or download the file again, or compile the model again";

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The prost manifest; always the first section, and the only one of its kind.
    Manifest = 1,
    /// Bytes that the manifest refers to: elements, scales, packed weights.
    Data = 2,
    /// Kernels: an object file, or PTX.
    Code = 3,
}

impl Kind {
    fn from_number(number: u32) -> Option<Self> {
        [Kind::Manifest, Kind::Data, Kind::Code].into_iter().find(|kind| *kind as u32 == number)
    }
    fn name(self) -> &'static str {
        match self {
            Kind::Manifest => "manifest",
            Kind::Data => "data",
            Kind::Code => "code",
        }
    }
}

/// A section.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) kind: Kind,
    pub(crate) bytes: Bytes,
}

/// Writes header, table and sections.
pub(crate) fn write(sections: &[Section], out: &mut dyn Write) -> io::Result<()> {
    let places = places(sections.iter().map(|section| section.bytes.len()));
    let checksums: Vec<[u8; 32]> = sections.par_iter().map(|section| checksum(&section.bytes)).collect();
    let mut table = Vec::with_capacity(sections.len() * ENTRY);
    for ((section, checksum), offset) in sections.iter().zip(&checksums).zip(&places) {
        for number in [section.kind as u64, *offset as u64, section.bytes.len() as u64, 0] {
            table.extend_from_slice(&number.to_le_bytes());
        }
        table.extend_from_slice(checksum);
    }
    let mut at = HEADER + table.len();
    let length = places.last().zip(sections.last()).map_or(at, |(offset, section)| offset + section.bytes.len());
    out.write_all(&header(sections.len() as u32, length as u64, &table))?;
    out.write_all(&table)?;
    for (section, offset) in sections.iter().zip(places) {
        out.write_all(&[0; ALIGN][..offset - at])?;
        out.write_all(&section.bytes)?;
        at = offset + section.bytes.len();
    }
    out.flush()
}

/// Where sections of these lengths begin.
fn places(lengths: impl ExactSizeIterator<Item = usize>) -> Vec<usize> {
    let mut end = HEADER + lengths.len() * ENTRY;
    let place = |length| {
        let offset = end.next_multiple_of(ALIGN);
        end = offset + length;
        offset
    };
    lengths.map(place).collect()
}

fn header(sections: u32, length: u64, table: &[u8]) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&sections.to_le_bytes());
    header.extend_from_slice(&length.to_le_bytes());
    header.extend_from_slice(&0u64.to_le_bytes());
    let checksum = header_checksum(&header, table);
    header.extend_from_slice(&checksum);
    header
}

fn header_checksum(header: &[u8], table: &[u8]) -> [u8; 32] {
    blake3::Hasher::new().update(header).update(table).finalize().into()
}

fn checksum(bytes: &[u8]) -> [u8; 32] {
    blake3::hash(bytes).into()
}

/// The sections of a file; views, not copies. Data sections are checked against their checksums when `check_data`, all
/// others always.
///
/// Errors  naming what is wrong: magic, version, length, header, a section's place or its contents.
pub(crate) fn read(file: &Bytes, check_data: bool) -> Result<Vec<Section>, Report> {
    let table = checked_table(file)?;
    let mut sections = Vec::with_capacity(table.len() / ENTRY);
    let mut end = HEADER + table.len();
    for (index, entry) in table.chunks_exact(ENTRY).enumerate() {
        let (kind, range) = place(index, entry, end, file.len())?;
        if file[end..range.start].iter().any(|&byte| byte != 0) {
            return Err(wrong("artifact::section::padding", format!("bytes before section {index} are not zero")));
        }
        end = range.end;
        sections.push(Section { kind, bytes: file.slice(range) });
    }
    if end != file.len() {
        return Err(wrong("artifact::length", format!("sections end at byte {end} of {}", file.len())));
    }
    check_contents(&sections, table, check_data)?;
    Ok(sections)
}

fn wrong(code: &'static str, message: String) -> Report {
    Diagnostic::input(code, message).help(AGAIN).into()
}

/// The section table, after the checks that concern the header.
fn checked_table(file: &[u8]) -> Result<&[u8], Report> {
    if !file.starts_with(&MAGIC) {
        let why = if file.is_empty() { "the file is empty" } else { "the first 8 bytes are wrong" };
        let finding = Diagnostic::input("artifact::magic", format!("this is not a mokume artifact: {why}"));
        return Err(finding.help("compile a model with: mokume compile model.onnx -o model.mok").into());
    }
    let version = (file.len() >= 12).then(|| u32_at(file, 8)).ok_or_else(|| truncated(file.len(), HEADER))?;
    if version != VERSION {
        let age = if version > VERSION { "newer" } else { "other" };
        let message = format!("the artifact has version {version}, {age} than {VERSION}, which this program reads");
        return Err(Diagnostic::unsupported("artifact::version", message).help("compile the model again, or update mokume").into());
    }
    if file.len() < HEADER {
        return Err(truncated(file.len(), HEADER));
    }
    let length = u64_at(file, 16);
    if length > file.len() as u64 {
        return Err(truncated(file.len(), length));
    }
    let table = (u32_at(file, 12) as usize).checked_mul(ENTRY).and_then(|bytes| file.get(HEADER..HEADER.checked_add(bytes)?));
    let table = table.ok_or_else(|| wrong("artifact::header", format!("{} sections do not fit in the file", u32_at(file, 12))))?;
    if header_checksum(&file[..32], table) != file[32..HEADER] {
        return Err(wrong("artifact::header", "the checksum of header and section table differs: the file is corrupt".into()));
    }
    if length != file.len() as u64 || u64_at(file, 24) != 0 {
        return Err(wrong("artifact::length", format!("the file has {} bytes, its header says {length}", file.len())));
    }
    Ok(table)
}

fn truncated(have: usize, need: impl std::fmt::Display) -> Report {
    wrong("artifact::truncated", format!("the file is cut off: it has {have} of {need} bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |&chunk| u32::from_le_bytes(chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |&chunk| u64::from_le_bytes(chunk))
}

/// Kind and range of a section, which must begin at the next multiple of [`ALIGN`] after `end`.
fn place(index: usize, entry: &[u8], end: usize, file: usize) -> Result<(Kind, std::ops::Range<usize>), Report> {
    let (offset, length) = (u64_at(entry, 8), u64_at(entry, 16));
    let kind = u32::try_from(u64_at(entry, 0)).ok().and_then(Kind::from_number).filter(|_| u64_at(entry, 24) == 0);
    let kind = kind.ok_or_else(|| wrong("artifact::section::kind", format!("section {index} is of an unknown kind")))?;
    if (kind == Kind::Manifest) != (index == 0) {
        return Err(wrong("artifact::section::kind", format!("section {index} is {}: the manifest comes first, once", kind.name())));
    }
    if offset.checked_add(length).is_none_or(|end| end > file as u64) {
        return Err(wrong("artifact::section::range", format!("section {index} ({}) lies outside the file", kind.name())));
    }
    if offset != end.next_multiple_of(ALIGN) as u64 {
        let what = if offset < end as u64 { "overlaps what comes before it" } else { "does not begin where it should" };
        return Err(wrong("artifact::section::place", format!("section {index} ({}) {what}", kind.name())));
    }
    Ok((kind, offset as usize..(offset + length) as usize))
}

fn check_contents(sections: &[Section], table: &[u8], check_data: bool) -> Result<(), Report> {
    let pairs = sections.par_iter().zip(table.par_chunks_exact(ENTRY)).enumerate();
    let corrupt = pairs.filter(|(_, (section, entry))| {
        let skip = section.kind == Kind::Data && !check_data;
        !skip && checksum(&section.bytes) != entry[32..ENTRY]
    });
    let findings: Vec<_> = corrupt
        .map(|(index, (section, _))| {
            let message = format!("the checksum of section {index} ({}) differs: the file is corrupt", section.kind.name());
            Diagnostic::input("artifact::section::checksum", message).help(AGAIN)
        })
        .collect();
    Report::from_findings(findings).map_or(Ok(()), Err)
}
