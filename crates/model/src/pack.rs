//! Packing: stores a checkpoint in smaller number formats (`docs/packed-weights.md`). A plan
//! follows from headers alone; carrying it out streams the weights, tensor by tensor.

mod encode;
mod error;
mod format;
mod head;
mod json_files;
mod plan;
mod run;

pub use error::Error;
pub use format::{PackFormat, PackFormats};
pub use head::HeadPlan;
pub use plan::{KindSize, PackPlan, PlannedShard, PlannedTensor};
pub use run::Packer;
