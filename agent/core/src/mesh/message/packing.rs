//! Compression, with a bound on what comes out.

use zeroize::Zeroizing;

use super::MessageError;

/// Bytes of a message before compression. A page is at most 1 MiB of records; a record alone may be 640 KiB.
pub const MAX_PLAINTEXT: usize = 2 << 20;

/// One zstd frame (RFC 8878) that states its content's size.
pub fn compress(plain: &[u8]) -> Result<Zeroizing<Vec<u8>>, MessageError> {
    if plain.len() > MAX_PLAINTEXT {
        return Err(MessageError::Malformed("more than 2 MiB; send fewer records at once"));
    }
    // It fails only for want of memory.
    zstd::bulk::compress(plain, 1).map(Zeroizing::new).map_err(|_| MessageError::Malformed("cannot be compressed"))
}

/// The reverse. The frame must state a size within the bound before anything is allocated, and be all there is.
pub fn decompress(packed: &[u8]) -> Result<Zeroizing<Vec<u8>>, MessageError> {
    use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};
    let size = get_frame_content_size(packed).ok().flatten().and_then(|size| usize::try_from(size).ok());
    let size = size.filter(|size| *size <= MAX_PLAINTEXT).ok_or(MessageError::Unopenable)?;
    if find_frame_compressed_size(packed) != Ok(packed.len()) {
        return Err(MessageError::Unopenable);
    }
    let plain = Zeroizing::new(zstd::bulk::decompress(packed, size).map_err(|_| MessageError::Unopenable)?);
    if plain.len() == size { Ok(plain) } else { Err(MessageError::Unopenable) }
}
