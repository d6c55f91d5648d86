//! How large segments and blocks get.

/// The most bytes of rows in a segment, with what its blocks take beside them: it bounds the memory of whoever
/// writes or reads one.
pub const ROOM: usize = 32 * 1024 * 1024;
/// A block with as many bytes of rows takes no more of them.
pub const BLOCK: usize = 256 * 1024;
/// What a block takes beside its rows: header, tag and its entry in the index.
pub const BESIDE: usize = 160;
