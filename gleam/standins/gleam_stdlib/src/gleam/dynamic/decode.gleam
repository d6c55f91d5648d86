//// Typed values from dynamic data. A decoder gives a value in any case, since what is built from
//// it needs one, and beside it the errors, in whose presence the value says nothing.

import gleam/dict.{type Dict}
import gleam/dynamic
import gleam/float
import gleam/int
import gleam/list
import gleam/option.{type Option, None, Some}

pub type Dynamic =
  dynamic.Dynamic

pub type DecodeError {
  DecodeError(expected: String, found: String, path: List(String))
}

pub opaque type Decoder(t) {
  Decoder(function: fn(Dynamic) -> #(t, List(DecodeError)))
}

pub fn run(data: Dynamic, decoder: Decoder(t)) -> Result(t, List(DecodeError)) {
  case decoder.function(data) {
    #(value, []) -> Ok(value)
    #(_, errors) -> Error(errors)
  }
}

pub fn success(data: t) -> Decoder(t) {
  Decoder(fn(_) { #(data, []) })
}

pub fn failure(placeholder: a, expected name: String) -> Decoder(a) {
  Decoder(fn(data) { #(placeholder, decode_error(name, data)) })
}

pub fn decode_error(
  expected expected: String,
  found found: Dynamic,
) -> List(DecodeError) {
  [DecodeError(expected:, found: dynamic.classify(found), path: [])]
}

pub fn new_primitive_decoder(
  name: String,
  decoding_function: fn(Dynamic) -> Result(t, t),
) -> Decoder(t) {
  Decoder(fn(data) {
    case decoding_function(data) {
      Ok(value) -> #(value, [])
      Error(placeholder) -> #(placeholder, decode_error(name, data))
    }
  })
}

pub const dynamic: Decoder(Dynamic) = Decoder(decode_dynamic)

pub const string: Decoder(String) = Decoder(decode_string)

pub const int: Decoder(Int) = Decoder(decode_int)

pub const float: Decoder(Float) = Decoder(decode_float)

pub const bool: Decoder(Bool) = Decoder(decode_bool)

pub const bit_array: Decoder(BitArray) = Decoder(decode_bit_array)

fn decode_dynamic(data: Dynamic) -> #(Dynamic, List(DecodeError)) {
  #(data, [])
}

fn decode_string(data: Dynamic) -> #(String, List(DecodeError)) {
  new_primitive_decoder("String", string_or_placeholder).function(data)
}

fn decode_int(data: Dynamic) -> #(Int, List(DecodeError)) {
  new_primitive_decoder("Int", int_or_placeholder).function(data)
}

fn decode_float(data: Dynamic) -> #(Float, List(DecodeError)) {
  new_primitive_decoder("Float", float_or_placeholder).function(data)
}

fn decode_bool(data: Dynamic) -> #(Bool, List(DecodeError)) {
  new_primitive_decoder("Bool", bool_or_placeholder).function(data)
}

fn decode_bit_array(data: Dynamic) -> #(BitArray, List(DecodeError)) {
  new_primitive_decoder("BitArray", bits_or_placeholder).function(data)
}

@external(erlang, "gleam_stdlib_standin", "decode_string")
fn string_or_placeholder(data: Dynamic) -> Result(String, String)

@external(erlang, "gleam_stdlib_standin", "decode_int")
fn int_or_placeholder(data: Dynamic) -> Result(Int, Int)

@external(erlang, "gleam_stdlib_standin", "decode_float")
fn float_or_placeholder(data: Dynamic) -> Result(Float, Float)

@external(erlang, "gleam_stdlib_standin", "decode_bool")
fn bool_or_placeholder(data: Dynamic) -> Result(Bool, Bool)

@external(erlang, "gleam_stdlib_standin", "decode_bits")
fn bits_or_placeholder(data: Dynamic) -> Result(BitArray, BitArray)

pub fn list(of inner: Decoder(a)) -> Decoder(List(a)) {
  Decoder(fn(data) {
    case list_items(data) {
      Ok(items) -> decode_items(items, inner, 0, [])
      Error(_) -> #([], decode_error("List", data))
    }
  })
}

/// Stops at the first item that is none.
fn decode_items(
  items: List(Dynamic),
  inner: Decoder(a),
  index: Int,
  decoded: List(a),
) -> #(List(a), List(DecodeError)) {
  case items {
    [] -> #(list.reverse(decoded), [])
    [item, ..rest] ->
      case inner.function(item) {
        #(value, []) -> decode_items(rest, inner, index + 1, [value, ..decoded])
        #(_, errors) -> #([], under(int.to_string(index), errors))
      }
  }
}

@external(erlang, "gleam_stdlib_standin", "list_items")
fn list_items(data: Dynamic) -> Result(List(Dynamic), Nil)

/// Stops at the first pair that is none.
pub fn dict(
  key: Decoder(key),
  value: Decoder(value),
) -> Decoder(Dict(key, value)) {
  Decoder(fn(data) {
    case map_of(data) {
      Error(_) -> #(dict.new(), decode_error("Dict", data))
      Ok(entries) ->
        dict.fold(entries, #(dict.new(), []), fn(result, raw_key, raw_value) {
          case result.1, key.function(raw_key), value.function(raw_value) {
            [], #(key, []), #(value, []) -> #(
              dict.insert(result.0, key, value),
              [],
            )
            [], #(_, []), #(_, errors) -> #(
              dict.new(),
              under(segment(raw_key), errors),
            )
            [], #(_, errors), _ -> #(dict.new(), under("keys", errors))
            _, _, _ -> result
          }
        })
    }
  })
}

@external(erlang, "gleam_stdlib_standin", "map_of")
fn map_of(data: Dynamic) -> Result(Dict(Dynamic, Dynamic), Nil)

pub fn optional(inner: Decoder(a)) -> Decoder(Option(a)) {
  Decoder(fn(data) {
    case is_null(data) {
      True -> #(None, [])
      False -> map(inner, Some).function(data)
    }
  })
}

@external(erlang, "gleam_stdlib_standin", "is_null")
fn is_null(data: Dynamic) -> Bool

pub fn field(
  field_name: name,
  field_decoder: Decoder(t),
  next: fn(t) -> Decoder(final),
) -> Decoder(final) {
  subfield([field_name], field_decoder, next)
}

pub fn subfield(
  field_path: List(name),
  field_decoder: Decoder(t),
  next: fn(t) -> Decoder(final),
) -> Decoder(final) {
  and_then_next(at(field_path, field_decoder), next)
}

pub fn optional_field(
  key: name,
  default: t,
  field_decoder: Decoder(t),
  next: fn(t) -> Decoder(final),
) -> Decoder(final) {
  and_then_next(
    Decoder(fn(data) {
      let #(value, errors) = case index(data, key) {
        Ok(Some(found)) -> field_decoder.function(found)
        Ok(None) -> #(default, [])
        Error(expected) -> #(default, decode_error(expected, data))
      }
      #(value, under(segment(to_dynamic(key)), errors))
    }),
    next,
  )
}

/// The errors of both count, since both look at the same data.
fn and_then_next(
  decoder: Decoder(t),
  next: fn(t) -> Decoder(final),
) -> Decoder(final) {
  Decoder(fn(data) {
    let #(value, errors) = decoder.function(data)
    let #(final, more) = next(value).function(data)
    #(final, list.append(errors, more))
  })
}

pub fn at(path: List(segment), inner: Decoder(a)) -> Decoder(a) {
  walk(path, inner, fn(data) {
    #(inner.function(data).0, [DecodeError("Field", "Nothing", [])])
  })
}

pub fn optionally_at(
  path: List(segment),
  default: a,
  inner: Decoder(a),
) -> Decoder(a) {
  Decoder(fn(data) {
    case find(path, data) {
      Missing -> #(default, [])
      _ -> at(path, inner).function(data)
    }
  })
}

type Found {
  Found
  Missing
  NotIndexable
}

fn find(path: List(segment), data: Dynamic) -> Found {
  case path {
    [] -> Found
    [key, ..rest] ->
      case index(data, key) {
        Ok(Some(inner)) -> find(rest, inner)
        Ok(None) -> Missing
        Error(_) -> NotIndexable
      }
  }
}

fn walk(
  path: List(segment),
  inner: Decoder(a),
  missing: fn(Dynamic) -> #(a, List(DecodeError)),
) -> Decoder(a) {
  case path {
    [] -> inner
    [key, ..rest] ->
      Decoder(fn(data) {
        let #(value, errors, here) = case index(data, key) {
          Ok(Some(found)) -> {
            let #(value, errors) = walk(rest, inner, missing).function(found)
            #(value, errors, True)
          }
          Ok(None) -> {
            let #(value, errors) = missing(data)
            #(value, errors, True)
          }
          Error(expected) -> #(
            inner.function(data).0,
            decode_error(expected, data),
            False,
          )
        }
        case here {
          True -> #(value, under(segment(to_dynamic(key)), errors))
          False -> #(value, errors)
        }
      })
  }
}

@external(erlang, "gleam_stdlib_standin", "index")
fn index(data: Dynamic, key: anything) -> Result(Option(Dynamic), String)

fn under(segment: String, errors: List(DecodeError)) -> List(DecodeError) {
  list.map(errors, fn(error) {
    DecodeError(..error, path: [segment, ..error.path])
  })
}

fn segment(key: Dynamic) -> String {
  let readable =
    one_of(string, [map(int, int.to_string), map(float, float.to_string)])
  case run(key, readable) {
    Ok(segment) -> segment
    Error(_) -> "<" <> dynamic.classify(key) <> ">"
  }
}

@external(erlang, "gleam_stdlib_standin", "identity")
fn to_dynamic(value: anything) -> Dynamic

pub fn map(decoder: Decoder(a), transformer: fn(a) -> b) -> Decoder(b) {
  Decoder(fn(data) {
    let #(value, errors) = decoder.function(data)
    #(transformer(value), errors)
  })
}

pub fn map_errors(
  decoder: Decoder(a),
  transformer: fn(List(DecodeError)) -> List(DecodeError),
) -> Decoder(a) {
  Decoder(fn(data) {
    let #(value, errors) = decoder.function(data)
    #(value, transformer(errors))
  })
}

/// One error in place of all that the decoder gives.
pub fn collapse_errors(decoder: Decoder(a), name: String) -> Decoder(a) {
  Decoder(fn(data) {
    case decoder.function(data) {
      #(value, []) -> #(value, [])
      #(value, _) -> #(value, decode_error(name, data))
    }
  })
}

/// A decoder that is made when it is needed, so that it may hold itself.
pub fn recursive(inner: fn() -> Decoder(a)) -> Decoder(a) {
  Decoder(fn(data) { inner().function(data) })
}

pub fn then(decoder: Decoder(a), next: fn(a) -> Decoder(b)) -> Decoder(b) {
  Decoder(fn(data) {
    let #(value, errors) = decoder.function(data)
    let #(final, more) = next(value).function(data)
    case errors {
      [] -> #(final, more)
      _ -> #(final, errors)
    }
  })
}

/// Where all fail, the first one's errors are given.
pub fn one_of(
  first: Decoder(a),
  or alternatives: List(Decoder(a)),
) -> Decoder(a) {
  Decoder(fn(data) {
    let tried = first.function(data)
    let worked = fn(result: #(a, List(DecodeError))) { result.1 == [] }
    case worked(tried) {
      True -> tried
      False ->
        list.find_map(alternatives, fn(decoder) {
          let result = decoder.function(data)
          case worked(result) {
            True -> Ok(result)
            False -> Error(Nil)
          }
        })
        |> or_else(tried)
    }
  })
}

fn or_else(result: Result(a, Nil), default: a) -> a {
  case result {
    Ok(value) -> value
    Error(_) -> default
  }
}
