//! The registry of prompt formats, by the name of the encoding.

use crate::deepseek_v3::DeepSeekV3;
use crate::deepseek_v31::DeepSeekV31;
use crate::deepseek_v32::DeepSeekV32;
use crate::encoding_name::EncodingName;
use crate::prompt_format::PromptFormat;

/// The prompt format of the encoding `name`.
pub(crate) fn prompt_format(name: EncodingName) -> Box<dyn PromptFormat> {
    match name {
        EncodingName::V3 => Box::new(DeepSeekV3 { is_r1: false }),
        EncodingName::R1 => Box::new(DeepSeekV3 { is_r1: true }),
        EncodingName::V31 => Box::new(DeepSeekV31 { is_v32_exp: false }),
        EncodingName::V32Exp => Box::new(DeepSeekV31 { is_v32_exp: true }),
        EncodingName::V32 => Box::new(DeepSeekV32),
    }
}
