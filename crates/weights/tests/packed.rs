//! Packed matrices, and the folder that holds them.

use std::fs;
use std::path::Path;

use kernels::{DType, Packed, Packing, pack_row};
use serde_json::json;
use weights::{
    Checkpoint, Destination, Error, MANIFEST_KEY, MANIFEST_VERSION, Manifest, OutputTensor, PackedFolder, ShardLayout,
    matrix_tensors,
};

const FILE: &str = "model-00001-of-00001.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const ROWS: usize = 3;
const COLS: usize = 64;

/// Tensors of a shard, with their bytes.
type Shard = Vec<(OutputTensor, Vec<u8>)>;

fn values() -> Vec<f32> {
    (0..ROWS * COLS).map(|i| ((37 * i) % 101) as f32 / 64.0 - 0.5).collect()
}

/// The bytes of the tensors that store the values, in the order of [`matrix_tensors`].
fn parts(packing: Packing) -> Vec<Vec<u8>> {
    let mut parts = Packed::default();
    values().chunks(COLS).for_each(|row| pack_row(packing, row, &mut parts).unwrap());
    let Packed { quants, scales, offsets, factors } = parts;
    if packing.has_offsets() { vec![quants, scales, offsets, factors] } else { vec![quants, scales, factors] }
}

fn begin(dir: &Path, plan: &str) -> PackedFolder {
    match PackedFolder::open(dir, plan, "--weights int4").unwrap() {
        Destination::Unfinished(folder) => folder,
        Destination::Complete => panic!("it is not complete"),
    }
}

/// Writes the weights file of one matrix `w`, after a change of the tensors.
fn write_shard(folder: &mut PackedFolder, packing: Packing, change: impl Fn(&mut Shard)) {
    let tensors = matrix_tensors("w", packing.dtype(), ROWS, COLS);
    let mut tensors: Shard = tensors.into_iter().zip(parts(packing)).collect();
    change(&mut tensors);
    let outputs: Vec<OutputTensor> = tensors.iter().map(|(tensor, _)| tensor.clone()).collect();
    let mut writer = folder.begin_shard(FILE, ShardLayout::new(&outputs)).unwrap();
    for (tensor, bytes) in tensors {
        // In pieces, as they are written while a checkpoint is packed.
        bytes.chunks(7).for_each(|piece| writer.append(&tensor.name, piece).unwrap());
    }
    folder.finish_shard(FILE, writer).unwrap();
}

/// Completes the folder.
fn complete(folder: PackedFolder, plan: &str, names: &[String]) {
    let shards = folder.shards().clone();
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        formats: [("head".to_owned(), "int4".to_owned())].into(),
        scale_fmt: None,
        plan: plan.to_owned(),
        shards,
    };
    let map: serde_json::Map<String, serde_json::Value> =
        names.iter().map(|name| (name.clone(), json!(FILE))).collect();
    let small = [(INDEX, json!({ "weight_map": map })), ("config.json", json!({ MANIFEST_KEY: manifest.to_json() }))];
    folder.complete(&small.map(|(name, json)| (name.to_owned(), json.to_string().into_bytes()))).unwrap();
}

/// Packs and opens the matrix `w`, after a change of its tensors.
fn open_changed(packing: Packing, change: impl Fn(&mut Shard)) -> Checkpoint {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = begin(dir.path(), "plan");
    let names = std::cell::RefCell::new(Vec::new());
    write_shard(&mut folder, packing, |tensors| {
        change(tensors);
        names.replace(tensors.iter().map(|(tensor, _)| tensor.name.clone()).collect());
    });
    complete(folder, "plan", &names.into_inner());
    // The map outlives the folder.
    Checkpoint::open(dir.path()).unwrap()
}

#[test]
fn packed_matrices_are_read_and_their_numbers_are_aligned() {
    for (packing, bound) in [(Packing::Int8, 0.01), (Packing::Int4, 0.06)] {
        let checkpoint = open_changed(packing, |_| {});
        let mat = checkpoint.mat("w", ROWS, COLS).unwrap();
        assert_eq!((mat.dtype(), mat.rows(), mat.cols()), (packing.dtype(), ROWS, COLS));
        for (found, value) in mat.to_f32().iter().zip(values()) {
            assert!((found - value).abs() < bound, "{packing:?}: {found} {value}");
        }
        for part in checkpoint.parts("w") {
            let size = part.bytes() / part.shape.iter().product::<u64>();
            assert_eq!(part.range.start % size, 0, "{}", part.name);
        }
        checkpoint.verify_checksums(&mut |_| {}).unwrap();
        checkpoint.forget("w");
        assert_eq!(checkpoint.mat("w", ROWS, COLS).unwrap().to_f32(), mat.to_f32(), "it is read again");
    }
}

#[test]
fn a_packed_matrix_without_a_part_or_with_a_wrong_one_is_refused() {
    let fault = |change: &dyn Fn(&mut Shard)| open_changed(Packing::Int4, change).mat("w", ROWS, COLS).unwrap_err();
    for part in ["w_scale", "w_offset", "w_factor"] {
        let error = fault(&|tensors| tensors.retain(|(tensor, _)| tensor.name != part));
        assert!(
            matches!(&error, Error::MissingScale { tensor, scale, .. } if tensor == "w" && scale == part),
            "{error}"
        );
        let error = fault(&|tensors| {
            let (tensor, _) = tensors.iter_mut().find(|(tensor, _)| tensor.name == part).unwrap();
            tensor.shape.insert(0, 1);
        });
        assert!(matches!(&error, Error::Shape { tensor, .. } if tensor == part), "{error}");
        let error = fault(&|tensors| {
            let (tensor, _) = tensors.iter_mut().find(|(tensor, _)| tensor.name == part).unwrap();
            tensor.dtype = if tensor.dtype == "F32" { "I32" } else { "BF16" };
        });
        assert!(matches!(&error, Error::DType { tensor, .. } if tensor == part), "{error}");
    }
    let error = fault(&|tensors| {
        let (_, factors) = tensors.last_mut().unwrap();
        factors[..4].copy_from_slice(&1.5f32.to_le_bytes());
    });
    assert!(matches!(&error, Error::Packed { tensor, .. } if tensor == "w"), "{error}");
    assert!(error.to_string().contains("power of two"), "{error}");

    let int8 = open_changed(Packing::Int8, |_| {});
    let error = int8.mat("w", ROWS, 96).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    let error = int8.vector("w", ROWS * COLS).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    assert_eq!(int8.check("w", &[ROWS, COLS]).unwrap(), DType::Int8);
}

#[test]
fn an_unfinished_folder_is_continued_by_the_same_plan_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = begin(dir.path(), "plan");
    write_shard(&mut folder, Packing::Int8, |_| {});
    let locked = PackedFolder::open(dir.path(), "plan", "").err().unwrap();
    assert!(matches!(locked, Error::Locked { .. }), "{locked}");
    drop(folder);
    fs::write(dir.path().join("model-00002-of-00002.safetensors.unfinished"), "half").unwrap();

    let error = Checkpoint::open(dir.path()).err().unwrap();
    assert!(matches!(error, Error::Unfinished { .. }), "{error}");
    let error = PackedFolder::open(dir.path(), "other", "").err().unwrap();
    assert!(matches!(&error, Error::OtherOptions { options, .. } if options == "--weights int4"), "{error}");

    let mut folder = begin(dir.path(), "plan");
    assert!(!dir.path().join("model-00002-of-00002.safetensors.unfinished").exists());
    let mut read = 0;
    folder.verify_finished(&mut |bytes| read += bytes).unwrap();
    assert!(folder.is_finished(FILE));
    assert_eq!(read, folder.finished_bytes());

    let path = dir.path().join(FILE);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    folder.verify_finished(&mut |_| {}).unwrap();
    assert!(!folder.is_finished(FILE), "a damaged file is written again");
    write_shard(&mut folder, Packing::Int8, |_| {});
    complete(folder, "plan", &["w".into(), "w_scale".into(), "w_factor".into()]);

    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "the files of a checkpoint and nothing else");
    assert!(matches!(PackedFolder::open(dir.path(), "plan", "").unwrap(), Destination::Complete));
    let error = PackedFolder::open(dir.path(), "other", "").err().unwrap();
    assert!(matches!(error, Error::OtherPacking { .. }), "{error}");
    Checkpoint::open(dir.path()).unwrap().verify_checksums(&mut |_| {}).unwrap();
}

#[test]
fn folders_with_other_files_are_not_touched() {
    for (file, content) in [("notes.txt", "mine"), ("config.json", "{}"), ("model.safetensors", "")] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(file), content).unwrap();
        let error = PackedFolder::open(dir.path(), "plan", "").err().unwrap();
        assert!(matches!(&error, Error::NotEmpty { file: found, .. } if found == file), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
    // A record that cannot be read is not replaced.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("cachalot-pack.json"), "{").unwrap();
    let error = PackedFolder::open(dir.path(), "plan", "").err().unwrap();
    assert!(matches!(error, Error::PackState { .. }), "{error}");
}

#[test]
fn row_ids_are_ascending_rows_of_the_matrix() {
    let ids = |ids: &[i32]| {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let tensor = OutputTensor { name: "ids".into(), dtype: "I32", shape: vec![ids.len()] };
        open_changed(Packing::Int8, |tensors| tensors.push((tensor.clone(), bytes.clone()))).row_ids("ids", 10)
    };
    assert_eq!(ids(&[0, 3, 9]).unwrap(), [0, 3, 9]);
    for wrong in [&[3, 1][..], &[3, 3], &[-1], &[10], &[i32::MIN]] {
        let error = ids(wrong).unwrap_err();
        assert!(matches!(error, Error::RowIds { .. }), "{wrong:?}: {error}");
    }
    let checkpoint = open_changed(Packing::Int8, |_| {});
    assert!(matches!(checkpoint.row_ids("w_factor", 10).unwrap_err(), Error::RowIds { .. }));
    assert!(matches!(checkpoint.row_ids("none", 10).unwrap_err(), Error::MissingTensor { .. }));
}
