//! What a client sends, cut anywhere, is the same messages.

use super::Ending;
use super::decoder::{Decoder, Event, Next, Pace};
use super::frame::{self, BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT};
use proptest::prelude::*;
use std::ops::ControlFlow;

/// A client's frame.
fn client_frame(code: u8, is_last: bool, bytes: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut out = vec![code | if is_last { 0x80 } else { 0 }];
    match bytes.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=65535 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(
        bytes
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    out
}

/// What is read in bytes that come in pieces of these sizes, in turn.
fn read(bytes: &[u8], sizes: &[usize], most: usize, rests: bool) -> (Vec<String>, Option<Ending>) {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    let mut on = |event: Event<'_>| -> Next {
        events.push(format!("{event:?}"));
        ControlFlow::Continue(if rests { Pace::Rest } else { Pace::GoOn })
    };
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() || decoder.is_resting() {
        let size = if decoder.is_resting() {
            0
        } else {
            (*sizes.next().unwrap()).clamp(1, rest.len())
        };
        let (piece, after) = rest.split_at(size);
        rest = after;
        if let Err(ending) = decoder.take(&mut piece.to_vec(), most, &mut on) {
            return (events, Some(ending));
        }
    }
    assert!(!decoder.is_in_message() && decoder.held() == 0);
    (events, None)
}

/// A message in frames, with a ping between them, and what is read in it.
fn any_message() -> impl Strategy<Value = (Vec<u8>, Vec<String>)> {
    let text = prop_oneof![".{0,20}", ".{100,200}", ".{33000,33010}"];
    (
        text,
        any::<[u8; 4]>(),
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        any::<bool>(),
    )
        .prop_map(|(text, mask, cuts, has_ping)| {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.sort_unstable();
            let (mut out, mut events, mut from) = (Vec::new(), Vec::new(), 0);
            for (at, to) in cuts.iter().copied().chain([text.len()]).enumerate() {
                let code = if at == 0 { TEXT } else { CONTINUATION };
                out.extend(client_frame(
                    code,
                    at == cuts.len(),
                    &text.as_bytes()[from..to],
                    mask,
                ));
                from = to;
                if has_ping && at < cuts.len() {
                    out.extend(client_frame(PING, true, b"x", mask));
                    out.extend(client_frame(PONG, true, b"y", mask));
                    events.push(format!("{:?}", Event::Ping(b"x")));
                }
            }
            events.push(format!("{:?}", Event::Text(&text)));
            (out, events)
        })
}

/// How many inputs a test tries, with WARP_LONG=1 and without.
fn cases(long: u32, short: u32) -> ProptestConfig {
    let is_long = std::env::var_os("WARP_LONG").is_some();
    ProptestConfig {
        cases: if is_long { long } else { short },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(5000, 200))]

    #[test]
    fn messages_are_the_same_wherever_they_are_cut(
        messages in prop::collection::vec(any_message(), 1..5),
        sizes in prop::collection::vec(prop_oneof![1..10_usize, 1..70_000_usize], 1..5),
        rests in any::<bool>(),
    ) {
        let bytes = messages.iter().flat_map(|(bytes, _)| bytes.clone()).collect::<Vec<_>>();
        let expected = messages.into_iter().flat_map(|(_, events)| events).collect::<Vec<_>>();
        let sizes = if bytes.len() > 100_000 { vec![50_000] } else { sizes };
        prop_assert_eq!(read(&bytes, &sizes, 1 << 20, rests), (expected, None));
    }
}

proptest! {
    #![proptest_config(cases(300_000, 1000))]

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1..50_usize) {
        let mut decoder = Decoder::default();
        for piece in bytes.chunks(size) {
            let mut on = |_: Event<'_>| ControlFlow::Continue(Pace::GoOn);
            if decoder.take(&mut piece.to_vec(), 1000, &mut on).is_err() {
                break;
            }
            prop_assert!(decoder.held() <= 1400);
        }
    }
}

#[test]
fn what_is_wrong_closes_the_socket() {
    let code = |frames: &[Vec<u8>]| match read(&frames.concat(), &[9], 10, false).1 {
        Some(Ending::Close(code, _)) => code,
        other => panic!("{other:?}"),
    };
    let frame = |code, is_last, bytes: &[u8]| client_frame(code, is_last, bytes, [1, 2, 3, 4]);
    assert_eq!(code(&[frame(BINARY, true, b"x")]), 1003);
    assert_eq!(code(&[frame(TEXT, true, &[0xFF])]), 1007);
    assert_eq!(code(&[frame(TEXT, true, &[b'x'; 11])]), 1009);
    assert_eq!(
        code(&[
            frame(TEXT, false, &[b'x'; 6]),
            frame(CONTINUATION, true, &[b'x'; 5])
        ]),
        1009
    );
    assert_eq!(code(&[frame(CONTINUATION, true, b"x")]), 1002);
    assert_eq!(
        code(&[frame(TEXT, false, b"x"), frame(TEXT, true, b"x")]),
        1002
    );
    assert_eq!(code(&[frame(3, true, b"x")]), 1002);
    assert_eq!(code(&[frame(11, true, b"x")]), 1002);
    assert_eq!(code(&[frame(PING, false, b"x")]), 1002);
    assert_eq!(code(&[frame(PING, true, &[b'x'; 126])]), 1002);
    assert_eq!(code(&[frame(CLOSE | 0x40, true, b"")]), 1002);
    assert_eq!(code(&[vec![0x81, 1, b'x']]), 1002, "a frame without a mask");
    // A full message leaves room for a ping in its midst.
    let full = [
        frame(TEXT, false, &[b'x'; 10]),
        frame(PING, true, b"ping"),
        frame(CONTINUATION, true, b""),
    ];
    assert_eq!(read(&full.concat(), &[9], 10, false).1, None);
}

#[test]
fn what_the_gateway_writes_has_the_shortest_length() {
    for (length, header) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
        let mut out = Vec::new();
        frame::put(&mut out, TEXT, true, &vec![b'x'; length]);
        assert_eq!(out.len(), header + length);
        assert_eq!(out[0], 0x81);
    }
    let mut out = Vec::new();
    frame::put_close(&mut out, 1001, &"ä".repeat(100));
    assert_eq!(out.len(), 2 + 2 + 122);
}
