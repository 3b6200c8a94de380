//! Files that callers keep at providers: uploaded, listed, downloaded and deleted under ids of the
//! gateway. The input of a batch is read when it is uploaded.

pub(crate) mod access;
pub(crate) mod batch_input;
pub(crate) mod upload;
