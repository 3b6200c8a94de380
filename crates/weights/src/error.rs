use std::path::PathBuf;

/// The reason why a checkpoint cannot be used. Every message names the file, the tensor and the
/// remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read `{}`: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("`{folder}` has no `{file}`: give the folder of a Hugging Face checkpoint, with all its files")]
    NoFile { folder: String, file: &'static str },
    #[error(
        "`{folder}` has neither `model.safetensors` nor `model.safetensors.index.json`, so that the weights are missing: copy them there, or download the model with `cachalot pull ORG/NAME`"
    )]
    NoWeights { folder: String },
    #[error(
        "`{}` is a GGUF file, which is for llama.cpp and Ollama: this program reads checkpoints of safetensors files, such as those of `cachalot pull deepseek-ai/DeepSeek-V3.2`",
        path.display()
    )]
    Gguf { path: PathBuf },
    #[error("`{}` is a file: give the folder that contains `config.json` and the weights", path.display())]
    NotAFolder { path: PathBuf },
    #[error(
        "`{folder}` has its weights as GGUF (`{file}`), which is for llama.cpp and Ollama: download the safetensors of the same model, for example with `cachalot pull ORG/NAME`"
    )]
    GgufWeights { folder: String, file: String },
    #[error(
        "`{folder}` has its weights as PyTorch pickles (`{file}`): download the safetensors of the same model, or convert them"
    )]
    PickledWeights { folder: String, file: String },
    #[error(
        "`{folder}` is a model's folder in the Hugging Face cache: give the model's name, `ORG/NAME`, or one of the folders in `{folder}/snapshots`"
    )]
    HubFolder { folder: String },
    #[error(
        "`{file}` is a Git LFS pointer and not the file itself: run `git lfs install` and `git lfs pull` in its folder, or download the model again with `cachalot pull ORG/NAME`"
    )]
    LfsPointer { file: String },
    #[error("`{folder}` has several weight indices ({}): keep one, or name it `model.safetensors.index.json`", files.join(", "))]
    SeveralIndices { folder: String, files: Vec<String> },
    #[error("`{file}` is not valid JSON ({reason}): download it again")]
    Json { file: String, reason: String },
    #[error("the index `{file}` is broken: {reason}; download it again")]
    Index { file: String, reason: String },

    #[error("the shard `{file}` is missing, `{index}` says it holds `{tensor}`: download it into the same folder")]
    MissingShard { file: String, index: String, tensor: String },
    #[error("`{file}` is {found} bytes long and should be {needed}: it is truncated, download it again")]
    Truncated { file: String, found: u64, needed: u64 },
    #[error(
        "`{file}` goes on for {bytes} bytes behind its last tensor: it is not the file its header describes, download it again"
    )]
    Trailing { file: String, bytes: u64 },
    #[error(
        "`{file}` claims a header of {length} bytes, at most {limit} are allowed: this is not a safetensors file, or it is corrupt; download it again"
    )]
    HeaderLength { file: String, length: u64, limit: u64 },
    #[error("the header of `{file}` is corrupt: {reason}; download the file again")]
    Header { file: String, reason: String },
    #[error(
        "`{tensor}` in `{file}` has the unknown number format `{dtype}`: convert the checkpoint to BF16 or F8_E4M3"
    )]
    UnknownDType { file: String, tensor: String, dtype: String },
    #[error(
        "`{tensor}` in `{file}` is larger than any memory (shape {shape:?}): the header is corrupt, download the file again"
    )]
    TooLarge { file: String, tensor: String, shape: Vec<u64> },
    #[error(
        "`{tensor}` in `{file}` ({dtype}, shape {shape:?}) has {found} bytes and needs {needed}: the header is corrupt, download the file again"
    )]
    ByteLength { file: String, tensor: String, dtype: &'static str, shape: Vec<u64>, found: u64, needed: u64 },
    #[error(
        "`{tensor}` in `{file}` starts at {start} and ends before, at {end}: the header is corrupt, download the file again"
    )]
    Reversed { file: String, tensor: String, start: u64, end: u64 },
    #[error("`{tensor}` and `{other}` overlap in `{file}`: the header is corrupt, download the file again")]
    Overlap { file: String, tensor: String, other: String },
    #[error(
        "{bytes} bytes before `{tensor}` in `{file}` belong to no tensor: the header is corrupt, download the file again"
    )]
    Hole { file: String, tensor: String, bytes: u64 },

    #[error(
        "`{tensor}` is not in `{file}`, where `{index}` says it is: index and shards are of different downloads, get both again"
    )]
    NotInShard { tensor: String, file: String, index: String },
    #[error("`{tensor}` in `{file}` is not in `{index}`: index and shards are of different downloads, get both again")]
    NotInIndex { tensor: String, file: String, index: String },
    #[error("`{tensor}` is both in `{first}` and in `{second}`: remove the shard that is not of this checkpoint")]
    Duplicate { tensor: String, first: String, second: String },

    #[error("the tensor `{tensor}` is missing: the checkpoint is incomplete, or its config.json is of another model")]
    MissingTensor { tensor: String },
    #[error(
        "the tensor `{tensor}` in `{file}` is in no model of this config.json: check that both are of the same model"
    )]
    UnexpectedTensor { tensor: String, file: String },
    #[error(
        "`{tensor}` in `{file}` has shape {found:?}, the config implies {expected:?}: check that config.json is of the same model"
    )]
    Shape { tensor: String, file: String, found: Vec<u64>, expected: Vec<usize> },
    #[error(
        "`{tensor}` in `{file}` is {dtype}, which is not supported here ({accepted} are): convert the checkpoint to BF16"
    )]
    DType { tensor: String, file: String, dtype: &'static str, accepted: &'static str },
    #[error(
        "`{tensor}` in `{file}` is {dtype} and `{scale}` is missing: complete the checkpoint, or convert it to BF16"
    )]
    MissingScale { tensor: String, file: String, dtype: &'static str, scale: String },
    #[error(
        "`{tensor}` in `{file}` is {dtype} and yet has the scale `{scale}`: the conversion to {dtype} left it behind; remove it, or convert again"
    )]
    StrayScale { tensor: String, file: String, dtype: &'static str, scale: String },
    #[error(
        "`{tensor}` in `{file}` has scales under two names (`{}`, `{}`): remove those that are not of its conversion",
        scales[0], scales[1]
    )]
    TwoScales { tensor: String, file: String, scales: [String; 2] },
    #[error("`{tensor}` in `{file}` has a scale of {value}: the file is damaged, download or convert it again")]
    ScaleValue { tensor: String, file: String, value: f32 },
    #[error("`{tensor}` in `{file}` is not a list of rows: {reason}; make the checkpoint again")]
    RowIds { tensor: String, file: String, reason: String },

    #[error("cannot write `{}`: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error(
        "`{folder}` is a packed checkpoint of which a part is missing: run the same `cachalot pack` command again, it continues"
    )]
    Unfinished { folder: String },
    #[error(
        "config.json: `cachalot_packing` has version {found}, this program reads up to {supported}: use a newer cachalot"
    )]
    PackingVersion { found: String, supported: u64 },
    #[error("config.json: `cachalot_packing` is broken: {reason}; pack or download the checkpoint again")]
    Packing { reason: String },
    #[error(
        "`{file}` is {found} bytes long, `cachalot_packing` in config.json says {needed}: it is of another checkpoint, pack or download it again"
    )]
    ShardLength { file: String, found: u64, needed: u64 },
    #[error("`{folder}` records no checksums: only folders that `cachalot pack` has written do")]
    NoChecksums { folder: String },
    #[error(
        "`{file}` is damaged: its SHA-256 is {found}, `cachalot_packing` in config.json says {expected}; download it again, or remove it and pack again"
    )]
    Checksum { file: String, found: String, expected: String },
    #[error("`{folder}` has the file `{file}`, which is not of a packed checkpoint: give a new or empty folder")]
    NotEmpty { folder: String, file: String },
    #[error(
        "`{folder}` is a complete packed checkpoint of another source or with other options: give a new or empty folder"
    )]
    OtherPacking { folder: String },
    #[error(
        "`{folder}` holds an unfinished checkpoint of another source or with other options (`{options}`): repeat these to continue, or give a new folder"
    )]
    OtherOptions { folder: String, options: String },
    #[error("`{file}` in `{folder}` is damaged ({reason}): remove the folder and pack again")]
    PackState { folder: String, file: &'static str, reason: String },
    #[error("another process (`cachalot pack`) writes to `{folder}`: wait for it, or end it")]
    Locked { folder: String },
    #[error("`{tensor}` in `{file}` is not a packed matrix: {reason}; pack or download the checkpoint again")]
    Packed { tensor: String, file: String, reason: String },
}
