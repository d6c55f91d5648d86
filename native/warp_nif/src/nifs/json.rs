//! JSON text from terms, and terms from JSON text.

use rustler::{Binary, Encoder, Env, NewBinary, Term};

use super::BUDGET;
use crate::atoms;
use crate::json::{self, Floats, JsonError, Notes};

/// A term as JSON text: `{ok, Text}`, `{error, Reason}` or `dirty`. With `padded` floats have
/// 17 digits.
#[rustler::nif]
fn json_encode<'a>(env: Env<'a>, term: Term<'a>, padded: bool) -> Term<'a> {
    match json_encode_within(env, term, padded, BUDGET) {
        Err(JsonError::OverBudget(_)) => atoms::dirty().encode(env),
        encoded => json_reply(env, encoded),
    }
}

/// As `json_encode`, of at most so many bytes: a text that would be longer is `too_large`.
#[rustler::nif(schedule = "DirtyCpu")]
fn json_encode_dirty<'a>(env: Env<'a>, term: Term<'a>, padded: bool, max: usize) -> Term<'a> {
    let encoded = json_encode_within(env, term, padded, max).map_err(|error| match error {
        JsonError::OverBudget(bytes) => JsonError::TooLarge(bytes, max),
        error => error,
    });
    json_reply(env, encoded)
}

fn json_reply<'a>(env: Env<'a>, result: std::result::Result<Term<'a>, JsonError>) -> Term<'a> {
    match result {
        Ok(term) => (atoms::ok(), term).encode(env),
        Err(error) => (atoms::error(), error).encode(env),
    }
}

fn json_encode_within<'a>(
    env: Env<'a>,
    term: Term<'a>,
    padded: bool,
    budget: usize,
) -> std::result::Result<Term<'a>, JsonError> {
    let floats = if padded {
        Floats::Padded
    } else {
        Floats::Shortest
    };
    let mut out = Vec::new();
    json::encode(term, &mut out, &mut Notes::default(), budget, floats)?;
    Ok(NewBinary::from_slice(env, &out).into())
}

/// The JSON object of a text: `{ok, Map}`, `{error, Reason}` or `dirty`.
#[rustler::nif]
fn json_decode<'a>(env: Env<'a>, text: Binary<'a>) -> Term<'a> {
    if text.len() > BUDGET {
        return atoms::dirty().encode(env);
    }
    json_decode_any(env, &text)
}

/// As `json_decode`, whatever the size.
#[rustler::nif(schedule = "DirtyCpu")]
fn json_decode_dirty<'a>(env: Env<'a>, text: Binary<'a>) -> Term<'a> {
    json_decode_any(env, &text)
}

fn json_decode_any<'a>(env: Env<'a>, text: &Binary<'a>) -> Term<'a> {
    let parsed = std::str::from_utf8(text.as_slice())
        .map_err(|error| JsonError::Invalid(error.to_string()))
        .and_then(|text| json::parse(text, json::Terms(env)));
    json_reply(env, parsed)
}
