//! The buffer that an append is written into. Each thread keeps its own from one append to the
//! next, so that a small append allocates no more than its result.

use std::cell::Cell;

/// How large a buffer a thread keeps.
const KEPT: usize = 64 * 1024;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An empty buffer. What is written into it goes to [`text`], or back with [`put_back`].
pub fn take() -> Vec<u8> {
    BUFFER.take()
}

/// Keeps the buffer for the next append of this thread.
pub fn put_back(mut buffer: Vec<u8>) {
    if buffer.capacity() <= KEPT {
        buffer.clear();
        BUFFER.set(buffer);
    }
}

/// What was written, in an allocation of just its size; `None` when it is not UTF-8.
pub fn text(mut buffer: Vec<u8>) -> Option<String> {
    if buffer.capacity() > KEPT {
        // A second copy of it would take more memory than is counted.
        buffer.shrink_to_fit();
        return String::from_utf8(buffer).ok();
    }
    let text = std::str::from_utf8(&buffer).map(str::to_owned).ok();
    put_back(buffer);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: usize) -> String {
        let mut buffer = take();
        assert!(buffer.is_empty());
        buffer.resize(bytes, b'x');
        text(buffer).expect("UTF-8")
    }

    #[test]
    fn a_text_has_its_size_and_the_thread_keeps_a_small_buffer() {
        for bytes in [0, 1, 1000, KEPT, KEPT + 1, 1 << 20, 10] {
            let text = written(bytes);
            assert_eq!((text.len(), text.capacity()), (bytes, bytes));
            let buffer = take();
            assert!(buffer.is_empty() && buffer.capacity() <= KEPT);
            assert!(bytes > KEPT || buffer.capacity() >= bytes);
            put_back(buffer);
        }
    }

    #[test]
    fn a_buffer_that_is_given_up_is_kept_empty() {
        let mut buffer = take();
        buffer.extend_from_slice(&[0xff]);
        assert_eq!(text(buffer), None);
        put_back(vec![b'x'; 100]);
        assert_eq!(written(3), "xxx");
    }
}
