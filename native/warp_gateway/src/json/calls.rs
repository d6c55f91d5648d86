//! Messages of a socket: one call or an array of calls, gathered in one list.

use super::MAX_DEPTH;
use super::cursor::{Cursor, Fault, Reason};
use super::raw;
use super::value::{Names, object};
use crate::etf;

/// Calls that go to the VM together.
#[derive(Default)]
pub struct Calls {
    /// The list, which is begun with the first call.
    out: Vec<u8>,
    /// Where the list's count stands.
    mark: Option<etf::Mark>,
    /// How many calls there are.
    count: usize,
    /// How many of them have an id, and get an answer.
    answered: usize,
    /// Names of the objects that are being read, kept for their memory.
    names: Names,
}

impl Calls {
    /// Whether there is no call.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bytes the calls have by now.
    pub fn bytes(&self) -> usize {
        self.out.len()
    }

    /// How many calls there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many of the calls get an answer.
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// The term with all of them, which is taken out.
    pub fn take(&mut self) -> Vec<u8> {
        if let Some(mark) = self.mark.take() {
            etf::list_end(&mut self.out, mark, self.count);
        }
        self.count = 0;
        self.answered = 0;
        std::mem::take(&mut self.out)
    }

    /// Takes a call, an object, and appends it.
    fn call(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Fault> {
        if self.mark.is_none() {
            etf::version(&mut self.out);
            self.mark = Some(etf::list_begin(&mut self.out));
        }
        let has_id = object(cursor, &mut self.out, &mut self.names, depth)?;
        self.count += 1;
        self.answered += usize::from(has_id);
        Ok(())
    }
}

/// Appends what a message says: one object, or an array of so many objects at most. After a fault nothing of the
/// message was appended.
pub fn message(json: &str, calls: &mut Calls, most: usize) -> Result<(), Fault> {
    let (bytes, count, answered) = (calls.out.len(), calls.count, calls.answered);
    let result = read(json, calls, most);
    if result.is_err() {
        calls.out.truncate(bytes);
        (calls.count, calls.answered) = (count, answered);
        calls.names.clear();
        if bytes == 0 {
            calls.mark = None;
        }
    }
    result
}

/// Appends what a message says.
fn read(json: &str, calls: &mut Calls, most: usize) -> Result<(), Fault> {
    let mut cursor = Cursor::new(json);
    cursor.space();
    if cursor.peek() == Some(b'[') {
        array(&mut cursor, calls, most)?;
    } else {
        one(&mut cursor, calls, MAX_DEPTH)?;
    }
    cursor.end()
}

/// Takes the calls of an array.
fn array(cursor: &mut Cursor<'_>, calls: &mut Calls, most: usize) -> Result<(), Fault> {
    let depth = raw::inner(cursor, MAX_DEPTH)?;
    cursor.skip(1);
    cursor.space();
    if cursor.peek() == Some(b']') {
        cursor.skip(1);
        return Ok(());
    }
    let begin = calls.count;
    loop {
        cursor.space();
        one(cursor, calls, depth)?;
        if calls.count - begin > most {
            return Err(cursor.fault(Reason::TooMany));
        }
        if !raw::more(cursor, b']')? {
            return Ok(());
        }
    }
}

/// Takes a call. What is another value of JSON is told from what is no JSON.
fn one(cursor: &mut Cursor<'_>, calls: &mut Calls, depth: usize) -> Result<(), Fault> {
    match cursor.peek() {
        Some(b'{') => calls.call(cursor, depth),
        _ => {
            let begin = *cursor;
            raw::skip(cursor, depth)?;
            Err(begin.fault(Reason::NoCall))
        }
    }
}
