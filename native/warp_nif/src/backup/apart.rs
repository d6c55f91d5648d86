//! Payloads that have keys of their own: cutting them out of a row, and putting them back, or what clearing leaves
//! of them. Pure.

use std::borrow::Cow;

use super::error::{Error, Result};
use super::room::ROOM;
use crate::event::parse_row;
use crate::log::apart::Apart;

/// A payload that is cut out of a row's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Which key it has: 1 for that of the first step.
    pub part: u16,
    /// Where it stands in the data.
    pub at: usize,
    /// How many bytes it has.
    pub length: usize,
    /// Where in the data the event's type stands, and what clearing makes of it.
    pub retype: Option<(usize, String)>,
}

impl Apart {
    /// The payloads to cut out of a row's data. Those that were cleared stay, but they count. Errors: `Misuse`
    /// when the data is none, or has too many of them.
    pub fn cuts(&self, data: &str) -> Result<Vec<Cut>> {
        let events = parse_row(data).map_err(|_| Error::Misuse("a row whose data is none"))?;
        let outside = Error::Misuse("an event outside of its row");
        let offset = |text: &str| text.as_ptr().addr().checked_sub(data.as_ptr().addr());
        let mut cuts = Vec::new();
        let mut counted = 0;
        for event in &events {
            let kind = event.kind.as_ref();
            let pair = self
                .types()
                .iter()
                .find(|(from, to)| from == kind || to == kind);
            let Some((from, to)) = pair else {
                continue;
            };
            let step = counted / self.group();
            counted += 1;
            if from != kind {
                continue;
            }
            let payload = event.payload.get();
            let (Some(at), Ok(step)) = (offset(payload), u16::try_from(step)) else {
                return Err(outside);
            };
            // A type that is written with escapes stays as it is when it is cleared.
            let retype = match event.kind {
                Cow::Borrowed(kind) => offset(kind).map(|at| (at, to.clone())),
                Cow::Owned(_) => None,
            };
            cuts.push(Cut {
                part: step
                    .checked_add(1)
                    .ok_or(Error::Misuse("a row of too many steps"))?,
                at,
                length: payload.len(),
                retype,
            });
        }
        Ok(cuts)
    }
}

/// What is left of the data, piece by piece.
pub fn rest<'a>(data: &'a str, cuts: &[Cut]) -> impl Iterator<Item = &'a [u8]> {
    let ends = cuts.iter().map(|cut| (cut.at, cut.length));
    let mut from = 0;
    ends.chain([(data.len(), 0)]).map(move |(at, length)| {
        let piece = data.as_bytes().get(from..at).unwrap_or_default();
        from = at.saturating_add(length);
        piece
    })
}

/// The data of which `rest` is left. `payload` gives what was cut out; without it the event becomes what clearing
/// leaves. `None` when the cuts do not fit.
pub fn join<'a>(
    rest: &[u8],
    cuts: &[Cut],
    mut payload: impl FnMut(&Cut) -> Option<&'a [u8]>,
) -> Option<String> {
    let cut_out = cuts
        .iter()
        .try_fold(0usize, |sum, cut| sum.checked_add(cut.length))?;
    let size = rest
        .len()
        .checked_add(cut_out)
        .filter(|size| *size <= ROOM)?;
    let mut data = Vec::with_capacity(size);
    let mut left = rest;
    let mut cleared = Vec::new();
    for cut in cuts {
        let (before, behind) = left.split_at_checked(cut.at.checked_sub(data.len())?)?;
        data.extend_from_slice(before);
        left = behind;
        match payload(cut) {
            Some(bytes) if bytes.len() == cut.length => data.extend_from_slice(bytes),
            Some(_) => return None,
            None => {
                data.extend((0..cut.length).map(|at| blank(at, cut.length)));
                cleared.push(cut);
            }
        }
    }
    data.extend_from_slice(left);
    for (at, kind) in cleared.into_iter().filter_map(|cut| cut.retype.as_ref()) {
        let place = data.get_mut(*at..at.checked_add(kind.len())?)?;
        place.copy_from_slice(kind.as_bytes());
    }
    String::from_utf8(data).ok()
}

/// A cleared payload is an empty object, as long as it was.
fn blank(at: usize, length: usize) -> u8 {
    if at + 1 == length {
        b'}'
    } else if at == 0 {
        b'{'
    } else {
        b' '
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;
    use crate::erase::clearing::{Retyping, clear};
    use crate::index::entities::EntityInfo;
    use crate::log::schema::SCHEMA;
    use crate::log::{Row, rows};

    fn apart() -> Apart {
        Apart::new(pairs(), 2).expect("apart")
    }

    fn pairs() -> Vec<(String, String)> {
        ["Forward", "Reverse"]
            .map(|kind| (kind.into(), "Cleared".into()))
            .into()
    }

    fn plan(payloads: &[String]) -> String {
        let kinds = ["Forward", "Reverse"].iter().cycle();
        let steps = kinds
            .zip(payloads)
            .map(|(kind, payload)| format!(r#",{{"type":"{kind}","payload":{payload}}}"#));
        format!(
            r#"[{{"type":"Planned","payload":{{"n":1}}}}{}]"#,
            steps.collect::<String>()
        )
    }

    fn left(data: &str, cuts: &[Cut]) -> Vec<u8> {
        rest(data, cuts).collect::<Vec<_>>().concat()
    }

    /// What the live log makes of the same row.
    fn cleared_live(data: &str, seqs: Vec<u64>) -> String {
        let file = Connection::open_in_memory().expect("opens");
        file.execute_batch(SCHEMA).expect("creates");
        let row = Row {
            position: 1,
            entity: "$warp/saga/s".into(),
            aggregate: "$warp/saga".into(),
            seq: 1,
            count: 99,
            recorded_at: 0,
            prev: 0,
            data: data.into(),
        };
        let mut insert = rows::insert_statement(&file).expect("prepares");
        rows::insert(&mut insert, &row.borrow(), row.borrow().checksum()).expect("inserts");
        let info = EntityInfo {
            incarnation: 1,
            seq: 99,
            head: 1,
            rows: 1,
        };
        let types = Arc::new(Retyping::new(pairs()).expect("types"));
        clear(&file, &row.entity, &info, &[], &seqs, &types).expect("clears");
        rows::at(&file, 1).expect("reads").expect("a row").data
    }

    proptest! {
        #[test]
        fn a_row_comes_back_and_a_step_without_its_key_is_as_the_live_log_clears_it(
            names in proptest::collection::vec(".{0,12}", 2..12), without: BTreeSet<u16>) {
            let steps = names.len() / 2;
            let payloads: Vec<String> = names
                .iter()
                .take(steps * 2)
                .map(|name| serde_json::json!({ "name": name }).to_string())
                .collect();
            let data = plan(&payloads);
            let cuts = apart().cuts(&data).expect("cuts");
            let parts: Vec<u16> = cuts.iter().map(|cut| cut.part).collect();
            let expected: Vec<u16> = (1..=steps as u16).flat_map(|step| [step, step]).collect();
            prop_assert_eq!(parts, expected);
            let left = left(&data, &cuts);
            let all = |cut: &Cut| Some(&data.as_bytes()[cut.at..cut.at + cut.length]);
            let joined = join(&left, &cuts, all);
            prop_assert_eq!(joined.as_ref(), Some(&data));
            let is_without = |part: u16| without.iter().any(|n| n % steps as u16 + 1 == part);
            let some = |cut: &Cut| all(cut).filter(|_| !is_without(cut.part));
            let seqs = (0..steps as u64).filter(|n| is_without(*n as u16 + 1));
            let seqs: Vec<u64> = seqs.flat_map(|n| [2 * n + 2, 2 * n + 3]).collect();
            let cleared = cleared_live(&data, seqs);
            prop_assert_eq!(join(&left, &cuts, some), Some(cleared.clone()));
            // What is cleared already stays where it is, and the others keep their parts.
            let again = apart().cuts(&cleared).expect("cuts");
            let kept: Vec<Cut> = cuts.into_iter().filter(|cut| !is_without(cut.part)).collect();
            prop_assert_eq!(again, kept);
        }

        #[test]
        fn cuts_that_do_not_fit_are_an_answer(rest: Vec<u8>, cuts: Vec<(u16, usize, usize, Option<(usize, String)>)>) {
            let cut = |(part, at, length, retype)| Cut { part, at, length, retype };
            let cuts: Vec<Cut> = cuts.into_iter().map(cut).collect();
            join(&rest, &cuts, |_| None);
            let small: Vec<Cut> = cuts
                .into_iter()
                .map(|cut| Cut { at: cut.at % 64, length: cut.length % 64, ..cut })
                .collect();
            join(&rest, &small, |_| None);
        }
    }

    #[test]
    fn a_type_with_an_escape_keeps_its_name() {
        let data = r#"[{"type":"\u0046orward","payload":{"a":1}}]"#;
        let cuts = apart().cuts(data).expect("cuts");
        assert_eq!((cuts.len(), &cuts[0].retype), (1, &None));
        let cleared = join(&left(data, &cuts), &cuts, |_| None);
        assert_eq!(cleared, Some(cleared_live(data, vec![1])));
        assert!(cleared.is_some_and(|data| data.contains("u0046")));
    }

    #[test]
    fn what_is_no_row_and_what_clearing_could_not_write_is_refused() {
        assert!(matches!(apart().cuts("{}"), Err(Error::Misuse(_))));
        assert!(Apart::new(vec![("Long".into(), "Short".into())], 2).is_err());
        assert!(Apart::new(pairs(), 0).is_err());
        let cut = Cut {
            part: 1,
            at: 0,
            length: ROOM,
            retype: None,
        };
        assert_eq!(join(b"x", std::slice::from_ref(&cut), |_| None), None);
        let cut = Cut { length: 2, ..cut };
        for payload in [&b"{"[..], b"{ }"] {
            assert_eq!(
                join(b"x", std::slice::from_ref(&cut), |_| Some(payload)),
                None
            );
        }
        assert_eq!(join(b"x", &[cut], |_| Some(b"{}")).as_deref(), Some("{}x"));
    }
}
