//! Erlang's external term format, written. A list or a map is begun with a count that is put right when it ends.

/// The version that a term on the link begins with.
const VERSION: u8 = 131;

/// Where the count of a list or a map that is being written stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

impl Mark {
    /// Where the list or the map itself begins.
    fn start(self) -> usize {
        self.0.saturating_sub(1)
    }
}

/// Begins a term.
pub fn version(out: &mut Vec<u8>) {
    out.push(VERSION);
}

/// Writes a binary.
pub fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    binary_head(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Writes what stands before the bytes of a binary of a known length.
fn binary_head(out: &mut Vec<u8>, length: usize) {
    out.push(109);
    count(out, length);
}

/// Begins a binary whose length is not known yet.
pub fn binary_begin(out: &mut Vec<u8>) -> Mark {
    let mark = Mark(out.len().saturating_add(1));
    binary_head(out, 0);
    mark
}

/// Ends a binary that was begun, and gives where its bytes stand.
pub fn binary_end(out: &mut [u8], mark: Mark) -> std::ops::Range<usize> {
    let from = mark.0.saturating_add(4);
    let to = out.len();
    patch(out, mark, to.saturating_sub(from));
    from..to
}

/// Begins a map.
pub fn map_begin(out: &mut Vec<u8>) -> Mark {
    let mark = Mark(out.len().saturating_add(1));
    out.push(116);
    count(out, 0);
    mark
}

/// Ends a map of so many pairs of key and value.
pub fn map_end(out: &mut [u8], mark: Mark, pairs: usize) {
    patch(out, mark, pairs);
}

/// Begins a list.
pub fn list_begin(out: &mut Vec<u8>) -> Mark {
    let mark = Mark(out.len().saturating_add(1));
    out.push(108);
    count(out, 0);
    mark
}

/// Ends a list of so many elements.
pub fn list_end(out: &mut Vec<u8>, mark: Mark, elements: usize) {
    if elements == 0 {
        out.truncate(mark.start());
    } else {
        patch(out, mark, elements);
    }
    out.push(106);
}

/// Writes what stands before the elements of a tuple.
pub fn tuple(out: &mut Vec<u8>, size: u8) {
    out.extend_from_slice(&[104, size]);
}

/// Writes an atom, whose name is at most 255 bytes long.
pub fn atom(out: &mut Vec<u8>, name: &str) {
    out.push(119);
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name.as_bytes());
}

/// Writes a truth value.
pub fn boolean(out: &mut Vec<u8>, value: bool) {
    atom(out, if value { "true" } else { "false" });
}

/// Writes an integer by its sign and its size.
pub fn integer(out: &mut Vec<u8>, negative: bool, size: u64) {
    if let (false, Ok(small)) = (negative, u8::try_from(size)) {
        return out.extend_from_slice(&[97, small]);
    }
    let signed = i64::try_from(size).map(|size| if negative { size.wrapping_neg() } else { size });
    if let Some(value) = signed.ok().and_then(|value| i32::try_from(value).ok()) {
        out.push(98);
        return out.extend_from_slice(&value.to_be_bytes());
    }
    let bytes = size.to_le_bytes();
    let length = bytes
        .len()
        .saturating_sub(usize::try_from(size.leading_zeros() / 8).unwrap_or(0));
    out.extend_from_slice(&[110, u8::try_from(length).unwrap_or(8), u8::from(negative)]);
    out.extend(bytes.iter().take(length));
}

/// Writes a floating point number.
pub fn float(out: &mut Vec<u8>, value: f64) {
    out.push(70);
    out.extend_from_slice(&value.to_be_bytes());
}

/// Writes a count of four bytes. What the gateway sends is far below 4 GiB.
fn count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

/// Puts a count right.
fn patch(out: &mut [u8], mark: Mark, count: usize) {
    let bytes = u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(place) = out.get_mut(mark.0..mark.0.saturating_add(4)) {
        place.copy_from_slice(&bytes);
    }
}
