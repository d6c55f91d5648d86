//! Which entities of a kind are open, and which are closed, against a model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::engine::testing::{CLOSING, KIND};
use crate::engine::tests::{Step, Tested, packed};
use crate::engine::verify_tests;
use crate::event::Packed;
use crate::reader::open_entities::open_entities;
use crate::reader::view::with_reader;

fn kind_row(aggregate: &str, event: &str) -> Packed {
    let mut packed = packed(&[event.into()], Vec::new());
    packed.aggregate = aggregate.into();
    packed
}

#[derive(Debug, Clone)]
enum KindStep {
    Row { entity: u8, closes: bool },
    Replace { entity: u8 },
    Flush,
    Reopen,
}

fn kind_step() -> impl Strategy<Value = KindStep> {
    prop_oneof![
        6 => (0u8..8, any::<bool>()).prop_map(|(entity, closes)| KindStep::Row { entity, closes }),
        2 => (0u8..8).prop_map(|entity| KindStep::Replace { entity }),
        1 => Just(KindStep::Flush),
        1 => Just(KindStep::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_open_entities_are_those_that_were_not_closed(
        steps in prop::collection::vec(kind_step(), 1..120),
    ) {
        let mut tested = Tested::new();
        let mut open = BTreeMap::new();
        for step in &steps {
            match step {
                KindStep::Row { entity, closes } => {
                    let name = format!("{KIND}{entity}");
                    // What is closed gets no more rows.
                    if open.get(&name) == Some(&false) {
                        continue;
                    }
                    let aggregate = if *closes { CLOSING } else { "A" };
                    let event = "{\"type\":\"T\",\"payload\":{}}";
                    tested.append(&name, kind_row(aggregate, event));
                    tested.model.entry(name.clone()).or_default().push(event.into());
                    open.insert(name, !closes);
                }
                KindStep::Replace { entity } => {
                    let name = format!("{KIND}{entity}");
                    if open.get(&name) == Some(&false) {
                        let event = "{\"type\":\"T\",\"payload\":{}}";
                        tested.replace(&name, 0, kind_row(CLOSING, event), event.into());
                    }
                }
                KindStep::Flush => tested.run(&Step::Flush),
                KindStep::Reopen => tested.run(&Step::Reopen),
            }
            let found = open_entities(tested.shared(), KIND).expect("reads");
            prop_assert_eq!(found.broken.len(), 0);
            let found: BTreeSet<_> = found.ids.into_iter().collect();
            let expected = open.iter().filter(|(_, open)| **open).map(|(name, _)| name.clone());
            prop_assert_eq!(found, expected.collect());
        }
        tested.run(&Step::Flush);
        let closed = with_reader(tested.shared(), |reader| reader.closed_entities(KIND, i64::MAX, 0, 100));
        let found: BTreeMap<_, _> = closed.expect("reads").found.into_iter().collect();
        let expected = open.iter().filter(|(_, open)| !**open).map(|(name, _)| (name, tested.model[name].len()));
        // Of one that has no more than the row that closed it nothing can be removed.
        let expected = expected.filter(|(_, rows)| *rows > 1).map(|(name, rows)| (name.clone(), rows as u64));
        prop_assert_eq!(found, expected.collect());
        prop_assert_eq!(verify_tests::check(tested.open.as_ref().expect("open")).1, Vec::<String>::new());
    }
}
