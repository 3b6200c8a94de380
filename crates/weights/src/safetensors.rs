//! The header of a safetensors file: 8 bytes of length, a JSON object of tensors, then their
//! bytes side by side.
//!
//! [`Header::parse`] checks everything but the length of the file. [`Header::check_length`] checks
//! that, so that an incomplete download can still be described.
//!
//! Source: <https://huggingface.co/docs/safetensors>

use std::ops::Range;

use kernels::DType;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Error;
use crate::foreign_format::is_lfs_pointer;
use crate::json::Pairs;

/// The member of a header that is not a tensor, but free-form text.
const METADATA: &str = "__metadata__";
/// The longest header the format allows.
const HEADER_LIMIT: u64 = 100_000_000;

/// Every number format of the file format, with its bits per number. Only some can be weights, see
/// [`TensorInfo::weight_dtype`].
const DTYPES: [(&str, u64); 20] = [
    ("BOOL", 8),
    ("F4", 4),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
    ("U8", 8),
    ("I8", 8),
    ("F8_E5M2", 8),
    ("F8_E4M3", 8),
    ("F8_E8M0", 8),
    ("I16", 16),
    ("U16", 16),
    ("F16", 16),
    ("BF16", 16),
    ("I32", 32),
    ("U32", 32),
    ("F32", 32),
    ("I64", 64),
    ("U64", 64),
    ("F64", 64),
    ("C64", 64),
];

/// The bits of a number of this format, if the file format has it.
pub(crate) fn dtype_bits(dtype: &str) -> Option<u64> {
    DTYPES.into_iter().find(|(name, _)| *name == dtype).map(|(_, bits)| bits)
}

/// The description of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// In the order of their bytes in the file.
    pub tensors: Vec<TensorInfo>,
    /// Length of the whole file.
    pub file_bytes: u64,
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    pub name: String,
    /// The name of the number format, such as `BF16`.
    pub dtype: &'static str,
    pub shape: Vec<u64>,
    /// Byte range, counted from the start of the file.
    pub range: Range<u64>,
}

impl TensorInfo {
    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The number format, if the kernels support it. I8 and U8 are those of packed weights.
    pub fn weight_dtype(&self) -> Option<DType> {
        let dtypes = [DType::F32, DType::F16, DType::Bf16, DType::Fp8, DType::Int8, DType::Int4];
        dtypes.into_iter().find(|dtype| dtype.name() == self.dtype)
    }
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl Header {
    /// Reads and checks the header of the file named `file` from its first bytes (all of them, or
    /// more than the header).
    ///
    /// # Errors
    /// A header that is truncated, over 100 MB long or not JSON; a tensor of unknown format, whose
    /// shape does not fit its bytes, that overlaps another, or that has a gap before it.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Error> {
        if is_lfs_pointer(bytes) {
            return Err(Error::LfsPointer { file: file.into() });
        }
        let start = data_start(file, bytes)?;
        let header_error = |reason| Error::Header { file: file.into(), reason };
        let Pairs(members) =
            serde_json::from_slice::<Pairs<&RawValue>>(&bytes[8..start]).map_err(|e| header_error(e.to_string()))?;
        let mut tensors = Vec::with_capacity(members.len());
        for (name, member) in members.into_iter().filter(|(name, _)| name != METADATA) {
            let entry = serde_json::from_str::<Entry>(member.get()).map_err(|e| {
                header_error(format!("`{name}` is not an object of `dtype`, `shape` and two `data_offsets`: {e}"))
            })?;
            tensors.push(parse_tensor(file, name, entry, start as u64)?);
        }
        tensors.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));
        let file_bytes = check_contiguous(file, &tensors, start as u64)?;
        Ok(Self { tensors, file_bytes })
    }

    /// Checks that a file of `found` bytes is the file this header describes.
    pub(crate) fn check_length(&self, file: &str, found: u64) -> Result<(), Error> {
        let needed = self.file_bytes;
        match found {
            _ if found < needed => Err(Error::Truncated { file: file.into(), found, needed }),
            _ if found > needed => Err(Error::Trailing { file: file.into(), bytes: found - needed }),
            _ => Ok(()),
        }
    }
}

/// The offset of the first tensor in the file.
fn data_start(file: &str, bytes: &[u8]) -> Result<usize, Error> {
    let found = bytes.len() as u64;
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(Error::Truncated { file: file.into(), found, needed: 8 });
    };
    let length = u64::from_le_bytes(*length);
    if length > HEADER_LIMIT {
        return Err(Error::HeaderLength { file: file.into(), length, limit: HEADER_LIMIT });
    }
    if length > rest.len() as u64 {
        return Err(Error::Truncated { file: file.into(), found, needed: 8 + length });
    }
    Ok(8 + length as usize)
}

fn parse_tensor(file: &str, name: String, entry: Entry, data_start: u64) -> Result<TensorInfo, Error> {
    let Entry { dtype, shape, data_offsets: [start, end] } = entry;
    let file = || file.to_string();
    let Some((dtype, bits)) = DTYPES.into_iter().find(|(name, _)| *name == dtype) else {
        return Err(Error::UnknownDType { file: file(), tensor: name, dtype });
    };
    if end < start {
        return Err(Error::Reversed { file: file(), tensor: name, start, end });
    }
    let bits = shape.iter().try_fold(bits, |bits, n| bits.checked_mul(*n));
    let (Some(bits), Some(range_end)) = (bits, data_start.checked_add(end)) else {
        return Err(Error::TooLarge { file: file(), tensor: name, shape });
    };
    let (found, needed) = (end - start, bits.div_ceil(8));
    if found != needed {
        return Err(Error::ByteLength { file: file(), tensor: name, dtype, shape, found, needed });
    }
    Ok(TensorInfo { name, dtype, shape, range: data_start + start..range_end })
}

/// Checks that the sorted tensors are contiguous from `start` on, and returns the end of the last.
fn check_contiguous(file: &str, tensors: &[TensorInfo], start: u64) -> Result<u64, Error> {
    let mut at = start;
    let mut before: Option<&TensorInfo> = None;
    for tensor in tensors {
        let (file, name) = (file.to_string(), tensor.name.clone());
        if tensor.range.start < at {
            let other = before.map_or_else(String::new, |before| before.name.clone());
            return Err(Error::Overlap { file, tensor: name, other });
        }
        if tensor.range.start > at {
            return Err(Error::Hole { file, tensor: name, bytes: tensor.range.start - at });
        }
        at = tensor.range.end;
        before = Some(tensor);
    }
    Ok(at)
}
