//! Malformed checkpoints: each causes an error that names the fault, and none causes a panic.

use std::path::Path;

use serde_json::{Value, json};
use weights::{Checkpoint, CheckpointSummary, Error, Header};

const FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A safetensors file of this header and `data` bytes.
fn file(header: &Value, data: usize) -> Vec<u8> {
    file_of_header_bytes(header.to_string().as_bytes(), data)
}

fn file_of_header_bytes(header: &[u8], data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn tensor(dtype: &str, shape: &[u64], start: u64, end: u64) -> Value {
    json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] })
}

/// A valid file of f32 vectors `[2]` with these names.
fn vectors(names: &[&str]) -> Vec<u8> {
    let entry = |(i, name): (usize, &&str)| (name.to_string(), tensor("F32", &[2], 8 * i as u64, 8 * i as u64 + 8));
    file(&Value::Object(names.iter().enumerate().map(entry).collect()), 8 * names.len())
}

fn index(pairs: &[(&str, &str)]) -> Vec<u8> {
    let map: serde_json::Map<String, Value> =
        pairs.iter().map(|(name, file)| (name.to_string(), json!(file))).collect();
    json!({ "metadata": {}, "weight_map": map }).to_string().into_bytes()
}

/// Opens these files from memory and from a folder, which must agree.
fn open(files: &[(&str, Vec<u8>)]) -> Result<Checkpoint, Error> {
    let dir = tempfile::tempdir().unwrap();
    let config = ("config.json", b"{}".to_vec());
    let files: Vec<_> = std::iter::once(&config).chain(files).collect();
    for (name, bytes) in &files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let from_folder = Checkpoint::open(dir.path());
    let in_memory =
        Checkpoint::from_files("test", files.iter().map(|(name, bytes)| (name.to_string(), bytes.clone().into())));
    let location = dir.path().display().to_string();
    let words =
        |result: &Result<Checkpoint, Error>| result.as_ref().err().map(|e| e.to_string().replace(&location, "test"));
    assert_eq!(words(&from_folder), words(&in_memory), "folder and memory are one code path");
    from_folder
}

fn open_single_error(bytes: Vec<u8>) -> Error {
    open(&[(FILE, bytes)]).err().expect("a broken file is refused")
}

/// Asserts the variant of the error, and that the message contains all of `words`.
macro_rules! refused {
    ($error:expr, $situation:pat, $($word:expr),+) => {{
        let error = $error;
        assert!(matches!(error, $situation), "{error:?}");
        let message = error.to_string();
        $(assert!(message.contains($word), "`{message}` lacks `{}`", $word);)+
    }};
}

#[test]
fn a_valid_checkpoint_opens() {
    let checkpoint = open(&[(FILE, vectors(&["a", "b"]))]).unwrap();
    assert_eq!((checkpoint.bytes_total(), checkpoint.vector("b", 2).unwrap()), (16, vec![0.0, 0.0]));
    let mut seen = 0;
    checkpoint.prefault(&mut |done| seen = done);
    assert_eq!(seen, 16);
}

#[test]
fn the_header_of_a_file_without_tensors_is_no_progress() {
    let checkpoint = open(&[(FILE, file_of_header_bytes(b"{}      ", 0))]).unwrap();
    checkpoint.prefault(&mut |done| assert!(done <= checkpoint.bytes_total(), "{done} bytes of none"));
}

#[test]
fn files_that_are_cut_off_are_truncated() {
    let whole = vectors(&["a", "b"]);
    for length in 0..whole.len() {
        let words = format!("{length} bytes long");
        refused!(
            open_single_error(whole[..length].to_vec()),
            Error::Truncated { .. },
            FILE,
            words.as_str(),
            "download it again"
        );
    }
}

#[test]
fn bytes_behind_the_last_tensor_are_refused() {
    let mut bytes = vectors(&["a"]);
    bytes.extend([0; 3]);
    refused!(open_single_error(bytes), Error::Trailing { bytes: 3, .. }, FILE, "3 bytes");
}

#[test]
fn absurd_header_lengths_are_refused_before_anything_is_allocated() {
    for length in [u64::MAX, 1 << 63, 100_000_001] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(b"{}");
        refused!(open_single_error(bytes), Error::HeaderLength { .. }, FILE, "not a safetensors file");
    }
    refused!(
        open_single_error(b"<!DOCTYPE html><html></html>".to_vec()),
        Error::HeaderLength { .. },
        FILE,
        "not a safetensors file"
    );
}

#[test]
fn headers_that_are_not_json_are_corrupt() {
    let deep = "[".repeat(100_000);
    for header in ["", "{", "[]", "null", "{\"a\": }", "{\"a\": 1}", "\u{0}\u{1}", "{} {}", deep.as_str()] {
        refused!(open_single_error(file_of_header_bytes(header.as_bytes(), 0)), Error::Header { .. }, FILE, "corrupt");
    }
    refused!(open_single_error(file_of_header_bytes(b"{\"\xff\": 1}", 0)), Error::Header { .. }, FILE, "corrupt");
}

#[test]
fn entries_without_their_members_are_corrupt() {
    for entry in [
        json!({ "shape": [2], "data_offsets": [0, 8] }),
        json!({ "dtype": "F32", "data_offsets": [0, 8] }),
        json!({ "dtype": "F32", "shape": [2] }),
        json!({ "dtype": "F32", "shape": [2], "data_offsets": [0] }),
        json!({ "dtype": "F32", "shape": [-2], "data_offsets": [0, 8] }),
        json!({ "dtype": "F32", "shape": [2.5], "data_offsets": [0, 8] }),
        json!({ "dtype": "F32", "shape": 2, "data_offsets": [0, 8] }),
        json!({ "dtype": 7, "shape": [2], "data_offsets": [0, 8] }),
        json!({ "dtype": "F32", "shape": [2], "data_offsets": [0, 1e30] }),
    ] {
        refused!(open_single_error(file(&json!({ "odd": entry }), 8)), Error::Header { .. }, FILE, "`odd`");
    }
}

#[test]
fn a_name_that_appears_twice_in_a_header_is_corrupt() {
    let entry = tensor("F32", &[2], 0, 8);
    let header = format!("{{\"a\": {entry}, \"a\": {entry}}}");
    refused!(
        open_single_error(file_of_header_bytes(header.as_bytes(), 8)),
        Error::Header { .. },
        FILE,
        "`a` appears twice"
    );
}

#[test]
fn unknown_number_formats_are_named() {
    let error = open_single_error(file(&json!({ "a": tensor("Q4_K", &[2], 0, 8) }), 8));
    refused!(error, Error::UnknownDType { .. }, FILE, "`a`", "`Q4_K`", "convert");
}

#[test]
fn shapes_that_do_not_fit_their_bytes_are_refused() {
    let error = open_single_error(file(&json!({ "a": tensor("BF16", &[3, 5], 0, 29) }), 29));
    refused!(error, Error::ByteLength { found: 29, needed: 30, .. }, FILE, "`a`", "BF16", "[3, 5]");
    let error = open_single_error(file(&json!({ "a": tensor("F32", &[], 0, 8) }), 8));
    refused!(error, Error::ByteLength { found: 8, needed: 4, .. }, "`a`");
}

#[test]
fn shapes_whose_product_overflows_are_refused() {
    for shape in [&[u64::MAX, 2][..], &[1 << 40, 1 << 40], &[u64::MAX / 4]] {
        refused!(
            open_single_error(file(&json!({ "a": tensor("F32", shape, 0, 8) }), 8)),
            Error::TooLarge { .. },
            FILE,
            "`a`"
        );
    }
    let huge = tensor("U8", &[u64::MAX / 16], u64::MAX - u64::MAX / 16, u64::MAX);
    refused!(open_single_error(file(&json!({ "a": huge }), 8)), Error::TooLarge { .. }, FILE, "`a`");
}

#[test]
fn offsets_that_run_backwards_are_refused() {
    refused!(
        open_single_error(file(&json!({ "a": tensor("F32", &[2], 8, 0) }), 8)),
        Error::Reversed { start: 8, end: 0, .. },
        FILE,
        "`a`"
    );
}

#[test]
fn overlapping_tensors_are_refused_by_both_names() {
    let header = json!({ "a": tensor("F32", &[2], 0, 8), "b": tensor("F32", &[2], 4, 12) });
    refused!(open_single_error(file(&header, 12)), Error::Overlap { .. }, FILE, "`a`", "`b`");
    let header = json!({ "a": tensor("F32", &[2], 0, 8), "b": tensor("F32", &[2], 0, 8) });
    refused!(open_single_error(file(&header, 8)), Error::Overlap { .. }, FILE, "`a`", "`b`");
}

#[test]
fn bytes_that_belong_to_no_tensor_are_refused() {
    let header = json!({ "a": tensor("F32", &[2], 0, 8), "b": tensor("F32", &[2], 12, 20) });
    refused!(open_single_error(file(&header, 20)), Error::Hole { bytes: 4, .. }, FILE, "`b`", "4 bytes");
    refused!(
        open_single_error(file(&json!({ "a": tensor("F32", &[2], 8, 16) }), 16)),
        Error::Hole { bytes: 8, .. },
        FILE,
        "`a`"
    );
}

#[test]
fn offsets_behind_the_end_of_the_file_are_a_truncation() {
    let error = open_single_error(file(&json!({ "a": tensor("U8", &[1 << 40], 0, 1 << 40) }), 8));
    refused!(error, Error::Truncated { .. }, FILE, "truncated");
}

#[test]
fn a_folder_without_config_or_weights_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    refused!(Checkpoint::open(dir.path()).err().unwrap(), Error::NoFile { .. }, "config.json", "Hugging Face");
    refused!(Checkpoint::open(&dir.path().join("nowhere")).err().unwrap(), Error::NoFile { .. }, "nowhere");
    refused!(open(&[]).err().unwrap(), Error::NoWeights { .. }, FILE, "the weights are missing");
    let files = [("a.safetensors.index.json", index(&[])), ("b.safetensors.index.json", index(&[]))];
    refused!(
        open(&files).err().unwrap(),
        Error::SeveralIndices { .. },
        "a.safetensors.index.json",
        "b.safetensors.index.json"
    );
}

#[test]
fn a_broken_config_is_named() {
    let files = [("config.json".to_string(), b"{\"a\": ".to_vec().into())];
    refused!(
        Checkpoint::from_files("test", files).err().unwrap(),
        Error::Json { .. },
        "config.json",
        "download it again"
    );
}

#[test]
fn a_broken_index_is_named() {
    let twice = b"{\"weight_map\": {\"a\": \"x.safetensors\", \"a\": \"y.safetensors\"}}".to_vec();
    for bytes in [b"{".to_vec(), b"[]".to_vec(), b"{}".to_vec(), b"{\"weight_map\": {\"a\": 7}}".to_vec(), twice] {
        refused!(open(&[(INDEX, bytes)]).err().unwrap(), Error::Index { .. }, INDEX, "download it again");
    }
    for path in ["../other/x.safetensors", "/etc/passwd", "..", "", "sub\\x.safetensors"] {
        refused!(
            open(&[(INDEX, index(&[("a", path)]))]).err().unwrap(),
            Error::Index { .. },
            INDEX,
            "`a`",
            "not a file name"
        );
    }
}

#[test]
fn a_missing_shard_is_named_with_a_tensor_it_holds() {
    let files = [(INDEX, index(&[("a", "x.safetensors"), ("b", "y.safetensors")])), ("x.safetensors", vectors(&["a"]))];
    refused!(open(&files).err().unwrap(), Error::MissingShard { .. }, "`y.safetensors`", INDEX, "`b`");
}

#[test]
fn a_truncated_shard_is_named() {
    let mut cut = vectors(&["b"]);
    cut.pop();
    let files = [
        (INDEX, index(&[("a", "x.safetensors"), ("b", "y.safetensors")])),
        ("x.safetensors", vectors(&["a"])),
        ("y.safetensors", cut),
    ];
    refused!(open(&files).err().unwrap(), Error::Truncated { .. }, "`y.safetensors`");
}

#[test]
fn index_and_shards_must_name_the_same_tensors() {
    let files = [(INDEX, index(&[("a", "x.safetensors"), ("b", "x.safetensors")])), ("x.safetensors", vectors(&["a"]))];
    refused!(open(&files).err().unwrap(), Error::NotInShard { .. }, "`b`", "`x.safetensors`", INDEX);
    let files = [(INDEX, index(&[("a", "x.safetensors")])), ("x.safetensors", vectors(&["a", "b"]))];
    refused!(open(&files).err().unwrap(), Error::NotInIndex { .. }, "`b`", "`x.safetensors`", INDEX);
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let files = [
        (INDEX, index(&[("a", "x.safetensors"), ("b", "y.safetensors")])),
        ("x.safetensors", vectors(&["a"])),
        ("y.safetensors", vectors(&["b", "a"])),
    ];
    refused!(open(&files).err().unwrap(), Error::Duplicate { .. }, "`a`", "`x.safetensors`", "`y.safetensors`");
}

/// A checkpoint of one weight `w` of this format and shape, with a scale if given.
fn weight(dtype: &str, shape: &[u64], bytes: u64, scale: Option<(&str, &[u64])>) -> Checkpoint {
    let mut header = json!({ "w": tensor(dtype, shape, 0, bytes) });
    let mut end = bytes;
    if let Some((dtype, shape)) = scale {
        end += shape.iter().product::<u64>() * bytes_of(dtype);
        header["w_scale_inv"] = tensor(dtype, shape, bytes, end);
    }
    open(&[(FILE, file(&header, end as usize))]).unwrap()
}

/// The bytes of a number of a format of scales.
fn bytes_of(dtype: &str) -> u64 {
    match dtype {
        "F32" => 4,
        "F8_E8M0" | "U8" => 1,
        _ => 2,
    }
}

#[test]
fn a_tensor_that_is_missing_or_misshapen_is_named() {
    let checkpoint = weight("BF16", &[3, 5], 30, None);
    refused!(checkpoint.mat("v", 3, 5).unwrap_err(), Error::MissingTensor { .. }, "`v`");
    refused!(checkpoint.mat("w", 5, 3).unwrap_err(), Error::Shape { .. }, "`w`", FILE, "[3, 5]", "[5, 3]");
    refused!(checkpoint.vector("w", 15).unwrap_err(), Error::Shape { .. }, "`w`", "[15]");
    assert_eq!(checkpoint.mat("w", 3, 5).unwrap().rows(), 3);
}

#[test]
fn formats_that_are_no_weights_are_refused() {
    for (dtype, size) in [("I64", 8), ("F64", 8), ("F8_E5M2", 1), ("F8_E8M0", 1), ("BOOL", 1)] {
        let checkpoint = weight(dtype, &[3, 5], 15 * size, None);
        refused!(checkpoint.mat("w", 3, 5).unwrap_err(), Error::DType { .. }, "`w`", FILE, dtype, "BF16");
    }
    refused!(weight("F8_E4M3", &[5], 5, None).vector("w", 5).unwrap_err(), Error::DType { .. }, "`w`", "F8_E4M3");
}

#[test]
fn fp8_weights_need_their_scales_and_others_must_have_none() {
    let fp8 = |scale| weight("F8_E4M3", &[130, 5], 650, scale);
    refused!(fp8(None).mat("w", 130, 5).unwrap_err(), Error::MissingScale { .. }, "`w`", "`w_scale_inv`", FILE);
    for shape in [&[1, 2][..], &[2], &[5], &[1, 5], &[130, 2], &[2, 1, 1]] {
        refused!(
            fp8(Some(("F32", shape))).mat("w", 130, 5).unwrap_err(),
            Error::Shape { .. },
            "`w_scale_inv`",
            "[2, 1]"
        );
    }
    for dtype in ["U8", "I16"] {
        let error = fp8(Some((dtype, &[2, 1]))).mat("w", 130, 5).unwrap_err();
        refused!(error, Error::DType { .. }, "`w_scale_inv`", dtype, "F8_E8M0");
    }
    let stray = weight("BF16", &[130, 5], 1300, Some(("F32", &[2, 1])));
    refused!(stray.mat("w", 130, 5).unwrap_err(), Error::StrayScale { .. }, "`w`", "`w_scale_inv`", "BF16");
    assert!(fp8(Some(("F32", &[2, 1]))).mat("w", 130, 5).unwrap().row_scales(129).is_some());
}

/// A checkpoint of the fp8 weight `w` of shape `[130, 2]`, all ones, with scales of this name,
/// format, shape and bytes, and this `config.json`.
fn scaled(config: Value, name: &str, dtype: &str, shape: &[u64], scales: &[u8]) -> Checkpoint {
    let end = 260 + scales.len() as u64;
    let header = json!({ "w": tensor("F8_E4M3", &[130, 2], 0, 260), name: tensor(dtype, shape, 260, end) });
    let mut bytes = file(&header, 0);
    bytes.extend([0x38; 260]);
    bytes.extend(scales);
    let files = [("config.json".to_owned(), config.to_string().into_bytes().into()), (FILE.to_owned(), bytes.into())];
    Checkpoint::from_files("scaled", files).unwrap()
}

/// The first number of rows 0, 127, 128 and 129.
fn rows_of(checkpoint: &Checkpoint) -> Vec<f32> {
    let values = checkpoint.mat("w", 130, 2).unwrap().to_f32();
    [0, 127, 128, 129].map(|row| values[2 * row]).to_vec()
}

#[test]
fn fp8_scales_of_every_tool_are_multiplied() {
    let f32s = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    let channels: Vec<f32> = (0..130).map(|row| row as f32).collect();
    let by_block = [0.5, 0.5, 2.0, 2.0];
    for (name, dtype, shape, scales, expected) in [
        ("w_scale_inv", "F32", &[2, 1][..], f32s(&[0.5, 2.0]), by_block),
        ("w_scale_inv", "BF16", &[2, 1], vec![0x00, 0x3f, 0x00, 0x40], by_block),
        ("w_scale", "F16", &[2, 1], vec![0x00, 0x38, 0x00, 0x40], by_block),
        ("w_scale_inv", "F8_E8M0", &[2, 1], vec![126, 128], by_block),
        ("w_scale", "F32", &[], f32s(&[0.5]), [0.5; 4]),
        ("w_scale", "F32", &[1], f32s(&[0.5]), [0.5; 4]),
        ("w_scale_inv", "BF16", &[1, 1], vec![0x00, 0x3f], [0.5; 4]),
        ("w_scale", "F32", &[130, 1], f32s(&channels), [0.0, 127.0, 128.0, 129.0]),
        ("w_scale", "F32", &[130], f32s(&channels), [0.0, 127.0, 128.0, 129.0]),
    ] {
        let checkpoint = scaled(json!({}), name, dtype, shape, &scales);
        assert_eq!(rows_of(&checkpoint), expected, "{name} {dtype} {shape:?}");
        assert_eq!(checkpoint.parts("w").len(), 2);
        let summary = CheckpointSummary::from_checkpoint(&checkpoint);
        assert_eq!(summary.weights().len(), 1, "the scales belong to their weight");
    }
}

#[test]
fn fp8_scales_that_may_be_misread_are_refused() {
    let bytes = [0.5f32, 2.0].map(f32::to_le_bytes).concat();
    // Where the config names blocks, one scale for all of a matrix is of another conversion.
    let blocks = json!({ "quantization_config": { "weight_block_size": [128, 128] } });
    assert_eq!(rows_of(&scaled(blocks.clone(), "w_scale_inv", "F32", &[2, 1], &bytes)), [0.5, 0.5, 2.0, 2.0]);
    let error = scaled(blocks, "w_scale_inv", "F32", &[1], &bytes[..4]).mat("w", 130, 2).unwrap_err();
    refused!(error, Error::Shape { .. }, "`w_scale_inv`", "[2, 1]");
    for (dtype, scales) in [
        ("F8_E8M0", vec![127, 255]),
        ("F32", [0.5, f32::INFINITY].map(f32::to_le_bytes).concat()),
        ("BF16", vec![0, 0, 0xc0, 0x7f]),
    ] {
        let error = scaled(json!({}), "w_scale_inv", dtype, &[2, 1], &scales).mat("w", 130, 2).unwrap_err();
        refused!(error, Error::ScaleValue { .. }, "`w_scale_inv`", FILE);
    }
    let header = json!({ "w": tensor("F8_E4M3", &[1, 1], 0, 1), "w_scale": tensor("F32", &[1], 1, 5),
        "w_scale_inv": tensor("F32", &[1, 1], 5, 9) });
    let twice = open(&[(FILE, file(&header, 9))]).unwrap();
    refused!(twice.mat("w", 1, 1).unwrap_err(), Error::TwoScales { .. }, "`w_scale`", "`w_scale_inv`");
    let header = json!({ "w": tensor("BF16", &[1, 1], 0, 2), "w_scale": tensor("F32", &[1], 2, 6) });
    let stray = open(&[(FILE, file(&header, 6))]).unwrap();
    refused!(stray.mat("w", 1, 1).unwrap_err(), Error::StrayScale { .. }, "`w`", "`w_scale`", "BF16");
}

#[test]
fn a_scale_may_be_in_another_shard_than_its_weight() {
    let scale = {
        let mut bytes = file(&json!({ "w_scale_inv": tensor("F32", &[1, 1], 0, 4) }), 0);
        bytes.extend(0.5f32.to_le_bytes());
        bytes
    };
    let one = {
        let mut bytes = file(&json!({ "w": tensor("F8_E4M3", &[1, 2], 0, 2) }), 0);
        bytes.extend([0x38, 0xb8]);
        bytes
    };
    let files = [
        (INDEX, index(&[("w", "y.safetensors"), ("w_scale_inv", "x.safetensors")])),
        ("x.safetensors", scale),
        ("y.safetensors", one),
    ];
    assert_eq!(open(&files).unwrap().mat("w", 1, 2).unwrap().to_f32(), [0.5, -0.5]);
}

#[test]
fn vectors_are_read_from_every_float_format() {
    for (dtype, one) in [("F32", &1f32.to_le_bytes()[..]), ("BF16", &[0x80, 0x3f]), ("F16", &[0x00, 0x3c])] {
        let mut bytes = file(&json!({ "v": tensor(dtype, &[1], 0, one.len() as u64) }), 0);
        bytes.extend(one);
        assert_eq!(open(&[(FILE, bytes)]).unwrap().vector("v", 1).unwrap(), [1.0], "{dtype}");
    }
}

#[test]
fn files_built_into_the_program_are_not_copied() {
    let bytes: &'static [u8] = vectors(&["a"]).leak();
    let files =
        [("config.json".to_string(), weights::static_bytes(b"{}")), (FILE.to_string(), weights::static_bytes(bytes))];
    let mat = Checkpoint::from_files("mini", files).unwrap();
    let (tensor, _) = mat.tensor("a").unwrap();
    assert_eq!(tensor.bytes(), 8);
    assert_eq!(mat.name(), "mini");
    let header = json!({ "m": tensor_of(&[1, 2]) });
    let bytes: &'static [u8] = file(&header, 8).leak();
    let files =
        [("config.json".to_string(), weights::static_bytes(b"{}")), (FILE.to_string(), weights::static_bytes(bytes))];
    let mat = Checkpoint::from_files("mini", files).unwrap().mat("m", 1, 2).unwrap();
    assert!(bytes.as_ptr_range().contains(&mat.bytes().as_ptr()));
}

fn tensor_of(shape: &[u64]) -> Value {
    tensor("F32", shape, 0, 4 * shape.iter().product::<u64>())
}

#[test]
fn an_incomplete_folder_still_has_a_summary() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(Path::join(dir.path(), name), bytes).unwrap();
    write("config.json", b"{\"model_type\": \"x\"}");
    write(INDEX, &index(&[("a", "x.safetensors"), ("b", "y.safetensors"), ("c", "z.safetensors")]));
    write("x.safetensors", &vectors(&["a"]));
    let cut = vectors(&["b"]);
    write("y.safetensors", &cut[..cut.len() - 1]);
    let summary = CheckpointSummary::open(dir.path()).unwrap();
    assert_eq!(summary.tensors.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((summary.indexed_tensors, summary.problems.len()), (Some(3), 2));
    assert!(
        matches!(&summary.problems[..], [Error::Truncated { .. }, Error::MissingShard { .. }]),
        "{:?}",
        summary.problems
    );
}

#[test]
fn no_change_of_a_single_header_byte_panics() {
    let sound = vectors(&["a", "b"]);
    for at in 0..sound.len() {
        for byte in [0, b'"', b'9', b'}', 0xff] {
            let mut bytes = sound.clone();
            bytes[at] = byte;
            // The result may be an error; ranges of an accepted header are inside the file.
            if let Ok(header) = Header::parse(FILE, &bytes) {
                assert!(header.tensors.iter().all(|t| t.range.end <= header.file_bytes));
            }
        }
    }
}

#[test]
fn files_and_folders_of_other_formats_are_recognized() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
    };
    let error = |name: &str| Checkpoint::open(&folder.path().join(name)).err().expect("it is not a checkpoint");
    write("named.gguf", b"");
    write("by-its-bytes", b"GGUF\x03\0\0\0rest");
    write("text", b"x");
    refused!(error("named.gguf"), Error::Gguf { .. }, "GGUF file", "safetensors");
    refused!(error("by-its-bytes"), Error::Gguf { .. }, "GGUF");
    refused!(error("text"), Error::NotAFolder { .. }, "`config.json`");

    write("gguf/q4.gguf", b"GGUF");
    refused!(error("gguf"), Error::GgufWeights { .. }, "`q4.gguf`", "cachalot pull");
    write("gguf/config.json", b"{}");
    refused!(error("gguf"), Error::GgufWeights { .. }, "`q4.gguf`");
    let summary = CheckpointSummary::open(&folder.path().join("gguf")).unwrap();
    refused!(&summary.problems[0], Error::GgufWeights { .. }, "GGUF");

    write("pickle/config.json", b"{}");
    write("pickle/pytorch_model.bin", b"x");
    refused!(error("pickle"), Error::PickledWeights { .. }, "`pytorch_model.bin`");
    write("empty/config.json", b"{}");
    refused!(error("empty"), Error::NoWeights { .. }, "the weights are missing", "cachalot pull");
    write("models--a--b/refs/main", b"x");
    std::fs::create_dir(folder.path().join("models--a--b/snapshots")).unwrap();
    refused!(error("models--a--b"), Error::HubFolder { .. }, "`ORG/NAME`", "/snapshots`");
}

#[test]
fn pointers_of_git_lfs_are_recognized() {
    let pointer =
        || format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 9\n", "a".repeat(64)).into_bytes();
    refused!(open_single_error(pointer()), Error::LfsPointer { .. }, "`model.safetensors`", "git lfs pull");
    let found = open(&[(FILE, vectors(&["a"])), ("tokenizer.json", pointer())]).err().unwrap();
    refused!(found, Error::LfsPointer { .. }, "`tokenizer.json`");
    let shard = "model-00001-of-00001.safetensors";
    let found = open(&[(INDEX, index(&[("a", shard)])), (shard, pointer())]).err().unwrap();
    refused!(found, Error::LfsPointer { .. }, "`model-00001-of-00001.safetensors`");
    let files = [("config.json".to_owned(), pointer().into())];
    refused!(Checkpoint::from_files("test", files).err().unwrap(), Error::LfsPointer { .. }, "`config.json`");
}

#[test]
fn a_snapshot_of_the_hub_cache_is_named_after_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("models--deepseek-ai--DeepSeek-V3.2/snapshots/0123");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::write(snapshot.join("config.json"), "{}").unwrap();
    std::fs::write(snapshot.join(FILE), vectors(&["a"])).unwrap();
    assert_eq!(Checkpoint::open(&snapshot).unwrap().name(), "DeepSeek-V3.2");
}

#[test]
fn a_checkpoint_is_described_by_its_headers() {
    let shard = |number: usize| format!("model-0000{number}-of-00002.safetensors");
    let small = |name: &str, bytes: Vec<u8>| (name.to_owned(), bytes.into());
    let weights = [vectors(&["a", "b"]), vectors(&["c"])];
    let map = [("a", shard(1)), ("b", shard(1)), ("c", shard(2))];
    let index = index(&map.each_ref().map(|(tensor, file)| (*tensor, file.as_str())));
    let files = [small("config.json", b"{}".to_vec()), small(INDEX, index)];
    let start = |bytes: &[u8]| {
        let length = 8 + usize::from(bytes[0]);
        (bytes[..length].to_vec().into(), bytes.len() as u64)
    };
    let describe = |headers: Vec<(String, (weights::Bytes, u64))>| {
        CheckpointSummary::from_headers("test", files.clone().into(), headers.into_iter().collect()).unwrap()
    };
    let summary = describe(vec![(shard(1), start(&weights[0])), (shard(2), start(&weights[1]))]);
    let names: Vec<&str> = summary.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!((names, summary.problems.len()), (vec!["a", "b", "c"], 0));
    let (header, length) = start(&weights[1]);
    let summary = describe(vec![(shard(1), start(&weights[0])), (shard(2), (header, length - 1))]);
    refused!(&summary.problems[0], Error::Truncated { .. }, "00002");
    refused!(&describe(vec![(shard(1), start(&weights[0]))]).problems[0], Error::MissingShard { .. }, "00002");
}
