//! Messages of Amazon's binary event streams, as services write them.

/// A message with these headers, whose values are text.
///
/// # Panics
/// For a name or a value that is too long for a message.
pub fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    for (name, value) in headers {
        fields.push(u8::try_from(name.len()).expect("a short name"));
        fields.extend_from_slice(name.as_bytes());
        // The type of a text.
        fields.push(7);
        fields.extend_from_slice(&u16::try_from(value.len()).expect("a short value").to_be_bytes());
        fields.extend_from_slice(value.as_bytes());
    }
    let length = |bytes: usize| u32::try_from(bytes).expect("a short message").to_be_bytes();
    let mut bytes = length(16 + fields.len() + payload.len()).to_vec();
    bytes.extend_from_slice(&length(fields.len()));
    bytes.extend_from_slice(&crc32(&bytes).to_be_bytes());
    bytes.extend(fields);
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&crc32(&bytes).to_be_bytes());
    bytes
}

/// The CRC-32 of ISO 3309, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _: u32| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
