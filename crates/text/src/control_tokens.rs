//! The control tokens of the DeepSeek V3 family, as their tokenizers spell them.

pub(crate) const BOS: &str = "<｜begin▁of▁sentence｜>";
pub(crate) const EOS: &str = "<｜end▁of▁sentence｜>";
pub(crate) const USER: &str = "<｜User｜>";
pub(crate) const ASSISTANT: &str = "<｜Assistant｜>";
pub(crate) const THINK: &str = "<think>";
pub(crate) const END_THINK: &str = "</think>";
pub(crate) const DSML: &str = "｜DSML｜";
pub(crate) const SEARCH_BEGIN: &str = "<｜search▁begin｜>";
pub(crate) const FIM_BEGIN: &str = "<｜fim▁begin｜>";
pub(crate) const FIM_HOLE: &str = "<｜fim▁hole｜>";
pub(crate) const FIM_END: &str = "<｜fim▁end｜>";
pub(crate) const CALLS_BEGIN: &str = "<｜tool▁calls▁begin｜>";
pub(crate) const CALLS_END: &str = "<｜tool▁calls▁end｜>";
pub(crate) const CALL_BEGIN: &str = "<｜tool▁call▁begin｜>";
pub(crate) const CALL_END: &str = "<｜tool▁call▁end｜>";
pub(crate) const SEP: &str = "<｜tool▁sep｜>";
pub(crate) const OUTPUTS_BEGIN: &str = "<｜tool▁outputs▁begin｜>";
pub(crate) const OUTPUTS_END: &str = "<｜tool▁outputs▁end｜>";
pub(crate) const OUTPUT_BEGIN: &str = "<｜tool▁output▁begin｜>";
pub(crate) const OUTPUT_END: &str = "<｜tool▁output▁end｜>";
